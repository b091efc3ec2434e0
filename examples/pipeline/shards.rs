//! The three shards in the data directory: their names, their types, and who keeps their history.

use std::path::Path;

use timely::progress::Antichain;
use timely_persist::{Client, CriticalReaderId, Data, Error, Shard, ShardId};

use crate::problem::Problem;

/// The rows `(order, customer)`.
pub(crate) type Orders = Shard<u64, String, u64, i64>;
/// The rows `(order, cents)`.
pub(crate) type Items = Shard<u64, i64, u64, i64>;
/// The rows `(customer, cents)`.
pub(crate) type Revenue = Shard<String, i64, u64, i64>;

/// The shards, time = step.
#[derive(Clone)]
pub(crate) struct Shards {
    pub(crate) client: Client,
    pub(crate) orders: Orders,
    pub(crate) items: Items,
    pub(crate) revenue: Revenue,
}

impl Shards {
    /// The shards in a directory, made if they are missing. Their names are fixed, so that every process finds them.
    pub(crate) async fn open(directory: &Path) -> Result<Self, Problem> {
        let place = std::path::absolute(directory)
            .map_err(|error| Problem::new(format!("cannot find {}: {error}", directory.display())))?;
        let client = Client::in_directory(place).open().await?;
        let id = |name: &[u8; 16]| ShardId::from_u128(u128::from_be_bytes(*name));
        let shards = Self {
            orders: client.shard(id(b"pipeline  orders")),
            items: client.shard(id(b"pipeline   items")),
            revenue: client.shard(id(b"pipeline revenue")),
            client,
        };
        keep_all(&shards.orders).await?;
        keep_all(&shards.items).await?;
        keep_all(&shards.revenue).await?;
        Ok(shards)
    }

    /// Leaves nothing of this process behind.
    pub(crate) async fn close(self) -> Result<(), Problem> {
        let Self { client, orders, items, revenue } = self;
        drop((orders, items, revenue));
        Ok(client.shutdown().await?)
    }
}

/// Keeps the shard's history from its beginning on: by a reader without a lease, which is there before any other, and which
/// nobody moves.
///
/// A shard's since is where its readers stand, and a source's reader moves on with what it has read. Without this one the
/// `middle` could not begin again at a step that it has read but not written, and `truth` not look at every step.
async fn keep_all<K: Data, V: Data>(shard: &Shard<K, V, u64, i64>) -> Result<(), Error> {
    let keeper = CriticalReaderId::from_u128(u128::from_be_bytes(*b"pipeline  keeper"));
    shard.open_critical_since(keeper, 0).await.map(|_| ())
}

/// The frontier at a step.
pub(crate) fn at(step: u64) -> Antichain<u64> {
    Antichain::from_elem(step)
}

/// The first step that is not before the frontier. The empty one, of a shard that was closed, is beyond all steps.
pub(crate) fn step_of(frontier: &Antichain<u64>) -> u64 {
    frontier.first().copied().unwrap_or(u64::MAX)
}
