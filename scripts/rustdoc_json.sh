#!/bin/sh
# rustdoc, for `cargo rustdoc` in tests/public_api: its JSON output is for nightly toolchains, or for who says so. Said here
# and not to Cargo as a whole, whose build scripts would hear it too and build half of the dependencies anew.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
