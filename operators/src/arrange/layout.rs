//! How an arrangement lies: differential's own batches, with columns of owned values or flat ones, written row by row.

use std::rc::Rc;

use differential_dataflow::trace::Navigable;
use differential_dataflow::trace::implementations::ord_neu::layers::{Upds, Vals};
use differential_dataflow::trace::implementations::ord_neu::{OrdKeyBatch, OrdValBatch, key_batch, val_batch};
use differential_dataflow::trace::implementations::spine_fueled::{Spine, SpineBatch};
use differential_dataflow::trace::implementations::{BatchContainer, Layout, OffsetList, Vector};
use timely_persist::{Codec, Data, Diff, Time};

use crate::arrange::flat::Flat;

/// Keys and values in flat columns.
pub type FlatLayout<K, V, T, D> = (Flat<K>, Flat<V>, Vec<T>, Vec<D>, OffsetList);

/// A trace of keys and values in flat columns.
pub type FlatSpine<K, V, T, D> = Spine<Rc<OrdValBatch<FlatLayout<K, V, T, D>>>>;

/// A trace of keys in flat columns.
pub type FlatKeySpine<K, T, D> = Spine<Rc<OrdKeyBatch<FlatLayout<K, (), T, D>>>>;

/// A trace of what a [`Writing`] comes to.
pub(crate) type SpineOf<B> = Spine<Rc<B>>;

/// A column that takes values where they lie.
pub(crate) trait TakeColumn<C: Codec>: BatchContainer {
    /// Adds a value.
    fn take(&mut self, value: C::Ref<'_>);

    /// Whether the last value is this.
    fn ends_with(&self, value: C::Ref<'_>) -> bool;

    /// Takes what values were in, for its memory.
    fn reuse(&mut self, _values: C::Builder) {}

    /// Nothing more will be added.
    fn end(&mut self) {}
}

impl<C: Codec> TakeColumn<C> for Flat<C> {
    #[inline]
    fn take(&mut self, value: C::Ref<'_>) {
        self.push_ref(value);
    }

    #[inline]
    fn ends_with(&self, value: C::Ref<'_>) -> bool {
        self.last().is_some_and(|last| C::reborrow(last) == C::reborrow(value))
    }

    fn reuse(&mut self, values: C::Builder) {
        Self::reuse(self, values);
    }

    fn end(&mut self) {
        Self::end(self);
    }
}

impl<C: Codec> TakeColumn<C> for Vec<C> {
    #[inline]
    fn take(&mut self, value: C::Ref<'_>) {
        self.push(C::from_ref(value));
    }

    #[inline]
    fn ends_with(&self, value: C::Ref<'_>) -> bool {
        self.as_slice().last().is_some_and(|last| C::reborrow(last.as_ref()) == C::reborrow(value))
    }
}

/// Columns that this module writes.
pub(crate) trait TakeLayout<K: Data, V: Data, T: Time, D: Diff>:
    Layout<
        KeyContainer: TakeColumn<K>,
        ValContainer: TakeColumn<V>,
        TimeContainer = Vec<T>,
        DiffContainer = Vec<D>,
        OffsetContainer = OffsetList,
    > + 'static
{
}

impl<K: Data, V: Data, T: Time, D: Diff> TakeLayout<K, V, T, D> for FlatLayout<K, V, T, D> {}
impl<K: Data, V: Data, T: Time, D: Diff> TakeLayout<K, V, T, D> for Vector<((K, V), T, D)> {}

/// The updates of a batch.
pub(crate) type Updates<T, D> = Upds<OffsetList, Vec<T>, Vec<D>>;

/// A batch that is being written, in order.
pub(crate) trait Writing<K: Data, V: Data, T: Time, D: Diff>: 'static {
    /// What it comes to.
    type Batch: SpineBatch<Time = T> + Navigable + 'static;

    /// Nothing yet, with room for what so many rows may come to: what is not needed is not touched.
    fn with_capacity(rows: usize) -> Self;

    /// Where the updates of a key and value are added, before these are.
    fn updates(&mut self) -> &mut Updates<T, D>;

    /// Adds a key and value, beyond all so far.
    fn push(&mut self, key: K::Ref<'_>, value: V::Ref<'_>);

    /// Takes columns that are not needed any more, for their memory.
    fn reuse(&mut self, keys: K::Builder, values: V::Builder);

    /// All of it, which are so many updates; `None` if there are none.
    fn finish(self, updates: usize) -> Option<Self::Batch>;
}

/// By key, with values.
pub(crate) struct ByKey<L: Layout>(val_batch::OrdValStorage<L>);

impl<L: Layout<OffsetContainer = OffsetList>> ByKey<L> {
    /// Nothing yet, with room for so many keys and values.
    pub(crate) fn for_rows(rows: usize) -> Self {
        Self(val_batch::OrdValStorage {
            keys: L::KeyContainer::with_capacity(rows),
            vals: Vals::with_capacity(rows + 1, rows),
            upds: Upds::with_capacity(rows + 1, 0), // most often all at one time
        })
    }

