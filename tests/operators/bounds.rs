//! Bytes in flight, leases that come home, placement, the filter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use differential_dataflow::AsCollection;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use timely::dataflow::operators::{Inspect, Probe};
use timely_persist::{Client, PartStats, Shard, ShardId};
use timely_persist_operators::{PersistSource, SourceError};
use timely_persist_testing::{CountingStore, Fault, Faults, FaultyStore, Gate, Operation, Rule};

use crate::support::*;

/// Rows of each part of these tests.
const ROWS: u64 = 10;

/// A shard whose objects are counted, the counts, and the memory that one of its parts takes.
fn counted(parts: u64, config: timely_persist::Config) -> (Numbers, CountingStore, u64) {
    let store = CountingStore::new(Arc::new(InMemory::new()));
    let client = wait(Client::builder(Arc::new(store.clone())).config(config).open()).unwrap();
    let shard = filled(&client, parts, ROWS);
    let bytes = wait(async {
        let reader = shard.open_reader("measure").await.unwrap();
        let parts = reader.snapshot(at(parts - 1)).await.unwrap();
        parts.iter().map(|part| part.bytes()).max().unwrap()
    });
    (shard, store, bytes)
}

/// Runs a source and gives the most parts that were between asked of the store and emitted.
fn most_in_flight(workers: usize, shard: &Numbers, store: &CountingStore, bytes_max: u64, fetches: usize) -> u64 {
    let emitted = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let (reading, store, rows, peak) = (shard.clone(), store.clone(), Arc::clone(&emitted), Arc::clone(&most));
    let before = store.counts();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (store, rows, peak) = (store.clone(), Arc::clone(&rows), Arc::clone(&peak));
        let source = PersistSource::new(&reading).as_of(at(99)).until(at(100)).fetch_concurrency(fetches);
        let mapped = source.max_inflight_bytes(bytes_max as usize).map(move |_, _, _, _| {
            // Each part is one request for a range; it is done when its last row is looked at.
            let done = rows.fetch_add(1, Ordering::SeqCst) / ROWS;
            let asked = (store.counts() - before).gets;
            peak.fetch_max(asked.saturating_sub(done), Ordering::SeqCst);
            None::<()>
        });
        let _button = worker.dataflow::<u64, _, _>(|scope| mapped.build(scope).button);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    drop(guards.unwrap());
    assert_eq!(emitted.load(Ordering::SeqCst), 100 * ROWS);
    most.load(Ordering::SeqCst)
}

/// Hazard 35: within one timestamp, as all of a snapshot is.
#[test]
fn bytes_in_flight_are_bounded_within_one_timestamp() {
    let (shard, store, part_bytes) = counted(100, config());
    advance(&shard, at(100));
    // On one worker the count is exact; several see each other's counts between two of their own steps.
    let most = most_in_flight(1, &shard, &store, 3 * part_bytes, 8);
    assert!((1..=3).contains(&most), "{most} parts");
    let most = most_in_flight(1, &shard, &store, 100 * part_bytes, 2);
    assert!(most >= 2, "only {most} parts");
    for workers in [2, 4] {
        let most = most_in_flight(workers, &shard, &store, 3 * part_bytes, 8);
        assert!(most <= 3 + workers as u64, "{most} parts on {workers} workers");
    }
    without_readers(&shard);
}

/// Hazard 35: one part larger than the limit, and larger than the client's pool.
#[test]
fn a_part_larger_than_every_limit_goes_alone() {
    let mut tiny = config();
    tiny.read.inflight_bytes_max = 1;
    let (shard, store, _) = counted(100, tiny);
    advance(&shard, at(100));
    assert_eq!(most_in_flight(1, &shard, &store, 1, 8), 1);
    for workers in [2, 8] {
        let most = most_in_flight(workers, &shard, &store, 1, 8);
        assert!(most <= 1 + workers as u64, "{most} parts on {workers} workers");
    }
    for (workers, kind) in [(1, Kind::ByKey), (3, Kind::Flat)] {
        let source = |source: Numbered| source.as_of(at(99)).until(at(100)).max_inflight_bytes(1);
        assert_eq!(run_as(kind, workers, &shard, source, none()).rows(), expected(0..100, ROWS, 99));
    }
}

