//! What a thousand shards cost while nothing happens.
//!
//! Jitter is held at its middle, so that the numbers are exact: they are the average of any fleet.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use timely_persist::clock::{Clock, Entropy};
use timely_persist::{ClientBuilder, Config, ShardId};
use timely_persist_testing::CountingStore;
use tokio::time::Instant;

use crate::logs::Seeded;
use crate::{Cost, Process, Rows, append, at};

const SHARDS: u64 = 1_000;

/// Between two renewals: a quarter of the lease of 15 minutes, and of that three quarters.
const RENEWAL: Duration = Duration::from_millis(168_750);

/// What is looked at: four renewals, so 11¼ minutes.
pub(crate) const SPAN: Duration = RENEWAL.saturating_mul(RENEWALS as u32);

/// Of each shard that is read.
pub(crate) const RENEWALS: u64 = 4;

/// In that time, whoever waits for updates looks for them so often, where no wake-up tells of them: every 13 seconds.
pub(crate) const LOOKS: u64 = 51;

/// Wall time that goes with tokio's.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn wall_ms(&self) -> u64 {
        1_000_000 + self.0.elapsed().as_millis() as u64
    }
}

#[derive(Debug)]
struct MiddleJitter(Seeded);

impl Entropy for MiddleJitter {
    fn bits(&self) -> u128 {
        self.0.bits()
    }

    fn fraction(&self) -> f64 {
        0.5
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Handles {
    Writers,
    Readers,
    WaitingReaders,
}

/// A process on a store of its own.
pub(crate) async fn even(config: Config) -> Process {
    let requests = CountingStore::new(Arc::new(InMemory::new()));
    Process::with(requests, None, |builder| evenly(builder.config(config))).await
}

/// With a clock that is paused, too, and jitter at its middle.
pub(crate) fn evenly(builder: ClientBuilder) -> ClientBuilder {
    builder.clock(Arc::new(PausedClock(Instant::now()))).entropy(Arc::new(MiddleJitter(Seeded::new(1))))
}

/// Four renewals of a thousand shards that one process has open like this.
async fn idle(handles: Handles) -> Cost {
    let process = even(Config::default()).await;
    let (mut writers, mut readers, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..SHARDS {
        let shard: Rows = process.client.shard(ShardId::from_u128(1 + u128::from(number)));
        let mut writer = shard.open_writer("idle").await.unwrap();
        append(&mut writer, 0, 1).await;
        writers.push(writer);
        if handles != Handles::Writers {
            readers.push(shard.open_reader("idle").await.unwrap());
        }
        if handles == Handles::WaitingReaders {
            let listen = shard.open_reader("waiting").await.unwrap().listen(at(0)).await.unwrap();
            waiting.push(tokio::spawn(async move {
                let mut listen = listen;
                loop {
                    listen.fetch_next().await.unwrap();
                }
            }));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ((), cost) = process.cost(tokio::time::sleep(SPAN)).await;
    waiting.iter().for_each(|task: &tokio::task::JoinHandle<()>| task.abort());
    cost
}

#[tokio::test(start_paused = true)]
async fn shards_that_are_only_written_cost_nothing_while_idle() {
    assert_eq!(idle(Handles::Writers).await.requests.operations(), 0);
}

/// 356 renewals in a minute, one for all readers of a shard in this process: an entry, and a look at the boundary.
#[tokio::test(start_paused = true)]
async fn idle_readers_cost_their_renewals() {
    let cost = idle(Handles::Readers).await;
    assert_eq!((cost.commits, cost.scans, cost.heads), (RENEWALS * SHARDS, 0, 0));
    assert_eq!((cost.requests.creates, cost.requests.lists), (RENEWALS * SHARDS, RENEWALS * SHARDS));
    assert_eq!(cost.requests.operations(), 2 * RENEWALS * SHARDS);
}

/// Besides, whoever waits for updates looks for them every 13 seconds where no wake-up tells of them: 51 times in the time of four
/// renewals, so 4,571 times in a minute, each with a request for the next entry and a look at the boundary.
#[tokio::test(start_paused = true)]
async fn readers_that_wait_also_look_every_thirteen_seconds() {
    let cost = idle(Handles::WaitingReaders).await;
    let looks = LOOKS * SHARDS;
    assert_eq!((cost.commits, cost.scans, cost.heads, cost.entries_read), (RENEWALS * SHARDS, looks, 0, 0));
    assert_eq!(cost.requests.operations(), 2 * (RENEWALS * SHARDS + looks));
}
