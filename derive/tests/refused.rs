//! What the derive refuses, and what it says to write instead: as Rust 1.95 shows it.

/// All in one, because each file is a run of the compiler. `TRYBUILD=overwrite` accepts what is said.
#[test]
fn what_is_refused_says_what_to_write() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}

/// Each of these is in the table of the derive's documentation, where `…` stands for what differs.
#[test]
fn what_is_refused_is_in_the_documentation() {
    let documented = include_str!("../src/lib.rs").lines().filter_map(|line| line.strip_prefix("/// | "));
    let documented: Vec<_> = documented.filter_map(|row| row.split(" | ").next()).collect();
    let said = [include_str!("refused/attributes.stderr"), include_str!("refused/types.stderr")];
    let said: Vec<_> =
        said.iter().flat_map(|said| said.lines()).filter_map(|line| line.strip_prefix("error: ")).collect();
    assert!(said.len() > 20, "{said:?}");
    for error in said {
        assert!(documented.iter().any(|row| is_of(error, row)), "the table of derive/src/lib.rs lacks: {error}");
    }
}

/// Whether what is said has the words of a row, in their order.
fn is_of(error: &str, row: &str) -> bool {
    let mut parts = row.split('…').map(str::trim);
    let begin = parts.next().unwrap_or_default();
    let rest = error.strip_prefix(begin);
    let rest = rest.and_then(|rest| parts.try_fold(rest, |rest, part| rest.split_once(part).map(|(_, rest)| rest)));
    rest.is_some_and(|rest| row.ends_with('…') || rest.is_empty())
}
