//! The whole library against a model that is a list of updates: random interleavings of everything that writers, readers
//! and maintenance do, one step after the other, by two processes on one store.
//!
//! `MODEL_SEEDS=1000 cargo test --release --test model` runs more; a failure prints its seed.
#![allow(clippy::unwrap_used)]

#[path = "support/random.rs"]
mod random;
#[path = "model/reading.rs"]
mod reading;
#[path = "support/times.rs"]
mod times;
#[path = "model/writing.rs"]
mod writing;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{
    Batch, Client, Config, ExchangeablePart, LeasedPart, Listen, ReadHandle, Shard, ShardId, SinceHandle, WriteHandle,
};
use timely_persist_io::store::keys;

use random::{Random, Story, seeds};
use times::{ModelTime, Row, is_complete};

type Frontier<T> = Antichain<T>;

/// Steps of a run.
const STEPS: usize = 120;

/// Longer than anything takes on a clock that jumps to the next timer.
const FOREVER: Duration = Duration::from_secs(3600);

struct Process<T: ModelTime> {
    shard: Shard<String, u64, T, i64>,
    writers: Vec<WriteHandle<String, u64, T, i64>>,
}

/// A listener, and what it has shown.
struct Follower<T: ModelTime> {
    listen: Listen<String, u64, T, i64>,
    as_of: Frontier<T>,
    snapshot: bool,
    shown: Vec<Row<T>>,
    frontier: Frontier<T>,
}

/// Parts of a snapshot that were taken and not fetched yet.
struct Kept<T: ModelTime> {
    parts: Vec<LeasedPart<T>>,
    exchanged: Vec<ExchangeablePart<T>>,
    reader: usize,
    expected: Vec<Row<T>>,
}

struct World<T: ModelTime> {
    random: Random,
    story: Story,
    store: Arc<dyn ObjectStore>,
    id: ShardId,
    config: Config,
    processes: Vec<Process<T>>,
    readers: Vec<Option<ReadHandle<String, u64, T, i64>>>,
    critical: Vec<(SinceHandle<T>, u64)>,
    followers: Vec<Follower<T>>,
    kept: Vec<Kept<T>>,
    staged: Vec<(Batch<T>, Vec<Row<T>>)>,
    /// The model: what was appended, at which intervals; the newest upper last.
    updates: Vec<Row<T>>,
    uppers: Vec<Frontier<T>>,
    since: Frontier<T>,
    /// Of the writers that may write.
    generation: u64,
    /// Whether a client ended in the middle of something: then objects may be left to the leak sweep.
    interrupted: bool,
}

fn config(random: &mut Random) -> Config {
    let mut config = Config::default();
    config.write.inline_part_bytes_max = *random.pick(&[0, 0, 1_500, 8_192]);
    config.upkeep.inline_total_bytes_max = *random.pick(&[0, 3_000, 1 << 20]);
    config.write.part_bytes_max = *random.pick(&[100, 400, 1 << 20]);
    config.upkeep.rollup_interval = 3 + random.below(3) as u64;
    config.upkeep.compaction_fan_in = 2 + random.below(2);
    config.upkeep.collapse_bytes_min = 1;
    config.upkeep.sweep_step_objects_max = 1 + random.below(5);
    config.log.scan_entries_max = 1 + random.below(6);
    config.read.listen_parts_max = 1 + random.below(4);
    config.write.uploads_max = 1 + random.below(3);
    config.upkeep.compact = random.percent(85);
    config
}

