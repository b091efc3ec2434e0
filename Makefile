# The commands of this repository. `make test` is what continuous integration runs.

.PHONY: test setup format lint docs public-api soak bench plots
.NOTPARALLEL:

# Warnings are errors here, not in a plain `cargo build`: a new compiler's lint must not stop a user.
lint docs: export RUSTDOCFLAGS = -D warnings

# Everything that must hold before a change lands. The test runner comes last, so that its summary is the last line.
# Before it, two minutes of the attack (see `soak`). The simulator runs seeds that nobody has seen before for so long,
# beside the other tests.
test: export SIM_FRESH_SECONDS ?= 120
test: setup lint docs
	cargo test --workspace --all-features --doc
	cargo build --workspace --all-features --examples
	$(SOAK) run --store all --minutes 0.7
	cargo nextest run --workspace --all-features

# Installs what is missing; does nothing where all is there.
setup:
	./scripts/setup.sh

# Rewrites the code in the one format.
format:
	cargo fmt --all

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings

docs: setup
	cargo doc --workspace --all-features --no-deps

# Accepts the public items as they are: writes docs/public_api, in which each belongs to a group that needs it.
public-api: setup
	PUBLIC_API_ACCEPT=1 cargo nextest run --all-features --test public_api

# The attack: writers, followers and maintainers, real processes, are killed, stopped and put on clocks that are days
# apart, their servers killed and cut, while a checker compares what is stored with what writers wrote down beside the
# store. make soak MINUTES=20 STORE=directory|postgres|s3|all attacks each of the stores for so long, and fails at the
# first violation, with the store kept and the seed printed. SOAK_FLAGS: see examples/soak/main.rs.
SOAK = $(or $(CARGO_TARGET_DIR),target)/debug/examples/soak
MINUTES ?= 2
STORE ?= all
soak: setup
	cargo build --workspace --all-features --example soak
	$(SOAK) run --store $(STORE) --minutes $(MINUTES) $(SOAK_FLAGS)

# The workloads of BENCHMARKS.md: make bench WORKLOAD="hydrate --workers 2". For this kind of machine's instructions, which
# the library does not ask for, and in a directory of its own, so that other builds need not be done again.
WORKLOAD ?= limits
bench plots: export RUSTFLAGS = -Ctarget-cpu=x86-64-v3
bench plots: export CARGO_TARGET_DIR := $(or $(BENCH_TARGET_DIR),target/bench)
bench:
	$(if $(findstring postgres,$(WORKLOAD)),./scripts/setup.sh postgres)
	cargo bench --bench workloads -- $(WORKLOAD)

# Builds and runs the series of benchmarks, about twelve minutes on a machine with nothing else to do, and writes
# docs/figures.json, the plots beside it, and the tables of README.md and BENCHMARKS.md.
plots:
	@command -v python3 >/dev/null || { echo "plots: 'python3' is missing: apt-get install python3" >&2; exit 1; }
	python3 scripts/figures.py
	python3 scripts/plot.py
