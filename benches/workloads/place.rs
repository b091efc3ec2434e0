//! Stores, logs and clients, counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use serde_json::{Map, Value, json};
use timely_persist::store::{Consensus, Directory, ObjectLog};
use timely_persist::{Appended, Client, Config, Data, Shard, ShardId};
use timely_persist_testing::{
    CountingLog, CountingStore, Fault, Faults, FaultyLog, FaultyStore, LogCounts, Operation, OperationCounts, Rule,
};

use crate::args::{Args, LogPlace, Place};
use crate::data::{BATCHES, Columns, at};
use crate::database;

pub type Strings = Shard<String, String, u64, i64>;

/// A client whose requests are counted.
pub struct Counted {
    pub client: Client,
    places: Places,
    store: CountingStore,
    log: CountingLog,
    /// Requests of the log's own to where it lies, if that is an object store.
    below: Option<CountingStore>,
}

/// What lies there stays when a client goes.
#[derive(Clone)]
struct Places {
    store: Arc<dyn ObjectStore>,
    /// None if that is a database.
    log: Option<Arc<dyn ObjectStore>>,
    directory: PathBuf,
}

/// How often what was asked.
#[derive(Clone, Copy)]
pub struct Counts {
    store: OperationCounts,
    log: LogCounts,
    below: Option<OperationCounts>,
}

impl Counted {
    /// A client on fresh memory, or on this directory.
    pub async fn open(args: &Args, folder: &Path) -> Self {
        let data = folder.join("data");
        let directory = || Arc::new(Directory::open(&data).unwrap());
        let store: Arc<dyn ObjectStore> = match args.store {
            Place::Memory => Arc::new(InMemory::new()),
            Place::File => directory(),
        };
        let log: Option<Arc<dyn ObjectStore>> = match (args.log(), args.store) {
            (LogPlace::Memory, _) => Some(Arc::new(InMemory::new())),
            (LogPlace::File, Place::File) => Some(Arc::clone(&store)),
            (LogPlace::File, Place::Memory) => Some(directory()),
            (LogPlace::Postgres, _) => None,
        };
        Self::with(args, Places { store, log, directory: data }).await
    }

    /// Another client on the same stores.
    pub async fn again(&self, args: &Args) -> Self {
        Self::with(args, self.places.clone()).await
    }

    async fn with(args: &Args, places: Places) -> Self {
        let store = CountingStore::new(delayed(args, &places.store));
        let below = places.log.as_ref().map(|log| CountingStore::new(delayed(args, log)));
        let log = CountingLog::new(match &below {
            None => delayed_log(args, database::open(args).await),
            Some(below) => {
                let log = ObjectLog::new(Arc::new(below.clone()));
                match args.log() {
                    LogPlace::File => Arc::new(log.watching_directory(&places.directory)),
                    _ => Arc::new(log),
                }
            }
        });
        let client = Client::builder(Arc::new(store.clone())).consensus(Arc::new(log.clone())).config(config(args));
        Self { client: client.open().await.unwrap(), places, store, log, below }
    }

    pub fn counts(&self) -> Counts {
        let below = self.below.as_ref().map(CountingStore::counts);
        Counts { store: self.store.counts(), log: self.log.counts(), below }
    }

    pub fn bytes_written(&self) -> u64 {
        self.store.counts().bytes_written
    }

    /// All requests since `before` to the log and to the store of parts.
    pub fn operations_since(&self, before: Counts) -> f64 {
        let all = |log: LogCounts| log.compare_and_sets + log.scans + log.heads + log.truncates;
        let now = self.counts();
        ((now.store - before.store).operations() + all(now.log) - all(before.log)) as f64
    }

    /// What was asked since `before`, per one of `units`.
    pub fn since(&self, before: Counts, units: f64) -> Map<String, Value> {
        let now = self.counts();
        let store = now.store - before.store;
        let log = |get: fn(&LogCounts) -> u64| (get(&now.log) - get(&before.log)) as f64 / units;
        let mut ops = json!({
            "compare_and_sets": log(|counts| counts.compare_and_sets),
            "conflicts": log(|counts| counts.conflicts),
            "scans": log(|counts| counts.scans),
            "heads": log(|counts| counts.heads),
            "truncates": log(|counts| counts.truncates),
            "blob_puts": (store.puts + store.creates) as f64 / units,
            "blob_gets": (store.gets + store.multi_range_gets) as f64 / units,
            "blob_deletes": store.deletes as f64 / units,
            "blob_bytes_written": store.bytes_written as f64 / units,
            "blob_bytes_read": store.bytes_read as f64 / units,
        });
        if let (Some(now), Some(before)) = (now.below, before.below) {
            let below = now - before;
            ops["log_store_operations"] = (below.operations() as f64 / units).into();
            ops["log_store_creates"] = (below.creates as f64 / units).into();
            ops["log_store_gets"] = ((below.gets + below.heads + below.multi_range_gets) as f64 / units).into();
            ops["log_store_lists"] = (below.lists as f64 / units).into();
        }
        ops.as_object().cloned().unwrap_or_default()
    }
}

fn config(args: &Args) -> Config {
    let mut config = Config::default();
    config.upkeep.compact = args.compaction.is_on();
    config.write.part_bytes_max = args.part_bytes.unwrap_or(config.write.part_bytes_max);
    config.read.inflight_bytes_max = args.inflight_bytes.unwrap_or(config.read.inflight_bytes_max);
    config
}

/// The store, as far away as `--latency-ms` says.
fn delayed(args: &Args, store: &Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    if args.latency_ms == 0 {
        return Arc::clone(store);
    }
    use Operation::{Copy, Create, Delete, Get, List, Put};
    Arc::new(FaultyStore::new(Arc::clone(store), delays(args, [Put, Create, Get, Delete, List, Copy])))
}

/// The same for a log that is not in a store.
fn delayed_log(args: &Args, log: Arc<dyn Consensus>) -> Arc<dyn Consensus> {
    if args.latency_ms == 0 {
        return log;
    }
    use Operation::{LogCompareAndSet, LogHead, LogScan, LogTruncate};
    Arc::new(FaultyLog::new(log, delays(args, [LogHead, LogScan, LogCompareAndSet, LogTruncate])))
}

fn delays(args: &Args, operations: impl IntoIterator<Item = Operation>) -> Faults {
    let (faults, delay) = (Faults::scripted(), Fault::Delay(Duration::from_millis(args.latency_ms)));
    operations.into_iter().for_each(|operation| faults.add(Rule::every(operation, delay.clone())));
    faults
}

/// A folder for one shard, gone when dropped.
pub fn folder(args: &Args) -> tempfile::TempDir {
    match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

/// The shard that reads are measured on: all rows, and settled where it is compacted.
pub async fn fill(client: &Client, id: ShardId, columns: &Columns) -> Strings {
    let shard: Strings = client.shard(id);
    fill_with(&shard, |batch| columns.batch(batch)).await;
    shard
}

/// The same of any types: what each batch has.
pub async fn fill_with<K: Data, V: Data>(shard: &Shard<K, V, u64, i64>, rows: impl Fn(u64) -> Vec<((K, V), u64, i64)>) {
    let mut writer = shard.open_writer("bench").await.unwrap();
    for batch in 0..BATCHES {
        let appended = writer.compare_and_append(rows(batch), at(batch), at(batch + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
    writer.expire().await.unwrap();
    // No reader needs the history.
    let mut reader = shard.open_reader("bench").await.unwrap();
    reader.downgrade_since(&at(BATCHES - 1)).await.unwrap();
    reader.expire().await.unwrap();
    shard.settle().await.unwrap();
}
