//! `docs/public_api` has every public item of the crates that a user names, each in a group that says who needs it. What
//! neither a user nor an author of an extension needs is private.
//!
//! `make public-api` accepts what changed.
#![allow(clippy::unwrap_used)]

#[path = "public_api/golden.rs"]
mod golden;
#[path = "public_api/items.rs"]
mod items;
#[path = "public_api/merge.rs"]
mod merge;
#[path = "public_api/rustdoc.rs"]
mod rustdoc;

use std::path::Path;

/// What is held of a crate's public items.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    /// A user names the crate: its items stand in `docs/public_api/<crate>.txt`, also those of internal crates that it
    /// re-exports, under the names that they have here.
    Items,
    /// No list of its own, for this reason.
    Internal(&'static str),
}

/// Every library of the workspace.
const CRATES: &[(&str, List)] = &[
    ("timely-persist", List::Items),
    ("timely-persist-operators", List::Items),
    ("timely-persist-testing", List::Items),
    ("timely-persist-derive", List::Internal("timely-persist has its macro")),
    ("timely-persist-types", List::Internal("what a program needs of it is in timely-persist")),
    ("timely-persist-core", List::Internal("what a program needs of it is in timely-persist")),
    ("timely-persist-io", List::Internal("what a program needs of it is in timely-persist")),
];

/// Set by `make public-api`: the lists are written, not compared.
const ACCEPT: &str = "PUBLIC_API_ACCEPT";

#[test]
fn every_public_item_is_in_the_list_of_its_crate() {
    let workspace = rustdoc::Workspace::of(Path::new(env!("CARGO_MANIFEST_DIR")));
    let known: Vec<_> = CRATES.iter().map(|(name, _)| *name).collect();
    let unknown: Vec<_> = workspace.libraries().into_iter().filter(|name| !known.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "say in `CRATES` of tests/public_api.rs whether users name these crates: {unknown:?}");

    let merged = merge::merge(CRATES.iter().map(|(name, list)| {
        let names_are_public = *list == List::Items;
        (workspace.json(name), names_are_public)
    }));
    let internal: Vec<_> = CRATES.iter().filter(|(_, list)| *list != List::Items).map(|(name, _)| *name).collect();
    let listed = CRATES.iter().filter(|(_, list)| *list == List::Items);
    let complaints: Vec<_> = listed.flat_map(|(name, _)| check(&workspace, &merged, name, &internal)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What is wrong with the list of a crate.
fn check(workspace: &rustdoc::Workspace, merged: &merge::Merged, name: &str, internal: &[&str]) -> Vec<String> {
    let items = items::items(&merged.crate_json(name), workspace.json_directory());
    let mut complaints = items::unnameable(&items, internal);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/public_api").join(format!("{name}.txt"));
    let old = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    match golden::List::parse(&old).with(name, &items) {
        Err(wrong) => complaints.extend(wrong),
        Ok(new) if std::env::var_os(ACCEPT).is_some() => std::fs::write(&path, new.to_string()).unwrap(),
        Ok(new) if new.to_string() == old => {}
        Ok(new) => complaints.push(format!(
            "docs/public_api/{name}.txt is not what is public:\n{}`make public-api` accepts this.",
            golden::difference(&golden::List::parse(&old), &new)
        )),
    }
    complaints
}

/// A program reads shards through one crate, whatever crates the library is made of.
#[test]
fn what_a_crate_re_exports_of_another_one_is_listed_under_the_name_that_it_has_there() {
    let directory = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let package = |name: &str| format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[dependencies]\n");
    write("Cargo.toml", "[workspace]\nmembers = [\"inner\", \"outer\"]\nresolver = \"3\"\n");
    write("inner/Cargo.toml", &package("the-inner"));
    write("outer/Cargo.toml", &(package("outer") + "the-inner = { path = \"../inner\" }\n"));
    write(
        "inner/src/lib.rs",
        "pub mod error { mod kind { pub enum Kind { Bad { why: u8 } } } pub use kind::Kind; }
         pub trait Named { fn name() -> u8; fn other() -> u8 { 1 } }
         impl Named for u64 { fn name() -> u8 { 8 } }
         pub struct Hidden;
         pub mod state { pub struct State<T>(pub T); impl<T: crate::Named> State<T> {
             pub fn kind(&self) -> Option<crate::error::Kind> { None } pub fn hidden(&self) -> crate::Hidden { crate::Hidden } } }",
    );
    write(
        "outer/src/lib.rs",
        "pub use the_inner::{Named, error::Kind}; pub mod state { pub use the_inner::state::*; }
         pub struct Client; impl Named for Client { fn name() -> u8 { 1 } }",
    );
    let workspace = rustdoc::Workspace::of(directory.path());
    assert_eq!(workspace.libraries(), ["the-inner", "outer"]);
    let merged = merge::merge([(workspace.json("the-inner"), false), (workspace.json("outer"), true)]);
    let items = items::items(&merged.crate_json("outer"), workspace.json_directory());
    let expected = "\
pub mod outer
pub mod outer::state
pub struct outer::state::State<T>(pub T)
impl<T: outer::Named> outer::state::State<T>
pub fn outer::state::State<T>::hidden(&self) -> the_inner::Hidden
pub fn outer::state::State<T>::kind(&self) -> core::option::Option<outer::Kind>
pub enum outer::Kind
pub outer::Kind::Bad
pub outer::Kind::Bad::why: u8
pub struct outer::Client
impl outer::Named for outer::Client
pub trait outer::Named
pub fn outer::Named::name() -> u8
pub fn outer::Named::other() -> u8
impl outer::Named for u64";
    assert_eq!(items.join("\n"), expected);
    let unnameable = items::unnameable(&items, &["the-inner"]);
    assert_eq!(unnameable.len(), 1, "{unnameable:?}");
    assert!(unnameable[0].contains("hidden"), "{unnameable:?}");
}
