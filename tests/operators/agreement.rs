//! Workers that build a source with different settings: all are told, and nothing is shown.

use std::sync::{Arc, Barrier, Mutex};

use timely::worker::Worker;
use timely_persist::{ErrorKind, ShardId};
use timely_persist_operators::PersistSource;

use crate::support::*;

/// Runs the source that each worker makes of its index until each has an error; gives what all said and saw.
///
/// Checks that each says one thing, that nothing came, that the frontier stands at the beginning, and that all ends when
/// the buttons are released.
fn refused(workers: usize, make: impl Fn(usize) -> Numbered + Send + Sync + 'static) -> String {
    refused_as(Kind::Rows, workers, make)
}

fn refused_as(kind: Kind, workers: usize, make: impl Fn(usize) -> Numbered + Send + Sync + 'static) -> String {
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let (shared, together) = (Arc::clone(&said), Barrier::new(workers));
    let guards = timely::execute(timely::Config::process(workers), move |worker: &mut Worker| {
        let seen = Seen::default();
        let running = install_as(kind, worker, make(worker.index()), &seen);
        while seen.errors().is_empty() && !running.probe.done() && seen.rows().is_empty() {
            worker.step_or_park(Some(std::time::Duration::from_millis(5)));
        }
        // What else the others would send is here when all have been told.
        let mut watching = || (0..20).for_each(|_| _ = worker.step());
        together.wait();
        watching();
        together.wait();
        watching();
        assert_eq!(seen.rows(), vec![]);
        assert_eq!(seen.failures(), vec![ErrorKind::Invalid]);
        assert!(running.probe.less_equal(&0), "the frontier is not held");
        shared.lock().unwrap().push(seen.errors()[0].to_string());
        together.wait();
        drop(running.button);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    for worker in guards.unwrap().join() {
        worker.unwrap();
    }
    let mut said = said.lock().unwrap().clone();
    assert_eq!(said.len(), workers);
    said.dedup();
    assert_eq!(said.len(), 1, "workers say different things: {said:?}");
    said.remove(0)
}

/// Hazard 71: two leaders, or none.
#[test]
fn names_that_differ_between_workers_are_refused_on_every_worker() {
    let client = memory(config());
    let shard = filled(&client, 5, 100);
    for (workers, kind) in [(2, Kind::Rows), (3, Kind::Rows), (4, Kind::Rows), (2, Kind::ByKey), (3, Kind::Flat)] {
        let reading = shard.clone();
        let message = refused_as(kind, workers, move |index| {
            PersistSource::new(&reading).as_of(at(4)).until(at(5)).name(format!("reader {index}"))
        });
        assert!(message.contains("name is \"reader 0\" on worker 0, but \"reader 1\" on worker 1"), "{message}");
    }
    without_readers(&shard);
}

/// Hazard 71.
#[test]
fn whatever_decides_what_is_shown_must_be_the_same_on_all_workers() {
    let client = memory(config());
    let (shard, other) = (filled(&client, 5, 100), client.shard::<String, u64, u64, i64>(ShardId::new()));
    type Change = Box<dyn Fn(Numbered) -> Numbered + Send + Sync>;
    let changes: Vec<(&str, Change)> = vec![
        ("as_of is 2 on workers 0, 2, but 3 on worker 1", Box::new(|source| source.as_of(at(3)))),
        ("as_of is 2 on workers 0, 2, but empty on worker 1", Box::new(|source| source.as_of(none()))),
        ("until is 5 on workers 0, 2, but 3 on worker 1", Box::new(|source| source.until(at(3)))),
        ("until is 5 on workers 0, 2, but empty on worker 1", Box::new(|source| source.until(none()))),
        ("snapshot is true on workers 0, 2, but false on worker 1", Box::new(|source| source.snapshot(false))),
        ("project is false on workers 0, 2, but true on worker 1", Box::new(|source| source.project())),
        ("; filter is not given", Box::new(|source| source.snapshot(false).filter(|_| false))),
        ("filter_rows is not given on workers 0, 2, but given", Box::new(|source| source.filter_rows(|_, _| false))),
        ("start_after is not given", Box::new(|source| source.start_after(std::future::pending()))),
    ];
    for (expected, change) in changes {
        let reading = shard.clone();
        let message = refused(3, move |index| {
            let source = PersistSource::new(&reading).as_of(at(2)).until(at(5));
            if index == 1 { change(source) } else { source }
        });
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
    let reading = [shard.clone(), other.clone()];
    let message = refused(2, move |index| PersistSource::new(&reading[index]).as_of(at(0)).name("both"));
    assert!(message.contains("shard is ") && message.contains(&other.id().to_string()), "{message}");
    let reading = shard.clone();
    let message = refused(2, move |index| {
        let source = PersistSource::new(&reading);
        if index == 0 { source } else { source.as_of(at(4)) }
    });
    assert!(message.contains("as_of is not given on worker 0, but 4 on worker 1"), "{message}");
    without_readers(&shard);
    without_readers(&other);
}

/// Also where a worker's own settings say that there is nothing to come.
#[test]
fn a_worker_whose_source_would_be_over_at_once_does_not_end_it_for_others() {
    let client = memory(config());
    let shard = filled(&client, 5, 10);
    for over in 0..3 {
        let reading = shard.clone();
        refused(3, move |index| PersistSource::new(&reading).as_of(if index == over { none() } else { at(0) }));
    }
    without_readers(&shard);
}

/// Settings that workers may choose for themselves do not have to agree.
#[test]
fn equal_settings_show_every_row_once_on_any_number_of_workers() {
    let client = memory(config());
    let shard = filled(&client, 5, 100);
    for workers in [1, 2, 3, 4] {
        for given in [true, false] {
            let options = move |source: Numbered| {
                let source = source.name("one name").until(at(5)).fetch_concurrency(workers);
                if given { source.as_of(at(0)) } else { source }
            };
            let seen = run(workers, &shard, options, none());
            assert_eq!(seen.errors(), vec![]);
            assert_eq!(seen.rows(), expected(0..5, 100, 0), "{workers} workers");
        }
    }
    without_readers(&shard);
}

/// A worker comes late, when the others have already been stopped: all ends, whether they would have agreed or not.
#[test]
fn buttons_released_before_all_workers_were_heard_end_everything() {
    let client = memory(config());
    let shard = filled(&client, 5, 10);
    for alike in [true, false] {
        for late in 0..2 {
            let (reading, together) = (shard.clone(), Barrier::new(2));
            let guards = timely::execute(timely::Config::process(2), move |worker: &mut Worker| {
                let is_late = worker.index() == late;
                if is_late {
                    together.wait(); // the other has built, stepped and stopped
                }
                let seen = Seen::default();
                let name = if alike { "alike".to_owned() } else { format!("worker {}", worker.index()) };
                let running = install(worker, PersistSource::new(&reading).as_of(at(4)).name(name), &seen);
                if !is_late {
                    (0..5).for_each(|_| _ = worker.step());
                    running.button.press();
                    (0..5).for_each(|_| _ = worker.step());
                    together.wait();
                }
                (0..5).for_each(|_| _ = worker.step());
                drop(running.button);
                while worker.has_dataflows() {
                    worker.step_or_park(None);
                }
                assert!(running.probe.done());
            });
            for worker in guards.unwrap().join() {
                worker.unwrap();
            }
            without_readers(&shard);
        }
    }
}
