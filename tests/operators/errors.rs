//! What goes wrong comes out as a value, and the frontier is held: nothing that is missing is taken for the truth.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use timely::worker::Worker;
use timely_persist::store::ObjectLog;
use timely_persist::{Client, CriticalReaderId, EncodedFrontier, ErrorKind, ShardId};
use timely_persist_operators::{PersistSource, SourceError};
use timely_persist_testing::{Fault, Faults, FaultyLog, FaultyStore, Operation, Rule};

use crate::support::*;

/// Runs a source that fails beside one that does not, in one worker's dataflows; returns what the bad one said.
///
/// Checks that the bad source holds its frontier at `held`, that the good one goes on to its end, and that all ends when
/// the buttons are released.
fn fails_beside((workers, kind): (usize, Kind), bad: &Numbers, good: &Numbers, as_of: u64, held: u64) -> Seen {
    let (bad_seen, good_seen) = (Seen::default(), Seen::default());
    let (shared_bad, shared_good) = (bad_seen.clone(), good_seen.clone());
    let (reading_bad, reading_good) = (bad.clone(), good.clone());
    let barrier = std::sync::Barrier::new(workers);
    let guards = timely::execute(timely::Config::process(workers), move |worker: &mut Worker| {
        let [bad, good] = [(&reading_bad, as_of, "bad"), (&reading_good, 0, "good")]
            .map(|(shard, as_of, name)| PersistSource::new(shard).as_of(at(as_of)).name(name));
        let failing = install_as(kind, worker, bad, &shared_bad);
        let going = install_as(kind, worker, good, &shared_good);
        while shared_bad.errors().is_empty() {
            worker.step_or_park(Some(Duration::from_millis(5)));
        }
        barrier.wait();
        if worker.index() == 0 {
            fill(&reading_good, 3..6, 2);
        }
        while going.probe.less_than(&6) {
            worker.step_or_park(None);
        }
        assert!(failing.probe.less_equal(&held) && !failing.probe.less_than(&held), "the frontier is not held");
        barrier.wait();
        drop((failing, going));
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    drop(guards.unwrap());
    assert_eq!(good_seen.rows(), expected(0..6, 2, 0));
    assert_eq!(good_seen.errors(), vec![]);
    without_readers(bad);
    without_readers(good);
    bad_seen
}

/// Hazard 27.
#[test]
fn an_as_of_below_the_since_is_an_error_that_says_what_can_be_read() {
    for which in kinds(2) {
        let client = memory(config());
        let (bad, good) = (filled(&client, 8, 2), filled(&client, 3, 2));
        wait(async {
            let mut keeper = bad.open_critical_since(CriticalReaderId::new(), 0).await.unwrap();
            let _ = keeper.compare_and_downgrade_since(0, (0, &at(5))).await.unwrap();
        });
        let seen = fails_beside(which, &bad, &good, 2, 2);
        let [error] = &seen.errors()[..] else { panic!("{:?}", seen.errors()) };
        assert_eq!(failure(error), ErrorKind::Since { earliest: EncodedFrontier::new(&at(5)) });
        assert_eq!(error.shard(), Some(bad.id()));
        assert!(error.is_final() && error.to_string().ends_with("earliest readable as_of is 5"), "{error}");
        assert_eq!(seen.rows(), vec![]);
    }
}

fn damaged(kind: &ErrorKind, damage: impl AsyncFn(&InMemory, object_store::path::Path)) {
    for which in kinds(3) {
        let store = Arc::new(InMemory::new());
        let client = wait(Client::builder(Arc::clone(&store) as _).config(config()).open()).unwrap();
        let (bad, good) = (filled(&client, 4, 2), filled(&client, 3, 2));
        let object = wait(async {
            let object = parts_of(&*store, bad.id()).await.remove(1);
            damage(&store, object.clone()).await;
            object.to_string()
        });
        let seen = fails_beside(which, &bad, &good, 3, 3);
        let [error] = &seen.errors()[..] else { panic!("{:?}", seen.errors()) };
        assert_eq!(failure(error), *kind);
        assert_eq!(error.shard(), Some(bad.id()));
        let named = error.error().and_then(|error| error.object()).unwrap();
        assert!(object.ends_with(named), "{error:?} names another object than {object}");
        let all = expected(0..4, 2, 3);
        assert!(seen.rows().iter().all(|row| all.contains(row)) && seen.rows().len() < all.len());
    }
}

#[test]
fn a_missing_object_is_an_error_that_names_it() {
    damaged(&ErrorKind::Missing, async |store, object| store.delete(&object).await.unwrap());
}

#[test]
fn a_corrupt_object_is_an_error_that_names_it() {
    damaged(&ErrorKind::Corrupt, async |store, object| {
        let mut bytes = store.get(&object).await.unwrap().bytes().await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        store.put(&object, bytes.into()).await.unwrap();
    });
}

/// Rows of a part that goes to its worker in several pieces.
const MANY_ROWS: u64 = 60_000;

#[test]
fn damage_behind_the_first_rows_of_a_part_is_said_once_and_holds_the_frontier() {
    for which in [(1, Kind::Rows), (3, Kind::Rows), (1, Kind::Flat)] {
        let store = Arc::new(InMemory::new());
        let client = wait(Client::builder(Arc::clone(&store) as _).config(config()).open()).unwrap();
        let (bad, good) = (filled(&client, 1, MANY_ROWS), filled(&client, 3, 2));
        wait(async {
            let object = parts_of(&*store, bad.id()).await.remove(0);
            let mut bytes = store.get(&object).await.unwrap().bytes().await.unwrap().to_vec();
            let place = bytes.len() / 8 * 7;
            bytes[place] ^= 1;
            store.put(&object, bytes.into()).await.unwrap();
        });
        let seen = fails_beside(which, &bad, &good, 0, 0);
        assert_eq!(seen.failures(), vec![ErrorKind::Corrupt]);
        let (rows, all) = (seen.rows(), expected(0..1, MANY_ROWS, 0));
        assert!(rows.len() < all.len(), "the damaged rows came");
        let all: std::collections::HashSet<_> = all.into_iter().collect();
        assert!(rows.iter().all(|row| all.contains(row)), "a row came twice, or is none");
    }
}

#[test]
fn a_lost_lease_is_an_error() {
    let store = Arc::new(InMemory::new());
    let client = wait(Client::builder(Arc::clone(&store) as _).config(config()).open()).unwrap();
    let (bad, good) = (filled(&client, 4, 2), filled(&client, 3, 2));
    // A lease of next to no time is lost at once.
    let mut distrust = config();
    distrust.lease.duration = Duration::from_nanos(1);
    let distrustful = wait(Client::builder(store).config(distrust).open()).unwrap();
    let seen = fails_beside((2, Kind::Rows), &distrustful.shard(bad.id()), &good, 3, 3);
    let kinds = seen.failures();
    assert!(matches!(&kinds[..], [ErrorKind::LeaseExpired { .. }]), "{kinds:?}");
    drop(client);
}

#[test]
fn other_types_are_an_error() {
    let client = memory(config());
    let (other, good) = (client.shard::<u64, String, u64, i64>(ShardId::new()), filled(&client, 3, 2));
    wait(async {
        let mut writer = other.open_writer("other").await.unwrap();
        writer.advance_upper(&at(1)).await.unwrap();
        let kind = client.shard::<String, u64, u64, i64>(other.id()).open_reader("x").await.unwrap_err().kind();
        assert_eq!(kind, ErrorKind::CodecMismatch);
    });
    let seen = fails_beside((2, Kind::Flat), &client.shard(other.id()), &good, 0, 0);
    assert_eq!(seen.failures(), vec![ErrorKind::CodecMismatch]);
}

/// Limits under which an outage is noticed within milliseconds.
fn impatient() -> timely_persist::Config {
    let mut config = config();
    config.store.deadline = Duration::from_millis(20);
    config.log.commit_deadline = Duration::from_millis(20);
    config.log.request_deadline = Duration::from_millis(20);
    config.store.retry_pause_min = Duration::from_millis(1);
    config.store.retry_pause_max = Duration::from_millis(5);
    config.log.watch_fallback = Duration::from_millis(5);
    config
}

fn is_stalled(said: &SourceError) -> bool {
    matches!(said, SourceError::Stalled(error) if error.kind() == ErrorKind::Unavailable)
}

/// Runs a source over storage with these rules until it says `Stalled`; then lifts them, calls `meanwhile`, and waits until
/// `to`.
fn outage(rules: Vec<Rule>, meanwhile: impl Fn(&Numbers) + Send + Sync + 'static) {
    for (workers, kind) in kinds(2) {
        let faults = Faults::scripted();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let calm = wait(Client::builder(Arc::clone(&store)).config(config()).open()).unwrap();
        let shard = filled(&calm, 6, 2);
        let log = FaultyLog::new(Arc::new(ObjectLog::new(Arc::clone(&store))), faults.clone());
        let builder = Client::builder(Arc::new(FaultyStore::new(store, faults.clone()))).consensus(Arc::new(log));
        let client = wait(builder.config(impatient()).open()).unwrap();
        rules.iter().for_each(|rule| faults.add(rule.clone()));
        let (seen, reading) = (Seen::default(), client.shard(shard.id()));
        let (shared, during) = (seen.clone(), faults.clone());
        std::thread::scope(|scope| {
            let guards = timely::execute(timely::Config::process(workers), move |worker| {
                let source = PersistSource::new(&reading).as_of(at(3)).until(at(10));
                let running = install_as(kind, worker, source, &shared);
                while worker.has_dataflows() {
                    worker.step_or_park(Some(Duration::from_millis(5)));
                    if worker.index() == 0 && shared.errors().iter().any(is_stalled) {
                        during.clear();
                    }
                }
                assert!(running.probe.done());
            });
            scope.spawn(|| {
                while !seen.errors().iter().any(is_stalled) {
                    std::thread::yield_now();
                }
                meanwhile(&shard);
            });
            drop(guards.unwrap());
        });
        assert_eq!(seen.rows(), expected(0..10, 2, 3));
        let notices = seen.errors();
        assert!(notices.iter().all(|notice| is_stalled(notice) || matches!(notice, SourceError::Recovered { .. })));
        let stalled = notices.iter().filter(|notice| is_stalled(notice)).count();
        assert!(stalled >= 1 && stalled * 2 == notices.len(), "each Stalled has its Recovered: {notices:?}");
        assert!(notices.iter().all(|notice| !notice.is_final() && notice.shard() == Some(shard.id())));
        without_readers(&shard);
    }
}

#[test]
fn a_store_that_does_not_answer_stalls_the_source_and_nothing_more() {
    outage(vec![Rule::every(Operation::Get, Fault::FailBefore).named("/blob/part")], |shard| fill(shard, 6..10, 2));
}

#[test]
fn a_log_that_does_not_answer_at_the_start_stalls_the_source_and_nothing_more() {
    let every = [Operation::LogHead, Operation::LogScan, Operation::LogCompareAndSet];
    outage(every.map(|operation| Rule::every(operation, Fault::FailBefore)).to_vec(), |shard| fill(shard, 6..10, 2));
}

#[test]
fn a_log_that_does_not_answer_later_stalls_the_source_and_nothing_more() {
    // The reader opens with the first requests; then following fails.
    let every = [Operation::LogHead, Operation::LogScan];
    let rules = every.map(|operation| Rule::every(operation, Fault::FailBefore).after(20)).to_vec();
    outage(rules, |shard| fill(shard, 6..10, 2));
}

/// The client is shut down under its sources: an error, and the workers can still end.
#[test]
fn a_client_that_is_shut_down_is_an_error() {
    for (workers, kind) in kinds(2) {
        let client = memory(config());
        let shard = filled(&client, 4, 2);
        let seen = Seen::default();
        let shared = seen.clone();
        let stopping = std::sync::Mutex::new(Some(client));
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let running = install_as(kind, worker, PersistSource::new(&shard).as_of(at(0)), &shared);
            while running.probe.less_than(&4) {
                worker.step_or_park(None);
            }
            if let Some(client) = stopping.lock().unwrap().take() {
                wait(client.shutdown()).unwrap();
            }
            while shared.errors().is_empty() {
                worker.step_or_park(Some(Duration::from_millis(5)));
            }
            assert!(running.probe.less_equal(&4));
            drop(running);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        drop(guards.unwrap());
        assert_eq!(seen.rows(), expected(0..4, 2, 0));
        assert_eq!(seen.failures(), vec![ErrorKind::Closed]);
        assert!(!seen.errors()[0].to_string().contains("did not answer"), "{:?}", seen.errors());
    }
}

/// The same in the middle of a hydration, of parts that need no storage: whatever is left of them does no harm.
#[test]
fn a_client_that_is_shut_down_in_the_middle_is_an_error() {
    for (workers, kind) in kinds(2) {
        let mut inline = config();
        inline.write.inline_part_bytes_max = timely_persist::Config::default().write.inline_part_bytes_max;
        let client = memory(inline);
        let shard = filled(&client, 50, 2);
        let seen = Seen::default();
        let shared = seen.clone();
        let stopping = std::sync::Mutex::new(Some(client));
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let source = PersistSource::new(&shard).as_of(at(49)).max_inflight_bytes(1);
            let running = install_as(kind, worker, kind.counted(source, &shared), &shared);
            while shared.came() < 10 {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
            if let Some(client) = stopping.lock().unwrap().take() {
                wait(client.shutdown()).unwrap();
            }
            for _ in 0..200 {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
            assert!(running.probe.less_equal(&49) && !running.probe.less_than(&49));
            drop(running);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        for result in guards.unwrap().join() {
            result.unwrap();
        }
        let all = expected(0..50, 2, 49);
        assert!(seen.rows().len() < all.len() && seen.rows().iter().all(|row| all.contains(row)));
    }
}