    /// The updates of the batch.
    #[inline]
    pub(crate) fn upds(&mut self) -> &mut Upds<OffsetList, L::TimeContainer, L::DiffContainer> {
        &mut self.0.upds
    }

    /// Adds a key and value, whose updates are there, beyond all so far.
    #[inline]
    pub(crate) fn add<K: Codec, V: Codec>(&mut self, key: K::Ref<'_>, value: V::Ref<'_>)
    where
        L: Layout<KeyContainer: TakeColumn<K>, ValContainer: TakeColumn<V>>,
    {
        let Self(val_batch::OrdValStorage { keys, vals, .. }) = self;
        if !keys.ends_with(key) {
            if !keys.is_empty() {
                vals.offs.push(vals.vals.len());
            }
            keys.take(key);
        }
        vals.vals.take(value);
    }

    /// The batch, which has so many updates; `None` without any.
    pub(crate) fn batch<K: Codec, V: Codec>(mut self, updates: usize) -> Option<OrdValBatch<L>>
    where
        L: Layout<KeyContainer: TakeColumn<K>, ValContainer: TakeColumn<V>>,
    {
        self.0.vals.offs.push(self.0.vals.vals.len());
        self.0.keys.end();
        self.0.vals.vals.end();
        (updates > 0).then_some(OrdValBatch { storage: self.0, updates })
    }
}

impl<K: Data, V: Data, T: Time, D: Diff, L: TakeLayout<K, V, T, D>> Writing<K, V, T, D> for ByKey<L> {
    type Batch = OrdValBatch<L>;

    fn with_capacity(rows: usize) -> Self {
        Self::for_rows(rows)
    }

    #[inline]
    fn updates(&mut self) -> &mut Updates<T, D> {
        self.upds()
    }

    #[inline]
    fn push(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) {
        self.add::<K, V>(key, value);
    }

    fn reuse(&mut self, keys: K::Builder, values: V::Builder) {
        self.0.keys.reuse(keys);
        self.0.vals.vals.reuse(values);
    }

    fn finish(self, updates: usize) -> Option<OrdValBatch<L>> {
        self.batch::<K, V>(updates)
    }
}

/// By key, without values.
pub(crate) struct BySelf<L: Layout>(key_batch::OrdKeyStorage<L>);

impl<K: Data, T: Time, D: Diff, L> Writing<K, (), T, D> for BySelf<L>
where
    L: TakeLayout<K, (), T, D> + Layout<ValContainer: BatchContainer<Owned = ()>>,
{
    type Batch = OrdKeyBatch<L>;

    fn with_capacity(rows: usize) -> Self {
        Self(key_batch::OrdKeyStorage {
            keys: L::KeyContainer::with_capacity(rows),
            upds: Upds::with_capacity(rows + 1, 0),
        })
    }

    #[inline]
    fn updates(&mut self) -> &mut Updates<T, D> {
        &mut self.0.upds
    }

    #[inline]
    fn push(&mut self, key: K::Ref<'_>, (): ()) {
        self.0.keys.take(key);
    }

    fn reuse(&mut self, keys: K::Builder, _values: <() as Codec>::Builder) {
        self.0.keys.reuse(keys);
    }

    fn finish(mut self, updates: usize) -> Option<OrdKeyBatch<L>> {
        self.0.keys.end();
        let value = OrdKeyBatch::<L>::create_value();
        (updates > 0).then_some(OrdKeyBatch { storage: self.0, updates, value })
    }
}