/// Hazard 35: two sources of a join, one pool that is too small for either.
#[test]
fn two_sources_joined_under_one_small_pool_do_not_wait_for_each_other() {
    let mut tiny = config();
    tiny.read.inflight_bytes_max = 1;
    let client = memory(tiny);
    let (left, right) = (filled(&client, 30, 4), filled(&client, 30, 4));
    for (workers, arranged) in [(1, false), (4, false), (1, true), (2, true)] {
        let (a, b) = (left.clone(), right.clone());
        let joined: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
        let shared = Arc::clone(&joined);
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let shared = Arc::clone(&shared);
            let _buttons = worker.dataflow::<u64, _, _>(|scope| {
                let unbounded =
                    |shard| PersistSource::new(shard).as_of(at(29)).until(at(30)).max_inflight_bytes(usize::MAX);
                let (a, b) = (unbounded(&a).name("left"), unbounded(&b).name("right"));
                let (joined, buttons) = match arranged {
                    false => {
                        let (a, b) = (a.build(scope), b.build(scope));
                        let joined = a.updates.join_map(b.updates, |key, value, _| (key.clone(), *value));
                        (joined, [a.button, b.button])
                    }
                    true => {
                        let (a, b) = (a.arrange_by_key(scope), b.arrange_by_key(scope));
                        let joined = a.arranged.join_core(b.arranged, |key, value, _| Some((key.clone(), *value)));
                        (joined, [a.button, b.button])
                    }
                };
                joined.inner.inspect(move |(row, _, _)| shared.lock().unwrap().push(row.clone()));
                buttons
            });
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        drop(guards.unwrap());
        let mut joined = joined.lock().unwrap().clone();
        joined.sort();
        let mut all: Vec<_> = expected(0..30, 4, 29).into_iter().map(|(row, ..)| row).collect();
        all.sort();
        assert_eq!(joined, all);
    }
}

