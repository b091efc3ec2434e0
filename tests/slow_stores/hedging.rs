//! Second requests for what is slow to come: the first answer wins, within a budget.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};
use timely_persist::store::HedgingStore;
use timely_persist_io::store::hedging_store::SAVED_HEDGES_MAX;
use timely_persist_testing::{
    Fault, Faults, FaultyStore, HookedStore, Operation, Rule, StoreAnswer, StoreHook, StoreRequest,
};

use super::*;

/// What a store has before it is asked again.
const PATIENCE: Duration = Duration::from_millis(100);

/// A store with one object, counted and faulty, and the same as one that hedges.
async fn hedging(budget: f64) -> (HedgingStore, CountingStore, Faults, Path) {
    let (memory, path, faults) = (InMemory::new(), Path::from("object"), Faults::scripted());
    memory.put(&path, "contents".into()).await.unwrap();
    let counted = CountingStore::new(Arc::new(FaultyStore::new(Arc::new(memory), faults.clone())));
    (HedgingStore::new(Arc::new(counted.clone()), PATIENCE, budget), counted, faults, path)
}

/// Reads without trouble until the budget has so many second requests.
async fn save(store: &HedgingStore, path: &Path, requests: u64) {
    for _ in 0..requests {
        store.get_range(path, 0..3).await.unwrap();
    }
}

fn slow_next(faults: &Faults, milliseconds: u64) {
    faults.add(Rule::next(Operation::Get, Fault::Delay(Duration::from_millis(milliseconds))));
}

/// What reading gives, how long it takes in milliseconds, and how many requests.
async fn read(store: &HedgingStore, counted: &CountingStore, path: &Path) -> (Result<Bytes, Error>, u128, u64) {
    let (before, start) = (counted.counts(), Instant::now());
    let read = store.get_range(path, 0..8).await;
    (read, start.elapsed().as_millis(), (counted.counts() - before).gets)
}

