//! The same with objects in a bucket and logs in PostgreSQL, while a third process appends: latency, results, a process
//! that is killed, and what it leaves.

#[path = "../support/postgres.rs"]
#[allow(dead_code)] // some are for other tests
mod postgres;
#[path = "../support/servers.rs"]
#[allow(dead_code)]
mod servers;

use std::collections::BTreeMap;
use std::sync::Arc;

use timely::progress::Antichain;
use timely_persist::clock::Clock;
use timely_persist::{Client, Config, Hold, Holder, ListenEvent, Shard, ShardId};

use super::processes::{Place, Process, Sums, finish, sums, sums_of};
use servers::{ACCESS_KEY, Kind, SECRET, Server};

/// Appends of a process that writes, and the time from one to the next.
const APPENDS: u64 = 150;
const PACE_MS: &str = "20";

/// The same, where what is counted is kept. A quarter comes before a kill.
const KEPT_APPENDS: u64 = 60;

/// Rows of an append that is kept in the log, and of one that becomes an object of the bucket.
const FEW_ROWS: u64 = 10;
const MANY_ROWS: u64 = 1_000;

/// A bucket, a database, and a place of both.
struct Stand {
    bucket: Server,
    database: postgres::Server,
    place: Place,
}

impl Stand {
    async fn start() -> Self {
        let bucket = Server::start(Kind::Moto).await;
        let database = tokio::task::spawn_blocking(postgres::Server::start).await.unwrap();
        let variables = [
            ("AWS_ENDPOINT", bucket.endpoint()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("CLUSTER_DATABASE", database.url()),
        ];
        let place = Place::new(&bucket.url(), &variables);
        Self { bucket, database, place }
    }

    /// The shard, seen from here at this time.
    async fn shard(&self, wall_ms: Option<u64>) -> Shard<String, u64, u64, i64> {
        let client = self.bucket.client().database(self.database.url());
        let client = match wall_ms {
            Some(wall_ms) => client.clock(Arc::new(Standing(wall_ms))),
            None => client,
        };
        let client: Client = client.open().await.unwrap();
        client.shard(ShardId::from_u128(1))
    }

    fn fill(&self, appends: u64, rows: u64) -> Process {
        self.place.start(&["fill", &appends.to_string(), &rows.to_string(), PACE_MS])
    }

    fn follow(&self, upper: u64) -> Vec<Process> {
        self.place.start_cluster(&["follow", &upper.to_string()], 2)
    }

    /// A cluster that keeps the sums: this start of the pipeline of this name.
    fn keep(&self, upper: u64, name: &str, start: u64) -> Vec<Process> {
        self.place.start_cluster(&["keep", &upper.to_string(), name, &start.to_string()], 2)
    }
}

/// A clock that stands.
#[derive(Debug)]
struct Standing(u64);

impl Clock for Standing {
    fn wall_ms(&self) -> u64 {
        self.0
    }
}

/// An append as its writer tells it; moments in microseconds.
#[derive(Clone, Copy)]
struct Append {
    time: u64,
    rows: u64,
    begun: i64,
    done: i64,
}

/// What a process that ends well has appended.
fn appends(writer: Process) -> Vec<Append> {
    let said = writer.finish();
    let lines = said.iter().filter_map(|line| line.strip_prefix("appended "));
    let append = |line: &str| {
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let [rows, "rows", "at", time, begun, "to", done] = words[..] else { panic!("{line:?}") };
        let [rows, time] = [rows, time].map(|word| word.parse().unwrap());
        let [begun, done] = [begun, done].map(|word| word.parse().unwrap());
        Append { time, rows, begun, done }
    };
    lines.map(append).collect()
}

fn expected(written: &[Append]) -> Sums {
    sums_of(written.iter().flat_map(|append| append.time * append.rows..(append.time + 1) * append.rows))
}

/// When the frontier of each worker of a process moved, and where to: "worker 1: 17 at 1700000000000000".
fn moves(said: &[String]) -> BTreeMap<String, Vec<(u64, i64)>> {
    let mut moves = BTreeMap::new();
    for line in said {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["worker", worker, frontier, "at", moment] = words[..] {
            let moves: &mut Vec<(u64, i64)> = moves.entry(worker.to_owned()).or_default();
            moves.push((frontier.parse().unwrap(), moment.parse().unwrap()));
        }
    }
    moves
}

/// Prints how long it took from appends until the probe of each worker had passed them.
fn print_latencies(name: &str, written: &[Append], said: &[Vec<String>]) {
    for (process, said) in said.iter().enumerate() {
        let moves = moves(said);
        assert_eq!(moves.len(), 2, "each worker says when its frontier moves");
        let seen = |append: Append, moves: &[(u64, i64)]| {
            let passed = moves.iter().find(|(frontier, _)| *frontier > append.time);
            passed.expect("each append is seen").1
        };
        for (from, moment) in [("begun", (|append| append.begun) as fn(&Append) -> i64), ("done", |append| append.done)]
        {
            let of_worker = |moves| written.iter().map(move |append| seen(*append, moves) - moment(append));
            let mut took: Vec<i64> = moves.values().flat_map(|moves| of_worker(moves)).collect();
            took.sort_unstable();
            let [p50, p99] = [50, 99].map(|percent| took[took.len() * percent / 100] as f64 / 1e3);
            println!("{name}, process {process}, from an append {from} to the probe: p50 {p50:.1} ms, p99 {p99:.1} ms");
        }
        // Nobody saw what had not been begun.
        assert!(moves.values().all(|moves| written.iter().all(|append| seen(*append, moves) >= append.begun)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_follows_another_process() {
    let stand = Stand::start().await;
    let mut written = Vec::new();
    for (name, rows) in [("10 rows", FEW_ROWS), ("1,000 rows", MANY_ROWS)] {
        // The cluster is there before the appends that count.
        written.extend(appends(stand.place.start(&["fill", "1", &rows.to_string()])));
        let begin = written.len() as u64;
        let mut cluster = stand.follow(begin + APPENDS);
        for process in &mut cluster {
            let there = format!(": {begin} at ");
            process.wait_for(|line| line.starts_with("worker") && line.contains(&there));
        }
        let new = appends(stand.fill(APPENDS, rows));
        assert_eq!(new.len() as u64, APPENDS);
        let said: Vec<Vec<String>> = cluster.into_iter().map(Process::finish).collect();
        print_latencies(name, &new, &said);
        written.extend(new);

        let expected = expected(&written);
        assert_eq!(sums(&said), expected);
        for said in said {
            let of_one = sums(&[said]);
            assert!(!of_one.is_empty() && of_one.len() < expected.len(), "both processes have keys: {}", of_one.len());
        }
    }
    let shard = stand.shard(None).await;
    let info = shard.inspect().await.unwrap();
    assert!(info.bytes > info.inline_bytes, "some rows are in the bucket");
    assert_eq!(shard.holds().await.unwrap(), [], "who ends well leaves nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_killed_while_another_appends() {
    let stand = Stand::start().await;
    let (shard, mut left) = (stand.shard(None).await, Vec::new());
    let mut written = Vec::new();
    for killed in 0..2 {
        let begin = written.len() as u64;
        let upper = begin + APPENDS + 1; // the last append comes later, so nobody ends before
        let mut cluster = stand.follow(upper);
        let writer = stand.fill(APPENDS, MANY_ROWS);
        kill_when_at(&mut cluster, killed, begin + APPENDS / 4);
        left = shard.holds().await.unwrap();
        let readers: Vec<Holder> = left.iter().map(|hold| hold.holder).collect();
        println!("process {killed} was killed: {} readers are left", readers.len());
        assert!(readers.len() <= killed + 1, "one for each cluster that was killed: {left:#?}");

        let cluster = stand.follow(upper);
        written.extend(appends(writer)); // nothing happened to it
        written.extend(appends(stand.place.start(&["fill", "1", &MANY_ROWS.to_string()])));
        let (sums, _) = finish(cluster);
        assert_eq!(sums, expected(&written), "after process {killed} was killed");
        let holds = shard.holds().await.unwrap();
        assert!(holds.iter().all(|hold| readers.contains(&hold.holder)), "who ends well leaves nothing: {holds:#?}");
    }
    nothing_is_held_when_the_leases_are_over(&stand, &left).await;
}

/// Kills one process in the middle: all before this time has been seen, and more is still to come. The other one ends.
fn kill_when_at(cluster: &mut [Process], killed: usize, time: u64) {
    let seen = |line: &str| {
        let frontier = line.split_once(": ").and_then(|(_, moved)| moved.split_once(" at "));
        frontier.is_some_and(|(frontier, _)| frontier.parse().is_ok_and(|at: u64| at > time))
    };
    cluster[killed].wait_for(|line| line.starts_with("worker") && seen(line));
    cluster[killed].kill();
    for process in cluster {
        assert!(!process.end().success(), "who has lost the other cannot go on");
    }
}

/// First it is started again; then a standby that runs beside it goes on alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_killed_clusters_keep_is_there_once() {
    let stand = Stand::start().await;
    let amounts = stand.shard(None).await;
    let kept: Shard<String, (i64, i64), u64, i64> = amounts.client().shard(ShardId::from_u128(2));
    let reader = kept.open_reader("the test: all times").await.unwrap();

    let upper = KEPT_APPENDS + 1; // the last append comes later, so nobody ends before
    let mut cluster = stand.keep(upper, "sums", 1);
    let writer = stand.fill(KEPT_APPENDS, MANY_ROWS);
    kill_when_at(&mut cluster, 0, KEPT_APPENDS / 4);
    let cluster = stand.keep(upper, "sums", 2);
    writer.finish(); // nothing happened to it
    stand.place.start(&["fill", "1", &MANY_ROWS.to_string()]).finish();
    finish(cluster);
    assert_eq!(kept.inspect().await.unwrap().upper, Antichain::from_elem(upper));

    let (begin, upper) = (upper, 2 * upper);
    let mut cluster = stand.keep(upper, "sums", 3);
    let standby = stand.keep(upper, "standby", 1);
    let writer = stand.fill(KEPT_APPENDS, MANY_ROWS);
    kill_when_at(&mut cluster, 1, begin + KEPT_APPENDS / 4);
    writer.finish();
    stand.place.start(&["fill", "1", &MANY_ROWS.to_string()]).finish();
    finish(standby);

    let mut changes: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    let mut rows = reader.subscribe(Antichain::from_elem(0)).await.unwrap().until(Antichain::from_elem(upper));
    while rows.frontier().less_than(&upper) {
        for event in rows.fetch_next().await.unwrap() {
            let ListenEvent::Updates(updates) = event else { continue };
            for (row, time, diff) in updates {
                changes.entry(time).or_default().push((row, diff));
            }
        }
    }
    let (mut found, mut expected) = (BTreeMap::new(), Sums::new());
    for time in 0..upper {
        for (row, diff) in changes.remove(&time).unwrap_or_default() {
            *found.entry(row).or_default() += diff;
        }
        found.retain(|_, diff| *diff != 0);
        for (key, (count, sum)) in sums_of(time * MANY_ROWS..(time + 1) * MANY_ROWS) {
            let before = expected.entry(key).or_default();
            *before = (before.0 + count, before.1 + sum);
        }
        let once = |(key, (count, sum)): (&String, &(u64, u64))| ((key.clone(), (*count as i64, *sum as i64)), 1);
        assert_eq!(found, expected.iter().map(once).collect(), "at {time}");
    }
}

/// A leader that is killed cannot remove its reader, and one that has lost the other process may not get to it. The reader
/// stays until somebody has seen it stand still for its lease, or, as here, until it is as old by every clock as nothing
/// that lives.
async fn nothing_is_held_when_the_leases_are_over(stand: &Stand, left: &[Hold<u64>]) {
    let renewed = left.iter().filter_map(|hold| hold.heartbeat_ms).max();
    let renewed = renewed.expect("the leader was one of the two that were killed");
    let lapsed = renewed + Config::default().lease.lapse_age.as_millis() as u64 + 1;
    stand.shard(Some(lapsed)).await.open_reader("moves the shard's time").await.unwrap().expire().await.unwrap();

    let later = stand.shard(Some(lapsed)).await;
    let upper = later.inspect().await.unwrap().upper;
    let last = Antichain::from_elem(upper.first().unwrap() - 1);
    let mut reader = later.open_reader("last").await.unwrap();
    let holds = later.holds().await.unwrap();
    assert_eq!(holds.len(), 1, "only the new one: {holds:#?}");
    reader.downgrade_since(&last).await.unwrap();
    assert_eq!(later.inspect().await.unwrap().since, last, "history is free");
}
