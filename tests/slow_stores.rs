//! A store that takes its time: how many round trips things take, one after the other, and what is in flight meanwhile.
//!
//! No clock is measured. Either a gate counts who has come before it lets all of them go, or the time is tokio's paused
//! one, which passes only while everybody waits.
#![allow(clippy::unwrap_used)]

#[path = "slow_stores/hedging.rs"]
mod hedging;
#[path = "slow_stores/sources.rs"]
mod sources;
#[path = "support/stage.rs"]
mod stage;

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use stage::{Strings, at, quiet};
use timely_persist::store::ObjectLog;
use timely_persist::{Client, Config, ListenEvent, ShardId};
use timely_persist_testing::CountingStore;
use timely_persist_types::config::BYTES_MAX;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// What each request takes.
const DELAY: Duration = Duration::from_millis(30);

async fn client(store: Arc<dyn ObjectStore>, config: Config) -> Client {
    Client::builder(store).config(config).runtime(Handle::current()).open().await.unwrap()
}

/// A shard of `parts` parts of `rows` rows each, at times 0, 1, …
async fn fill(store: Arc<dyn ObjectStore>, config: Config, parts: u64, rows: u64) -> ShardId {
    let id = ShardId::new();
    let client = client(store, config).await;
    let shard: Strings = client.shard(id);
    stage::fill(&shard, 0..parts, rows).await;
    if client.config().upkeep.maintain {
        shard.settle().await.unwrap();
    }
    client.shutdown().await.unwrap();
    id
}

/// The store as one that takes its time, counted.
fn slow(store: Arc<InMemory>) -> CountingStore {
    let throttle = ThrottleConfig {
        wait_get_per_call: DELAY,
        wait_put_per_call: DELAY,
        wait_list_per_call: DELAY,
        wait_delete_per_call: DELAY,
        ..ThrottleConfig::default()
    };
    CountingStore::new(Arc::new(ThrottledStore::new(store, throttle)))
}

/// What the work gives, and how many round trips it takes, one after the other.
async fn rounds<R>(work: impl Future<Output = R>) -> (R, u32) {
    let start = Instant::now();
    let done = work.await;
    let rounds = start.elapsed().as_secs_f64() / DELAY.as_secs_f64();
    assert!((rounds - rounds.round()).abs() < 0.2, "something else took time: {rounds} rounds");
    (done, rounds.round() as u32)
}

/// The memory that the parts of this shard take, each the same.
async fn part_bytes(shard: &Strings, as_of: u64) -> usize {
    let parts = shard.open_reader("measure").await.unwrap().snapshot(at(as_of)).await.unwrap();
    assert!(parts.iter().all(|part| part.bytes() == parts[0].bytes()));
    parts[0].bytes() as usize
}

