//! A fetched part: its rows, as its reader sees them.

use crate::codec::{Data, Diff, Time};
use crate::fetch::{Plan, Window};
use crate::part::Chunk;

/// The rows of a part, in memory. It needs no lease any more.
///
/// Rows come in the order of (key, value); those of one part are consolidated before, not after, their times are
/// advanced to the reader's `as_of`.
///
/// Iterating compares and decodes nothing: of a type's own code it runs `Codec::from_ref`, a copy of the value, where rows
/// are owned, and the times' lattice. A panic in these is the caller's.
#[derive(Clone, Debug)]
pub struct FetchedPart<K: Data, V: Data, T: Time, D: Diff> {
    chunks: Vec<Chunk<K, V, T, D>>,
    window: Window<T>,
    plan: Plan<T>,
}

impl<K: Data, V: Data, T: Time, D: Diff> FetchedPart<K, V, T, D> {
    pub(crate) fn new(chunks: Vec<Chunk<K, V, T, D>>, window: Window<T>, plan: Plan<T>) -> Self {
        Self { chunks, window, plan }
    }

    /// The memory that it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::memory_bytes).sum()
    }

    /// The rows, borrowed: nothing is allocated.
    pub fn refs(&self) -> impl Iterator<Item = (K::Ref<'_>, V::Ref<'_>, T, D)> {
        (0..self.chunks.len()).flat_map(move |index| self.chunk_refs(index))
    }

    /// The rows, owned.
    pub fn rows(&self) -> impl Iterator<Item = ((K, V), T, D)> {
        self.refs().map(|(key, value, time, diff)| ((K::from_ref(key), V::from_ref(value)), time, diff))
    }

    /// How many chunks the rows lie in, for who takes them a chunk at a time.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// How many rows the chunk `index` has at most.
    pub fn chunk_rows(&self, index: usize) -> usize {
        self.chunks.get(index).map_or(0, Chunk::len)
    }

    /// The rows of the chunk `index`; none for an index that is too large.
    pub fn chunk_refs(&self, index: usize) -> impl Iterator<Item = (K::Ref<'_>, V::Ref<'_>, T, D)> {
        self.chunk_refs_from(index, 0)
    }

    /// The rows of the chunk `index` behind its first `skip`, whether those are shown or not.
    pub fn chunk_refs_from(&self, index: usize, skip: usize) -> impl Iterator<Item = (K::Ref<'_>, V::Ref<'_>, T, D)> {
        let chunk = self.chunks.get(index);
        let rows = chunk.map_or(0, Chunk::len);
        (skip.min(rows)..rows).filter_map(move |row| {
            let chunk = chunk?;
            let time = self.show(chunk.time(row))?;
            Some((chunk.key(row), chunk.value(row), time, chunk.diff(row)))
        })
    }

    /// Calls `look` with each row of a range of the chunk `index` that is shown. Rows beyond the chunk are none. The
    /// fastest way to look at many rows, and one that can go on where it stopped.
    #[inline]
    pub fn for_each_ref<'a>(
        &'a self,
        index: usize,
        range: std::ops::Range<usize>,
        mut look: impl FnMut(K::Ref<'a>, V::Ref<'a>, T, D),
    ) {
        let Some(chunk) = self.chunks.get(index) else {
            return;
        };
        let rows = range.start..range.end.min(chunk.len());
        // What the window does is decided here, once, and not for each row.
        match &self.plan {
            Plan::Nothing => {}
            Plan::Everything => {
                rows.for_each(|row| look(chunk.key(row), chunk.value(row), chunk.time(row), chunk.diff(row)));
            }
            Plan::EverythingAt(at) => {
                rows.for_each(|row| look(chunk.key(row), chunk.value(row), at.clone(), chunk.diff(row)));
            }
            Plan::Each => rows.for_each(|row| {
                if let Some(time) = self.window.show(chunk.time(row)) {
                    look(chunk.key(row), chunk.value(row), time, chunk.diff(row));
                }
            }),
        }
    }

    #[inline]
    fn show(&self, time: T) -> Option<T> {
        match &self.plan {
            Plan::Nothing => None,
            Plan::Everything => Some(time),
            Plan::EverythingAt(at) => Some(at.clone()),
            Plan::Each => self.window.show(time),
        }
    }
}
