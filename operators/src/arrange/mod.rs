//! Sources as arrangements, straight from the sorted parts of a shard.
//!
//! piece of a part (sorted) -> segments (sorted, one for each worker) -> piles (sorted) -> one merge -> one batch

mod adapt;
mod builder;
mod collection;
mod flat;
mod layout;
mod merge;
mod operator;
mod piles;
mod segment;
mod split;
mod wire;

use std::convert::Infallible;
use std::hash::Hash;

use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::TraceReader;
use differential_dataflow::trace::implementations::{KeySpine, ValSpine, Vector};
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::{Scope, StreamVec};
use timely_persist::{Data, Diff, Time};

pub use self::adapt::{BatchCursorFlat, BatchFlat, TraceFlat, as_flat};
pub use self::builder::FlatBuilder;
pub use self::collection::arrange_flat;
pub use self::flat::Flat;
use self::layout::{ByKey, BySelf, SpineOf, Writing};
pub use self::layout::{FlatKeySpine, FlatLayout, FlatSpine};
use self::operator::{Arrangement, arrange};
use self::segment::Segment;
use self::split::{MapSplit, Split};
use crate::common::button::Button;
use crate::common::error::SourceError;
use crate::source::emit::Rows;
use crate::source::{MappedSource, PersistSource};

/// A shard as an arrangement.
#[must_use = "a source that is dropped is stopped"]
pub struct ArrangedSource<'scope, T: Time, Tr: TraceReader<Time = T>> {
    /// The contents as of `as_of`, then each change at its time, by key.
    pub arranged: Arranged<'scope, Tr>,
    /// As in [`Source`](crate::Source).
    pub errors: StreamVec<'scope, T, SourceError>,
    /// Nothing, with the frontier of `arranged`.
    pub progress: StreamVec<'scope, T, Infallible>,
    /// Stops the source.
    pub button: Button,
}

type ByKeyOwned<K, V, T, D> = ByKey<Vector<((K, V), T, D)>>;
type ByKeyFlat<K, V, T, D> = ByKey<FlatLayout<K, V, T, D>>;
type BySelfOwned<K, T, D> = BySelf<Vector<((K, ()), T, D)>>;
type BySelfFlat<K, T, D> = BySelf<FlatLayout<K, (), T, D>>;

impl<K: Data, V: Data, T: Time, D: Diff> PersistSource<K, V, T, D> {
    /// Adds the source to a dataflow, arranged by key as [`arrange_by_key`] does it, at about half of its cost: the order
    /// that the rows are stored in is kept.
    ///
    /// [`arrange_by_key`]: differential_dataflow::VecCollection::arrange_by_key
    pub fn arrange_by_key<'scope>(
        self,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<ValSpine<K, V, T, D>>>
    where
        for<'a> K::Ref<'a>: Hash,
    {
        self.arranged::<_, ByKeyOwned<K, V, T, D>, _, _>(scope, Split::among)
    }

    /// The same with keys and values one behind the other in flat columns, so that no value is allocated. Keys and values are
    /// read borrowed: a join takes another flat arrangement, which [`arrange_flat`](arrange_flat()) makes of a collection, and
    /// [`as_flat`] sees in an ordinary arrangement. What [`FlatBuilder`] says of reductions holds here, too.
    pub fn arrange_flat<'scope>(
        self,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<FlatSpine<K, V, T, D>>>
    where
        for<'a> K::Ref<'a>: Hash,
    {
        self.arranged::<_, ByKeyFlat<K, V, T, D>, _, _>(scope, Split::among)
    }

    /// The same as [`arrange_by_key`](Self::arrange_by_key) of what a closure makes of each key and value, which it sees where
    /// they lie; `None` leaves the row out.
    ///
    /// It may make of them what it likes. What is in the order of the rows that it was made of costs least, as where
    /// values are mapped and keys stay; what is not is sorted again, a thousand rows at a time.
    pub fn map_arrange<'scope, K2: Data, V2: Data>(
        self,
        logic: impl for<'a> FnMut(K::Ref<'a>, V::Ref<'a>) -> Option<(K2, V2)> + 'static,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<ValSpine<K2, V2, T, D>>>
    where
        for<'a> K2::Ref<'a>: Hash,
    {
        self.arranged::<_, ByKeyOwned<K2, V2, T, D>, _, _>(scope, |peers| MapSplit::among(peers, logic))
    }

    /// The same in flat columns.
    pub fn map_arrange_flat<'scope, K2: Data, V2: Data>(
        self,
        logic: impl for<'a> FnMut(K::Ref<'a>, V::Ref<'a>) -> Option<(K2, V2)> + 'static,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<FlatSpine<K2, V2, T, D>>>
    where
        for<'a> K2::Ref<'a>: Hash,
    {
        self.arranged::<_, ByKeyFlat<K2, V2, T, D>, _, _>(scope, |peers| MapSplit::among(peers, logic))
    }

    fn arranged<'scope, R, W, K2: Data, V2: Data>(
        self,
        scope: Scope<'scope, T>,
        rows: impl FnOnce(usize) -> R,
    ) -> ArrangedSource<'scope, T, TraceAgent<SpineOf<W::Batch>>>
    where
        R: Rows<K, V, T, D, Out = Segment<K2, V2, T, D>>,
        W: Writing<K2, V2, T, D>,
    {
        let (name, shard) = (format!("{}: arrange", self.name_of()), self.shard_id());
        let MappedSource { stream, errors, button, .. } = self.build_rows(scope, rows(scope.peers()));
        let Arrangement { arranged, errors: of_types } = arrange::<K2, V2, T, D, W>(stream, &name, shard);
        let progress = of_types.clone().flat_map(|_| None); // the operator holds both frontiers at the same times
        ArrangedSource { arranged, errors: errors.concat(of_types), progress, button }
    }
}

/// Of a shard of keys without values.
impl<K: Data, T: Time, D: Diff> PersistSource<K, (), T, D>
where
    for<'a> K::Ref<'a>: Hash,
{
    /// Adds the source to a dataflow, arranged as [`arrange_by_self`] arranges a collection of its keys.
    ///
    /// [`arrange_by_self`]: differential_dataflow::VecCollection::arrange_by_self
    pub fn arrange_by_self<'scope>(
        self,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<KeySpine<K, T, D>>> {
        self.arranged::<_, BySelfOwned<K, T, D>, _, _>(scope, Split::among)
    }

    /// The same in flat columns.
    pub fn arrange_flat_by_self<'scope>(
        self,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<FlatKeySpine<K, T, D>>> {
        self.arranged::<_, BySelfFlat<K, T, D>, _, _>(scope, Split::among)
    }
}
