#!/usr/bin/env bash
# Installs the tools that `make test` needs and that are missing. With nothing missing it only looks, in well under a
# second. Compilers are not installed: a Rust toolchain of the version in Cargo.toml, or a newer one, must be there.
#
# `setup.sh postgres` installs what a benchmark with its log in PostgreSQL needs, and nothing else.
set -euo pipefail

nextest_version=0.9.143
here=$(cd "$(dirname "$0")" && pwd)

have() { command -v "$1" >/dev/null 2>&1; }

fail() {
    echo "setup: $1" >&2
    exit 1
}

# need_package PACKAGE WHAT: installs the Debian package, because WHAT is missing.
need_package() {
    have apt-get || fail "$2 is missing: install it (Debian has it in the package '$1')"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || fail "$2 is missing: install the Debian package '$1' as root"
        as_root=(sudo)
    fi
    echo "setup: installing $1"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1"
}

# need_command COMMAND DEBIAN_PACKAGE: the command, from the package where it is missing.
need_command() {
    have "$1" || need_package "$2" "'$1'"
}

# need_component COMMAND COMPONENT: a part of the Rust toolchain.
need_component() {
    have "$1" && "$1" --version >/dev/null 2>&1 && return
    have rustup || fail "'$1' is missing: install the '$2' component of your Rust toolchain"
    echo "setup: installing $2"
    rustup component add "$2"
}

have cargo || fail "'cargo' is missing: install Rust, see https://rustup.rs"
need_command cc gcc # crates that compile C: Zstandard, cryptography
# The tests and benchmarks of the log in PostgreSQL start servers of their own.
if ! compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; then
    need_command initdb postgresql
fi
[ "${1:-}" != postgres ] || exit 0
# The attack puts its processes on other clocks.
if ! compgen -G "/usr/lib/*/faketime/libfaketime.so.1" >/dev/null; then
    need_package faketime "'libfaketime'"
fi
need_command git git # the main example and its tests read git repositories
need_component cargo-fmt rustfmt
need_component cargo-clippy clippy

if ! cargo nextest --version >/dev/null 2>&1; then
    echo "setup: installing cargo-nextest $nextest_version (compiles for some minutes, once)"
    # Its own build directory: that of the project stays as it is. The compiler flags of the caller are not for it.
    env -u CARGO_TARGET_DIR -u RUSTFLAGS cargo install --locked cargo-nextest --version "$nextest_version"
fi

# The servers that tests open buckets on, each of one version, in a directory that all checkouts share. The directory of
# a server has a file `installed` once it is whole. `tests/support/servers.rs` looks for them at the same places.
# The tools that must be able to open a part lie there too: `core/tests/arrow_tools.rs` looks for them.
moto_version=5.2.5
azurite_version=3.35.0
s3s_version=0.14.1
servers=${XDG_CACHE_HOME:-$HOME/.cache}/timely-persist

# need_server DIRECTORY COMMAND: fills the directory by the command, once.
need_server() {
    [ -e "$servers/$1/installed" ] && return
    have flock || need_package util-linux "'flock'"
    mkdir -p "$servers"
    ( # another checkout may be at it
        flock 9
        [ -e "$servers/$1/installed" ] && exit
        echo "setup: installing $1 into $servers"
        rm -rf "${servers:?}/$1"
        mkdir "$servers/$1"
        "$2" "$servers/$1"
        touch "$servers/$1/installed"
    ) 9>"$servers/$1.lock"
}

# install_python DIRECTORY FILE [OPTION..]: an environment of Python's own with the packages that the file pins.
install_python() {
    have python3 || need_package python3 "'python3'"
    python3 -c 'import ensurepip, venv' 2>/dev/null || need_package python3-venv "Python's 'venv'"
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check "${@:3}" -r "$2" \
        || fail "what $2 asks for cannot be had from PyPI, for the reason above; tests need it"
}

# S3, in memory.
install_moto() {
    install_python "$1" "$here/moto.txt"
}

# What opens Arrow files: some 450 MB. Nothing that would have to be compiled.
install_arrow_tools() {
    install_python "$1" "$here/arrow_tools.txt" --only-binary :all:
}

# Azure, on disk. Its dependencies as of a day when this version was the newest, and without scripts of theirs.
install_azurite() {
    have node || need_package nodejs "'node'"
    have npm || need_package npm "'npm'"
    npm install --silent --no-audit --no-fund --no-save --ignore-scripts --before=2026-01-01 --prefix "$1" \
        "azurite@$azurite_version"
}

# S3 on disk, without the guarantee that a log needs.
install_s3s() {
    echo "setup: compiling s3s-fs (some minutes, once)"
    env -u CARGO_TARGET_DIR -u RUSTFLAGS cargo install --quiet --locked --debug --root "$1" \
        s3s-fs --version "$s3s_version" --features binary
}

need_server "moto-$moto_version" install_moto
need_server "azurite-$azurite_version" install_azurite
need_server "s3s-fs-$s3s_version" install_s3s
# Named by the packages and their versions: other ones are installed anew.
need_server "arrow-tools$(sed -n 's/^\(.*\)==/-\1-/p' "$here/arrow_tools.txt" | tr -d '\n')" install_arrow_tools
