//! What a limit may be works: rows go in and come out, and upkeep ends.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use timely_persist::{Appended, Client, Config, ErrorKind, ListenEvent, Shard, ShardId};
use timely_persist_testing::{Fault, Faults, FaultyStore, Operation, Rule};
use timely_persist_types::config::PIECES_MAX;

use crate::ranges::{self, Set};
use crate::stage::at;

/// Many times what any of it takes on a busy machine: what takes longer hangs.
const HANGS: Duration = Duration::from_secs(120);

/// Enough that a part, a run, or an upload for each would be seen.
const ROWS: u64 = 1_000;

/// Mixtures that are tried.
const MIXES: usize = 8;

/// Appends a large batch and some small ones, lets upkeep end, and reads all of it in three ways.
async fn works(config: Config, directory: bool) {
    let folder = tempfile::tempdir().unwrap();
    let place = if directory { format!("file://{}", folder.path().display()) } else { "memory:".to_owned() };
    let client = Client::at(place).config(config).open().await.unwrap();
    let shard: Shard<u64, u64, u64, i64> = client.shard(ShardId::from_u128(1));
    let mut writer = shard.open_writer("extremes").await.unwrap();
    let rows = (0..ROWS).map(|row| ((row, row), 0, 1));
    assert_eq!(writer.compare_and_append(rows, at(0), at(1)).await.unwrap(), Appended::Committed);
    for time in 1..20 {
        let few = (0..3).map(|row| ((row, ROWS + time), time, 1));
        assert_eq!(writer.compare_and_append(few, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
    let count = ROWS + 19 * 3;
    shard.settle().await.unwrap();
    let mut reader = shard.open_reader("extremes").await.unwrap();
    assert_eq!(reader.snapshot_and_fetch(at(19)).await.unwrap().len() as u64, count);
    let mut listen = shard.open_reader("extremes").await.unwrap().subscribe(at(0)).await.unwrap();
    let mut heard = 0;
    while listen.frontier() != &at(20) {
        for event in listen.next().await.unwrap() {
            if let ListenEvent::Updates(parts) = event {
                for part in parts {
                    heard += listen.fetcher().fetch(&part).await.unwrap().rows().count() as u64;
                }
            }
        }
    }
    assert_eq!(heard, count);
    drop(listen);
    reader.downgrade_since(&at(19)).await.unwrap();
    let few = [((0, ROWS + 20), 20, 1)];
    assert_eq!(writer.compare_and_append(few, at(20), at(21)).await.unwrap(), Appended::Committed);
    shard.settle().await.unwrap();
    assert_eq!(reader.snapshot_and_fetch(at(20)).await.unwrap().len() as u64, count + 1);
    drop((reader, writer, shard));
    client.shutdown().await.unwrap();
}

fn in_time(what: &str, config: Config, directory: bool) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let done = runtime.block_on(async { tokio::time::timeout(HANGS, works(config, directory)).await });
    assert!(done.is_ok(), "{what}: it hangs");
}

#[test]
fn both_ends_of_every_range_work() {
    for limit in ranges::all() {
        assert!(!limit.allowed.is_empty(), "{}", limit.name);
        for (what, set) in limit.allowed {
            let mut config = Config::default();
            set(&mut config);
            in_time(
                &what,
                config,
                ["config.write.part_bytes_max = 1", "config.write.run_bytes_max = 1"].contains(&what.as_str()),
            );
        }
    }
}

/// A part or a run for each row is a request for each, one after the other on a disk: that was seen as a hang.
#[tokio::test]
async fn tiny_limits_do_not_make_an_object_of_each_row() {
    const MANY: u64 = 20_000;
    let tiny: [Set; 2] =
        [Box::new(|config| config.write.part_bytes_max = 1), Box::new(|config| config.write.run_bytes_max = 1)];
    for set in tiny {
        let mut config = Config::default();
        (config.write.inline_part_bytes_max, config.upkeep.compact) = (0, false);
        set(&mut config);
        let client = Client::at("memory:").config(config).open().await.unwrap();
        let shard: Shard<u64, u64, u64, i64> = client.shard(ShardId::from_u128(1));
        let mut writer = shard.open_writer("tiny").await.unwrap();
        let rows = (0..MANY).map(|row| ((row, row), 0, 1));
        assert_eq!(writer.compare_and_append(rows, at(0), at(1)).await.unwrap(), Appended::Committed);
        let parts = shard.inspect().await.unwrap().parts;
        // A thousand, or a thousand for each doubling of what was written before.
        assert!(parts <= 5 * PIECES_MAX as u64, "{parts} parts of {MANY} rows");
    }
}

/// Leases that are renewed faster than a rollup is written make the next one due before it is: whoever waits for upkeep to
/// end must not wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn upkeep_ends_although_commits_come_faster() {
    let faults = Faults::scripted();
    faults.add(Rule::every(Operation::Put, Fault::Delay(Duration::from_millis(20)))); // rollups, of what it puts here
    let store: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(Arc::new(InMemory::new()), faults));
    let mut config = Config::default();
    config.lease.heartbeat_interval = Duration::from_micros(100);
    (config.upkeep.rollup_interval, config.upkeep.sweep_interval) = (1, Duration::ZERO);
    let client = Client::builder(store).config(config).open().await.unwrap();
    let shard: Shard<u64, u64, u64, i64> = client.shard(ShardId::from_u128(1));
    let mut writer = shard.open_writer("extremes").await.unwrap();
    for time in 0..20 {
        let row = [((time, time), time, 1)];
        assert_eq!(writer.compare_and_append(row, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
    let _reader = shard.open_reader("renews").await.unwrap();
    tokio::time::timeout(HANGS, shard.settle()).await.expect("it hangs").unwrap();
    client.shutdown().await.unwrap();
}

/// Some of the ends at once. What does not go together is refused, and drawn again.
#[test]
fn any_mix_of_the_ends_works() {
    let limits = ranges::all();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut mixes = 0;
    while mixes < MIXES {
        let (mut config, mut mix) = (Config::default(), Vec::new());
        for limit in &limits {
            if draw(2) == 0 {
                let (what, set) = &limit.allowed[draw(limit.allowed.len())];
                set(&mut config);
                mix.push(what.as_str());
            }
        }
        let opened = futures::executor::block_on(Client::at("memory:").config(config.clone()).open());
        match opened {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{mix:?}: {error}"),
            Ok(_) => {
                in_time(&mix.join(", "), config, false);
                mixes += 1;
            }
        }
    }
}
