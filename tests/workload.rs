//! The simulator's actors in real time, on real servers: two clients write, read and keep house at once, and what they
//! saw must be what they were told, whatever the store is, wherever the log is kept, and whether or not servers fail
//! meanwhile.
#![cfg(all(feature = "aws", feature = "azure", feature = "postgres"))]
#![allow(clippy::unwrap_used)] // a test that panics fails

#[path = "support/actors/mod.rs"]
mod actors;
#[path = "support/places.rs"]
mod places;
#[path = "support/postgres.rs"]
#[allow(dead_code)] // some are for other tests
mod postgres;
#[path = "support/proxy.rs"]
#[allow(dead_code)]
mod proxy;
#[path = "support/random.rs"]
#[allow(dead_code)]
mod random;
#[path = "support/servers.rs"]
#[allow(dead_code)]
mod servers;
#[path = "support/times.rs"]
#[allow(dead_code)]
mod times;
#[path = "workload/truth.rs"]
mod truth;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::{Actor, Outcome, Plain, Record, Shared, Strings};
use places::Place;
use proxy::Proxy;
use random::{Random, Story};
use servers::{Kind, Server};
use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{Client, Config, ShardId};
use tokio::task::JoinSet;
use tokio::time::Instant;
use truth::{check, nothing, tap};

/// What must have been done before a workload ends.
const COMMITS: usize = 40;
const SNAPSHOTS: usize = 6;
const LISTENS: usize = 3;

/// A workload that takes longer has stopped somewhere: before the test runner says so, which does not know where.
const LIMIT: Duration = Duration::from_secs(480);

fn config(inline_part_bytes_max: usize) -> Config {
    let mut config = Config::default();
    config.write.inline_part_bytes_max = inline_part_bytes_max;
    config.upkeep.rollup_interval = 8;
    config.upkeep.compaction_fan_in = 2;
    config.upkeep.sweep_interval = Duration::from_millis(100);
    config.log.watch_fallback = Duration::from_secs(1);
    config
}

fn shard(client: &Client) -> Strings<u64> {
    client.shard(ShardId::from_u128(1))
}

fn committed(record: &Record<u64>) -> usize {
    record.attempts.iter().filter(|attempt| attempt.outcome == Outcome::Committed).count()
}

/// Whether enough was done.
fn is_enough(record: &Record<u64>) -> bool {
    let committed = committed(record);
    let refused = record.attempts.iter().any(|attempt| attempt.outcome == Outcome::Refused);
    let heard = record.listens.iter().filter(|heard| heard.frontier != heard.as_of).count();
    committed >= COMMITS && refused && record.snapshots.len() >= SNAPSHOTS && heard >= LISTENS
}

/// All that goes on in one client. `elsewhere` is the same shard in the other one.
fn start(actors: &mut JoinSet<()>, shard: &Strings<u64>, elsewhere: &Strings<u64>, record: &Shared<u64>, seed: u64) {
    let mut random = Random::new(seed);
    let mut actor = || {
        let (shard, elsewhere, record) = (shard.clone(), elsewhere.clone(), Arc::clone(record));
        Actor::<u64, Plain> { shard, elsewhere, record, random: Random::new(random.word()), rest_ms_max: 40 }
    };
    actors.spawn(actor().compete());
    actors.spawn(actor().compete());
    actors.spawn(actor().write_identically());
    actors.spawn(actor().stage());
    actors.spawn(actor().snapshots());
    actors.spawn(actor().listen());
    actors.spawn(actor().keep());
}

/// When a workload must have ended.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    /// What this comes to, soon enough.
    async fn of<R>(self, what: &str, work: impl Future<Output = R>) -> R {
        let done = tokio::time::timeout_at(self.0, work).await;
        done.unwrap_or_else(|_elapsed| panic!("after {LIMIT:?} still waiting for {what}"))
    }
}

async fn workload(name: &str, place: Place) {
    workload_in_trouble(name, &place, &place, async |_| {}).await;
}

