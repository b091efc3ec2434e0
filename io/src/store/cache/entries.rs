//! What an entry of the cache is called, and which entries there are of an object.

use std::collections::{BTreeSet, HashMap, hash_map};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use object_store::path::Path;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::life::lock;

/// Which bytes of which object.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) object: Path,
    /// `None` for all of them.
    pub(super) range: Option<Range<u64>>,
}

impl Key {
    /// The key as bytes: its range, and the object's name.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let range = self.range.clone().unwrap_or(u64::MAX..u64::MAX); // no object has that one
        let mut bytes = Vec::from(range.start.to_le_bytes());
        bytes.extend(range.end.to_le_bytes());
        bytes.extend(self.object.as_ref().as_bytes());
        bytes
    }

    pub(super) fn number(&self) -> u128 {
        xxh3_128(&self.bytes())
    }
}

/// The same number for all entries of one object.
pub(super) fn object_number(object: &Path) -> u64 {
    xxh3_64(object.as_ref().as_bytes())
}

/// Which entries there are of each object, so that they can be forgotten together.
#[derive(Debug, Default)]
pub(super) struct Entries(Mutex<HashMap<u64, BTreeSet<u128>>>);

impl Entries {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, BTreeSet<u128>>> {
        lock(&self.0)
    }

    pub(super) fn add(&self, object: u64, entry: u128) {
        self.lock().entry(object).or_default().insert(entry);
    }

    pub(super) fn remove(&self, object: u64, entry: u128) {
        if let hash_map::Entry::Occupied(mut entries) = self.lock().entry(object) {
            entries.get_mut().remove(&entry);
            if entries.get().is_empty() {
                entries.remove();
            }
        }
    }

    pub(super) fn of(&self, object: u64) -> Vec<u128> {
        self.lock().get(&object).into_iter().flatten().copied().collect()
    }
}
