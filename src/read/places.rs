//! Whether all rows of a shard have a place in the types of a reader.

use std::collections::HashSet;

use timely::progress::Antichain;

use crate::fetch::Window;
use timely_persist_core::state::Part;
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;

use super::ReadHandle;
use super::ahead::FetchAhead;

/// The parts that were looked at, by what they are of and their bytes: nobody reads one twice.
pub(crate) type LookedAt = HashSet<(Option<String>, u64)>;

fn name<T: Time>(part: &Part<T>) -> (Option<String>, u64) {
    (part.blob().map(str::to_owned), part.meta.checksum)
}

impl<K: Data, V: Data, T: Time, D: Diff> ReadHandle<K, V, T, D> {
    /// Reads each part whose rows may have no place in the reader's types, but those that were looked at: an error if one has
    /// none. How far the rows go that it has looked at.
    pub(crate) async fn find_places(&self, looked_at: &mut LookedAt) -> Result<Antichain<T>, Error> {
        let (runs, upper) = self.take(&Window::new(self.since().clone()), usize::MAX)?;
        let mut parts = Vec::new();
        for part in runs.into_iter().flatten() {
            let lens = part.reading().lens_to(self.types())?;
            let may_have_none = lens.is_some_and(|lens| !lens.partial().is_empty());
            if may_have_none && looked_at.insert(name(&part.reading().part)) {
                parts.push(part);
            }
        }
        let mut fetching = FetchAhead::new(self.fetcher(), parts, self.roster().read());
        // Who decodes a row finds its place.
        while fetching.next().await?.is_some() {}
        Ok(upper)
    }
}
