//! What the library asks of storage, exactly: however old a shard is, however many parts it has, and while nothing happens.
//!
//! One store lies under all of it, the log included, and counts every request. Old shards are not grown commit by commit:
//! they are written as their last million commits would have left them, a rollup and the entries behind it.
#![allow(clippy::unwrap_used)]

#[path = "support/aged.rs"]
mod aged;
#[path = "costs/evolving.rs"]
mod evolving;
#[path = "costs/idle.rs"]
mod idle;
#[path = "support/logs.rs"]
#[allow(dead_code)] // only its entropy
mod logs;
#[path = "costs/sinks.rs"]
mod sinks;
#[path = "costs/spilled.rs"]
mod spilled;

use std::sync::Arc;
use std::time::Duration;

use aged::{Age, aged};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use timely::progress::Antichain;
use timely_persist::store::ObjectLog;
use timely_persist::{
    Appended, Client, ClientBuilder, Config, Consensus, CriticalReaderId, Shard, ShardId, WriteHandle,
};
use timely_persist_io::store::keys;
use timely_persist_testing::{CountingLog, CountingStore, LogCounts, OperationCounts};

type Rows = Shard<String, u64, u64, i64>;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// How many commits a shard has behind it.
const AGES: [u64; 3] = [10, 10_000, 1_000_000];

/// A process on a store.
struct Process {
    client: Client,
    shard: Rows,
    log: CountingLog,
    requests: CountingStore,
}

impl Process {
    async fn new(store: &Arc<InMemory>, config: Config) -> Self {
        Self::with(CountingStore::new(store.clone()), None, |builder| builder.config(config)).await
    }

    /// With the log in the store, unless it is elsewhere, and with what `ask` asks for.
    async fn with(
        requests: CountingStore,
        log: Option<Arc<dyn Consensus>>,
        ask: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Self {
        let log = CountingLog::new(log.unwrap_or_else(|| Arc::new(ObjectLog::new(Arc::new(requests.clone())))));
        let builder = ask(Client::builder(Arc::new(requests.clone())).consensus(Arc::new(log.clone())));
        let client = builder.runtime(tokio::runtime::Handle::current()).open().await.unwrap();
        let shard = client.shard(ShardId::from_u128(1));
        Self { client, shard, log, requests }
    }

    /// What `work` asks for: of the log, and of the store below it and beside it.
    async fn cost<R>(&self, work: impl Future<Output = R>) -> (R, Cost) {
        let (log, requests) = (self.log.counts(), self.requests.counts());
        let done = work.await;
        (done, Cost::between((log, requests), (self.log.counts(), self.requests.counts())))
    }
}

/// Requests, and apart from them bytes: these grow with the digits of the numbers in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    commits: u64,
    scans: u64,
    heads: u64,
    entries_read: u64,
    truncates: u64,
    requests: OperationCounts,
    entry_bytes: u64,
}

impl Cost {
    fn between(before: (LogCounts, OperationCounts), after: (LogCounts, OperationCounts)) -> Self {
        let (log, requests) = (after.0 - before.0, after.1 - before.1);
        Self {
            commits: log.compare_and_sets,
            scans: log.scans,
            heads: log.heads,
            entries_read: log.entries_read,
            truncates: log.truncates,
            requests: OperationCounts { bytes_written: 0, bytes_read: 0, ..requests },
            entry_bytes: log.bytes_committed,
        }
    }

    fn requests_only(self) -> Self {
        Self { entry_bytes: 0, ..self }
    }

    /// The same requests, and as many bytes in the log but for the lengths of numbers.
    fn assert_same(self, other: Self, what: &str) {
        assert_eq!(self.requests_only(), other.requests_only(), "{what}");
        assert!(self.entry_bytes.abs_diff(other.entry_bytes) <= 32, "{what}: {self:?}, {other:?}");
    }
}

fn writing() -> Config {
    let mut config = Config::default();
    config.upkeep.maintain = false;
    config
}

async fn upper(writer: &mut WriteHandle<String, u64, u64, i64>) -> u64 {
    *writer.fetch_upper().await.unwrap().elements().first().unwrap()
}

/// Appends so many rows of about 100 bytes at the upper.
async fn append(writer: &mut WriteHandle<String, u64, u64, i64>, time: u64, rows: u64) {
    let rows = (0..rows).map(|row| ((format!("{row:0100}"), row), time, 1));
    assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
}

