//! What the derive refuses, and what it says to write instead: as Rust 1.95 shows it.

/// All in one, because each file is a run of the compiler. `TRYBUILD=overwrite` accepts what is said.
#[test]
fn what_is_refused_says_what_to_write() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
