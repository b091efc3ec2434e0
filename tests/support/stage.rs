//! Processes on one store in memory, each counted and breakable, on the test's own runtime and clocks.
#![allow(dead_code)] // each test takes what it needs

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use timely::progress::Antichain;
use timely_persist::clock::Clock;
use timely_persist::store::ObjectLog;
use timely_persist::{Appended, Client, Config, Consensus, CriticalReaderId, Recorder, Shard, ShardId, WriteHandle};
use timely_persist_io::store::keys;
use timely_persist_testing::{
    CountingLog, CountingStore, Fault, Faults, FaultyLog, FaultyStore, LogCounts, Operation, OperationCounts, Rule,
};

pub type Row = ((String, u64), u64, i64);
pub type Strings = Shard<String, u64, u64, i64>;
pub type Writer = WriteHandle<String, u64, u64, i64>;

/// Longer than anything takes on a clock that jumps to the next timer.
pub const FOREVER: Duration = Duration::from_secs(24 * 3600);

pub fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

pub fn row(key: &str, value: u64, time: u64, diff: i64) -> Row {
    ((key.to_owned(), value), time, diff)
}

/// Writes a part of so many rows at each of these times. All parts have the same length.
pub async fn fill(shard: &Strings, times: Range<u64>, rows: u64) {
    let mut writer = shard.open_writer("fill").await.unwrap();
    for time in times {
        let part = (0..rows).map(|row| ((format!("{row:08} {}", "x".repeat(100)), time), time, 1));
        assert_eq!(writer.compare_and_append(part, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
}

/// A wall clock that a test sets.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    pub fn set(&self, wall_ms: u64) {
        self.0.store(wall_ms, Ordering::Relaxed);
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One store, and the shard that a test is about.
#[derive(Debug)]
pub struct Stage {
    pub store: Arc<InMemory>,
    pub shard: ShardId,
}

/// A client on it, with what counts and breaks what it asks for. Its log and its objects are counted apart.
#[derive(Debug)]
pub struct Process {
    pub client: Client,
    pub shard: Strings,
    pub log: CountingLog,
    pub objects: CountingStore,
    pub log_faults: Faults,
    pub object_faults: Faults,
    pub clock: Arc<ManualClock>,
}

/// Every part in an object, no upkeep unless a test asks for it.
pub fn quiet() -> Config {
    let mut config = Config::default();
    config.write.inline_part_bytes_max = 0;
    config.upkeep.compact = false;
    config.log.watch_fallback = FOREVER;
    config
}

impl Stage {
    pub fn new() -> Self {
        Self { store: Arc::new(InMemory::new()), shard: ShardId::from_u128(1) }
    }

    pub async fn process(&self, config: Config) -> Process {
        let store: Arc<dyn ObjectStore> = self.store.clone();
        self.process_on(Arc::new(ObjectLog::new(store)), config).await
    }

    /// The same on this log: processes that share one are woken by each other's commits.
    pub async fn process_on(&self, log: Arc<dyn Consensus>, config: Config) -> Process {
        self.open(log, config, None).await
    }

    /// The same, told to this recorder.
    pub async fn recorded(&self, config: Config, recorder: Arc<dyn Recorder>) -> Process {
        let store: Arc<dyn ObjectStore> = self.store.clone();
        self.open(Arc::new(ObjectLog::new(store)), config, Some(recorder)).await
    }

    /// The same with this way to its objects.
    pub async fn process_by(&self, objects: Arc<dyn ObjectStore>, config: Config) -> Process {
        let store: Arc<dyn ObjectStore> = self.store.clone();
        self.open_by(objects, Arc::new(ObjectLog::new(store)), config, None).await
    }

    async fn open(&self, log: Arc<dyn Consensus>, config: Config, recorder: Option<Arc<dyn Recorder>>) -> Process {
        self.open_by(self.store.clone(), log, config, recorder).await
    }

    async fn open_by(
        &self,
        store: Arc<dyn ObjectStore>,
        log: Arc<dyn Consensus>,
        config: Config,
        recorder: Option<Arc<dyn Recorder>>,
    ) -> Process {
        let (log_faults, object_faults) = (Faults::scripted(), Faults::scripted());
        let clock = Arc::new(ManualClock(AtomicU64::new(1_000_000)));
        let log = CountingLog::new(Arc::new(FaultyLog::new(log, log_faults.clone())));
        let objects = CountingStore::new(Arc::new(FaultyStore::new(store, object_faults.clone())));
        let builder = Client::builder(Arc::new(objects.clone())).consensus(Arc::new(log.clone())).config(config);
        let builder = builder.clock(clock.clone()).runtime(tokio::runtime::Handle::current());
        let builder = match recorder {
            Some(recorder) => builder.recorder(recorder),
            None => builder,
        };
        let client = builder.open().await.unwrap();
        let shard = client.shard(self.shard);
        Process { client, shard, log, objects, log_faults, object_faults, clock }
    }

    /// The names of the shard's objects, log apart.
    pub async fn blobs(&self) -> Vec<String> {
        let listed = self.store.list(Some(&keys::blob_folder(self.shard)));
        let named = listed.map_ok(|object| object.location.filename().unwrap().to_owned());
        let mut names: Vec<String> = named.try_collect().await.unwrap();
        names.sort();
        names
    }

    pub async fn parts(&self) -> Vec<String> {
        self.blobs().await.into_iter().filter(|name| name.starts_with("part")).collect()
    }

    pub async fn bytes(&self, name: &str) -> Vec<u8> {
        self.store.get(&keys::blob(self.shard, name)).await.unwrap().bytes().await.unwrap().to_vec()
    }

    pub async fn replace_blob(&self, name: &str, bytes: Option<Vec<u8>>) {
        let path = keys::blob(self.shard, name);
        match bytes {
            Some(bytes) => drop(self.store.put(&path, bytes.into()).await.unwrap()),
            None => self.store.delete(&path).await.unwrap(),
        }
    }
}

impl Process {
    pub fn counts(&self) -> (LogCounts, OperationCounts) {
        (self.log.counts(), self.objects.counts())
    }

    pub async fn writer(&self) -> Writer {
        self.shard.open_writer("test").await.unwrap()
    }

    /// All rows at the newest readable time, from a reader of its own.
    pub async fn contents(&self, as_of: u64) -> Vec<Row> {
        let reader = self.shard.open_reader("contents").await.unwrap();
        let rows = reader.snapshot_and_fetch(at(as_of)).await.unwrap();
        reader.expire().await.unwrap();
        rows
    }

    pub fn cut_off_the_log(&self) {
        use Operation::{LogCompareAndSet, LogHead, LogScan, LogTruncate};
        for operation in [LogCompareAndSet, LogHead, LogScan, LogTruncate] {
            self.log_faults.add(Rule::every(operation, Fault::FailBefore));
        }
    }
}

/// Lets everything that waits for nothing but time happen.
/// Has `there` expire all readers of `here`, which does not hear of it: as if its process had been stopped for a month.
pub async fn lose_leases(here: &Process, there: &Process) {
    here.cut_off_the_log();
    there.clock.advance(LAPSED);
    let id = CriticalReaderId::from_u128(u128::MAX);
    let mark = there.shard.open_critical_since(id, 0).await.unwrap();
    tokio::time::sleep(Config::default().lease.duration / 4).await; // so often a process looks
    mark.expire().await.unwrap();
    assert_eq!(there.shard.inspect().await.unwrap().readers, 0);
    here.log_faults.clear();
}

/// What stands still for so long, by every clock, has lapsed.
pub const LAPSED: Duration = Duration::from_secs(31 * 24 * 60 * 60);

pub async fn quiesce() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub async fn within<R>(future: impl Future<Output = R>) -> R {
    tokio::time::timeout(FOREVER, future).await.expect("it hangs")
}

/// All that a store has.
pub async fn objects(store: &InMemory) -> Vec<(Path, Bytes)> {
    let mut objects = Vec::new();
    for object in store.list(None).try_collect::<Vec<_>>().await.unwrap() {
        let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
        objects.push((object.location, bytes));
    }
    objects
}

/// Leaves the store with these objects alone.
pub async fn put_back(store: &InMemory, older: Vec<(Path, Bytes)>) {
    for (path, _) in objects(store).await {
        store.delete(&path).await.unwrap();
    }
    for (path, bytes) in older {
        store.put(&path, bytes.into()).await.unwrap();
    }
}

/// Readers come and go, until nothing is left of the log as it was where a client keeps three entries of it; nobody writes.
pub async fn go_on(shard: &Strings) {
    for _ in 0..20 {
        shard.open_reader("go on").await.unwrap().expire().await.unwrap();
        shard.settle().await.unwrap();
    }
}