#[tokio::test(start_paused = true)]
async fn an_append_costs_the_same_after_a_million_of_them() {
    for (rows, objects) in [(0, 0), (1, 0), (1_000, 1)] {
        let mut costs = Vec::new();
        for commits in AGES {
            let store = Arc::new(InMemory::new());
            aged(&store, &Age { commits, tail: 5, batches: 30.min(commits), parts_each: 2 }).await;
            let process = Process::new(&store, writing()).await;
            let mut writer = process.shard.open_writer("test").await.unwrap();
            let first = upper(&mut writer).await;
            assert_eq!(first, commits + 5);
            for time in first..first + 5 {
                append(&mut writer, time, rows).await; // the shard remembers four appends of a writer
            }
            for time in first + 5..first + 100 {
                let ((), cost) = process.cost(append(&mut writer, time, rows)).await;
                costs.push(cost);
            }
        }
        let requests = OperationCounts { creates: 1, lists: 1, puts: objects, ..OperationCounts::default() };
        for cost in &costs {
            // One entry, and a look at the boundary that tells whether it counts.
            let listed = cost.requests.objects_listed;
            assert!(listed <= 2, "{cost:?}");
            let found = Cost { requests: OperationCounts { objects_listed: 0, ..cost.requests }, ..*cost };
            let expected =
                Cost { commits: 1, scans: 0, heads: 0, entries_read: 0, truncates: 0, requests, entry_bytes: 0 };
            assert_eq!(found.requests_only(), expected, "{rows} rows");
            cost.assert_same(costs[0], &format!("{rows} rows"));
        }
    }
}

/// Rollups, their predecessors' deletion and truncation: so many requests for so many appends, at any age.
#[tokio::test(start_paused = true)]
async fn upkeep_costs_the_same_after_a_million_appends() {
    let mut costs = Vec::new();
    for commits in AGES {
        let store = Arc::new(InMemory::new());
        aged(&store, &Age { commits, tail: 5, batches: 4, parts_each: 2 }).await;
        let process = Process::new(&store, Config::default()).await;
        let mut writer = process.shard.open_writer("test").await.unwrap();
        let mut work = async |appends: u64| {
            for _ in 0..appends {
                let time = *writer.upper().elements().first().unwrap();
                append(&mut writer, time, 0).await;
                process.shard.settle().await.unwrap();
            }
        };
        work(1_000).await; // until what was there is as this process leaves it
        let ((), cost) = process.cost(work(1_000)).await;
        assert!(process.shard.inspect().await.unwrap().seqno.0 > commits + 2_000);
        costs.push(cost);
    }
    costs.iter().for_each(|cost| assert!(cost.requests.operations() < 5 * 1_000, "{cost:?}"));
    // The digits of a number do not count here: 1,000 entries of them are compared at once.
    costs.iter().for_each(|cost| assert_eq!(cost.requests_only(), costs[0].requests_only()));
}

#[tokio::test(start_paused = true)]
async fn opening_costs_a_rollup_and_the_entries_behind_it() {
    for tail in [1, 5, 200] {
        for commits in AGES {
            let store = Arc::new(InMemory::new());
            aged(&store, &Age { commits, tail, batches: 10, parts_each: 2 }).await;
            let process = Process::new(&store, writing()).await;
            let (info, cost) = process.cost(process.shard.inspect()).await;
            assert_eq!(info.unwrap().seqno.0, commits + tail);
            // The head, which names the rollup; the rollup; every entry behind it and one that is not there. Each read of
            // the log ends with a look at its boundary, and the head is found by a listing.
            let gets = 1 + 1 + tail + 1;
            let log = (cost.heads, cost.scans, cost.entries_read, cost.commits);
            assert_eq!(log, (1, 1, 1 + tail, 0), "{tail} behind {commits}");
            assert_eq!((cost.requests.gets, cost.requests.lists), (gets, 3), "{tail} behind {commits}");
            assert_eq!(cost.requests.operations(), gets + 3, "{tail} behind {commits}");
        }
    }
}

