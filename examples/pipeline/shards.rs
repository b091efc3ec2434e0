//! The three shards in the data directory: their names and their types.

use std::path::Path;
use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Client, Config, ReadHandle, Shard, ShardId};

use crate::problem::Problem;
use crate::rows::{Item, Order};

/// Orders by their numbers.
pub(crate) type Orders = Shard<u64, Order, u64, i64>;
/// Items by the numbers of their orders.
pub(crate) type Items = Shard<u64, Item, u64, i64>;
/// The rows `(customer, cents)`.
pub(crate) type Revenue = Shard<String, i64, u64, i64>;
pub(crate) type RevenueReader = ReadHandle<String, i64, u64, i64>;

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
        let client = Client::in_directory(place).config(config()).open().await?;
        let id = |name: &[u8; 16]| ShardId::from_u128(u128::from_be_bytes(*name));
        Ok(Self {
            orders: client.shard(id(b"pipeline  orders")),
            items: client.shard(id(b"pipeline   items")),
            revenue: client.shard(id(b"pipeline revenue")),
            client,
        })
    }

    /// Leaves nothing of this process behind.
    pub(crate) async fn close(self) -> Result<(), Problem> {
        let Self { client, orders, items, revenue } = self;
        drop((orders, items, revenue));
        Ok(client.shutdown().await?)
    }
}

/// Leases that are over soon: here processes are killed all the time, and what a killed one was reading is kept until its
/// lease is over. Nothing waits for that; it is only history.
fn config() -> Config {
    let mut config = Config::default();
    config.lease.duration = Duration::from_secs(30);
    config.lease.heartbeat_interval = Duration::from_secs(5);
    config.lease.margin = Duration::from_secs(5);
    config
}

/// The frontier at a step.
pub(crate) fn at(step: u64) -> Antichain<u64> {
    Antichain::from_elem(step)
}

/// The first step that is not before the frontier. The empty one, of a shard that was closed, is beyond all steps.
pub(crate) fn step_of(frontier: &Antichain<u64>) -> u64 {
    frontier.first().copied().unwrap_or(u64::MAX)
}
