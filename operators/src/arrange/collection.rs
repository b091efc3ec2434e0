//! Ordinary collections in flat arrangements.

use std::hash::Hash;

use differential_dataflow::batcher::merge::MergeBatcher;
use differential_dataflow::batcher::merge::chunker::ContainerChunker;
use differential_dataflow::batcher::merge::vec::VecMerger;
use differential_dataflow::difference::Semigroup;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::{ExchangeData, VecCollection};
use timely::progress::Timestamp;
use timely_persist::Data;

use crate::arrange::builder::FlatBuilder;
use crate::arrange::layout::FlatSpine;

/// Differential's own batcher of an ordinary collection, before a flat builder.
type FlatBatcher<K, V, T, D> =
    MergeBatcher<ContainerChunker<Vec<((K, V), T, D)>>, VecMerger<(K, V), T, D>, FlatBuilder<K, V, T, D>>;

/// Arranges a collection by key as [`arrange_by_key`] does it, but in flat columns, as [`PersistSource::arrange_flat`]: so that it
/// joins with a flat arrangement. It is sorted as an ordinary arrangement is, in owned rows; what is kept is flat.
///
/// ```
/// use differential_dataflow::input::Input;
/// use timely::progress::Antichain;
/// use timely_persist::{Client, Shard, ShardId};
/// use timely_persist_operators::{PersistSource, arrange_flat};
///
/// # let append = async {
/// let client = Client::open("memory:").await?;
/// let prices: Shard<String, u64, u64, i64> = client.shard(ShardId::new());
/// let rows = [(("apple".to_owned(), 30), 0, 1), (("pear".to_owned(), 50), 0, 1)];
/// let _ = prices.open_writer("example").await?.append(rows, Antichain::from_elem(0), Antichain::from_elem(1)).await?;
/// # Ok::<_, timely_persist::Error>(prices) };
/// # let prices = futures::executor::block_on(append)?;
///
/// timely::execute_directly(move |worker| {
///     let (mut orders, button) = worker.dataflow::<u64, _, _>(|scope| {
///         let source = PersistSource::new(&prices).until(Antichain::from_elem(1)).arrange_flat(scope);
///         let (orders, ordered) = scope.new_collection::<(String, u64), i64>();
///         source
///             .arranged
///             .join_core(arrange_flat(ordered), |item, price, pieces| Some((item.to_owned(), price * pieces)))
///             .inspect(|(row, _, _)| assert_eq!(*row, ("pear".to_owned(), 150)));
///         (orders, source.button)
///     });
///     orders.update(("pear".to_owned(), 3), 1);
///     drop(orders);
///     while worker.has_dataflows() {
///         worker.step_or_park(None);
///     }
///     drop(button);
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`arrange_by_key`]: differential_dataflow::VecCollection::arrange_by_key
/// [`PersistSource::arrange_flat`]: crate::PersistSource::arrange_flat
pub fn arrange_flat<'scope, K, V, T, D>(
    collection: VecCollection<'scope, T, (K, V), D>,
) -> Arranged<'scope, TraceAgent<FlatSpine<K, V, T, D>>>
where
    K: Data + ExchangeData + Hash,
    V: Data + ExchangeData,
    T: Timestamp + Lattice,
    D: Semigroup + ExchangeData,
{
    // By the hash of the key, as every arrangement.
    collection.arrange_named("ArrangeFlat", FlatBatcher::<K, V, T, D>::new)
}
