//! The state of a shard, as a plain value: no async, no clock, no I/O.
//!
//! [`State`] is what the log's entries add up to. A *command* (`command`) decides on a state at a moment: either nothing
//! is to be changed, or a list of [`Change`]s is to be committed. A
//! change is a fact, never a command: applying it depends on no decision that another version of the code could take
//! differently. Cloning a state costs O(1), applying a change costs O(change).
//!
//! What always holds is listed and checked in `check`.

mod apply;
mod batch;
mod change;
mod check;
pub mod command;
mod compaction;
mod entry_bounds;
mod frontier;
mod holders;
mod lapses;
mod schema;
mod types;
mod upkeep;
pub mod wire;

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use timely::progress::Antichain;

pub use batch::{Batch, Description, Location, Part, Run, Sums, is_stale};
pub use change::{Change, CodecNames, Entry, RollupRef};
pub use compaction::{Plan, next_merge};
pub use entry_bounds::{entry_bytes, shorten_stats};
pub use frontier::{advance_frontier, below, glb, join_time, passed, storable};
pub use holders::{CriticalReader, LeasedReader, WriterRecord};
pub use lapses::Sightings;
pub use schema::{SCHEMAS_MAX, Schema};
pub use types::{StagedTypes, Standing, Types};

use timely_persist_types::codec::Time;
use timely_persist_types::ids::{CriticalReaderId, LeasedReaderId, SeqNo, ShardId, Token, WriterId};

/// What a shard is at one position of its log.
#[derive(Clone, Debug, PartialEq)]
pub struct State<T: Time> {
    /// The shard.
    pub shard: ShardId,
    /// The position.
    pub seqno: SeqNo,
    /// The token of the entry at that position; [`Token::NONE`] before the first.
    pub token: Token,
    /// The shard's wall time in milliseconds: never runs backwards along the log.
    pub wall_ms: u64,
    /// The types it holds; `None` before the first handle registered.
    pub codecs: Option<Arc<CodecNames>>,
    /// What its rows looked like, by number; none is written down of types whose names say all of it, until they change.
    pub schemas: Vector<Arc<Schema>>,
    /// Times not beyond this may be merged away. It only advances.
    pub since: Antichain<T>,
    /// Contiguous batches from the minimum to the upper.
    pub batches: Vector<Arc<Batch<T>>>,
    /// Leased readers.
    pub readers: OrdMap<LeasedReaderId, LeasedReader<T>>,
    /// Critical readers.
    pub critical: OrdMap<CriticalReaderId, CriticalReader<T>>,
    /// Writers that committed lately.
    pub writers: OrdMap<WriterId, WriterRecord>,
    /// Objects that no state from this position on refers to, and that no sweep has recorded as deleted.
    pub garbage: OrdMap<SeqNo, Arc<Vec<String>>>,
    /// The newest rollup: openers start there.
    pub rollup: Option<RollupRef>,
    /// Sums over the batches.
    pub totals: Totals,
    /// The largest generation of writers that has committed; 0 before any did. An older one writes no more.
    pub generation: u64,
    /// Whether the shard was finalized.
    pub finalized: bool,
}

/// Sums over the parts of a state, kept along so that nobody has to scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Parts.
    pub parts: u64,
    /// Rows, before consolidation across parts.
    pub rows: u64,
    /// Diffs, as [`Batch::diffs`] adds them up.
    pub diffs: i64,
    /// Encoded bytes of all parts.
    pub bytes: u64,
    /// Encoded bytes of the parts that are inline.
    pub inline_bytes: u64,
    /// Parts that are inline.
    pub inline_parts: u64,
    /// Batches with an object.
    pub object_batches: u64,
    /// Objects in `garbage`.
    pub garbage: u64,
}

impl Totals {
    /// Sums wrap: a forged size must not stop a reader, and what was added wrongly is subtracted as wrongly.
    fn add<T: Time>(&mut self, batch: &Batch<T>) {
        for part in batch.parts() {
            self.parts = self.parts.wrapping_add(1);
            self.rows = self.rows.wrapping_add(part.meta.rows);
            self.bytes = self.bytes.wrapping_add(part.meta.encoded_bytes);
            self.inline_bytes = self.inline_bytes.wrapping_add(part.inline_bytes());
            self.inline_parts = self.inline_parts.wrapping_add(u64::from(part.blob().is_none()));
        }
        self.diffs = self.diffs.wrapping_add(batch.diffs());
        self.object_batches += u64::from(batch.has_object());
    }

