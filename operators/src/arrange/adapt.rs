//! Arrangements with owned keys, seen as ones with borrowed keys.
//!
//! Always: keys are in the same order in both views, and hash alike, as `Codec` demands. Nothing is copied: the wrappers pass on
//! what they are asked, times and frontiers above all.

use std::any::Any;
use std::marker::PhantomData;
use std::rc::Rc;

use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::implementations::ord_neu::{OrdKeyBatch, OrdValBatch};
use differential_dataflow::trace::implementations::{BatchContainer, Vector};
use differential_dataflow::trace::{BatchCursor, Cursor, Navigable, Span, TraceReader};
use timely::dataflow::operators::vec::Map;
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;
use timely_persist::Codec;

use crate::arrange::flat::Flat;

/// An arrangement with owned keys as one with borrowed keys: so that it joins with flat arrangements, without being copied.
/// Values stay as they are.
///
/// It takes every arrangement that shows keys as `&K`: what `arrange_by_key` and `arrange_by_self` make, of a collection or of a
/// source, also when it was entered into a scope or imported into a dataflow. (What comes out can be entered; import what
/// goes in.)
///
/// ```
/// use differential_dataflow::input::Input;
/// use timely_persist_operators::{arrange_flat, as_flat};
///
/// timely::execute_directly(|worker| {
///     let (mut prices, mut orders) = worker.dataflow::<u64, _, _>(|scope| {
///         let (prices, priced) = scope.new_collection::<(String, u64), i64>();
///         let (orders, ordered) = scope.new_collection::<(String, u64), i64>();
///         as_flat(ordered.arrange_by_key())
///             .join_core(arrange_flat(priced), |item, pieces, price| Some((item.to_owned(), price * pieces)))
///             .inspect(|(row, _, _)| assert_eq!(*row, ("pear".to_owned(), 150)));
///         (prices, orders)
///     });
///     prices.update(("apple".to_owned(), 30), 1);
///     prices.update(("pear".to_owned(), 50), 1);
///     orders.update(("pear".to_owned(), 3), 1);
/// });
/// ```
///
/// Differential seeks in a trace with what the trace shows as a key. In the batches of a `ValSpine` or a `KeySpine` the key is
/// found by its borrowed form; in others (entered, or imported at a frontier) each seek makes an owned key for each batch, so
/// call this first and enter later.
pub fn as_flat<'scope, K, Tr>(arranged: Arranged<'scope, Tr>) -> Arranged<'scope, TraceFlat<K, Tr>>
where
    K: Codec,
    Tr: TraceReader<Batch: Navigable>,
    for<'a> BatchCursor<Tr>: Cursor<Key<'a> = &'a K, ValOwn: 'static, Diff: Ord>,
{
    Arranged { stream: arranged.stream.map(flat_span), trace: TraceFlat { trace: arranged.trace, key: PhantomData } }
}

fn flat_span<K, T, B>(span: Span<T, B>) -> Span<T, BatchFlat<K, B>> {
    Span::new(span.desc, span.inner.map(|batch| BatchFlat { batch, key: PhantomData }))
}

/// A trace of keys `K`, seen as one of `K::Ref`: see [`as_flat`].
#[derive(Debug)]
pub struct TraceFlat<K, Tr> {
    trace: Tr,
    key: PhantomData<fn() -> K>,
}

impl<K, Tr: Clone> Clone for TraceFlat<K, Tr> {
    fn clone(&self) -> Self {
        Self { trace: self.trace.clone(), key: PhantomData }
    }
}

impl<K: Codec, Tr: TraceReader> TraceReader for TraceFlat<K, Tr> {
    type Time = Tr::Time;
    type Batch = BatchFlat<K, Tr::Batch>;

    fn spans_through(&mut self, upper: AntichainRef<'_, Tr::Time>) -> Option<Vec<Span<Tr::Time, Self::Batch>>> {
        Some(self.trace.spans_through(upper)?.into_iter().map(flat_span).collect())
    }

    fn set_logical_compaction(&mut self, frontier: AntichainRef<'_, Tr::Time>) {
        self.trace.set_logical_compaction(frontier);
    }

