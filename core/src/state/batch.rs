//! Batches: contiguous intervals of time with the parts that hold their updates.

use bytes::Bytes;
use timely::progress::Antichain;

use crate::part::PartMeta;
use timely_persist_types::codec::Time;
use timely_persist_types::ids::blob_made_ms;

use super::frontier::glb;

/// The interval of times that a batch speaks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Description<T> {
    /// Every update is at a time beyond this, as it was appended.
    pub lower: Antichain<T>,
    /// No update is at a time beyond this.
    pub upper: Antichain<T>,
    /// Updates at times not beyond this may have been advanced to it.
    pub since: Antichain<T>,
}

impl<T: Time> Description<T> {
    /// The interval `[lower, upper)` as it is appended: no time advanced.
    pub fn new(lower: Antichain<T>, upper: Antichain<T>) -> Self {
        Self { lower, upper, since: Antichain::from_elem(T::minimum()) }
    }

    /// Whether an update at `time` belongs to the batch. Rows that reach outside are not part of the collection.
    ///
    /// Compaction moves times to the greatest lower bound of `since`, which may lie beyond `upper` once the since has
    /// overtaken the batch.
    pub fn contains(&self, time: &T) -> bool {
        self.lower.less_equal(time) && (!self.upper.less_equal(time) || glb(&self.since).as_ref() == Some(time))
    }
}

/// Where the bytes of a part are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In an object of the shard's blob folder, by name.
    Blob(String),
    /// In the state itself.
    Inline(Bytes),
}

/// A part as the state knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<T: Time> {
    /// Where its bytes are.
    pub location: Location,
    /// What is known about them.
    pub meta: PartMeta<T>,
}

impl<T: Time> Part<T> {
    /// The object's name, unless the part is inline.
    pub fn blob(&self) -> Option<&str> {
        match &self.location {
            Location::Blob(name) => Some(name),
            Location::Inline(_) => None,
        }
    }

    /// Whether its object is older than this, so that somebody may take it for lost.
    pub fn is_stale(&self, now_ms: u64, age_max_ms: u64) -> bool {
        self.blob().is_some_and(|name| is_stale(name, now_ms, age_max_ms))
    }

    /// The bytes that the part takes in the state itself.
    pub fn inline_bytes(&self) -> u64 {
        match &self.location {
            Location::Blob(_) => 0,
            Location::Inline(bytes) => bytes.len() as u64,
        }
    }
}

/// Whether the object of this name is older than this. One whose name does not tell its age is never taken for lost.
pub fn is_stale(name: &str, now_ms: u64, age_max_ms: u64) -> bool {
    blob_made_ms(name).is_some_and(|made_ms| made_ms.saturating_add(age_max_ms) < now_ms)
}

/// A sequence of parts sorted by (key, value, time) as a whole.
pub type Run<T> = Vec<Part<T>>;

/// The updates of an interval: a multiset union of sorted runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T: Time> {
    /// The interval.
    pub desc: Description<T>,
    /// The runs, none of them empty.
    pub runs: Vec<Run<T>>,
    /// The digest of its updates as they were appended, if whoever did so gave it. What merges it with others, or moves
    /// its times, loses it.
    pub digest: Option<u64>,
}

impl<T: Time> Batch<T> {
    /// Whether the batch has no updates.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// All parts.
    pub fn parts(&self) -> impl Iterator<Item = &Part<T>> {
        self.runs.iter().flatten()
    }

    /// Whether a part of it is an object, so that reading it takes a request.
    pub fn has_object(&self) -> bool {
        self.blobs().next().is_some()
    }

    /// The names of all objects.
    pub fn blobs(&self) -> impl Iterator<Item = &str> {
        self.parts().filter_map(Part::blob)
    }

    /// Rows, before consolidation across parts.
    pub fn rows(&self) -> u64 {
        self.parts().fold(0, |sum, part| sum.saturating_add(part.meta.rows))
    }

    /// The sum of all diffs, if they are integers; see `compaction`. It wraps.
    pub fn diffs(&self) -> i64 {
        self.parts().fold(0, |sum, part| sum.wrapping_add(i64::from_le_bytes(part.meta.diff_sum)))
    }

    /// Whether nothing in it can be merged any more: it is one run, and all its rows are at one time.
    pub fn is_settled(&self) -> bool {
        let [run] = self.runs.as_slice() else {
            return self.is_empty();
        };
        let time = run.first().and_then(|part| part.meta.time_upper.first());
        run.iter().all(|Part { meta, .. }| {
            let lower = meta.time_lower.elements();
            lower.len() == 1 && meta.time_upper.as_slice() == lower && lower.first() == time
        })
    }

    /// Encoded bytes.
    pub fn bytes(&self) -> u64 {
        self.parts().fold(0, |sum, part| sum.saturating_add(part.meta.encoded_bytes))
    }
}

/// What parts come to. What storage, or another process, says of them may be anything: it saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Parts.
    pub parts: u64,
    /// Of these, parts that lie in the log entry.
    pub inline_parts: u64,
    /// Rows, before consolidation across parts.
    pub rows: u64,
    /// Encoded bytes.
    pub bytes: u64,
}

impl Sums {
    /// Of these parts.
    pub fn of<'a, T: Time>(parts: impl IntoIterator<Item = &'a Part<T>>) -> Self {
        parts.into_iter().fold(Self::default(), |sums, part| Self {
            parts: sums.parts + 1,
            inline_parts: sums.inline_parts + u64::from(part.blob().is_none()),
            rows: sums.rows.saturating_add(part.meta.rows),
            bytes: sums.bytes.saturating_add(part.meta.encoded_bytes),
        })
    }
}

impl<T: Time> Batch<T> {
    /// A batch without updates.
    pub fn empty(desc: Description<T>) -> Self {
        Self { desc, runs: Vec::new(), digest: None }
    }

    /// The digest of all updates that were appended at its times, if it is known.
    ///
    /// Without updates that is 0, unless times were moved: what has cancelled out since was there.
    pub fn known_digest(&self) -> Option<u64> {
        let nothing_was_there = self.is_empty() && self.desc.since.less_equal(&T::minimum());
        if nothing_was_there { Some(0) } else { self.digest }
    }

    /// The one batch of a finalized shard: all times, no updates.
    pub fn finalized() -> Self {
        let lower = Antichain::from_elem(T::minimum());
        Self::empty(Description { lower, upper: Antichain::new(), since: Antichain::new() })
    }
}
