//! What a source has in flight, on one worker and on several.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::rounds::Rounds;
use super::*;
use timely_persist_operators::PersistSource;

/// Parts of each shard, and rows of each part.
const PARTS: u64 = 50;
const ROWS: u64 = 10;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// How many rounds of `window` requests a source takes within these limits, and the most parts that were between asked
/// for and emitted.
fn hydrate(store: Arc<InMemory>, id: ShardId, config: Config, workers: usize, window: u64) -> (u64, u64) {
    let rounds = Rounds::new(store, PARTS, window);
    let client = block_on(Client::builder(Arc::new(rounds.clone())).config(config).open()).unwrap();
    let shard: Strings = client.shard(id);
    let (emitted, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (done, wait) = sync_channel(1);
    let (gate, peak) = (rounds.clone(), Arc::clone(&most));
    std::thread::spawn(move || {
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let (gate, emitted, peak) = (gate.clone(), Arc::clone(&emitted), Arc::clone(&peak));
            let source = PersistSource::new(&shard).as_of(at(PARTS - 1)).until(at(PARTS));
            let source = source.map(move |key, _value, _time, _diff| {
                let is_last = key.starts_with(&format!("{:08}", ROWS - 1));
                peak.fetch_max(gate.progress().asked - emitted.load(Ordering::SeqCst), Ordering::SeqCst);
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
    if wait.recv_timeout(Duration::from_secs(60)).is_err() {
        panic!("{workers} workers never have {window} parts in flight: {:?}", rounds.progress());
    }
    let progress = rounds.progress();
    assert_eq!((progress.asked, progress.answered), (PARTS, PARTS));
    (progress.rounds, most.load(Ordering::SeqCst))
}

#[test]
fn a_source_keeps_as_many_parts_in_flight_as_memory_allows() {
    let store = Arc::new(InMemory::new());
    let (id, bytes) = block_on(async {
        let id = fill(store.clone(), config(), PARTS, ROWS).await;
        let bytes = part_bytes(&client(store.clone(), config()).await.shard(id), PARTS - 1).await;
        (id, bytes)
    });
    // The pool counts whole units of 1 KiB: a window of it needs as many for each part.
    let (bytes, units) = (bytes as u64, bytes.next_multiple_of(1 << 10) as u64);
    for workers in [1, 2, 4] {
        for window in [1, 7, 25, PARTS] {
            let mut limits = config();
            limits.inflight_bytes_max = (window * units) as usize;
            let (rounds, most) = hydrate(store.clone(), id, limits, workers, window);
            assert_eq!(rounds, PARTS.div_ceil(window), "{workers} workers, {window} parts at once");
            let allowed = window * units / bytes;
            assert!(most <= allowed, "{workers} workers: {most} parts in flight, {allowed} allowed");
        }
    }
}

#[test]
fn all_sources_of_a_client_have_so_many_requests_under_way() {
    let store = Arc::new(InMemory::new());
    let id = block_on(fill(store.clone(), config(), PARTS, ROWS));
    for workers in [1, 2] {
        let mut limits = config();
        limits.fetches_max = 9;
        let (rounds, _) = hydrate(store.clone(), id, limits, workers, 9);
        assert_eq!(rounds, PARTS.div_ceil(9), "{workers} workers");
    }
}
