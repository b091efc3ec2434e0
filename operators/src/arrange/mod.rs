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
///
/// It has the life of a [`Source`](crate::Source): `as_of`, `until`, filters, credit, errors, and the same on all workers. It
/// stands once `progress` has passed a time. Until then its rows wait in memory, in about as many bytes as the arrangement will
/// have, and give that memory to it as they are merged; [`max_inflight_bytes`](PersistSource::max_inflight_bytes) bounds
/// what has not come so far. They are merged some thousands in one activation of the operator, so that the worker's other
/// dataflows go on.
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
    /// Adds the source to a dataflow, arranged by key as [`arrange_by_key`] arranges its rows, for half of the time or less: the
    /// order that they are stored in is kept. It joins, reduces and is imported as any arrangement of that type.
    ///
    /// ```
    /// use timely::dataflow::operators::Inspect;
    /// use timely::progress::Antichain;
    /// use timely_persist::{Client, Shard, ShardId};
    /// use timely_persist_operators::PersistSource;
    ///
    /// # let append = async {
    /// let client = Client::open("memory:").await?;
    /// let prices: Shard<String, u64, u64, i64> = client.shard(ShardId::new());
    /// let rows = [(("apple".to_owned(), 30), 0, 1), (("pear".to_owned(), 50), 0, 1)];
    /// let _ = prices.open_writer("example").await?.append(rows, Antichain::from_elem(0), Antichain::from_elem(1)).await?;
    /// # Ok::<_, timely_persist::Error>(prices) };
    /// # let prices = futures::executor::block_on(append)?;
    /// timely::execute_directly(move |worker| {
    ///     let button = worker.dataflow::<u64, _, _>(|scope| {
    ///         let prices = PersistSource::new(&prices).until(Antichain::from_elem(1)).arrange_by_key(scope);
    ///         prices.errors.inspect(|error| eprintln!("{error}"));
    ///         let dear = prices.arranged.as_collection(|item, price| (item.clone(), *price)).filter(|(_, price)| *price > 40);
    ///         dear.inspect(|(row, _, _)| assert_eq!(*row, ("pear".to_owned(), 50)));
    ///         prices.button
    ///     });
    ///     while worker.has_dataflows() {
    ///         worker.step_or_park(None);
    ///     }
    ///     drop(button);
    /// });
    /// # Ok::<(), timely_persist::Error>(())
    /// ```
    ///
    /// [`arrange_by_key`]: differential_dataflow::VecCollection::arrange_by_key
    pub fn arrange_by_key<'scope>(
        self,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<ValSpine<K, V, T, D>>>
    where
        for<'a> K::Ref<'a>: Hash,
    {
        let in_order = !self.projects();
        self.arranged::<_, ByKeyOwned<K, V, T, D>, _, _>(scope, move |peers| Split::among(peers, in_order))
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
        let in_order = !self.projects();
        self.arranged::<_, ByKeyFlat<K, V, T, D>, _, _>(scope, move |peers| Split::among(peers, in_order))
    }

    /// The same as [`arrange_by_key`](Self::arrange_by_key) of what a closure makes of each key and value, which it sees where
    /// they lie; `None` leaves the row out.
    ///
    /// It may make of them what it likes, on the worker's own thread. What is in the order of the rows that it was made of costs
    /// least, as where values are mapped and keys stay; what is not is sorted again, a thousand rows at a time.
    ///
    /// ```
    /// # use timely_persist::{Client, Shard, ShardId};
    /// # use timely_persist_operators::PersistSource;
    /// # let client = futures::executor::block_on(Client::open("memory:"))?;
    /// let shard: Shard<String, u64, u64, i64> = client.shard(ShardId::new());
    /// # timely::execute_directly(move |worker| worker.dataflow(|scope| {
    /// let large = PersistSource::new(&shard)
    ///     .map_arrange(|path: &str, lines| (lines > 1_000).then(|| (path.to_owned(), lines / 1_000)), scope);
    /// # drop((large.arranged, large.button));
    /// # }));
    /// # Ok::<(), timely_persist::Error>(())
    /// ```
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
        let in_order = !self.projects();
        self.arranged::<_, BySelfOwned<K, T, D>, _, _>(scope, move |peers| Split::among(peers, in_order))
    }

    /// The same in flat columns.
    pub fn arrange_flat_by_self<'scope>(
        self,
        scope: Scope<'scope, T>,
    ) -> ArrangedSource<'scope, T, TraceAgent<FlatKeySpine<K, T, D>>> {
        let in_order = !self.projects();
        self.arranged::<_, BySelfFlat<K, T, D>, _, _>(scope, move |peers| Split::among(peers, in_order))
    }
}
