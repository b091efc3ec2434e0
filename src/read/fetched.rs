//! A fetched part: its rows, as its reader sees them.

use std::ops::Range;

use crate::fetch::Plan;
use timely_persist_core::part::Chunk;
use timely_persist_types::codec::{Column, Data, Diff, Time};

/// The rows of a part, in memory, in one or several blocks. It needs no lease any more.
///
/// Rows come in the order of (key, value); those of one part are consolidated before, not after, their times are
/// advanced to the reader's `as_of`.
///
/// Iterating compares and decodes nothing: of a type's own code it runs `Codec::from_ref`, a copy of the value, where rows
/// are owned, and the times' lattice. A panic in these is the caller's.
#[derive(Clone, Debug)]
pub struct FetchedPart<K: Data, V: Data, T: Time, D: Diff> {
    blocks: Vec<Block<K, V, T, D>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> FetchedPart<K, V, T, D> {
    pub(super) fn new(chunks: Vec<Chunk<K, V, T, D>>, plan: &Plan<T>) -> Self {
        let block = |columns| Block { columns, plan: plan.clone() };
        Self { blocks: chunks.into_iter().map(block).collect() }
    }

    /// The blocks that the rows lie in, in order: for who goes through them bit by bit, or by column. Iterating over the
    /// part itself gives each away, and with it the memory.
    pub fn blocks(&self) -> &[Block<K, V, T, D>] {
        &self.blocks
    }

    /// The rows, borrowed: nothing is allocated.
    pub fn refs(&self) -> impl Iterator<Item = (K::Ref<'_>, V::Ref<'_>, T, D)> {
        self.blocks.iter().flat_map(Block::refs)
    }

    /// The rows, owned.
    pub fn rows(&self) -> impl Iterator<Item = ((K, V), T, D)> {
        self.refs().map(|(key, value, time, diff)| ((K::from_ref(key), V::from_ref(value)), time, diff))
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> IntoIterator for FetchedPart<K, V, T, D> {
    type Item = Block<K, V, T, D>;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.blocks.into_iter()
    }
}

/// Consecutive rows of a fetched part. A clone shares their memory, and keeps it.
#[derive(Clone, Debug)]
pub struct Block<K: Data, V: Data, T: Time, D: Diff> {
    columns: Chunk<K, V, T, D>,
    /// What the reader sees of them.
    plan: Plan<T>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Block<K, V, T, D> {
    /// The rows as they were written, by column: also those that the reader does not see, and at their own times.
    pub fn columns(&self) -> &Chunk<K, V, T, D> {
        &self.columns
    }

    /// The time at which the reader sees row `row` of the columns, if it does. It sees none behind the last.
    #[inline]
    pub fn time(&self, row: usize) -> Option<T> {
        if row < self.columns.len() { self.plan.show(self.columns.time(row)) } else { None }
    }

    /// The rows that the reader sees, borrowed.
    pub fn refs(&self) -> impl Iterator<Item = (K::Ref<'_>, V::Ref<'_>, T, D)> {
        self.columns.refs().filter_map(|(key, value, time, diff)| Some((key, value, self.plan.show(time)?, diff)))
    }

    /// Calls `look` with each row that the reader sees among these of the columns; there are none behind the last. The
    /// fastest way to look at many rows, and one that can go on where it stopped.
    #[inline]
    pub fn for_each<'a>(&'a self, rows: Range<usize>, mut look: impl FnMut(K::Ref<'a>, V::Ref<'a>, T, D)) {
        let columns = &self.columns;
        let (keys, values, rows) = (columns.keys(), columns.values(), rows.start..rows.end.min(columns.len()));
        // What the window does is decided here, once, and not for each row.
        match &self.plan {
            Plan::Nothing => {}
            Plan::Everything => {
                rows.for_each(|row| look(keys.get(row), values.get(row), columns.time(row), columns.diff(row)));
            }
            Plan::EverythingAt(at) => {
                rows.for_each(|row| look(keys.get(row), values.get(row), at.clone(), columns.diff(row)));
            }
            Plan::Each(window) => rows.for_each(|row| {
                if let Some(time) = window.show(columns.time(row)) {
                    look(keys.get(row), values.get(row), time, columns.diff(row));
                }
            }),
        }
    }
}
