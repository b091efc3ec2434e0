//! Hydration from a store that takes its time: `cargo bench --bench slow_store -- [--directory] [delay in ms]...`. The
//! store is memory, or a local directory (then with a tenth of the parts: they are synced one by one).
//!
//! A source reads the snapshot of a shard whose every request (objects and log) takes the delay. Printed per size of
//! part and number of workers: the wall time, the requests, and the time that the requests alone would take if each
//! waited for the one before.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods)] // a benchmark reads the clock

use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use timely::progress::Antichain;
use timely_persist::store::Directory;
use timely_persist::{Appended, Client, Config, Shard, ShardId};
use timely_persist_operators::PersistSource;
use timely_persist_testing::CountingStore;

/// The sizes of parts, and how many of each.
const CASES: [(&str, usize, u64); 3] =
    [("10 KiB", 10 << 10, 20_000), ("256 KiB", 256 << 10, 2_000), ("12 MiB", 12 << 20, 48)];

/// The bytes of one row's value.
const VALUE_BYTES: usize = 1 << 10;

fn main() {
    let asked: Vec<u64> = std::env::args().filter_map(|text| text.parse().ok()).collect();
    let delays = if asked.is_empty() { vec![0, 30] } else { asked };
    println!("| part | parts | delay | workers | wall | requests | one by one |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let directory = std::env::args().any(|text| text == "--directory").then(|| tempfile::tempdir().unwrap());
    for (name, bytes, parts) in CASES {
        let parts = if directory.is_some() { parts.div_ceil(10) } else { parts };
        let store: Arc<dyn ObjectStore> = match &directory {
            Some(directory) => Arc::new(Directory::open(directory.path().join(bytes.to_string())).unwrap()),
            None => Arc::new(InMemory::new()),
        };
        let shard = fill(Arc::clone(&store), bytes, parts);
        for (&delay, workers) in delays.iter().flat_map(|delay| [1, 2].map(move |workers| (delay, workers))) {
            let delay = Duration::from_millis(delay);
            let (wall, requests) = hydrate(Arc::clone(&store), shard, parts, workers, delay);
            let alone = delay * u32::try_from(requests).unwrap();
            println!("| {name} | {parts} | {delay:?} | {workers} | {wall:.2?} | {requests} | {alone:.2?} |");
        }
    }
}

fn config() -> Config {
    let mut config = Config::default();
    (config.upkeep.compact, config.write.inline_part_bytes_max) = (false, 0);
    config
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

type Strings = Shard<u64, String, u64, i64>;

fn fill(store: Arc<dyn ObjectStore>, bytes: usize, parts: u64) -> ShardId {
    let id = ShardId::new();
    block_on(async {
        let client = Client::builder(store).config(config()).open().await.unwrap();
        let shard: Strings = client.shard(id);
        let mut writer = shard.open_writer("fill").await.unwrap();
        let rows = (bytes / VALUE_BYTES).saturating_sub(1).max(1) as u64;
        for time in 0..parts {
            let value = "x".repeat(VALUE_BYTES - 32);
            let part = (0..rows).map(|row| ((row, value.clone()), time, 1));
            let appended = writer.compare_and_append(part, at(time), at(time + 1)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
        }
        client.shutdown().await.unwrap();
    });
    id
}

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn hydrate(store: Arc<dyn ObjectStore>, id: ShardId, parts: u64, workers: usize, delay: Duration) -> (Duration, u64) {
    let throttle = ThrottleConfig {
        wait_get_per_call: delay,
        wait_put_per_call: delay,
        wait_list_per_call: delay,
        wait_delete_per_call: delay,
        ..ThrottleConfig::default()
    };
    let slow = CountingStore::new(Arc::new(ThrottledStore::new(store, throttle)));
    let client = block_on(Client::builder(Arc::new(slow.clone())).config(config()).open()).unwrap();
    let shard: Strings = client.shard(id);
    let before = slow.counts();
    let start = Instant::now();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let source = PersistSource::new(&shard).as_of(at(parts - 1)).until(at(parts)).map(|_, _, _, _| None::<()>);
        let _button = worker.dataflow::<u64, _, _>(|scope| source.build(scope).button);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    drop(guards.unwrap());
    (start.elapsed(), (slow.counts() - before).operations())
}
