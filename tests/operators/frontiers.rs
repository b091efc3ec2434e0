//! Where a source's frontier stands, and where it never does.

use std::sync::{Arc, Mutex};

use timely::progress::Antichain;
use timely_persist::{CriticalReaderId, ShardId};
use timely_persist_operators::PersistSource;

use crate::support::*;

/// Runs until the end of the dataflow and records every frontier that a worker saw.
fn frontiers(
    (workers, kind): (usize, Kind),
    shard: &Numbers,
    options: impl Fn(Numbered) -> Numbered + Send + Sync + 'static,
) -> (Seen, Vec<Antichain<u64>>) {
    let (shard, seen) = (shard.clone(), Seen::default());
    let all = Arc::new(Mutex::new(Vec::new()));
    let (shared, shown) = (seen.clone(), Arc::clone(&all));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let running = install_as(kind, worker, options(PersistSource::new(&shard)), &shared);
        while worker.has_dataflows() {
            let frontier = running.probe.with_frontier(|frontier| frontier.to_owned());
            shown.lock().unwrap().push(frontier);
            worker.step_or_park(None);
        }
        assert!(running.probe.done());
    });
    drop(guards.unwrap());
    let mut all = std::mem::take(&mut *all.lock().unwrap());
    all.sort_by_key(|frontier| frontier.elements().first().map_or(u64::MAX, |time| *time));
    all.dedup();
    (seen, all)
}

/// Hazard 32.
#[test]
fn until_is_exact_and_nothing_is_shown_between_it_and_the_end() {
    let client = memory(config());
    let shard = filled(&client, 10, 2);
    for which in kinds(3) {
        for until in [1, 4, 9, 10] {
            let (seen, shown) = frontiers(which, &shard, move |source| source.as_of(at(0)).until(at(until)));
            assert_eq!(seen.rows(), expected(0..until, 2, 0), "until {until}");
            assert!(shown.iter().all(|frontier| frontier.less_than(&until) || frontier.is_empty()), "{shown:?}");
        }
    }
    without_readers(&shard);
}

/// Hazard 32: also where the shard's upper jumps over `until`.
#[test]
fn an_upper_that_jumps_over_until_ends_the_source() {
    let client = memory(config());
    for which in kinds(2) {
        let shard = client.shard(ShardId::new());
        let writer = shard.clone();
        let appending = std::thread::spawn(move || {
            fill(&writer, 0..2, 1);
            advance(&writer, at(100));
        });
        let (seen, shown) = frontiers(which, &shard, |source| source.as_of(at(0)).until(at(50)));
        appending.join().unwrap();
        assert_eq!(seen.rows(), expected(0..2, 1, 0));
        assert!(shown.iter().all(|frontier| frontier.less_than(&50) || frontier.is_empty()), "{shown:?}");
    }
}

#[test]
fn an_as_of_at_or_beyond_until_shows_nothing_and_ends_at_once() {
    let client = memory(config());
    // Nothing was ever written: there is nothing to wait for either.
    let shard: Numbers = client.shard(ShardId::new());
    for (which, as_of) in kinds(2).into_iter().flat_map(|which| [(which, 5), (which, 9)]) {
        let (seen, shown) = frontiers(which, &shard, move |source| source.as_of(at(as_of)).until(at(5)));
        assert_eq!((seen.rows(), seen.errors()), (vec![], vec![]));
        assert!(shown.iter().all(|frontier| frontier.is_empty() || *frontier == at(0)), "{shown:?}");
    }
    without_readers(&shard);
}

#[test]
fn the_empty_as_of_is_the_empty_collection() {
    let client = memory(config());
    let shard = filled(&client, 3, 1);
    for which in kinds(2) {
        let (seen, _) = frontiers(which, &shard, |source| source.as_of(none()));
        assert_eq!((seen.rows(), seen.errors()), (vec![], vec![]));
    }
}

#[test]
fn a_shard_that_ends_ends_the_source() {
    let client = memory(config());
    let shard = filled(&client, 3, 1);
    advance(&shard, none());
    for which in kinds(2) {
        let (seen, _) = frontiers(which, &shard, |source| source.as_of(at(1)));
        assert_eq!(seen.rows(), expected(0..3, 1, 1));
        without_readers(&shard);
    }
}

