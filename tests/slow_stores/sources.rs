//! What a source has in flight, on one worker and on several.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use timely_persist_operators::PersistSource;
use timely_persist_testing::{Fault, Faults, FaultyStore, Gate, Operation, Rule};

use super::*;

/// Parts of each shard, and rows of each part.
const PARTS: u64 = 50;
const ROWS: u64 = 10;

/// What takes longer never happens.
const LIMIT: Duration = Duration::from_secs(60);

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// How many requests for parts are under way at once.
#[derive(Clone, Copy)]
struct UnderWay {
    at_least: u64,
    at_most: u64,
}

/// Hydrates a source within these limits, on a store that answers in rounds: when `at_least` requests for parts have come,
/// it answers them. The most parts that were between asked for and emitted.
fn hydrate(store: Arc<InMemory>, id: ShardId, config: Config, workers: usize, under_way: UnderWay) -> u64 {
    let window = under_way.at_least;
    let (log, faults) = (ObjectLog::new(store.clone()), Faults::scripted());
    let counted = CountingStore::new(Arc::new(FaultyStore::new(store, faults.clone())));
    let client = Client::builder(Arc::new(counted.clone())).consensus(Arc::new(log)).config(config);
    let client = block_on(client.open()).unwrap();
    let shard: Strings = client.shard(id);
    block_on(shard.inspect()).unwrap();
    let opened = counted.counts().gets; // a rollup, perhaps; from here on only parts are asked for
    let rounds: Vec<_> =
        (0..PARTS).step_by(window as usize).map(|first| (Gate::closed(), window.min(PARTS - first))).collect();
    for (gate, requests) in &rounds {
        faults.add(Rule::every(Operation::Get, Fault::HoldBefore(gate.clone())).named("/part-").times(*requests));
    }
    let (emitted, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (done, wait) = sync_channel(1);
    let (asked, peak) = (counted.clone(), Arc::clone(&most));
    std::thread::spawn(move || {
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let (asked, emitted, peak) = (asked.clone(), Arc::clone(&emitted), Arc::clone(&peak));
            let source = PersistSource::new(&shard).as_of(at(PARTS - 1)).until(at(PARTS));
            let source = source.map(move |key, _value, _time, _diff| {
                let is_last = key.starts_with(&format!("{:08}", ROWS - 1));
                let in_flight = asked.counts().gets - opened - emitted.load(Ordering::SeqCst);
                peak.fetch_max(in_flight, Ordering::SeqCst);
                emitted.fetch_add(u64::from(is_last), Ordering::SeqCst);
                None::<()>
            });
            let _button = worker.dataflow::<u64, _, _>(|scope| source.build(scope).button);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        drop(guards.unwrap());
        done.send(()).unwrap();
    });
    let mut answered = 0;
    for (gate, requests) in &rounds {
        let come = block_on(async { tokio::time::timeout(LIMIT, gate.arrived(*requests as usize)).await });
        let asked = counted.counts().gets - opened;
        let now = asked - answered;
        assert!(come.is_ok(), "{workers} workers have {now} requests under way, {requests} expected");
        assert!(now <= under_way.at_most, "{workers} workers have {now} requests under way, {window} expected");
        answered += requests;
        gate.open();
    }
    wait.recv_timeout(LIMIT).expect("the source to end");
    assert_eq!(counted.counts().gets - opened, PARTS);
    most.load(Ordering::SeqCst)
}

#[test]
fn a_source_keeps_as_many_parts_in_flight_as_memory_allows() {
    let store = Arc::new(InMemory::new());
    let (id, bytes) = block_on(async {
        let id = fill(store.clone(), quiet(), PARTS, ROWS).await;
        let bytes = part_bytes(&client(store.clone(), quiet()).await.shard(id), PARTS - 1).await;
        (id, bytes)
    });
    // The pool counts whole units of 1 KiB: a window of it needs as many for each part.
    let (bytes, units) = (bytes as u64, bytes.next_multiple_of(1 << 10) as u64);
    for workers in [1, 2, 4] {
        for window in [1, 7, 25, PARTS] {
            let mut limits = quiet();
            limits.read.inflight_bytes_max = (window * units) as usize;
            let allowed = window * units / bytes;
            let under_way = UnderWay { at_least: window, at_most: allowed };
            let most = hydrate(store.clone(), id, limits, workers, under_way);
            assert!(most <= allowed, "{workers} workers: {most} parts in flight, {allowed} allowed");
        }
    }
}

#[test]
fn all_sources_of_a_client_have_so_many_requests_under_way() {
    let store = Arc::new(InMemory::new());
    let id = block_on(fill(store.clone(), quiet(), PARTS, ROWS));
    for workers in [1, 2] {
        let mut limits = quiet();
        limits.read.fetches_max = 9;
        hydrate(store.clone(), id, limits, workers, UnderWay { at_least: 9, at_most: 9 });
    }
}
