//! What all processes on a store must have alike: kept by the first, compared by all others.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use timely_persist::store::Directory;
use timely_persist::{Client, ClientBuilder, Config, Error, ErrorKind};
use timely_persist_io::store::{KeptLimits, keys};
use timely_persist_testing::{Fault, Faults, FaultyStore, Operation, Rule};
use tokio::runtime::Handle;

use crate::stage::{Stage, at, quiet, row, within};

pub fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

pub fn orphan_age(hours_: u64) -> Config {
    let mut config = quiet();
    config.limits.orphan_age_min = hours(hours_);
    config
}

pub fn retention(hours_: u64) -> Config {
    let mut config = quiet();
    config.limits.writer_retention = hours(hours_);
    config
}

pub fn on(store: &Arc<dyn ObjectStore>, config: Config) -> ClientBuilder {
    Client::builder(Arc::clone(store)).config(config).runtime(Handle::current())
}

async fn names(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    let listed = store.list(None).map_ok(|object| object.location.to_string());
    let mut names: Vec<_> = listed.try_collect().await.unwrap();
    names.sort();
    names
}

/// What a store keeps, read from its bytes.
pub async fn kept(store: &Arc<dyn ObjectStore>, version: u64) -> KeptLimits {
    let bytes = store.get(&keys::limits(version)).await.unwrap().bytes().await.unwrap();
    KeptLimits::decode(version, &bytes).unwrap()
}

#[track_caller]
fn refused(opened: Result<Client, Error>, words: &[&str]) {
    let error = opened.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

#[tokio::test]
async fn a_process_with_another_limit_of_the_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn ObjectStore>; 2] =
        [Arc::new(InMemory::new()), Arc::new(Directory::open(folder.path()).unwrap())];
    for store in stores {
        let first = on(&store, orphan_age(48)).open().await.unwrap();
        assert_eq!(kept(&store, 1).await, KeptLimits::first(first.config().limits));
        let before = names(&store).await;
        let help = "ClientBuilder::adopt_limits";
        for other in [1, 47, 49] {
            let client = format!("{:?}", hours(other));
            refused(on(&store, orphan_age(other)).open().await, &["orphan_age_min", "172800s", &client, help]);
        }
        let mut both = orphan_age(24);
        both.limits.writer_retention = hours(2);
        let words = ["orphan_age_min", "172800s", "86400s", "writer_retention", "7200s", help, "change_limits"];
        refused(on(&store, both.clone()).open().await, &words);
        assert_eq!(names(&store).await, before, "a client that was refused wrote something");

        let adopted = on(&store, both).adopt_limits().open().await.unwrap();
        assert_eq!(adopted.config().limits, first.config().limits);
        assert_eq!(adopted.config().limits.orphan_age_min, hours(48));
        on(&store, orphan_age(48)).open().await.unwrap();
        assert_eq!(names(&store).await, before);
    }
}

#[tokio::test]
async fn a_store_of_before_takes_the_limits_of_who_opens_it_first() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let client = on(&store, quiet()).open().await.unwrap();
    let shard = client.shard::<String, u64, u64, i64>(timely_persist::ShardId::from_u128(1));
    let mut writer = shard.open_writer("before").await.unwrap();
    let _ = writer.compare_and_append([row("a", 0, 0, 1)], at(0), at(1)).await.unwrap();
    store.delete(&keys::limits(1)).await.unwrap(); // as a version of before would have left it
    let client = on(&store, orphan_age(7)).adopt_limits().open().await.unwrap();
    assert_eq!(client.config().limits.orphan_age_min, hours(7));
    assert_eq!(kept(&store, 1).await.current.orphan_age_min, hours(7));
    let shard = client.shard::<String, u64, u64, i64>(shard.id());
    let reader = shard.open_reader("after").await.unwrap();
    assert_eq!(reader.snapshot_and_fetch(at(0)).await.unwrap(), [row("a", 0, 0, 1)]);
}

/// Of many that open an empty store at once, with two kinds of limits, one kind gets in.
#[tokio::test(start_paused = true)]
async fn the_first_of_many_at_once_decides() {
    for round in 0..20 {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let faults = Faults::scripted();
        let slow: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(Arc::clone(&store), faults.clone()));
        // All have looked before the first writes, and they write in another order each time.
        faults.add(Rule::every(Operation::Create, Fault::Delay(Duration::from_millis(1))).after(round % 8));
        let opening = (0..8).map(|index| on(&slow, orphan_age(24 + index % 2)).open());
        let opened = within(futures::future::join_all(opening)).await;
        let won = kept(&store, 1).await.current.orphan_age_min;
        for (index, opened) in opened.into_iter().enumerate() {
            match opened {
                Ok(client) => assert_eq!(client.config().limits.orphan_age_min, won),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                    assert_ne!(hours(24 + index as u64 % 2), won, "{error}");
                }
            }
        }
        assert_eq!(store.list(Some(&keys::limits_folder())).count().await, 1);
    }
}

