//! Ends: a button on one worker, on all, in the middle, before the beginning; a dataflow that is dropped.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use timely::worker::Worker;
use timely_persist::store::ObjectLog;
use timely_persist::{Client, ShardId};
use timely_persist_operators::PersistSource;
use timely_persist_testing::{Fault, Faults, FaultyLog, FaultyStore, Gate, Operation, Rule};

use crate::support::*;

/// Parts of the shard: many for each worker.
const PARTS: u64 = 60;

/// Steps until so many operations are at the gate.
fn until_arrived(worker: &mut Worker, gate: &Gate, operations: usize) {
    while gate.arrived(operations).now_or_never().is_none() {
        worker.step_or_park(Some(Duration::from_millis(1)));
    }
}

/// A client whose storage follows the rules, and a shard of many parts seen through it and past it.
struct Stage {
    client: Client,
    shard: Numbers,
    past: Numbers,
    tasks: usize,
}

fn stage(rules: Vec<Rule>) -> Stage {
    let faults = Faults::scripted();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let calm = wait(Client::builder(Arc::clone(&store)).config(config()).open()).unwrap();
    let past = filled(&calm, PARTS, 2);
    let log = FaultyLog::new(Arc::new(ObjectLog::new(Arc::clone(&store))), faults.clone());
    let builder = Client::builder(Arc::new(FaultyStore::new(store, faults.clone()))).consensus(Arc::new(log));
    let client = wait(builder.config(config()).open()).unwrap();
    let shard: Numbers = client.shard(past.id());
    wait(shard.inspect()).unwrap(); // starts the client's own tasks
    let tasks = client.runtime().metrics().num_alive_tasks();
    rules.into_iter().for_each(|rule| faults.add(rule));
    Stage { client, shard, past, tasks }
}

impl Stage {
    /// Readers are gone, and so are tasks.
    fn is_left_clean(&self) {
        without_readers(&self.past);
        let alive = || self.client.runtime().metrics().num_alive_tasks();
        wait(async {
            let ended = async {
                while alive() > self.tasks {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(LIMIT, ended).await.unwrap_or_else(|_| panic!("{} tasks, {}", alive(), self.tasks));
        });
    }
}

/// Fetches wait at this gate behind the first few.
fn closed_after(parts: u64) -> (Gate, Rule) {
    let gate = Gate::closed();
    let rule = Rule::every(Operation::Get, Fault::HoldBefore(gate.clone())).named("/blob/part").after(parts);
    (gate, rule)
}

#[test]
fn buttons_dropped_on_all_workers_in_the_middle_of_hydration_end_everything() {
    for (workers, kind) in kinds(3) {
        let (gate, rule) = closed_after(3);
        let stage = stage(vec![rule]);
        let (reading, seen) = (stage.shard.clone(), Seen::default());
        let shared = seen.clone();
        let at_gate = gate.clone();
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let source = kind.counted(PersistSource::new(&reading).as_of(at(PARTS - 1)), &shared);
            let running = install_as(kind, worker, source, &shared);
            while shared.came() < 6 {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
            until_arrived(worker, &at_gate, 1);
            let probe = running.probe.clone();
            if worker.index() % 2 == 0 {
                running.button.press()
            }
            drop(running);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
            assert!(probe.done());
        });
        drop(guards.unwrap());
        gate.open(); // what was sent to the store is not called back
        assert_eq!(seen.rows().len(), 6);
        assert_eq!(seen.errors(), vec![]);
        stage.is_left_clean();
    }
}

/// Hazard 28: one worker that stops is not the end of the input, nor of the part of it that others read.
#[test]
fn a_button_on_one_worker_holds_the_frontier_until_all_are_released() {
    for (stopper, kind) in [(0, Kind::Rows), (1, Kind::Rows), (2, Kind::Rows), (0, Kind::ByKey), (2, Kind::Flat)] {
        let (gate, rule) = closed_after(6);
        let stage = stage(vec![rule]);
        let (reading, seen) = (stage.shard.clone(), Seen::default());
        let shared = seen.clone();
        let (at_gate, barrier) = (gate.clone(), std::sync::Barrier::new(3));
        let guards = timely::execute(timely::Config::process(3), move |worker| {
            let source = PersistSource::new(&reading).as_of(at(PARTS - 1)).fetch_concurrency(2);
            let running = install_as(kind, worker, kind.counted(source, &shared), &shared);
            // Each worker fetched two parts and has two more at the gate.
            while shared.came() < 12 {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
            until_arrived(worker, &at_gate, 6);
            barrier.wait();
            if worker.index() == stopper {
                running.button.press();
                assert!(running.button.is_pressed());
                for _ in 0..10 {
                    worker.step();
                }
                at_gate.open();
            }
            barrier.wait();
            // The others emit what they fetch: their two, and what else had been handed to them.
            while worker.index() != stopper && shared.came() < 20 {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
            barrier.wait();
            for _ in 0..100 {
                worker.step_or_park(Some(Duration::from_micros(100)));
            }
            assert!(running.probe.less_equal(&(PARTS - 1)), "a stopped worker was taken for the end");
            assert!(!running.probe.less_than(&(PARTS - 1)));
            barrier.wait();
            drop(running.button);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
            assert!(running.probe.done());
        });
        drop(guards.unwrap());
        let all = expected(0..PARTS, 2, PARTS - 1);
        assert!(seen.rows().len() < all.len() && seen.rows().iter().all(|row| all.contains(row)));
        stage.is_left_clean();
    }
}

#[test]
fn buttons_dropped_before_the_reader_opened_leave_no_reader() {
    for (workers, kind) in kinds(2) {
        let gate = Gate::closed();
        let stage = stage(vec![Rule::every(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone()))]);
        let (reading, at_gate, seen) = (stage.shard.clone(), gate.clone(), Seen::default());
        let shared = seen.clone();
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let running = install_as(kind, worker, PersistSource::new(&reading).as_of(at(3)), &shared);
            worker.step();
            until_arrived(worker, &at_gate, 1);
            drop(running);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        drop(guards.unwrap());
        gate.open();
        assert_eq!((seen.rows(), seen.errors()), (vec![], vec![]));
        stage.is_left_clean();
    }
}

#[test]
fn a_dropped_dataflow_leaves_no_reader_and_no_task() {
    for (workers, kind) in kinds(2) {
        let (gate, rule) = closed_after(3);
        let stage = stage(vec![rule]);
        let (reading, at_gate, seen) = (stage.shard.clone(), gate.clone(), Seen::default());
        let shared = seen.clone();
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let source = kind.counted(PersistSource::new(&reading).as_of(at(PARTS - 1)), &shared);
            let running = install_as(kind, worker, source, &shared);
            while shared.came() < 6 {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
            until_arrived(worker, &at_gate, 1);
            for dataflow in worker.installed_dataflows() {
                worker.drop_dataflow(dataflow);
            }
            drop(running);
            assert!(!worker.step());
        });
        drop(guards.unwrap());
        gate.open();
        stage.is_left_clean();
    }
}

/// What is done to a dataflow whose rows have all come, while its arrangement merges them.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    Press,
    Drop,
}

