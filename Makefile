# The commands of this repository. `make test` is what continuous integration runs.

.PHONY: test setup format lint docs
.NOTPARALLEL:

# Warnings are errors here, not in a plain `cargo build`: a new compiler's lint must not stop a user.
lint docs: export RUSTDOCFLAGS = -D warnings

# Everything that must hold before a change lands. The test runner comes last, so that its summary is the last line.
test: setup lint docs
	cargo test --workspace --all-features --doc
	cargo build --workspace --all-features --examples
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