/// A create whose answer is lost, that says it conflicts, or that lands after its caller gave up.
#[tokio::test(start_paused = true)]
async fn whatever_a_create_answers_the_limits_are_what_stands_there() {
    let gate = timely_persist_testing::Gate::closed();
    for fault in [Fault::FailBefore, Fault::FailAfter, Fault::ClaimExists, Fault::HoldBefore(gate.clone())] {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let faults = Faults::scripted();
        let faulty: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(Arc::clone(&store), faults.clone()));
        faults.add(Rule::next(Operation::Create, fault.clone()).named("limits"));
        let mut config = orphan_age(5);
        config.store.deadline = Duration::from_secs(30);
        let opened = within(on(&faulty, config.clone()).open()).await;
        if let Fault::HoldBefore(gate) = &fault {
            let error = opened.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            gate.open();
            crate::stage::quiesce().await;
            config.limits.orphan_age_min = hours(6);
            refused(on(&faulty, config).open().await, &["orphan_age_min"]);
        } else {
            opened.unwrap();
        }
        assert_eq!(kept(&store, 1).await.current.orphan_age_min, hours(5), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_unavailable_by_the_deadline() {
    let gate = timely_persist_testing::Gate::closed();
    for operation in [Operation::List, Operation::Get, Operation::Create] {
        for fault in [Fault::FailBefore, Fault::HoldBefore(gate.clone())] {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let faults = Faults::scripted();
            let faulty: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(Arc::clone(&store), faults.clone()));
            faults.add(Rule::every(operation, fault));
            let start = tokio::time::Instant::now();
            let error = within(on(&faulty, quiet()).open()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.object().is_some_and(|object| object.starts_with("limits")), "{error}");
            assert!(start.elapsed() <= quiet().store.deadline, "{operation:?}: {:?}", start.elapsed());
        }
    }
}

/// Limits that are the client's own: whoever has smaller ones reads what others wrote by larger ones, and goes on.
#[tokio::test(start_paused = true)]
async fn a_client_of_small_limits_reads_what_one_of_large_limits_wrote() {
    let stage = Stage::new();
    let (mut large, mut small) = (quiet(), quiet());
    (large.write.inline_part_bytes_max, large.upkeep.inline_total_bytes_max, large.upkeep.inline_parts_max) =
        (1 << 20, 1 << 30, 1 << 20);
    (large.write.part_bytes_max, large.upkeep.rollup_interval, large.log.group_commits_max) = (64 << 20, u64::MAX, 256);
    (small.write.inline_part_bytes_max, small.upkeep.inline_total_bytes_max, small.upkeep.inline_parts_max) = (0, 0, 1);
    (small.write.part_bytes_max, small.write.part_bytes_min, small.write.row_bytes_max, small.write.run_bytes_max) =
        (100, 1, 100, 100);
    (small.log.scan_entries_max, small.read.listen_parts_max, small.log.group_commits_max) = (1, 1, 1);
    (
        small.read.cursor_bytes_max,
        small.read.inflight_bytes_max,
        small.read.fetches_max,
        small.upkeep.compaction_bytes_max,
    ) = (1, 1, 1, 1);
    (small.upkeep.compact, small.upkeep.compaction_fan_in, small.upkeep.rollup_interval) = (true, 2, 3);
    (small.lease.duration, small.lease.heartbeat_interval) = (Duration::from_secs(40), Duration::from_secs(1));
    let (large, small) = (stage.process(large).await, stage.process(small).await);
    let mut writer = large.writer().await;
    let mut expected = Vec::new();
    let wide = "x".repeat(5_000);
    for time in 0..10 {
        let rows: Vec<_> = (0..50).map(|i| row(&format!("{wide} {i:03}"), time, time, 1)).collect();
        let _ = writer.compare_and_append(rows.clone(), at(time), at(time + 1)).await.unwrap();
        expected.extend(rows);
    }
    assert!(stage.parts().await.is_empty(), "all of it is inline");
    let read = async |process: &crate::stage::Process| {
        let reader = process.shard.open_reader("test").await.unwrap();
        reader.snapshot_and_fetch(at(9)).await.unwrap().len()
    };
    assert_eq!(read(&small).await, expected.len());
    let mut other = small.writer().await;
    let _ = other.compare_and_append([row("a", 0, 10, 1)], at(10), at(11)).await.unwrap();
    small.shard.settle().await.unwrap();
    assert!(!stage.parts().await.is_empty(), "it moved what was inline to objects");
    for process in [&small, &large] {
        assert_eq!(read(process).await, expected.len());
    }
}
