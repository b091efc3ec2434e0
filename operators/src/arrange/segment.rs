//! Segments: sorted rows of one piece of a part that go to one worker.
//!
//! Always: the rows of a segment are in the order of their keys and values, at the times at which the reader sees them. Of
//! one key and value there may be several, in any order of times: times that move to `as_of` move together.

use std::cmp::Ordering;
use std::sync::Arc;

use timely_persist::codec::{Builder, Column};
use timely_persist::{Block, Data, Diff, Time};

/// Sorted rows for one worker. Cloning shares them.
#[derive(Debug)]
pub(crate) struct Segment<K: Data, V: Data, T: Time, D: Diff> {
    pub(crate) worker: u64,
    pub(crate) body: Arc<Body<K, V, T, D>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Clone for Segment<K, V, T, D> {
    fn clone(&self) -> Self {
        Self { worker: self.worker, body: Arc::clone(&self.body) }
    }
}

/// Where the rows lie.
#[derive(Debug)]
pub(crate) enum Body<K: Data, V: Data, T: Time, D: Diff> {
    /// Where they were fetched to: all rows of a block, whose memory this keeps.
    Fetched(Block<K, V, T, D>),
    /// Copied.
    Copied(Columns<K, V, T, D>),
    /// From another process.
    Received(Received<K, V, T, D>),
}

/// Rows from another process.
#[derive(Debug)]
pub(crate) struct Received<K: Data, V: Data, T: Time, D: Diff> {
    pub(crate) keys: K::Column,
    pub(crate) values: V::Column,
    pub(crate) times: Vec<T>,
    pub(crate) diffs: Vec<D>,
}

/// Rows in columns of their own.
#[derive(Debug)]
pub(crate) struct Columns<K: Data, V: Data, T: Time, D: Diff> {
    keys: K::Builder,
    values: V::Builder,
    times: Vec<T>,
    diffs: Vec<D>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Default for Columns<K, V, T, D> {
    fn default() -> Self {
        Self { keys: K::Builder::default(), values: V::Builder::default(), times: Vec::new(), diffs: Vec::new() }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Columns<K, V, T, D> {
    #[inline]
    pub(crate) fn push(&mut self, key: K::Ref<'_>, value: V::Ref<'_>, time: T, diff: D) {
        self.keys.push(key);
        self.values.push(value);
        self.times.push(time);
        self.diffs.push(diff);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Body<K, V, T, D> {
    /// The number of rows.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Fetched(block) => block.columns().len(),
            Self::Copied(columns) => columns.times.len(),
            Self::Received(columns) => columns.times.len(),
        }
    }

    /// The key of a row.
    #[inline]
    pub(crate) fn key(&self, row: usize) -> K::Ref<'_> {
        match self {
            Self::Fetched(block) => block.columns().keys().get(row),
            Self::Copied(columns) => columns.keys.get(row),
            Self::Received(columns) => columns.keys.get(row),
        }
    }

    /// The value of a row.
    #[inline]
    pub(crate) fn value(&self, row: usize) -> V::Ref<'_> {
        match self {
            Self::Fetched(block) => block.columns().values().get(row),
            Self::Copied(columns) => columns.values.get(row),
            Self::Received(columns) => columns.values.get(row),
        }
    }

    /// The time and the diff of a row; `None` if the reader does not see it.
    #[inline]
    pub(crate) fn update(&self, row: usize) -> Option<(T, D)> {
        match self {
            Self::Fetched(block) => Some((block.time(row)?, block.columns().diff(row))),
            Self::Copied(columns) => Some((columns.times[row].clone(), columns.diffs[row].clone())),
            Self::Received(columns) => Some((columns.times[row].clone(), columns.diffs[row].clone())),
        }
    }

    /// How a row of one segment and one of another follow each other, by key and value.
    #[inline]
    pub(crate) fn order(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        let values = || self.value(row).cmp(&other.value(other_row));
        self.key(row).cmp(&other.key(other_row)).then_with(values)
    }
}
