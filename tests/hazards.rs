//! Every hazard that is known has a test that would notice it: `tests/hazards.md` says which.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The hazards by number.
const HAZARDS: std::ops::RangeInclusive<usize> = 1..=71;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The files of a folder and those below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The names of all test functions and scenario scripts.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in ["derive", "types", "core", "io", "src", "tests", "operators", "examples"]
        .iter()
        .flat_map(|folder| files(&root().join(folder)))
    {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".txt") {
            names.insert(name.to_owned());
        } else if name.ends_with(".rs") {
            names.extend(test_functions(&std::fs::read_to_string(&path).unwrap()));
        }
    }
    names
}

/// The functions behind a test attribute: lines of other attributes and comments may stand between.
fn test_functions(text: &str) -> Vec<String> {
    let mut functions = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        let signature = line.strip_prefix("async ").unwrap_or(line);
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = signature.strip_prefix("fn ") {
            if is_test {
                functions.extend(name.split('(').next().map(str::to_owned));
            }
            is_test = false;
        }
    }
    functions
}

/// The numbers and names of one line of the table; `None` for other lines.
fn row(line: &str) -> Option<(usize, Vec<&str>)> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let number = cells.next()?.parse().ok()?;
    let names = cells.nth(1)?.split('`').skip(1).step_by(2);
    Some((number, names.collect()))
}

#[test]
fn every_hazard_has_tests_and_they_exist() {
    let text = std::fs::read_to_string(root().join("tests/hazards.md")).unwrap();
    let (rows, tests): (Vec<_>, _) = (text.lines().filter_map(row).collect(), tests());
    let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, HAZARDS.collect::<Vec<_>>());
    for (number, names) in &rows {
        assert!(!names.is_empty(), "hazard {number} has no test");
        for name in names {
            assert!(tests.contains(*name), "the test {name} of hazard {number} does not exist");
        }
    }
    // A script whose name begins with a number is of that hazard.
    let number = |name: &String| name.strip_suffix(".txt")?.split_once('-')?.0.parse::<usize>().ok();
    let numbered = tests.iter().filter_map(|name| Some((number(name)?, name)));
    for (number, name) in numbered {
        let listed = rows.iter().any(|(row, names)| *row == number && names.contains(&name.as_str()));
        assert!(listed, "{name} is not listed with hazard {number}");
    }
}

#[test]
fn tests_are_told_from_other_functions() {
    let text = "#[test]\n#[allow(x)] // why\nfn a() {}\nfn b() {}\n#[tokio::test(start_paused = true)]\nasync fn c(\n";
    assert_eq!(test_functions(text), ["a", "c"]);
    assert_eq!(row("| 7 | since `x` | `a` and `b` |"), Some((7, vec!["a", "b"])));
    assert_eq!((row("|---|---|---|"), row("text"), row("| | hazard | tests |")), (None, None, None));
}