/// Hazard 30: a dataflow that writes its own input, at the time its source stands at.
#[test]
fn a_source_that_feeds_itself_starts_and_goes_on() {
    const END: u64 = 7;
    for as_of in [0, 3] {
        for (workers, kind) in kinds(2) {
            let client = memory(config());
            let shard: Numbers = client.shard(ShardId::new());
            advance(&shard, at(as_of));
            let (reading, seen) = (shard.clone(), Seen::default());
            let shared = seen.clone();
            let guards = timely::execute(timely::Config::process(workers), move |worker| {
                let source = PersistSource::new(&reading).as_of(at(as_of)).until(at(END));
                let running = install_as(kind, worker, source, &shared);
                let mut next = as_of;
                while worker.has_dataflows() {
                    let stands = running.probe.with_frontier(|frontier| frontier.first().copied());
                    if worker.index() == 0 && stands == Some(next) {
                        fill(&reading, next..next + 1, 2);
                        next += 1;
                    }
                    worker.step_or_park(Some(std::time::Duration::from_millis(50)));
                }
            });
            drop(guards.unwrap());
            assert_eq!(seen.rows(), expected(as_of..END, 2, as_of));
        }
    }
}

#[test]
fn a_future_as_of_waits_and_shows_everything_before_it_there() {
    let client = memory(config());
    for (workers, kind) in kinds(2) {
        let shard = filled(&client, 2, 2);
        let (reading, seen) = (shard.clone(), Seen::default());
        let shared = seen.clone();
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let source = PersistSource::new(&reading).as_of(at(5)).until(at(8));
            let running = install_as(kind, worker, source, &shared);
            while running.probe.less_than(&5) {
                worker.step_or_park(None);
            }
            assert!(!running.probe.done() && running.probe.less_equal(&5));
            if worker.index() == 0 {
                assert_eq!(shared.rows(), vec![]);
                fill(&reading, 2..9, 2);
            }
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        drop(guards.unwrap());
        assert_eq!(seen.rows(), expected(0..8, 2, 5));
    }
}

#[test]
fn without_the_snapshot_only_what_follows_is_shown() {
    let client = memory(config());
    let shard = filled(&client, 8, 2);
    for which in kinds(2) {
        let (seen, _) = frontiers(which, &shard, |source| source.as_of(at(4)).until(at(7)).snapshot(false));
        assert_eq!(seen.rows(), expected(5..7, 2, 4));
    }
}

#[test]
fn without_an_as_of_it_begins_at_the_since() {
    let client = memory(config());
    let shard = filled(&client, 8, 2);
    wait(async {
        let mut keeper = shard.open_critical_since(CriticalReaderId::new(), 0).await.unwrap();
        let _ = keeper.compare_and_downgrade_since(0, (0, &at(5))).await.unwrap();
    });
    for which in kinds(2) {
        let (seen, _) = frontiers(which, &shard, |source| source.until(at(8)));
        assert_eq!(seen.rows(), expected(0..8, 2, 5));
    }
}

/// The reader holds its since before the start is waited for, and nothing is read before it has come.
#[test]
fn start_after_waits_with_the_reader_open() {
    let client = memory(config());
    for (workers, kind) in kinds(2) {
        let shard = filled(&client, 4, 2);
        let (start, started) = tokio::sync::watch::channel(false);
        let (reading, seen) = (shard.clone(), Seen::default());
        let shared = seen.clone();
        let dataflow = std::thread::spawn(move || {
            let guards = timely::execute(timely::Config::process(workers), move |worker| {
                let mut started = started.clone();
                let start = async move {
                    let _ = started.wait_for(|started| *started).await;
                };
                let source = PersistSource::new(&reading).as_of(at(2)).until(at(4)).start_after(start);
                let _running = install_as(kind, worker, source, &shared);
                while worker.has_dataflows() {
                    worker.step_or_park(None);
                }
            });
            drop(guards.unwrap());
        });
        wait(async {
            while shard.inspect().await.unwrap().readers == 0 {
                tokio::task::yield_now().await;
            }
            let holds = shard.holds().await.unwrap();
            assert_eq!(holds[0].since, at(2));
            assert_eq!(seen.rows(), vec![]);
            start.send(true).unwrap();
        });
        dataflow.join().unwrap();
        assert_eq!(seen.rows(), expected(0..4, 2, 2));
    }
}