/// A client asks the store for the limits that all processes on it must have alike, and the first one writes its own.
#[tokio::test(start_paused = true)]
async fn opening_a_client_costs_a_listing_and_a_get() {
    let store = Arc::new(InMemory::new());
    for (time, creates) in [1, 0, 0].into_iter().enumerate() {
        let process = Process::new(&store, writing()).await;
        let counts = process.requests.counts();
        assert_eq!((counts.lists, counts.gets, counts.creates), (1, 1, creates), "the {time}th");
        assert_eq!(counts.operations(), 2 + creates, "the {time}th");
    }
    let mut changed = writing();
    changed.limits.orphan_age_min *= 2;
    let requests = CountingStore::new(store.clone());
    let changing = Client::builder(Arc::new(requests.clone())).config(changed.clone()).change_limits();
    changing.runtime(tokio::runtime::Handle::current()).open().await.unwrap();
    assert_eq!((requests.counts().creates, requests.counts().operations()), (1, 3));
    // Where they were changed, the newest is one request more.
    let counts = Process::new(&store, changed).await.requests.counts();
    assert_eq!((counts.lists, counts.gets, counts.operations()), (1, 2, 3));
}

/// What a process leaves behind after thousands of appends is opened like any other shard: the tail is bounded.
#[tokio::test(start_paused = true)]
async fn the_entries_behind_a_rollup_are_bounded() {
    let store = Arc::new(InMemory::new());
    let process = Process::new(&store, Config::default()).await;
    let mut writer = process.shard.open_writer("test").await.unwrap();
    let interval = process.client.config().upkeep.rollup_interval;
    let mut longest = 0;
    for time in 0..10 * interval {
        append(&mut writer, time, 1).await;
        process.shard.settle().await.unwrap();
        if time % 7 == 0 {
            let opener = Process::new(&store, writing()).await;
            let (info, cost) = opener.cost(opener.shard.inspect()).await;
            info.unwrap();
            longest = longest.max(cost.entries_read);
        }
    }
    assert!(longest <= interval + 3, "{longest} entries were read for an interval of {interval}");
    assert!(longest > interval / 2, "{longest}: the test shows nothing");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_parts_do_not_burden_a_commit() {
    let mut costs = Vec::new();
    for (batches, parts_each) in [(1, 1), (1_000, 100), (100_000, 1)] {
        let store = Arc::new(InMemory::new());
        aged(&store, &Age { commits: 200_000, tail: 1, batches, parts_each }).await;
        let process = Process::new(&store, writing()).await;
        assert_eq!(process.shard.inspect().await.unwrap().parts, batches * parts_each + 1);
        let mut writer = process.shard.open_writer("test").await.unwrap();
        let mut reader = process.shard.open_reader("test").await.unwrap();
        let time = upper(&mut writer).await;
        append(&mut writer, time, 1).await;
        let ((), appending) = process.cost(append(&mut writer, time + 1, 1)).await;
        let (moved, moving) = process.cost(reader.downgrade_since(&at(time))).await;
        moved.unwrap();
        let critical = process.shard.open_critical_since(CriticalReaderId::from_u128(1), 0);
        let (opened, opening) = process.cost(critical).await;
        drop(opened.unwrap());
        costs.push([appending, moving, opening]);
    }
    for (index, what) in ["appending", "moving the since", "opening a reader"].into_iter().enumerate() {
        costs.iter().for_each(|cost| cost[index].assert_same(costs[0][index], what));
        assert!(costs[0][index].entry_bytes < 2 << 10, "{what}: {:?}", costs[0][index]);
    }
}

/// A second of nothing, eighteen hours long.
#[tokio::test(start_paused = true)]
async fn a_day_of_empty_appends_leaves_kilobytes() {
    let store = Arc::new(InMemory::new());
    let process = Process::new(&store, Config::default()).await;
    let mut writer = process.shard.open_writer("test").await.unwrap();
    for time in 0..64_800 {
        writer.advance_upper(&at(time + 1)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    process.shard.settle().await.unwrap();
    let info = process.shard.inspect().await.unwrap();
    assert_eq!((info.batches, info.parts, info.bytes, info.garbage), (1, 0, 0, 0));
    let size = async |folder| {
        let sizes = store.list(Some(&folder)).map_ok(|object| object.size);
        sizes.try_fold(0, async |sum, size| Ok(sum + size)).await.unwrap()
    };
    let shard = ShardId::from_u128(1);
    let (state, log) = (size(keys::blob_folder(shard)).await, size(keys::log_folder(shard)).await);
    assert!(state < 1 << 10, "a state of {state} bytes");
    assert!(log < 64 << 10, "a log of {log} bytes");
    assert!(size(keys::boundary_folder(shard)).await < 80 << 10, "two markers of 4,096 digests");
}
