//! The public items of a crate, one a line.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use serde_json::Value;

/// The items of a crate, in the order of `public-api`: without what every type has, and without what an implementation of
/// a trait consists of, because the trait says that.
pub fn items(json: &Value, directory: PathBuf) -> Vec<String> {
    // It reads files only.
    let path = directory.join(format!("merged-{}.json", std::process::id()));
    std::fs::write(&path, json.to_string()).unwrap();
    let api = public_api::Builder::from_rustdoc_json(&path)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    std::fs::remove_file(&path).unwrap();
    let api = api.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let items: Vec<_> = api.items().map(|item| (item.id(), item.parent_id(), item.to_string())).collect();

    let having = |what: fn(&str) -> bool| -> HashSet<_> {
        items.iter().filter(|(_, _, text)| what(text)).map(|(id, ..)| *id).collect()
    };
    let modules = having(|text| text.starts_with("pub mod "));
    let implementations = having(|text| text.starts_with("impl") && text.contains(" for "));
    // What a trait provides has the same id in each implementation.
    let of_trait = |parent: &Option<_>| parent.is_some_and(|parent| implementations.contains(&parent));
    let items: Vec<_> = items.iter().filter(|(_, parent, _)| !of_trait(parent)).collect();
    let mut shortest = HashMap::new();
    for (id, _, text) in &items {
        let shorter = shortest.entry(id).or_insert(text);
        if text.len() < shorter.len() {
            *shorter = text;
        }
    }
    let mut seen = HashSet::new();
    let chosen = items.iter().filter(|(id, parent, text)| {
        let in_module = parent.is_some_and(|parent| modules.contains(&parent));
        // What has two names is there twice, its fields once. An implementation is told with its type and its trait.
        (in_module || shortest[id] == text) && seen.insert(text)
    });
    chosen.map(|(_, _, text)| text.clone()).collect()
}

/// Items that speak of what only an internal crate has a name for.
pub fn unnameable(items: &[String], internal: &[&str]) -> Vec<String> {
    let crates: Vec<_> = internal.iter().map(|name| name.replace('-', "_") + "::").collect();
    let speaks_of = |item: &&String| crates.iter().any(|name| item.contains(name.as_str()));
    let items = items.iter().filter(speaks_of);
    items.map(|item| format!("re-export what a user cannot name here, or make it private: {item}")).collect()
}

/// The path that a line is about, below its crate: of an implementation the type's, or the trait's for a type from
/// elsewhere. Generics are left out.
pub fn path(item: &str, package: &str) -> String {
    let root = package.replace('-', "_") + "::";
    let is_for = |at: &usize| depth(&item[..*at]) == 0;
    let implemented_for =
        item.match_indices(" for ").map(|(at, _)| at).find(is_for).filter(|_| item.starts_with("impl"));
    let subject = implemented_for.map(|at| &item[at + " for ".len()..]).filter(|subject| subject.starts_with(&root));
    let subject = subject.or_else(|| item[generics(item)..].find(&root).map(|at| &item[generics(item) + at..]));
    let mut path = String::new();
    for (at, character) in subject.unwrap_or_default().char_indices() {
        let inside = depth(&subject.unwrap_or_default()[..at]) > 0 || character == '<' || character == '>';
        match character {
            _ if inside => {}
            ':' | '_' => path.push(character),
            _ if character.is_alphanumeric() => path.push(character),
            _ => break,
        }
    }
    let path = path.strip_prefix(&root).unwrap_or_default();
    path.trim_end_matches(':').to_owned()
}

/// How many angle brackets are open behind some text.
fn depth(text: &str) -> usize {
    let text = text.replace("->", "");
    text.matches('<').count().saturating_sub(text.matches('>').count())
}

/// Where the generics of an implementation end.
fn generics(item: &str) -> usize {
    let ends = |at: &usize| depth(&item[..*at]) == 0;
    if item.starts_with("impl<") { ("impl<".len()..item.len()).find(ends).unwrap_or_default() } else { 0 }
}

#[test]
fn an_item_is_about_one_path() {
    let about = |item: &str| path(item, "a-b");
    assert_eq!(about("pub struct a_b::Client"), "Client");
    assert_eq!(about("#[non_exhaustive] pub enum a_b::error::Kind"), "error::Kind");
    assert_eq!(
        about("pub async fn a_b::Shard<K, V, T>::open<F: Fn() -> u8>(&self, a_b::Id) -> a_b::Writer"),
        "Shard::open"
    );
    assert_eq!(about("pub a_b::Kind::Since::earliest: a_b::Frontier"), "Kind::Since::earliest");
    assert_eq!(about("impl<T: a_b::Time> a_b::Batch<T> where T: for<'a> a_b::Other<'a>"), "Batch");
    assert_eq!(about("impl a_b::Codec for a_b::ids::Id"), "ids::Id");
    assert_eq!(about("impl<C: a_b::codec::Data> a_b::codec::Codec for core::option::Option<C>"), "codec::Codec");
    assert_eq!(about("impl core::convert::From<a_b::Error> for std::io::Error"), "Error");
    assert_eq!(about("impl<F: for<'a> Fn(&'a u8)> a_b::Map<F>"), "Map");
}
