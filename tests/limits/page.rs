//! `docs/bounds.md` has a row for every limit, and no text names a limit that there is not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::ranges::names;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The first cells of the tables.
fn first_cells(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split(" | ").next())
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_limit_is_on_the_page_of_bounds() {
    let page = read(&root().join("docs/bounds.md"));
    let rows: Vec<&str> = first_cells(&page).filter(|cell| cell.starts_with("config.")).collect();
    let limits = rows.iter().map(|cell| cell.trim_end_matches('`').to_owned()).collect();
    assert_eq!(names(), limits, "a limit without a row, or a row without a limit");
    assert_eq!(names().len(), rows.len(), "one stands there twice");
}

/// A constant is where the page says that it is.
#[test]
fn every_constant_on_the_page_of_bounds_is_in_its_file() {
    let page = read(&root().join("docs/bounds.md"));
    let mut constants = 0;
    for cell in first_cells(&page).filter(|cell| cell.ends_with(".rs`")) {
        let cell = format!("`{cell}");
        let (file, names): (Vec<&str>, Vec<&str>) = quoted(&cell).partition(|word| word.ends_with(".rs"));
        let code = read(&root().join(file[0]));
        for name in names {
            assert!(code.contains(&format!("const {name}: ")), "{name} is not in {}", file[0]);
            constants += 1;
        }
    }
    assert!(constants > 5, "{constants} constants");
}

fn files(path: PathBuf) -> Vec<PathBuf> {
    match path.is_dir() {
        true => std::fs::read_dir(path).unwrap().flat_map(|entry| files(entry.unwrap().path())).collect(),
        false => vec![path],
    }
}

#[test]
fn no_text_names_a_limit_that_is_gone() {
    let texts = [
        "types/src",
        "core/src",
        "io/src",
        "src",
        "operators/src",
        "docs",
        "README.md",
        "ARCHITECTURE.md",
        "BENCHMARKS.md",
        "CHANGELOG.md",
    ];
    let (known, mut named) = (names(), BTreeSet::new());
    for path in texts.iter().flat_map(|text| files(root().join(text))) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue }; // a picture
        for word in text.split(|character: char| !character.is_ascii_alphanumeric() && !"_.`".contains(character)) {
            // As one writes it, in backticks: in code the same words may be another value's.
            let Some(name) = word.strip_prefix('`').and_then(|word| word.strip_suffix('`')) else { continue };
            if name.starts_with("config.") && name.matches('.').count() == 2 {
                assert!(known.contains(name), "{}: {name}", path.display());
                named.insert(name.to_owned());
            }
        }
    }
    assert_eq!(named, known);
}
