//! Columns of an arrangement.
//!
//! Always: a flat column keeps its values one behind the other in the codec's own builder, and shows them borrowed: no value
//! is allocated, by whoever writes or reads it.

use std::rc::Rc;

use differential_dataflow::trace::implementations::ord_neu::OrdValBatch;
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::implementations::{BatchContainer, Layout, OffsetList, Vector};
use timely_persist::codec::Builder;
use timely_persist::{Codec, Data, Diff, Time};

/// A column of an arrangement in the codec's own builder.
#[derive(Debug)]
pub struct Flat<C: Codec>(C::Builder);

impl<C: Codec> BatchContainer for Flat<C> {
    type Owned = C;
    type ReadItem<'a> = C::Ref<'a>;

    #[inline]
    fn into_owned<'a>(item: C::Ref<'a>) -> C {
        C::from_ref(item)
    }

    #[inline]
    fn push_ref(&mut self, item: C::Ref<'_>) {
        self.0.push(item);
    }

    fn push_own(&mut self, item: &C) {
        self.0.push(item.as_ref());
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn with_capacity(size: usize) -> Self {
        let mut column = C::Builder::default();
        column.reserve(size, 0);
        Self(column)
    }

    fn merge_capacity(one: &Self, other: &Self) -> Self {
        Self::with_capacity(one.0.len() + other.0.len())
    }

    #[inline]
    fn reborrow<'b, 'a: 'b>(item: C::Ref<'a>) -> C::Ref<'b> {
        C::reborrow(item)
    }

    #[inline]
    fn index(&self, index: usize) -> C::Ref<'_> {
        self.0.get(index)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A column that takes values where they lie.
pub(crate) trait TakeColumn<C: Codec>: BatchContainer {
    /// Adds a value.
    fn take(&mut self, value: C::Ref<'_>);

    /// Whether the last value is this.
    fn ends_with(&self, value: C::Ref<'_>) -> bool;
}

impl<C: Codec> TakeColumn<C> for Flat<C> {
    #[inline]
    fn take(&mut self, value: C::Ref<'_>) {
        self.0.push(value);
    }

    #[inline]
    fn ends_with(&self, value: C::Ref<'_>) -> bool {
        self.last().is_some_and(|last| C::reborrow(last) == C::reborrow(value))
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

/// How an arrangement lies whose merge this module writes.
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

/// Keys and values in flat columns.
pub type FlatLayout<K, V, T, D> = (Flat<K>, Flat<V>, Vec<T>, Vec<D>, OffsetList);

/// A trace of flat columns.
pub type FlatSpine<K, V, T, D> = Spine<Rc<OrdValBatch<FlatLayout<K, V, T, D>>>>;