impl<T: ModelTime> World<T> {
    async fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let command = format!("MODEL_SEED={seed} cargo test --test model {}", T::TEST);
        let config = config(&mut random);
        let mut world = Self {
            story: Story::new(command),
            store: Arc::new(InMemory::new()),
            id: ShardId::from_u128(u128::from(seed)),
            config,
            processes: Vec::new(),
            readers: Vec::new(),
            critical: Vec::new(),
            followers: Vec::new(),
            kept: Vec::new(),
            staged: Vec::new(),
            updates: Vec::new(),
            uppers: vec![Antichain::from_elem(T::minimum())],
            since: Antichain::from_elem(T::minimum()),
            generation: 0,
            interrupted: false,
            random,
        };
        for _ in 0..2 {
            let process = world.open().await;
            world.processes.push(process);
        }
        world
    }

    async fn open(&self) -> Process<T> {
        let builder = Client::builder(Arc::clone(&self.store)).config(self.config.clone());
        let client = builder.runtime(tokio::runtime::Handle::current()).open().await.unwrap();
        Process { shard: client.shard(self.id), writers: Vec::new() }
    }

    fn upper(&self) -> &Frontier<T> {
        self.uppers.last().unwrap()
    }

    fn process(&mut self) -> usize {
        self.random.below(self.processes.len())
    }

    pub async fn settle(&mut self) {
        let process = self.process();
        self.story.tell(format_args!("settle process {process}"));
        self.processes[process].shard.inspect().await.unwrap();
        within(self.processes[process].shard.settle()).await.unwrap();
    }

    async fn reopen(&mut self) {
        let process = self.process();
        self.story.tell(format_args!("reopen process {process}"));
        self.processes[process] = self.open().await;
        self.interrupted = true;
    }

    async fn step(&mut self) {
        match self.random.below(100) {
            0..20 => self.append().await,
            20..24 => self.append_stale().await,
            24..27 => self.append_overlapping().await,
            27..32 => self.append_alike().await,
            32..38 => self.append_staged().await,
            38..42 => self.advance().await,
            42..48 => self.open_reader().await,
            48..60 => self.snapshot().await,
            60..64 => self.fetch_kept().await,
            64..70 => self.downgrade().await,
            70..72 => self.close_reader().await,
            72..76 => self.follow().await,
            76..88 if !self.followers.is_empty() => {
                let index = self.random.below(self.followers.len());
                self.step_follower(index).await;
            }
            88..90 if !self.followers.is_empty() => {
                let index = self.random.below(self.followers.len());
                self.story.tell(format_args!("drop follower {index}"));
                drop(self.followers.swap_remove(index));
            }
            90..93 => self.critical().await,
            93..96 => self.settle().await,
            96..97 => self.promote().await,
            97..99 => self.reopen().await,
            _ => self.staged.clear(),
        }
        self.check().await;
    }

    /// The frontiers are where the model says, and the since is not beyond anybody's.
    async fn check(&mut self) {
        let process = self.process();
        let info = self.processes[process].shard.inspect().await.unwrap();
        assert_eq!((&info.upper, info.generation), (self.upper(), self.generation));
        assert!(PartialOrder::less_equal(&self.since, &info.since), "the since goes backwards");
        let leased = self.readers.iter().flatten().map(|reader| reader.since());
        let followers = self.followers.iter().map(|follower| follower.listen.since());
        for since in leased.chain(followers).chain(self.critical.iter().map(|(handle, _)| handle.since())) {
            assert!(PartialOrder::less_equal(&info.since, since), "the since passes a reader's");
        }
        self.since = info.since;
    }

    async fn end(mut self) {
        for index in 0..self.followers.len() {
            while self.step_follower(index).await {}
        }
        self.story.tell("the end");
        while !self.kept.is_empty() {
            self.fetch_kept().await;
        }
        self.staged.clear();
        self.followers.clear();
        self.readers.clear();
        for (handle, _) in self.critical.drain(..) {
            handle.expire().await.unwrap();
        }
        let process = self.process();
        // Notes of what was dropped are carried out.
        tokio::time::sleep(FOREVER).await;
        let shard = self.processes[process].shard.clone();
        shard.inspect().await.unwrap();
        within(shard.settle()).await.unwrap();
        // The other process's upkeep too, with its own view.
        tokio::time::sleep(FOREVER).await;
        let reader = shard.open_reader("end").await.unwrap();
        let as_of = reader.since().clone();
        if is_complete(self.upper(), &as_of) {
            let rows = reader.snapshot_and_fetch(as_of.clone()).await.unwrap();
            assert_eq!(rows, self.seen(&as_of, true, false));
        }
        reader.expire().await.unwrap();
        within(shard.settle()).await.unwrap();
        let info = shard.inspect().await.unwrap();
        assert_eq!((info.readers, info.critical_readers, info.garbage), (0, 0, 0), "{info:?}");
        if self.config.write.inline_part_bytes_max == 0 {
            let rollups = u64::from(info.rollup.0 > 0);
            let objects = objects(&*self.store, self.id).await;
            let left = objects.len() as u64 - (info.parts + rollups);
            assert!(left == 0 || self.interrupted, "{left} objects are left behind: {objects:?}");
        }
    }
}

async fn objects(store: &dyn ObjectStore, shard: ShardId) -> BTreeSet<String> {
    let listed = store.list(Some(&keys::blob_folder(shard)));
    listed.map_ok(|object| object.location.filename().unwrap().to_owned()).try_collect().await.unwrap()
}

async fn within<R>(future: impl Future<Output = R>) -> R {
    tokio::time::timeout(FOREVER, future).await.expect("it hangs")
}

fn run<T: ModelTime + Debug>(count: u64) {
    for seed in seeds("MODEL", count) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::<T>::new(seed).await;
            for _ in 0..STEPS {
                world.step().await;
            }
            world.end().await;
        });
    }
}

#[test]
fn u64() {
    run::<u64>(20);
}

#[test]
fn i64() {
    run::<i64>(20);
}

#[test]
fn product() {
    run::<timely::order::Product<u32, u32>>(20);
}