    fn subtract<T: Time>(&mut self, batch: &Batch<T>) {
        for part in batch.parts() {
            self.parts = self.parts.wrapping_sub(1);
            self.rows = self.rows.wrapping_sub(part.meta.rows);
            self.bytes = self.bytes.wrapping_sub(part.meta.encoded_bytes);
            self.inline_bytes = self.inline_bytes.wrapping_sub(part.inline_bytes());
            self.inline_parts = self.inline_parts.wrapping_sub(u64::from(part.blob().is_none()));
        }
        self.diffs = self.diffs.wrapping_sub(batch.diffs());
        self.object_batches -= u64::from(batch.has_object());
    }
}

impl<T: Time> State<T> {
    /// The state of a shard with an empty log.
    pub fn new(shard: ShardId) -> Self {
        Self {
            shard,
            seqno: SeqNo::ZERO,
            token: Token::NONE,
            wall_ms: 0,
            codecs: None,
            schemas: Vector::new(),
            since: Antichain::from_elem(T::minimum()),
            batches: Vector::new(),
            readers: OrdMap::new(),
            critical: OrdMap::new(),
            writers: OrdMap::new(),
            garbage: OrdMap::new(),
            rollup: None,
            totals: Totals::default(),
            generation: 0,
            finalized: false,
        }
    }

    /// No more updates will appear at times not beyond this.
    pub fn upper(&self) -> Antichain<T> {
        match self.batches.last() {
            Some(batch) => batch.desc.upper.clone(),
            None => Antichain::from_elem(T::minimum()),
        }
    }

    /// Every object that the state at this position refers to is kept: the smallest hold of a reader, else the present.
    pub fn hold(&self) -> SeqNo {
        self.readers.values().map(|reader| reader.hold).min().unwrap_or(self.seqno)
    }

    /// The names of all objects that the state refers to.
    pub fn used_blobs(&self) -> impl Iterator<Item = &str> {
        let parts = self.batches.iter().flat_map(|batch| batch.blobs());
        parts.chain(self.rollup.iter().map(|rollup| rollup.name.as_str()))
    }

    /// The names of all objects that the state knows, in use or garbage.
    pub fn blobs(&self) -> impl Iterator<Item = &str> {
        self.used_blobs().chain(self.garbage.values().flat_map(|names| names.iter().map(String::as_str)))
    }

    /// The index of the first batch that reaches beyond `frontier`: where a listener at `frontier` goes on. O(log n),
    /// because the uppers of contiguous batches form a chain also where times are partially ordered.
    pub fn batch_beyond(&self, frontier: &Antichain<T>) -> usize {
        let (mut low, mut high) = (0, self.batches.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if timely::PartialOrder::less_equal(&self.batches[middle].desc.upper, frontier) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The digest of all updates at times in `[lower, upper)`, which is not beyond the state's upper, if it is known: where
    /// batches with digests cover exactly that, whose rows are as those of the latest types: of rows of before they are of what
    /// the rows were. O(parts in the interval).
    pub fn digest_of(&self, lower: &Antichain<T>, upper: &Antichain<T>) -> Option<u64> {
        let before = timely::PartialOrder::less_equal;
        if lower == upper {
            return Some(0);
        }
        let batches = self.batches.iter().skip(self.batch_beyond(lower));
        batches.take_while(|batch| !before(upper, &batch.desc.lower)).try_fold(0u64, |sum, batch| {
            let is_of_latest = batch.parts().all(|part| part.meta.schema == self.latest_schema());
            let (desc, digest) = (&batch.desc, batch.known_digest().filter(|_| is_of_latest)?);
            let within = before(lower, &desc.lower) && before(&desc.upper, upper);
            (within || batch.is_empty()).then(|| sum.wrapping_add(digest))
        })
    }

    /// The first batch whose upper is `frontier` or beyond it.
    pub fn batch_reaching(&self, frontier: &Antichain<T>) -> Option<&Arc<Batch<T>>> {
        let beyond = self.batch_beyond(frontier);
        let before = beyond.checked_sub(1).and_then(|index| self.batches.get(index));
        before.filter(|batch| batch.desc.upper == *frontier).or_else(|| self.batches.get(beyond))
    }
}
