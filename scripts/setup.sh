#!/usr/bin/env bash
# Installs the tools that `make test` needs and that are missing. With nothing missing it only looks, in well under a
# second. Compilers are not installed: a Rust toolchain of the version in Cargo.toml, or a newer one, must be there.
set -euo pipefail

nextest_version=0.9.143

have() { command -v "$1" >/dev/null 2>&1; }

fail() {
    echo "setup: $1" >&2
    exit 1
}

# need_command COMMAND DEBIAN_PACKAGE: the command, from the package where it is missing.
need_command() {
    have "$1" && return
    have apt-get || fail "'$1' is missing: install it (Debian has it in the package '$2')"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || fail "'$1' is missing: install the Debian package '$2' as root"
        as_root=(sudo)
    fi
    echo "setup: installing $2"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2"
}

# need_component COMMAND COMPONENT: a part of the Rust toolchain.
need_component() {
    have "$1" && "$1" --version >/dev/null 2>&1 && return
    have rustup || fail "'$1' is missing: install the '$2' component of your Rust toolchain"
    echo "setup: installing $2"
    rustup component add "$2"
}

have cargo || fail "'cargo' is missing: install Rust, see https://rustup.rs"
need_command git git # the main example and its tests read git repositories
need_command cc gcc   # crates that compile C: Zstandard, cryptography
# The tests of the log in PostgreSQL start servers of their own.
if ! compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; then
    need_command initdb postgresql
fi
need_component cargo-fmt rustfmt
need_component cargo-clippy clippy

if ! cargo nextest --version >/dev/null 2>&1; then
    echo "setup: installing cargo-nextest $nextest_version (compiles for some minutes, once)"
    # Its own build directory: that of the project stays as it is. The compiler flags of the caller are not for it.
    env -u CARGO_TARGET_DIR -u RUSTFLAGS cargo install --locked cargo-nextest --version "$nextest_version"
fi