    fn get_logical_compaction(&mut self) -> AntichainRef<'_, Tr::Time> {
        self.trace.get_logical_compaction()
    }

    fn set_physical_compaction(&mut self, frontier: AntichainRef<'_, Tr::Time>) {
        self.trace.set_physical_compaction(frontier);
    }

    fn get_physical_compaction(&mut self) -> AntichainRef<'_, Tr::Time> {
        self.trace.get_physical_compaction()
    }

    fn map_spans<F: FnMut(&Span<Tr::Time, Self::Batch>)>(&self, mut each: F) {
        self.trace.map_spans(|span| each(&flat_span(span.clone())));
    }

    fn read_upper(&mut self, target: &mut Antichain<Tr::Time>) {
        self.trace.read_upper(target);
    }

    fn advance_upper(&mut self, upper: &mut Antichain<Tr::Time>) {
        self.trace.advance_upper(upper);
    }
}

/// A batch of keys `K`, seen as one of `K::Ref`: see [`as_flat`].
#[derive(Debug)]
pub struct BatchFlat<K, B> {
    batch: B,
    key: PhantomData<fn() -> K>,
}

impl<K, B: Clone> Clone for BatchFlat<K, B> {
    fn clone(&self) -> Self {
        Self { batch: self.batch.clone(), key: PhantomData }
    }
}

impl<K: Codec, B: Navigable<Cursor: Cursor<ValOwn: 'static, Diff: Ord>> + 'static> Navigable for BatchFlat<K, B>
where
    for<'a> B::Cursor: Cursor<Key<'a> = &'a K>,
{
    type Cursor = BatchCursorFlat<K, B::Cursor>;

    fn cursor(&self) -> Self::Cursor {
        BatchCursorFlat { cursor: self.batch.cursor(), position: 0, key: PhantomData }
    }
}

/// A cursor over keys `K`, seen as one over `K::Ref`: see [`as_flat`].
#[derive(Debug)]
pub struct BatchCursorFlat<K, C> {
    cursor: C,
    /// The number of keys before the cursor's.
    position: usize,
    key: PhantomData<fn() -> K>,
}

/// The batches of a `ValSpine`, as its cursor `C` describes it.
type ValBatch<K, C> = OrdValBatch<Vector<((K, <C as Cursor>::ValOwn), <C as Cursor>::Time, <C as Cursor>::Diff)>>;

/// The batches of a `KeySpine`.
type KeyBatch<K, C> = OrdKeyBatch<Vector<((K, ()), <C as Cursor>::Time, <C as Cursor>::Diff)>>;

/// The keys of a batch, if it is known where they lie: a comparison of types, which the compiler makes.
fn keys<K: Codec, C: Cursor<Storage: 'static, ValOwn: 'static, Diff: Ord>>(batch: &C::Storage) -> Option<&Vec<K>> {
    let batch: &dyn Any = batch;
    if let Some(batch) = batch.downcast_ref::<Rc<ValBatch<K, C>>>() {
        return Some(&batch.storage.keys);
    }
    batch.downcast_ref::<Rc<KeyBatch<K, C>>>().map(|batch| &batch.storage.keys)
}