/// Hazard 36: while one part of the snapshot is still being fetched, what the others held is collected, and the reader's
/// since moves on.
#[test]
fn leases_come_home_part_by_part() {
    for (workers, kind) in [(1, Kind::Rows), (3, Kind::Rows), (2, Kind::ByKey)] {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (faults, gate) = (Faults::scripted(), Gate::closed());
        let mut beating = config();
        beating.lease.heartbeat_interval = Duration::from_millis(5);
        let slow = Arc::new(FaultyStore::new(Arc::clone(&store), faults.clone()));
        let client = wait(Client::builder(slow).config(beating).open()).unwrap();
        let shard: Numbers = client.shard(ShardId::new());
        fill(&shard, 0..1, 40_000); // larger than what compaction merges with the small ones
        let large = wait(parts_of(&*store, shard.id())).remove(0);
        fill(&shard, 1..9, 2);
        faults.add(Rule::next(Operation::Get, Fault::HoldBefore(gate.clone())).named(large.as_ref()));
        let (reading, seen) = (shard.clone(), Seen::default());
        let shared = seen.clone();
        let dataflow = std::thread::spawn(move || {
            let guards = timely::execute(timely::Config::process(workers), move |worker| {
                let source = PersistSource::new(&reading).as_of(at(8)).until(at(12));
                let _running = install_as(kind, worker, source, &shared);
                while worker.has_dataflows() {
                    worker.step_or_park(None);
                }
            });
            drop(guards.unwrap());
        });
        let mut merging = config();
        merging.upkeep.compact = true;
        let other = wait(Client::builder(store).config(merging).open()).unwrap();
        let maintained: Numbers = other.shard(shard.id());
        wait(async {
            gate.arrived(1).await;
            let mut writer = maintained.open_writer("late").await.unwrap();
            for time in 9..12 {
                let _ = writer.compare_and_append([row(time, 0), row(time, 1)], at(time), at(time + 1)).await.unwrap();
            }
            let mut collected = false;
            let mut made = false;
            let done = async {
                while !(made && collected) {
                    maintained.settle().await.unwrap();
                    let info = maintained.inspect().await.unwrap();
                    made |= info.parts < 12;
                    collected = made && info.garbage == 0 && info.readers == 1 && !info.since.less_equal(&8);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            if tokio::time::timeout(LIMIT, done).await.is_err() {
                panic!("{:?}\n{:?}", maintained.inspect().await.unwrap(), maintained.holds().await.unwrap());
            }
        });
        gate.open();
        dataflow.join().unwrap();
        let late = (9..12).flat_map(|time| [row(time, 0), row(time, 1)]);
        let mut all = expected(0..1, 40_000, 8);
        all.extend(expected(1..9, 2, 8));
        all.extend(late);
        assert!(seen.rows() == consolidated(all), "{workers} workers");
    }
}

/// A large part is emitted over many activations, so that the other operators of the worker get their turn.
#[test]
fn an_activation_emits_a_bounded_number_of_rows() {
    const PART: u64 = 50_000;
    let client = memory(config());
    let shard = filled(&client, 1, PART);
    let guards = timely::execute(timely::Config::thread(), move |worker| {
        let rows = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen = std::rc::Rc::clone(&rows);
        let source = PersistSource::new(&shard).as_of(at(0)).until(at(1)).map(move |_, _, _, _| {
            seen.set(seen.get() + 1);
            None::<()>
        });
        let _button = worker.dataflow::<u64, _, _>(|scope| source.build(scope).button);
        let mut most = 0;
        while worker.has_dataflows() {
            let before = rows.get();
            worker.step_or_park(None);
            most = most.max(rows.get() - before);
        }
        assert_eq!(rows.get(), PART);
        assert!(most <= PART / 5, "{most} rows in one step");
    });
    drop(guards.unwrap());
}

/// Hazard 38.
#[test]
fn parts_are_placed_evenly() {
    let client = memory(config());
    let shard = filled(&client, 400, ROWS);
    let per_worker: Arc<Mutex<Vec<u64>>> = Arc::default();
    let shared = Arc::clone(&per_worker);
    let guards = timely::execute(timely::Config::process(4), move |worker| {
        let source = PersistSource::new(&shard).as_of(at(399)).until(at(400)).max_inflight_bytes(usize::MAX);
        let seen = Arc::new(AtomicU64::new(0));
        let rows = Arc::clone(&seen);
        let mapped = source.map(move |_, _, _, _| {
            rows.fetch_add(1, Ordering::Relaxed);
            None::<()>
        });
        let _button = worker.dataflow::<u64, _, _>(|scope| mapped.build(scope).button);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
        shared.lock().unwrap().push(seen.load(Ordering::Relaxed));
    });
    drop(guards.unwrap());
    let per_worker = per_worker.lock().unwrap();
    assert!(per_worker.iter().all(|rows| *rows == 100 * ROWS), "{per_worker:?}");
}

/// Borrowed rows: filtered, projected and flat-mapped before anything is allocated.
#[test]
fn map_sees_borrowed_rows() {
    let client = memory(config());
    let shard = filled(&client, 5, ROWS);
    let seen: Arc<Mutex<Vec<(u64, u64, i64)>>> = Arc::default();
    let shared = Arc::clone(&seen);
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let shared = Arc::clone(&shared);
        let _button = worker.dataflow::<u64, _, _>(|scope| {
            let source = PersistSource::new(&shard).as_of(at(2)).until(at(5));
            let mapped = source.map(|key: &str, value: u64, time, diff| {
                let wanted = key.starts_with("row 00") && value.is_multiple_of(2);
                let row = (value, time, diff);
                wanted.then_some([row, row]).into_iter().flatten()
            });
            let source = mapped.build(scope);
            source.stream.as_collection().consolidate().inner.inspect(move |row| shared.lock().unwrap().push(*row));
            let (_probe, _) = source.progress.probe();
            source.button
        });
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    drop(guards.unwrap());
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    let even = (0..ROWS).step_by(2);
    let all: Vec<_> = even.flat_map(|value| [(value, 2, 6), (value, 3, 2), (value, 4, 2)]).collect();
    assert_eq!(seen, all);
}

fn with_filter(audit_one_in: u64, filter: fn(&PartStats) -> bool, wanted: fn(u64) -> bool) -> (Vec<u64>, usize, u64) {
    let mut auditing = config();
    auditing.read.filter_audit_one_in = audit_one_in;
    let store = CountingStore::new(Arc::new(InMemory::new()));
    let client = wait(Client::builder(Arc::new(store.clone())).config(auditing).open()).unwrap();
    let shard: Shard<u64, (), u64, i64> = client.shard(ShardId::new());
    wait(async {
        let mut writer = shard.open_writer("fill").await.unwrap();
        for time in 0..10 {
            let rows = (0..10).map(|key| ((time * 10 + key, ()), time, 1));
            let _ = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
        }
    });
    let before = store.counts();
    let (rows, errors): (Arc<Mutex<Vec<u64>>>, Arc<Mutex<Vec<SourceError>>>) = Default::default();
    let (kept, said) = (Arc::clone(&rows), Arc::clone(&errors));
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let (kept, said) = (Arc::clone(&kept), Arc::clone(&said));
        let _button = worker.dataflow::<u64, _, _>(|scope| {
            let source = PersistSource::new(&shard).as_of(at(9)).until(at(10)).filter(filter);
            let source = source.map(move |key, (), _, _| wanted(key).then_some(key)).build(scope);
            source.stream.inspect(move |key| kept.lock().unwrap().push(*key));
            source.errors.inspect(move |error| said.lock().unwrap().push(error.clone()));
            source.button
        });
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    drop(guards.unwrap());
    let mut rows = rows.lock().unwrap().clone();
    rows.sort();
    let errors = errors.lock().unwrap();
    assert!(errors.iter().all(|error| matches!(error, SourceError::FilterWrong(_))), "{errors:?}");
    (rows, errors.len(), (store.counts() - before).gets)
}

#[test]
fn the_filter_leaves_parts_unread() {
    let may_have = |stats: &PartStats| stats.column("key").is_none_or(|key| key.may_contain_int(42u64));
    let (rows, errors, gets) = with_filter(0, may_have, |key| key == 42);
    assert_eq!((rows, errors), (vec![42], 0));
    let (_, _, all) = with_filter(0, |_| true, |key| key == 42);
    assert_eq!(all - gets, 9, "nine of ten parts were left unread");
}

/// The plain form has no opinion about rows, so nothing that was left out can look wrong; with one, it is asked.
#[test]
fn the_plain_form_filters_rows_and_audits_by_them() {
    let mut auditing = config();
    auditing.read.filter_audit_one_in = 1;
    let client = memory(auditing);
    let shard = filled(&client, 4, ROWS);
    for (workers, kind) in kinds(2) {
        type Options = fn(Numbered) -> Numbered;
        let seen = |options: Options| run_as(kind, workers, &shard, move |source| options(source.as_of(at(3))), at(4));
        let nothing = seen(|source| source.filter(|_| false));
        assert_eq!((nothing.rows(), nothing.errors()), (vec![], vec![]));
        let some = seen(|source| source.filter_rows(|key, value| key.ends_with("of 2") && value < 3));
        assert_eq!(some.rows(), (0..3).map(|index| (row(2, index).0, 3, 1)).collect::<Vec<_>>());
        let wrong = seen(|source| source.filter(|_| false).filter_rows(|_, value| value < 3));
        assert_eq!((wrong.rows(), wrong.errors()), (vec![], vec![SourceError::FilterWrong(shard.id()); 4]));
    }
}

/// Hazard 16.
#[test]
fn a_wrong_filter_is_found_by_the_audit() {
    let may_have = |stats: &PartStats| stats.column("key").is_none_or(|key| key.may_contain_int(42u64));
    let (rows, errors, _) = with_filter(1, may_have, |key| key == 42);
    assert_eq!((rows, errors), (vec![42], 0), "a right filter passes");
    let (rows, errors, _) = with_filter(3, may_have, |key| key % 10 == 2);
    assert_eq!(rows, vec![42], "an audited part is not emitted");
    assert_eq!(errors, 3, "nine discarded, three audited");
}

#[test]
fn a_wrong_filter_is_said_once_of_a_part_in_several_pieces() {
    const MANY_ROWS: u64 = 60_000;
    let mut auditing = config();
    auditing.read.filter_audit_one_in = 1;
    let client = memory(auditing);
    let shard = filled(&client, 2, MANY_ROWS);
    let wrong = |source: PersistSource<String, u64, u64, i64>| {
        source.as_of(at(1)).filter(|_| false).filter_rows(|_, value| value % 1_000 == 0)
    };
    for (workers, kind) in [(2, Kind::Rows), (1, Kind::Flat)] {
        let seen = run_as(kind, workers, &shard, wrong, at(2));
        assert_eq!((seen.rows(), seen.errors()), (vec![], vec![SourceError::FilterWrong(shard.id()); 2]));
    }
}
