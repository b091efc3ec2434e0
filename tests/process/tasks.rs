//! Tasks that panic: they are begun again, and somebody hears of it.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use object_store::memory::InMemory;
use serde::{Deserialize, Serialize};
use timely::progress::Antichain;
use timely_persist::store::{Consensus, LogError, ObjectLog};
use timely_persist::{Appended, Client, Config, ErrorKind, Health, Serde, ShardId};
use timely_persist_testing::{HookedLog, LogAnswer, LogHook, LogRequest};

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// How many more comparisons of [`Fragile`] on a thread that does upkeep panic.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many did.
static PANICKED: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fragile(u64);

impl Ord for Fragile {
    fn cmp(&self, other: &Self) -> Ordering {
        let does_upkeep = std::thread::current().name().is_some_and(|name| name.starts_with("timely-persist-upkeep"));
        if does_upkeep && PANICS.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            PANICKED.fetch_add(1, SeqCst);
            panic!("these have no order");
        }
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Fragile {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[tokio::test]
async fn upkeep_that_panicked_says_so_and_goes_on() {
    let mut config = Config::default();
    (config.write.inline_part_bytes_max, config.upkeep.compaction_fan_in) = (0, 2);
    config.store.retry_pause_min = Duration::from_millis(50);
    let pause = config.store.retry_pause_min;
    let client = Client::builder(Arc::new(InMemory::new())).config(config).open().await.unwrap();
    let shard = client.shard::<Serde<Fragile>, u64, u64, i64>(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    let begun = tokio::time::Instant::now();
    PANICS.store(u64::MAX, SeqCst);
    for time in 0..4 {
        let rows = (0..100).map(|number| ((Serde(Fragile(number)), 0), time, 1));
        assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
    // Whoever asks hears of it, and whoever looks sees it.
    for _ in 0..3 {
        let error = shard.settle().await.unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Invalid, Some(shard.id())), "{error:?}");
        assert!(error.to_string().contains("these have no order"), "{error}");
    }
    let Health::Stalled(why) = shard.inspect().await.unwrap().upkeep else { panic!("it works") };
    assert!(why.kind() == ErrorKind::Invalid && why.to_string().contains("these have no order"), "{why}");
    // It is tried again after pauses, and when somebody asks.
    let tries = u64::try_from(begun.elapsed().as_millis() / (pause.as_millis() / 2)).unwrap() + 4;
    assert!(
        (1..=tries).contains(&PANICKED.load(SeqCst)),
        "{PANICKED:?} tries, at most {tries} in {:?}",
        begun.elapsed()
    );
    // Once it does not panic any more it catches up.
    PANICS.store(0, SeqCst);
    shard.settle().await.unwrap();
    let info = shard.inspect().await.unwrap();
    assert!(info.batches < 4 && info.upkeep == Health::Well, "{info:?}");
    client.shutdown().await.unwrap();
}

/// A hook that panics so many times, at what follows the log or at what writes to it.
#[derive(Clone, Debug, Default)]
struct Panicking {
    scans: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
}

fn may_panic(left: &AtomicU64, doing: &str) {
    if left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
        panic!("the log panicked while {doing}");
    }
}

#[async_trait]
impl LogHook for Panicking {
    async fn ask(&self, log: &Arc<dyn Consensus>, shard: ShardId, request: LogRequest) -> Result<LogAnswer, LogError> {
        match request {
            LogRequest::Scan(..) => may_panic(&self.scans, "scanning"),
            LogRequest::CompareAndSet(..) => may_panic(&self.writes, "writing"),
            _ => {}
        }
        request.send(log, shard).await
    }
}

/// Two clients of one store; the log of the second panics when it is told to.
async fn two_clients(config: Config) -> (Client, Client, Panicking) {
    let store = Arc::new(InMemory::new());
    let sound = Client::builder(Arc::<InMemory>::clone(&store)).open().await.unwrap();
    let panicking = Panicking::default();
    let log = HookedLog::with_hook(Arc::new(ObjectLog::new(Arc::<InMemory>::clone(&store))), panicking.clone());
    let fragile = Client::builder(store).config(config).consensus(Arc::new(log));
    (sound, fragile.open().await.unwrap(), panicking)
}

#[tokio::test]
async fn a_follower_that_panicked_goes_on() {
    let mut config = Config::default();
    config.log.watch_fallback = Duration::from_millis(10);
    let (sound, fragile, log) = two_clients(config).await;
    let shard = sound.shard::<u64, u64, u64, i64>(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    writer.advance_upper(&at(1)).await.unwrap();
    let following = fragile.shard::<u64, u64, u64, i64>(shard.id());
    let mut waiting = following.open_writer("test").await.unwrap();
    let mut health = following.open_reader("test").await.unwrap().listen(at(0)).await.unwrap().health();
    log.scans.store(3, SeqCst);
    let waits = tokio::spawn(async move { waiting.wait_for_upper_past(&at(1)).await.map(|()| waiting) });
    health
        .wait_for(|health| matches!(health, Health::Stalled(why) if why.to_string().contains("while scanning")))
        .await
        .unwrap();
    writer.advance_upper(&at(2)).await.unwrap();
    let waited = waits.await.unwrap().unwrap();
    assert_eq!((waited.upper(), log.scans.load(SeqCst)), (&at(2), 0));
    health.wait_for(|health| *health == Health::Well).await.unwrap();
}

#[tokio::test]
async fn a_heartbeat_that_panicked_goes_on() {
    let mut config = Config::default();
    config.lease.heartbeat_interval = Duration::from_millis(100);
    config.lease.duration = Duration::from_secs(40);
    let (_sound, fragile, log) = two_clients(config).await;
    let shard = fragile.shard::<u64, u64, u64, i64>(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    writer.advance_upper(&at(1)).await.unwrap();
    let reader = shard.open_reader("test").await.unwrap();
    log.writes.store(1, SeqCst);
    // The beat that panics, and one after it.
    for beat in 0..2 {
        let [before, mut now] = [shard.inspect().await.unwrap().seqno; 2];
        while log.writes.load(SeqCst) > 0 || (beat == 1 && now == before) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            now = shard.inspect().await.unwrap().seqno;
            reader.snapshot(at(0)).await.unwrap(); // `LeaseExpired` once the heart stands still
        }
    }
}
