//! From the rows of fetched parts to segments.

use std::hash::Hash;
use std::sync::Arc;

use differential_dataflow::Hashable;
use timely_persist::{Block, Data, Diff, Time};

use crate::arrange::segment::{Body, Columns, Segment};
use crate::source::emit::Rows;

/// Puts rows into a segment for each worker, by the hash of the key: as differential's own `arrange_by_key` does, so that what
/// is arranged by either meets.
pub(crate) struct Split<K: Data, V: Data, T: Time, D: Diff> {
    workers: Vec<Columns<K, V, T, D>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Split<K, V, T, D> {
    /// Among so many workers.
    pub(crate) fn among(peers: usize) -> Self {
        Self { workers: (0..peers).map(|_| Columns::default()).collect() }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Rows<K, V, T, D> for Split<K, V, T, D>
where
    for<'a> K::Ref<'a>: Hash,
{
    type Out = Segment<K, V, T, D>;

    #[inline]
    fn row<'a>(&mut self, key: K::Ref<'a>, value: V::Ref<'a>, time: T, diff: D, _: &mut Vec<Self::Out>) {
        let worker = match self.workers.len() {
            0 | 1 => 0,
            peers => (key.hashed() % peers as u64) as usize,
        };
        if let Some(columns) = self.workers.get_mut(worker) {
            columns.push(key, value, time, diff);
        }
    }

    fn block(&mut self, block: &Block<K, V, T, D>, out: &mut Vec<Self::Out>) -> bool {
        let all_here = self.workers.len() == 1;
        if all_here {
            out.push(Segment { worker: 0, body: Arc::new(Body::Fetched(block.clone())) });
        }
        all_here
    }

    fn flush(&mut self, out: &mut Vec<Self::Out>) {
        for (worker, columns) in (0..).zip(&mut self.workers) {
            if !columns.is_empty() {
                out.push(Segment { worker, body: Arc::new(Body::Copied(std::mem::take(columns))) });
            }
        }
    }
}
