//! Objects that no state refers to: found when they are old, and never taken from a commit that is still to come.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use timely::progress::Antichain;
use timely_persist::clock::Clock;
use timely_persist::{Appended, Client, Config, ErrorKind, Shard, ShardId};
use timely_persist_io::store::keys;
use timely_persist_types::ids::blob_name;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Debug)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn wall_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

async fn open() -> (Arc<HandClock>, Arc<dyn ObjectStore>, Shard<String, u64, u64, i64>) {
    let clock = Arc::new(HandClock(AtomicU64::new(100 * DAY_MS)));
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut config = Config::default();
    config.upkeep.rollup_interval = 4;
    config.write.inline_part_bytes_max = 0;
    config.upkeep.sweep_step_objects_max = 3;
    let client = Client::builder(Arc::clone(&store)).config(config).clock(clock.clone()).open().await.unwrap();
    (clock, store, client.shard(ShardId::from_u128(1)))
}

#[tokio::test]
async fn the_leak_sweep_deletes_the_old_and_unknown_only() {
    let (clock, store, shard) = open().await;
    let now = clock.wall_ms();
    let [lost, recent] =
        [now - 2 * DAY_MS, now - DAY_MS / 2].map(|ms| keys::blob(shard.id(), &blob_name("part", ms, 7)));
    let foreign = keys::blob(shard.id(), "of-somebody-else");
    for path in [&lost, &recent, &foreign] {
        store.put(path, PutPayload::from_static(b"x")).await.unwrap();
    }
    let mut writer = shard.open_writer("test").await.unwrap();
    for time in 0..8 {
        // The parts of the shard itself grow old, too: they are in use.
        clock.0.fetch_add(DAY_MS / 4, Ordering::SeqCst);
        let rows = vec![(("key".to_owned(), time), time, 1)];
        assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
        shard.settle().await.unwrap();
    }
    assert!(store.head(&lost).await.is_err());
    assert!(store.head(&foreign).await.is_ok());
    let reader = shard.open_reader("test").await.unwrap();
    assert_eq!(reader.snapshot_and_fetch(at(7)).await.unwrap().len(), 8);
}

/// What one crash leaves may be more than one step deletes: the rest must not wait for the next sweep, hours later.
#[tokio::test]
async fn one_leak_sweep_deletes_all_that_is_lost() {
    let (clock, store, shard) = open().await;
    let lost: Vec<_> =
        (0..7).map(|number| keys::blob(shard.id(), &blob_name("part", clock.wall_ms() - 2 * DAY_MS, number))).collect();
    for path in &lost {
        store.put(path, PutPayload::from_static(b"x")).await.unwrap();
    }
    let mut writer = shard.open_writer("test").await.unwrap();
    for time in 0..8 {
        let rows = vec![(("key".to_owned(), time), time, 1)];
        assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
    shard.settle().await.unwrap();
    for path in &lost {
        assert!(store.head(path).await.is_err(), "{path} is left");
    }
    let reader = shard.open_reader("test").await.unwrap();
    assert_eq!(reader.snapshot_and_fetch(at(7)).await.unwrap().len(), 8);
}

/// Hazard 25: an object uploaded long ago is committed after it may have been swept.
#[tokio::test]
async fn a_batch_that_was_staged_too_long_ago_is_refused() {
    let (clock, _store, shard) = open().await;
    let mut writer = shard.open_writer("test").await.unwrap();
    let mut builder = writer.batch_builder(at(0));
    builder.add(&"key".to_owned(), &1, &0, &1).await.unwrap();
    let mut batch = builder.finish(at(1)).await.unwrap();
    clock.0.fetch_add(DAY_MS / 2 + 1, Ordering::SeqCst);
    let error = writer.compare_and_append_batch(&mut [&mut batch], at(0), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(writer.fetch_upper().await.unwrap(), at(0));
}
