//! Several crates' JSON as one, in which an item has one id wherever it is mentioned.
//!
//! rustdoc describes a crate alone: of what it re-exports of another one it says the name, and an id that has no
//! description. Merged, the description is found.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Whatever has an array of ids, or of other things, under one of these names.
const ARRAYS_OF_IDS: &[&str] = &["fields", "implementations", "impls", "items", "tuple", "variants"];

/// Whatever has a single id under one of these names.
const IDS: &[&str] = &["id", "parent"];

/// Several crates in one.
pub struct Merged {
    json: Value,
    /// The root modules, by crate.
    roots: BTreeMap<String, u64>,
}

impl Merged {
    /// All that is known, seen from one crate.
    pub fn crate_json(&self, package: &str) -> Value {
        let mut json = self.json.clone();
        json["root"] = self.roots[&package.replace('-', "_")].into();
        json
    }
}

/// Merges crates. Of some, the names are public: an item that can be named through one of these is called by the shortest
/// such name, in whatever crate it is defined.
pub fn merge(crates: impl IntoIterator<Item = (Value, bool)>) -> Merged {
    let (mut index, mut paths) = (Map::new(), Map::new());
    let mut ids = Ids::default();
    let (mut roots, mut public) = (BTreeMap::new(), Vec::new());
    let mut merged = Value::Null;
    for (mut json, names_are_public) in crates {
        ids.begin(&json["paths"]);
        let root = ids.merged(json["root"].as_u64().unwrap());
        for (id, mut item) in entries(&mut json, "index") {
            let id = ids.merged(id).to_string();
            ids.replace_in(&mut item);
            // Of another crate's item this one may know less.
            if item["crate_id"] == 0 || !index.contains_key(&id) {
                index.insert(id, item);
            }
        }
        for (id, path) in entries(&mut json, "paths") {
            paths.entry(ids.merged(id).to_string()).or_insert(path);
        }
        roots.insert(index[&root.to_string()]["name"].as_str().unwrap().to_owned(), root);
        public.extend(names_are_public.then_some(root));
        merged = json;
    }
    for (id, path) in public_names(&index, &public) {
        if let Some(entry) = paths.get_mut(&id.to_string()) {
            entry["path"] = path.into();
        }
    }
    merged["index"] = index.into();
    merged["paths"] = paths.into();
    Merged { json: merged, roots }
}

fn entries(json: &mut Value, name: &str) -> Vec<(u64, Value)> {
    let entries = std::mem::take(json[name].as_object_mut().unwrap());
    entries.into_iter().map(|(id, value)| (id.parse().unwrap(), value)).collect()
}

/// What the ids of a crate become.
#[derive(Default)]
struct Ids {
    /// By where an item is defined, and what it is.
    known: BTreeMap<String, u64>,
    /// The items of this crate that have such a place: of methods and implementations no other crate speaks.
    places: BTreeMap<u64, String>,
    /// What is added to the other ids of this crate.
    offset: u64,
    next: std::cell::Cell<u64>,
}

impl Ids {
    fn begin(&mut self, paths: &Value) {
        let place = |summary: &Value| format!("{} {}", summary["kind"], summary["path"]);
        let paths = paths.as_object().unwrap().iter();
        self.places = paths.map(|(id, summary)| (id.parse().unwrap(), place(summary))).collect();
        self.offset = self.next.get();
        for (id, place) in &self.places {
            self.next.set(self.next.get().max(self.offset + id + 1));
            self.known.entry(place.clone()).or_insert(self.offset + id);
        }
    }

    fn merged(&self, id: u64) -> u64 {
        self.next.set(self.next.get().max(self.offset + id + 1));
        self.places.get(&id).map_or(self.offset + id, |place| self.known[place])
    }

    fn replace(&self, value: &mut Value) {
        match value.as_u64() {
            Some(id) => *value = self.merged(id).into(),
            None => self.replace_in(value),
        }
    }

    fn replace_in(&self, value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| self.replace_in(value)),
            Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match (name.as_str(), value) {
                ("links", Value::Object(links)) => links.values_mut().for_each(|link| self.replace(link)),
                (name, Value::Array(ids)) if ARRAYS_OF_IDS.contains(&name) => {
                    ids.iter_mut().for_each(|id| self.replace(id));
                }
                (name, value) if IDS.contains(&name) => self.replace(value),
                (_, value) => self.replace_in(value),
            }),
            _ => {}
        }
    }
}

/// The shortest name of each item that can be named from these root modules.
fn public_names(index: &Map<String, Value>, roots: &[u64]) -> BTreeMap<u64, Vec<String>> {
    let mut names = BTreeMap::new();
    for root in roots {
        let name = index[&root.to_string()]["name"].as_str().unwrap().to_owned();
        name_items(index, *root, &[name], &mut BTreeSet::new(), &mut names);
    }
    names
}

fn name_items(
    index: &Map<String, Value>,
    module: u64,
    path: &[String],
    inside: &mut BTreeSet<u64>,
    names: &mut BTreeMap<u64, Vec<String>>,
) {
    let items = index.get(&module.to_string()).and_then(|module| module["inner"]["module"]["items"].as_array());
    // A module may re-export one that it is in.
    let Some(items) = items.filter(|_| inside.insert(module)) else { return };
    for id in items.iter().filter_map(Value::as_u64) {
        let Some(item) = index.get(&id.to_string()) else { continue };
        let used = &item["inner"]["use"];
        let target = used["id"].as_u64().unwrap_or(id);
        if used["is_glob"] == true {
            name_items(index, target, path, inside, names);
            continue;
        }
        let name = used["name"].as_str().or(item["name"].as_str());
        // A module that is not public is there too, because of what others re-export of it.
        let Some(name) = name.filter(|_| item["inner"]["module"]["is_stripped"] != true) else { continue };
        let path = [path, &[name.to_owned()]].concat();
        name_items(index, target, &path, inside, names);
        let shortest = names.entry(target).or_insert_with(|| path.clone());
        if (path.len(), &path) < (shortest.len(), shortest) {
            *shortest = path;
        }
    }
    inside.remove(&module);
}