/// The actors are at `place`, the observer sees the same from `vantage`, and `trouble` is told what was committed so far,
/// again and again.
async fn workload_in_trouble(name: &str, place: &Place, vantage: &Place, mut trouble: impl AsyncFnMut(usize)) {
    let deadline = Deadline(Instant::now() + LIMIT);
    let observer = deadline.of("the observer to open", vantage.client().open()).await.unwrap();
    let truth = Arc::new(Mutex::new(nothing()));
    let listening = tokio::spawn(tap(shard(&observer), truth.clone()));

    let story = Story::new(format!("cargo test --test workload {name}"));
    let record: Shared<u64> = Arc::new(Mutex::new(Record::new(story)));
    let mut clients = Vec::new();
    for inline_part_bytes_max in [0, 8 << 10] {
        let opening = place.client().config(config(inline_part_bytes_max)).open();
        clients.push(deadline.of("a client to open", opening).await.unwrap());
    }
    let (one, other) = (shard(&clients[0]), shard(&clients[1]));
    let mut actors = JoinSet::new();
    start(&mut actors, &one, &other, &record, 1);
    start(&mut actors, &other, &one, &record, 2);
    let done = async {
        while !is_enough(&record.lock().unwrap()) {
            assert!(!listening.is_finished());
            actors::look_after(&mut actors);
            let committed = committed(&record.lock().unwrap());
            trouble(committed).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    deadline.of("enough to be done", done).await;
    deadline.of("the actors to end", actors::end(&mut actors)).await;
    drop((one, other));
    for client in clients {
        deadline.of("a client to shut down", client.shutdown()).await.unwrap();
    }
    let upper = deadline.of("the shard to be inspected", shard(&observer).inspect()).await.unwrap().upper;
    let heard = async {
        while !PartialOrder::less_equal(&upper, &truth.lock().unwrap().frontier) {
            assert!(!listening.is_finished());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    deadline.of("the truth to be heard", heard).await;
    listening.abort();

    // Whoever comes later sees the same.
    let again = deadline.of("a later client to open", vantage.client().open()).await.unwrap();
    let reader = deadline.of("a later reader to open", shard(&again).open_reader("later")).await.unwrap();
    let as_of = Antichain::from_elem(upper.elements()[0] - 1);
    let shown = deadline.of("the last snapshot", reader.snapshot_and_fetch(as_of.clone())).await.unwrap();
    let mut record = record.lock().unwrap();
    record.snapshots.push((as_of, shown));
    check(&record, &truth.lock().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memory() {
    workload("in_memory", Place::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_directory() {
    workload("in_a_directory", Place::directory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_s3() {
    workload("on_s3", Place::bucket(Kind::Moto).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_azure() {
    workload("on_azure", Place::bucket(Kind::Azurite).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_directory_with_logs_in_postgres() {
    workload("in_a_directory_with_logs_in_postgres", Place::directory().with_postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_s3_with_logs_in_postgres() {
    workload("on_s3_with_logs_in_postgres", Place::bucket(Kind::Moto).await.with_postgres().await).await;
}

/// How often a server goes away while there is work.
const OUTAGES: usize = 3;

/// Whether, after so many commits, it is time for the next outage.
fn is_due(outages: usize, committed: usize) -> bool {
    outages < OUTAGES && committed >= (outages + 1) * COMMITS / (OUTAGES + 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_s3_that_vanishes_and_comes_back() {
    let server = Arc::new(Server::start(Kind::Moto).await);
    let proxy = Arc::new(Proxy::before(server.port()).await);
    let vantage = Place::of(Arc::clone(&server));
    let place = Place::behind(Arc::clone(&server), Arc::clone(&proxy));
    let mut outages = 0;
    let trouble = async |committed| {
        if is_due(outages, committed) {
            // Requests are cut off before and after the server did what they say.
            proxy.blink(10).await;
            outages += 1;
        }
    };
    workload_in_trouble("on_s3_that_vanishes_and_comes_back", &place, &vantage, trouble).await;
    assert_eq!(outages, OUTAGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_azure_that_is_stopped_and_started_again() {
    let server = Arc::new(Server::start(Kind::Azurite).await);
    let place = Place::of(Arc::clone(&server));
    let mut outages = 0;
    let trouble = async |committed| {
        if is_due(outages, committed) {
            let server = Arc::clone(&server);
            tokio::task::spawn_blocking(move || (server.stop(), server.resume())).await.unwrap();
            outages += 1;
        }
    };
    workload_in_trouble("on_azure_that_is_stopped_and_started_again", &place, &place, trouble).await;
    assert_eq!(outages, OUTAGES);
}