impl<K: Codec, C: Cursor<Storage: 'static, ValOwn: 'static, Diff: Ord>> Cursor for BatchCursorFlat<K, C>
where
    for<'a> C: Cursor<Key<'a> = &'a K>,
{
    type Storage = BatchFlat<K, C::Storage>;
    type Key<'a> = K::Ref<'a>;
    type ValOwn = C::ValOwn;
    type Val<'a> = C::Val<'a>;
    type Time = C::Time;
    type TimeGat<'a> = C::TimeGat<'a>;
    type Diff = C::Diff;
    type DiffGat<'a> = C::DiffGat<'a>;
    type KeyContainer = Flat<K>;
    type ValContainer = C::ValContainer;
    type TimeContainer = C::TimeContainer;
    type DiffContainer = C::DiffContainer;

    #[inline]
    fn key_valid(&self, storage: &Self::Storage) -> bool {
        self.cursor.key_valid(&storage.batch)
    }

    #[inline]
    fn val_valid(&self, storage: &Self::Storage) -> bool {
        self.cursor.val_valid(&storage.batch)
    }

    #[inline]
    fn key<'a>(&self, storage: &'a Self::Storage) -> K::Ref<'a> {
        self.cursor.key(&storage.batch).as_ref()
    }

    #[inline]
    fn val<'a>(&self, storage: &'a Self::Storage) -> C::Val<'a> {
        self.cursor.val(&storage.batch)
    }

    #[inline]
    fn get_key<'a>(&self, storage: &'a Self::Storage) -> Option<K::Ref<'a>> {
        self.cursor.get_key(&storage.batch).map(K::as_ref)
    }

    #[inline]
    fn get_val<'a>(&self, storage: &'a Self::Storage) -> Option<C::Val<'a>> {
        self.cursor.get_val(&storage.batch)
    }

    #[inline]
    fn map_times<L: FnMut(C::TimeGat<'_>, C::DiffGat<'_>)>(&mut self, storage: &Self::Storage, logic: L) {
        self.cursor.map_times(&storage.batch, logic);
    }

    #[inline]
    fn step_key(&mut self, storage: &Self::Storage) {
        self.position += usize::from(self.cursor.key_valid(&storage.batch));
        self.cursor.step_key(&storage.batch);
    }

    fn seek_key(&mut self, storage: &Self::Storage, key: K::Ref<'_>) {
        let batch = &storage.batch;
        let Some(keys) = keys::<K, C>(batch) else {
            return self.cursor.seek_key(batch, &K::from_ref(key));
        };
        let before = |other: &K| K::reborrow(other.as_ref()) < K::reborrow(key);
        self.position += BatchContainer::advance(keys, self.position, keys.len(), before);
        match (keys.get(self.position), keys.last()) {
            (Some(found), _) => self.cursor.seek_key(batch, found),
            (None, Some(last)) if self.cursor.key_valid(batch) => {
                self.cursor.seek_key(batch, last);
                self.cursor.step_key(batch);
            }
            _ => {}
        }
    }

    #[inline]
    fn step_val(&mut self, storage: &Self::Storage) {
        self.cursor.step_val(&storage.batch);
    }

    #[inline]
    fn seek_val(&mut self, storage: &Self::Storage, value: C::Val<'_>) {
        self.cursor.seek_val(&storage.batch, value);
    }

    #[inline]
    fn rewind_keys(&mut self, storage: &Self::Storage) {
        self.position = 0;
        self.cursor.rewind_keys(&storage.batch);
    }

    #[inline]
    fn rewind_vals(&mut self, storage: &Self::Storage) {
        self.cursor.rewind_vals(&storage.batch);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use differential_dataflow::batcher::merge::Sealer;
    use differential_dataflow::trace::implementations::ord_neu::{VecOrdKeyBuilder, VecOrdValBuilder};
    use serde::{Deserialize, Serialize};
    use timely_persist::Serde;

    use super::*;

    thread_local! {
        static CLONES: Cell<usize> = const { Cell::new(0) };
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Key(u64);

    impl Clone for Key {
        fn clone(&self) -> Self {
            CLONES.set(CLONES.get() + 1);
            Self(self.0)
        }
    }

    /// Seeks keys that are there, keys that are not, and ones beyond the end.
    fn seek_all<B: Navigable<Cursor: Cursor<ValOwn: 'static, Diff: Ord>> + 'static>(batch: Option<B>)
    where
        for<'a> B::Cursor: Cursor<Key<'a> = &'a Serde<Key>>,
    {
        let batch = BatchFlat { batch: batch.expect("rows"), key: PhantomData };
        let mut cursor = batch.cursor();
        for key in 0..210 {
            cursor.seek_key(&batch, &Key(key));
            assert_eq!(cursor.get_key(&batch).map(|key| key.0), Some(key.next_multiple_of(2)).filter(|key| *key < 200));
        }
    }

    #[test]
    fn no_owned_key_is_made_to_seek_one() {
        fn rows<V: Copy>(value: V) -> Vec<((Serde<Key>, V), u64, i64)> {
            (0..100).map(|key| ((Serde(Key(key * 2)), value), 0, 1)).collect()
        }
        let sealed = VecOrdValBuilder::seal(&mut vec![rows(7u64)]);
        let sealed_keys = VecOrdKeyBuilder::seal(&mut vec![rows(())]);
        CLONES.set(0);
        seek_all(sealed.map(Rc::new));
        seek_all(sealed_keys.map(Rc::new));
        assert_eq!(CLONES.get(), 0);
    }
}