/// A merge is many activations, and ends whatever ends.
#[test]
fn a_merge_is_gone_with_its_dataflow_and_ends_when_its_source_does() {
    const ROWS: u64 = 25_000;
    // Steps from the last row on: until the frontier passes some, and then at most 16 Ki rows in each.
    for (kind, meanwhile, steps) in [
        (Kind::ByKey, Meanwhile::Press, 3),
        (Kind::Flat, Meanwhile::Press, 1),
        (Kind::Flat, Meanwhile::Drop, 2),
        (Kind::Flat, Meanwhile::Drop, 3),
        (Kind::Flat, Meanwhile::Nothing, 2),
    ] {
        let stage = stage(vec![]);
        let shard: Numbers = stage.client.shard(ShardId::new());
        fill(&shard, 0..2, ROWS);
        let (reading, seen) = (shard.clone(), Seen::default());
        let shared = seen.clone();
        let guards = timely::execute(timely::Config::thread(), move |worker| {
            let source = kind.counted(PersistSource::new(&reading).as_of(at(1)).name("merged"), &shared);
            let running = install_as(kind, worker, source, &shared);
            while shared.came() < 2 * ROWS as usize {
                worker.step_or_park(None);
            }
            for _ in 0..steps {
                worker.step();
            }
            assert!(running.progress.less_equal(&1) && shared.rows().is_empty(), "the merge is over in {steps} steps");
            match meanwhile {
                Meanwhile::Nothing => {
                    while running.progress.less_equal(&1) {
                        worker.step_or_park(None);
                    }
                    assert_eq!(shared.rows().len() as u64, 2 * ROWS);
                }
                Meanwhile::Press => running.button.press(),
                Meanwhile::Drop => {
                    worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
                }
            }
            drop(running);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        drop(guards.unwrap());
        match meanwhile {
            Meanwhile::Drop => assert_eq!(seen.rows(), []),
            _ => assert!(seen.rows() == expected(0..2, ROWS, 1), "{kind:?}, {meanwhile:?}"),
        }
        assert_eq!(seen.errors(), []);
        without_readers(&shard);
        stage.is_left_clean();
    }
}

/// A worker that panics takes down what timely takes down, and leaves the shard clean.
#[test]
fn a_worker_that_panics_leaves_no_reader() {
    let stage = stage(vec![]);
    let reading = stage.shard.clone();
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let seen = Seen::default();
        let running = install_as(Kind::Flat, worker, PersistSource::new(&reading).as_of(at(PARTS - 1)), &seen);
        while running.probe.less_than(&PARTS) {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        if worker.index() == 0 {
            panic!("on purpose");
        }
        // The other goes on as far as it can.
        for _ in 0..100 {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    });
    let results: Vec<_> = guards.unwrap().join().into_iter().map(|result| result.is_ok()).collect();
    assert_eq!(results, [false, true]);
    stage.is_left_clean();
}

#[test]
fn after_the_end_the_button_does_nothing_and_the_dataflow_ends_without_it() {
    let stage = stage(vec![]);
    let (reading, seen) = (stage.shard.clone(), Seen::default());
    let shared = seen.clone();
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let running = install(worker, PersistSource::new(&reading).as_of(at(0)).until(at(PARTS)), &shared);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
        running.button.press();
        worker.step();
    });
    drop(guards.unwrap());
    assert_eq!(seen.rows(), expected(0..PARTS, 2, 0));
    stage.is_left_clean();
    assert!(stage.client.shard::<String, u64, u64, i64>(ShardId::new()).id() != stage.shard.id());
}
