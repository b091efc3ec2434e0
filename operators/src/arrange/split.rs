//! From the rows of fetched parts to segments.

use std::hash::Hash;
use std::sync::Arc;

use differential_dataflow::Hashable;
use timely_persist::{Data, Diff, Time};

use crate::arrange::flat::BLOCK_ROWS;
use crate::arrange::segment::{Columns, Segment};
use crate::common::foreign::{Code, TYPES};
use crate::source::MAP;
use crate::source::emit::Rows;

/// The fuel of one activation, in rows: more than of rows that go on one by one, so that the last, short segment for each worker
/// does not count. It takes half a millisecond.
const SPLIT_FUEL: usize = 16 << 10;

/// The bytes at which a segment of mapped rows is sent, so that it stays far below the 2 GiB that an Arrow message can take.
const MAPPED_BYTES_MAX: usize = 16 << 20;

/// Puts rows into segments for each worker, by the hash of the key: as differential's own `arrange_by_key` does, so that what
/// is arranged by either meets.
pub(crate) struct Split<K: Data, V: Data, T: Time, D: Diff> {
    workers: Vec<Columns<K, V, T, D>>,
    /// Whether rows come in order.
    in_order: bool,
}

impl<K: Data, V: Data, T: Time, D: Diff> Split<K, V, T, D>
where
    for<'a> K::Ref<'a>: Hash,
{
    /// Among so many workers, rows that come in order or not.
    pub(crate) fn among(peers: usize, in_order: bool) -> Self {
        Self { workers: (0..peers).map(|_| Columns::default()).collect(), in_order }
    }

    #[inline]
    fn add(&mut self, key: K::Ref<'_>, value: V::Ref<'_>, time: T, diff: D, out: &mut Vec<Segment<K, V, T, D>>) {
        let worker = match self.workers.len() {
            0 | 1 => 0,
            peers => (key.hashed() % peers as u64) as usize,
        };
        let Some(columns) = self.workers.get_mut(worker) else { return };
        columns.push(key, value, time, diff);
        // A piece of a part has few bytes; what a map makes of it may have any number.
        if columns.len() >= BLOCK_ROWS || (!self.in_order && columns.bytes() >= MAPPED_BYTES_MAX) {
            out.push(segment(worker, columns, self.in_order));
        }
    }

    fn rest(&mut self, out: &mut Vec<Segment<K, V, T, D>>) {
        for (worker, columns) in self.workers.iter_mut().enumerate() {
            if !columns.is_empty() {
                out.push(segment(worker, columns, self.in_order));
            }
        }
    }
}

/// Takes what a worker is to get.
fn segment<K: Data, V: Data, T: Time, D: Diff>(
    worker: usize,
    columns: &mut Columns<K, V, T, D>,
    in_order: bool,
) -> Segment<K, V, T, D> {
    let rows = columns.take();
    let rows = if in_order { rows } else { rows.sorted() };
    Segment { worker: worker as u64, rows: Arc::new(rows) }
}

impl<K: Data, V: Data, T: Time, D: Diff> Rows<K, V, T, D> for Split<K, V, T, D>
where
    for<'a> K::Ref<'a>: Hash,
{
    type Out = Segment<K, V, T, D>;

    const FUEL: usize = SPLIT_FUEL;

    #[inline]
    fn row<'a>(&mut self, key: K::Ref<'a>, value: V::Ref<'a>, time: T, diff: D, out: &mut Vec<Self::Out>) {
        self.add(key, value, time, diff, out);
    }

    fn flush(&mut self, out: &mut Vec<Self::Out>) {
        self.rest(out);
    }
}

/// The same of what a closure makes of them, in whatever order that is.
pub(crate) struct MapSplit<K: Data, V: Data, T: Time, D: Diff, F> {
    split: Split<K, V, T, D>,
    logic: F,
    runs: bool,
}

impl<K: Data, V: Data, T: Time, D: Diff, F> MapSplit<K, V, T, D, F>
where
    for<'a> K::Ref<'a>: Hash,
{
    /// Among so many workers.
    pub(crate) fn among(peers: usize, logic: F) -> Self {
        Self { split: Split::among(peers, false), logic, runs: false }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff, K2: Data, V2: Data, F> Rows<K, V, T, D> for MapSplit<K2, V2, T, D, F>
where
    F: for<'a> FnMut(K::Ref<'a>, V::Ref<'a>) -> Option<(K2, V2)> + 'static,
    for<'a> K2::Ref<'a>: Hash,
{
    type Out = Segment<K2, V2, T, D>;

    const FUEL: usize = SPLIT_FUEL;

    fn judges(&self) -> bool {
        true
    }

    fn running(&self) -> Code {
        if self.runs { MAP } else { TYPES }
    }

    #[inline]
    fn row<'a>(&mut self, key: K::Ref<'a>, value: V::Ref<'a>, time: T, diff: D, out: &mut Vec<Self::Out>) {
        self.runs = true;
        let mapped = (self.logic)(key, value);
        self.runs = false;
        if let Some((key, value)) = mapped {
            self.split.add(key.as_ref(), value.as_ref(), time, diff, out);
        }
    }

    fn flush(&mut self, out: &mut Vec<Self::Out>) {
        self.split.rest(out);
    }
}