#[tokio::test(start_paused = true)]
async fn streams_and_listeners_fetch_as_many_parts_at_once_as_memory_allows() {
    const PARTS: u64 = 20;
    let store = Arc::new(InMemory::new());
    let id = fill(store.clone(), quiet(), PARTS, 50).await;
    let bytes = part_bytes(&client(store.clone(), quiet()).await.shard(id), PARTS - 1).await;
    // A window in bytes, a window in bytes with a remainder, one part always, a number of fetches.
    for (inflight_bytes_max, fetches_max, expected) in
        [(5 * bytes, 256, 4), (6 * bytes + bytes / 2, 256, 4), (1, 256, 20), (BYTES_MAX, 256, 1), (BYTES_MAX, 7, 3)]
    {
        let mut limits = quiet();
        (limits.read.inflight_bytes_max, limits.read.fetches_max) = (inflight_bytes_max, fetches_max);
        let slow = slow(store.clone());
        let shard: Strings = client(Arc::new(slow.clone()), limits).await.shard(id);
        let reader = shard.open_reader("test").await.unwrap();
        let before = slow.counts();
        let (rows, taken) = rounds(async {
            let rows = reader.snapshot_and_stream(at(PARTS - 1)).await.unwrap();
            rows.try_collect::<Vec<_>>().await.unwrap()
        })
        .await;
        assert_eq!(
            (rows.len() as u64, taken),
            (PARTS * 50, expected),
            "streamed in {inflight_bytes_max}, {fetches_max}"
        );
        assert_eq!((slow.counts() - before).gets, PARTS);
        let mut listen = reader.subscribe(at(PARTS - 1)).await.unwrap();
        let (events, taken) = rounds(listen.fetch_next()).await;
        let rows = events.unwrap().into_iter().find_map(|event| match event {
            ListenEvent::Updates(rows) => Some(rows.len() as u64),
            ListenEvent::Progress(_) => None,
        });
        assert_eq!((rows, taken), (Some(PARTS * 50), expected), "heard in {inflight_bytes_max}, {fetches_max}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_half_way_gives_its_leases_back() {
    let store = Arc::new(InMemory::new());
    let id = fill(store.clone(), quiet(), 8, 50).await;
    let shard: Strings = client(Arc::new(slow(store)), quiet()).await.shard(id);
    let reader = shard.open_reader("test").await.unwrap();
    let mut rows = Box::pin(reader.snapshot_and_stream(at(7)).await.unwrap());
    assert!(rows.try_next().await.unwrap().is_some());
    assert!(reader.outstanding_leases() <= 8);
    drop(rows);
    tokio::task::yield_now().await; // tasks that end do so on the runtime
    assert_eq!(reader.outstanding_leases(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_reads_the_beginnings_of_all_runs_at_once() {
    // Few enough to read ahead, and more than that: what fits is asked for at once.
    for runs in [8, 60] {
        let store = Arc::new(InMemory::new());
        let id = fill(store.clone(), quiet(), runs, 50).await;
        let slow = slow(store);
        let shard: Strings = client(Arc::new(slow.clone()), quiet()).await.shard(id);
        let reader = shard.open_reader("test").await.unwrap();
        let before = slow.counts();
        let (rows, taken) = rounds(reader.snapshot_and_fetch(at(runs - 1))).await;
        assert_eq!((rows.unwrap().len() as u64, taken), (runs * 50, 1), "{runs} runs");
        assert_eq!((slow.counts() - before).gets, runs);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_reads_a_run_in_spans_and_ahead() {
    // One run of parts of about 300 KiB; a cursor of one run may keep a 28th of its memory in each span.
    let mut limits = quiet();
    limits.write.part_bytes_max = 300 << 10;
    let store = Arc::new(InMemory::new());
    let id = fill(store.clone(), limits, 1, 40_000).await;
    let plain: Strings = client(store.clone(), quiet()).await.shard(id);
    let parts = plain.open_reader("measure").await.unwrap().snapshot(at(0)).await.unwrap();
    let (count, bytes) = (parts.len(), parts[0].bytes() as usize);
    assert!(count > 12 && bytes > 256 << 10, "{count} parts of {bytes} bytes");
    drop(parts);
    for (window, requests_per_part) in [(4, 1), (12, 1)] {
        let mut limits = quiet();
        limits.read.cursor_bytes_max = 28 * (window * bytes + bytes / 2);
        let slow = slow(store.clone());
        let shard: Strings = client(Arc::new(slow.clone()), limits).await.shard(id);
        let reader = shard.open_reader("test").await.unwrap();
        let before = slow.counts();
        let (rows, taken) = rounds(reader.snapshot_and_fetch(at(0))).await;
        assert_eq!(rows.unwrap().len(), 40_000);
        assert_eq!((slow.counts() - before).gets as usize, count * requests_per_part);
        // The part being merged is not of the window, so each round brings a window.
        assert_eq!(taken as usize, count.div_ceil(window), "{count} parts, {window} at once");
    }
    // No room for a part: its blocks one by one, each read before it is wanted.
    let mut limits = quiet();
    limits.read.cursor_bytes_max = 4 << 20;
    let slow = slow(store);
    let shard: Strings = client(Arc::new(slow.clone()), limits).await.shard(id);
    let reader = shard.open_reader("test").await.unwrap();
    assert_eq!(reader.snapshot_and_fetch(at(0)).await.unwrap().len(), 40_000);
}

/// Compaction asks for the beginnings of all its inputs at once, and stores a part while it merges the next.
#[tokio::test(start_paused = true)]
async fn a_compaction_takes_a_round_trip_to_read_one_to_store_and_one_to_delete() {
    const BATCHES: u64 = 8;
    let (store, log) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    let open = async |store: Arc<dyn ObjectStore>, config: Config| {
        let log = Arc::new(ObjectLog::new(log.clone()));
        let client = Client::builder(store).consensus(log).config(config).runtime(Handle::current());
        client.open().await.unwrap()
    };
    let id = ShardId::new();
    let shard: Strings = open(store.clone(), quiet()).await.shard(id);
    stage::fill(&shard, 0..BATCHES, 50).await;
    let mut merging = quiet();
    (merging.upkeep.compact, merging.upkeep.compaction_fan_in) = (true, BATCHES as usize);
    let slow = slow(store);
    let shard: Strings = open(Arc::new(slow.clone()), merging).await.shard(id);
    shard.open_writer("know it").await.unwrap();
    let opened = slow.counts(); // which asks for the store's limits
    let (settled, taken) = rounds(shard.settle()).await;
    settled.unwrap();
    assert_eq!(taken, 3);
    let counts = slow.counts() - opened;
    assert_eq!((counts.gets, counts.puts, counts.deletes), (BATCHES, 1, BATCHES), "{counts:?}");
    assert_eq!(shard.inspect().await.unwrap().parts, 1);
}

/// A client asks for the store's limits: what stands there and whether it is the newest, at once. The first writes them.
#[tokio::test(start_paused = true)]
async fn opening_a_client_takes_one_round_trip_and_the_first_two() {
    let slow: Arc<dyn ObjectStore> = Arc::new(slow(Arc::new(InMemory::new())));
    for expected in [2, 1, 1] {
        let (_client, taken) = rounds(client(Arc::clone(&slow), quiet())).await;
        assert_eq!(taken, expected);
    }
}

/// Opening a shard that others wrote, in a process that knows nothing of it, and reading all of it.
#[tokio::test(start_paused = true)]
async fn opening_a_shard_takes_as_few_round_trips_as_there_are_questions() {
    // Before the first rollup; with a rollup and few entries; with a rollup and as many entries as there may be.
    for (parts, expected) in [(1, 7), (60, 7), (126, 8), (150, 7), (250, 8)] {
        let store = Arc::new(InMemory::new());
        let id = fill(store.clone(), quiet(), parts, 1).await;
        let shard: Strings = client(Arc::new(slow(store)), quiet()).await.shard(id);
        // The log's folder listed, its newest entry, the boundary: that is the head. Then the rollup that it names beside
        // the entries behind that rollup, and the boundary again. Then the reader's own entry, and the boundary.
        let (reader, taken) = rounds(shard.open_reader("test")).await;
        assert_eq!(taken, expected, "{parts} parts: to open");
        let (rows, taken) = rounds(reader.unwrap().snapshot_and_fetch(at(parts - 1))).await;
        assert_eq!((rows.unwrap().len() as u64, taken), (parts, 1), "{parts} parts: to read");
    }
}
