//! What a sink has put into storage and waits to be asked for: for longer than a sweep leaves what no commit refers to.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use timely_persist::ClientBuilder;
use timely_persist::store::ObjectLog;
use timely_persist_operators::PersistSink;
use timely_persist_testing::{CountingStore, Fault, Faults, FaultyLog, FaultyStore, Operation, Rule};

use crate::idle::evenly;
use crate::sinks::{Dataflow, output};
use crate::{Process, writing};

/// For so long a sweep leaves what no commit refers to.
const AGE: Duration = Duration::from_secs(3_600);

/// How often a dataflow is looked after that waits for as long.
const RESTING: Duration = Duration::from_secs(60);

/// So many bytes of rows are collected before they are put into storage, twice over.
const MEMORY: usize = 400 << 10;

/// Rows that are too many for that, once.
const ROWS: u64 = 1_500;

/// A process whose store and log have these faults, and another one that sweeps its store.
async fn swept(faults: Faults) -> (Process, Process, impl Sized) {
    let (store, mut config) = (Arc::new(InMemory::new()), writing());
    (config.limits.orphan_age_min, config.upkeep.leak_sweep_interval) = (AGE, AGE / 4);
    let ask = |maintain| {
        let mut config = config.clone();
        config.upkeep.maintain = maintain;
        move |builder: ClientBuilder| evenly(builder.config(config))
    };
    let log = Arc::new(FaultyLog::new(Arc::new(ObjectLog::new(store.clone())), faults.clone()));
    let requests = CountingStore::new(Arc::new(FaultyStore::new(store.clone(), faults.clone())));
    let process = Process::with(requests, Some(log), ask(false)).await;
    let other = Process::with(CountingStore::new(store), None, ask(true)).await;
    let maintaining = output(&other).maintain().await.unwrap();
    (process, other, maintaining)
}

/// A dataflow that gives rows of one time, and does not say for a long time that these are all. Each quarter of an age, each
/// object of them costs a request to copy it, one to look at the copy and one to delete it.
#[tokio::test(start_paused = true)]
async fn what_is_spilled_can_be_appended_however_long_that_takes() {
    let faults = Faults::scripted();
    let (process, other, _maintaining) = swept(faults.clone()).await;
    let (mut kept, mut input) = Dataflow::kept(PersistSink::new(&output(&process)).memory_max(MEMORY));
    input.advance_to(1);
    input.flush();
    kept.reach(1).await;
    for round in 0..3 {
        (0..ROWS).for_each(|row| input.update((format!("{row:0100}"), ROWS * round + row), 1));
        input.flush();
        kept.run(AGE / 24, RESTING).await;
    }
    let ((), cost) = process.cost(kept.run(3 * AGE, RESTING)).await;
    let objects = 3 * 3 * 4;
    assert_eq!((cost.requests.copies, cost.requests.deletes), (objects, objects));
    // A store that does not answer is asked again.
    faults.add(Rule::every(Operation::Copy, Fault::FailBefore));
    kept.run(AGE / 4, RESTING).await;
    faults.clear();
    kept.run(AGE, RESTING).await;
    input.advance_to(2);
    input.flush();
    kept.reach(2).await;
    assert_eq!(output(&other).inspect().await.unwrap().rows, 3 * ROWS);
}

/// Rows that are too many for an entry, and a log that takes none for long.
#[tokio::test(start_paused = true)]
async fn what_waits_for_the_log_can_be_appended_however_long_that_takes() {
    let faults = Faults::scripted();
    let (process, other, _maintaining) = swept(faults.clone()).await;
    let (mut kept, mut input) = Dataflow::kept(PersistSink::new(&output(&process)));
    input.advance_to(1);
    input.flush();
    kept.reach(1).await;
    (0..ROWS).for_each(|row| input.update((format!("{row:0100}"), row), 1));
    faults.add(Rule::every(Operation::LogCompareAndSet, Fault::FailBefore));
    input.advance_to(2);
    input.flush();
    kept.run(2 * AGE, RESTING).await;
    assert!(kept.probe.less_equal(&1), "it claims what is not there");
    faults.clear();
    kept.reach(2).await;
    assert_eq!(output(&other).inspect().await.unwrap().rows, ROWS);
}
