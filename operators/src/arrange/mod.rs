//! Sources as arrangements, straight from the sorted parts of a shard.
//!
//! piece of a part (sorted) -> segments (sorted, one for each worker) -> piles (sorted) -> one merge -> one batch

mod flat;
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
use differential_dataflow::trace::implementations::ValSpine;
use timely::dataflow::operators::Concat;
use timely::dataflow::{Scope, StreamVec};
use timely_persist::{Data, Diff, Time};

use self::flat::TakeLayout;
pub use self::flat::{Flat, FlatLayout, FlatSpine};
use self::operator::{Arrangement, SpineOf, arrange};
use self::split::Split;
use crate::common::button::Button;
use crate::common::error::SourceError;
use crate::source::{MappedSource, PersistSource};

/// A shard as an arrangement.
#[must_use = "a source that is dropped is stopped"]
pub struct ArrangedSource<'scope, T: Time, Tr: TraceReader<Time = T>> {
    /// The contents as of `as_of`, then each change at its time, by key.
    pub arranged: Arranged<'scope, Tr>,
    /// As in [`Source`](crate::Source).
    pub errors: StreamVec<'scope, T, SourceError>,
    /// As in [`Source`](crate::Source): how far rows have come out of the source, not how far they are arranged.
    pub progress: StreamVec<'scope, T, Infallible>,
    /// Stops the source.
    pub button: Button,
}

impl<K: Data, V: Data, T: Time, D: Diff> PersistSource<K, V, T, D>
where
    for<'a> K::Ref<'a>: Hash,
{
    /// Adds the source to a dataflow, arranged by key as [`arrange_by_key`] does it, at about half of its cost: the order
    /// that the rows are stored in is kept.
    ///
    /// [`arrange_by_key`]: differential_dataflow::VecCollection::arrange_by_key
    pub fn arrange_by_key<'scope>(
        self,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<ValSpine<K, V, T, D>>> {
        self.build_arranged(scope)
    }

    /// The same with keys and values one behind the other in flat columns, so that no value is allocated. Keys and values are
    /// read borrowed: a join takes another flat arrangement.
    pub fn arrange_flat<'scope>(
        self,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<FlatSpine<K, V, T, D>>> {
        self.build_arranged(scope)
    }

    fn build_arranged<'scope, L: TakeLayout<K, V, T, D>>(
        self,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<SpineOf<L>>> {
        let name = format!("{}: arrange", self.name_of());
        let shard = self.shard_id();
        let MappedSource { stream, errors, progress, button } = self.build_rows(scope, Split::among(scope.peers()));
        let Arrangement { arranged, errors: of_types } = arrange(stream, &name, shard);
        ArrangedSource { arranged, errors: errors.concat(of_types), progress, button }
    }
}