#[tokio::test(start_paused = true)]
async fn a_second_request_overtakes_a_slow_one_and_only_a_slow_one() {
    let (store, counted, faults, path) = hedging(1.0).await;
    // first takes, second takes => both take, requests
    for (first, second, taken, requests) in
        [(0, 0, 0, 1), (99, 0, 99, 1), (101, 0, 100, 2), (5_000, 20, 120, 2), (150, 5_000, 150, 2)]
    {
        faults.clear();
        slow_next(&faults, first);
        slow_next(&faults, second);
        let (read, time, asked) = read(&store, &counted, &path).await;
        assert_eq!(read.unwrap(), "contents");
        assert_eq!((time, asked), (taken, requests), "{first} ms, then {second} ms");
    }
    // Metadata, and what changes the store, is asked for once.
    faults.clear();
    slow_next(&faults, 5_000);
    let before = counted.counts();
    store.head(&path).await.unwrap();
    faults.add(Rule::next(Operation::Put, Fault::Delay(PATIENCE * 9)));
    store.put(&path, "contents".into()).await.unwrap();
    assert_eq!((counted.counts() - before).operations(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_no_answer_while_another_may_come() {
    let (store, counted, faults, path) = hedging(1.0).await;
    // A failure in time is told at once: whoever asked decides whether to ask again.
    faults.add(Rule::next(Operation::Get, Fault::FailBefore));
    let (failed, time, asked) = read(&store, &counted, &path).await;
    assert!(failed.is_err());
    assert_eq!((time, asked), (0, 1));
    // The second fails, the first comes.
    slow_next(&faults, 700);
    faults.add(Rule::next(Operation::Get, Fault::FailBefore));
    let (found, time, asked) = read(&store, &counted, &path).await;
    assert_eq!((found.unwrap(), time, asked), ("contents".into(), 700, 2));
    // Both say that there is none.
    slow_next(&faults, 700);
    let (missing, _, asked) = read(&store, &counted, &Path::from("missing")).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    assert_eq!(asked, 2);
}

#[tokio::test(start_paused = true)]
async fn second_requests_stay_within_their_budget() {
    let (store, counted, faults, path) = hedging(0.05).await;
    save(&store, &path, 19).await;
    slow_next(&faults, 1_000);
    let (_, time, asked) = read(&store, &counted, &path).await;
    assert_eq!((time, asked), (100, 2), "the twentieth request pays for one");
    slow_next(&faults, 1_000);
    let (_, time, asked) = read(&store, &counted, &path).await;
    assert_eq!((time, asked), (1_000, 1), "nothing is left");
    // A store that is slow all the time is not asked twice as much: of 200 requests, ten.
    faults.add(Rule::every(Operation::Get, Fault::Delay(PATIENCE * 3)));
    let before = counted.counts();
    for _ in 0..199 {
        read(&store, &counted, &path).await.0.unwrap();
    }
    assert_eq!((counted.counts() - before).gets, 199 + 10);
    // Quiet times save up so many, and no more.
    faults.clear();
    save(&store, &path, 10_000).await;
    faults.add(Rule::every(Operation::Get, Fault::Delay(PATIENCE * 3)));
    let before = counted.counts();
    let all = futures::future::join_all((0..100).map(|_| store.get_range(&path, 0..8))).await;
    assert!(all.iter().all(|read| read.is_ok()));
    let second = (counted.counts() - before).gets - 100;
    assert_eq!(second, SAVED_HEDGES_MAX, "all hundred were begun before the first was slow");
    for budget in [0.0, -1.0, f64::NAN] {
        let (store, counted, faults, path) = hedging(budget).await;
        save(&store, &path, 100).await;
        slow_next(&faults, 1_000);
        assert_eq!(read(&store, &counted, &path).await.2, 1, "a budget of {budget}");
    }
}

/// Counts how many requests are under way.
#[derive(Clone, Debug)]
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(&self) -> impl Drop + use<> {
        struct Guard(Arc<AtomicUsize>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        Guard(Arc::clone(&self.0))
    }
}

/// Never answers, and knows who still waits.
#[async_trait::async_trait]
impl StoreHook for UnderWay {
    fn name(&self) -> &'static str {
        "Silent"
    }

    async fn ask(&self, _: &Arc<dyn ObjectStore>, _: StoreRequest) -> object_store::Result<StoreAnswer> {
        let _waits = self.begin();
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_asks_for_nothing_any_more() {
    let under_way = UnderWay(Arc::default());
    let silent = HookedStore::with_hook(Arc::new(InMemory::new()), under_way.clone());
    let store = HedgingStore::new(Arc::new(silent), PATIENCE, 1.0);
    let path = Path::from("object");
    let mut reading = Box::pin(store.get_range(&path, 0..8));
    assert!((&mut reading).now_or_never().is_none());
    assert_eq!(under_way.0.load(Ordering::SeqCst), 1);
    assert!(tokio::time::timeout(PATIENCE * 2, &mut reading).await.is_err());
    assert_eq!(under_way.0.load(Ordering::SeqCst), 2);
    drop(reading);
    assert_eq!(under_way.0.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_hedges_its_reads_of_objects_and_not_its_log() {
    let (store, faults) = (Arc::new(InMemory::new()), Faults::scripted());
    let id = fill(store.clone(), quiet(), 1, 50).await;
    let counted = CountingStore::new(Arc::new(FaultyStore::new(store, faults.clone())));
    for (hedge_delay, taken) in [(None, 3_000), (Some(PATIENCE), 100)] {
        let mut limits = quiet();
        (limits.read.hedge_delay, limits.read.hedge_budget) = (hedge_delay, 1.0);
        let shard: Strings = client(Arc::new(counted.clone()), limits).await.shard(id);
        // Every read of a log's entry is slow, and asked once.
        faults.add(Rule::every(Operation::Get, Fault::Delay(Duration::from_secs(1))).named("/log/").times(1));
        let (before, start) = (counted.counts(), Instant::now());
        let reader = shard.open_reader("test").await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        let opened = (counted.counts() - before).gets;
        faults.add(Rule::next(Operation::Get, Fault::Delay(Duration::from_secs(3))).named("/blob/"));
        let start = Instant::now();
        assert_eq!(reader.snapshot_and_fetch(at(0)).await.unwrap().len(), 50);
        assert_eq!(start.elapsed().as_millis(), taken, "{hedge_delay:?}");
        let requests = (counted.counts() - before).gets - opened;
        assert_eq!(requests, 1 + u64::from(hedge_delay.is_some()));
    }
}
