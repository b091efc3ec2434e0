//! What the shard has, commit by commit, for a copy that compares it with its own.

use timely::progress::Antichain;

use timely_persist_types::codec::{Data, Diff, Time};

use super::WriteHandle;

/// An interval that was committed as a whole, as the shard's state has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedInterval<T> {
    /// Its updates are at times beyond this.
    pub lower: Antichain<T>,
    /// And none of them is at a time beyond this.
    pub upper: Antichain<T>,
    /// The digest of its updates, if it was given and is known still: not for what was appended without, for what another
    /// wrote the beginning of, and for what was merged with others since. Of an interval without updates it is 0.
    pub digest: Option<u64>,
}

impl<K: Data, V: Data, T: Time, D: Diff> WriteHandle<K, V, T, D> {
    /// The intervals of the shard that reach beyond `frontier`, in order and without a gap up to its upper; the first may
    /// begin before `frontier`. One is what one commit appended, or what compaction made of several; those without updates
    /// are folded into one.
    ///
    /// No I/O: as this process knows the shard now. It knows all up to [`WriteHandle::fetch_upper`] or
    /// [`WriteHandle::wait_for_upper_past`] once these return.
    pub fn commits_since(&self, frontier: &Antichain<T>) -> Vec<CommittedInterval<T>> {
        let state = self.state();
        let batches = state.batches.iter().skip(state.batch_beyond(frontier));
        let interval = |batch: &std::sync::Arc<timely_persist_core::state::Batch<T>>| CommittedInterval {
            lower: batch.desc.lower.clone(),
            upper: batch.desc.upper.clone(),
            digest: batch.known_digest(),
        };
        batches.map(interval).collect()
    }
}
