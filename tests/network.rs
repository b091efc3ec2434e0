//! A bucket behind a bad line: requests that hang, answers that are lost or are not what the server did.
#![cfg(all(feature = "aws", feature = "azure"))]
#![allow(clippy::unwrap_used)] // a test that panics fails

#[path = "support/proxy.rs"]
#[allow(dead_code)] // some are for other tests
mod proxy;
#[path = "support/servers.rs"]
#[allow(dead_code)]
mod servers;

use std::time::Duration;

use proxy::{Proxy, Request, Twist};
use servers::{Kind, Server};
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Config, Error, ErrorKind, Shard, ShardId};

type Row = ((String, u64), u64, i64);

const ONE: u128 = 1;
const OTHER: u128 = 2;

/// Longer than any test: what has this deadline must not be needed.
const NEVER: Duration = Duration::from_secs(3600);

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn rows(time: u64) -> Vec<Row> {
    vec![((format!("key {time}"), time), time, 1)]
}

fn shard(client: &Client, id: u128) -> Shard<String, u64, u64, i64> {
    client.shard(ShardId::from_u128(id))
}

/// No object is written, and none deleted, but for what a test is about.
fn config() -> Config {
    let mut config = Config::default();
    config.upkeep.maintain = false;
    config.log.watch_fallback = NEVER;
    config
}

struct Stage {
    server: Server,
    proxy: Proxy,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start(Kind::Moto).await;
        let proxy = Proxy::before(server.port()).await;
        Self { server, proxy }
    }

    /// A client on the bad line.
    async fn client(&self, config: Config) -> Client {
        self.server.client_at(self.server.url(), self.proxy.port()).config(config).open().await.unwrap()
    }

    /// What a client on a good line sees, as of `time`.
    async fn contents(&self, id: u128, time: u64) -> Vec<Row> {
        let client = self.server.client().open().await.unwrap();
        let reader = shard(&client, id).open_reader("check").await.unwrap();
        reader.snapshot_and_fetch(at(time)).await.unwrap()
    }
}

/// The creation of a log entry.
fn commits(id: u128) -> impl Fn(&Request) -> bool + Send + Copy {
    move |request| request.creates && request.line.contains(&format!("/{}/log/", ShardId::from_u128(id)))
}

/// Requests for entries of the log: how many create one, how many read one.
fn log_requests(proxy: &Proxy, id: u128) -> (usize, usize) {
    let seen = proxy.take_seen();
    let reads = format!("/{}/log/", ShardId::from_u128(id));
    let reads = seen.iter().filter(|request| request.line.starts_with("GET") && request.line.contains(&reads)).count();
    (seen.iter().filter(|request| commits(id)(request)).count(), reads)
}

#[tokio::test]
async fn a_commit_that_hangs_holds_up_no_other_shard_and_no_other_process() {
    let stage = Stage::new().await;
    let mut patient = config();
    patient.log.request_deadline = NEVER;
    let client = stage.client(patient).await;
    let mut hung = shard(&client, ONE).open_writer("hung").await.unwrap();
    let mut writer = shard(&client, OTHER).open_writer("test").await.unwrap();
    stage.proxy.twist(1, Twist::Hang, commits(ONE));
    let hung = tokio::spawn(async move { hung.compare_and_append(rows(0), at(0), at(1)).await });
    stage.proxy.twisted(1).await;
    for time in 0..3 {
        assert_eq!(writer.compare_and_append(rows(time), at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
    let elsewhere = stage.client(config()).await;
    let mut writer = shard(&elsewhere, ONE).open_writer("elsewhere").await.unwrap();
    assert_eq!(writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
    assert!(!hung.is_finished());
    hung.abort();
}

#[tokio::test]
async fn a_commit_that_hangs_holds_up_its_own_shard_for_the_deadline_of_a_request() {
    for twist in [Twist::Hang, Twist::HangAnswer] {
        let stage = Stage::new().await;
        let mut config = config();
        config.log.request_deadline = Duration::from_millis(300);
        let client = stage.client(config).await;
        let mut hung = shard(&client, ONE).open_writer("hung").await.unwrap();
        let mut behind = shard(&client, ONE).open_writer("behind").await.unwrap();
        stage.proxy.twist(1, twist, commits(ONE));
        let hung = tokio::spawn(async move { hung.compare_and_append(rows(0), at(0), at(1)).await });
        stage.proxy.twisted(1).await;
        // It waits its turn, and finds what the other one left.
        let late = behind.compare_and_append(rows(0), at(0), at(1)).await.unwrap();
        assert_eq!(late, Appended::UpperMismatch { current: at(1) }, "{twist:?}");
        assert_eq!(hung.await.unwrap().unwrap(), Appended::Committed, "{twist:?}");
        assert_eq!(behind.compare_and_append(rows(1), at(1), at(2)).await.unwrap(), Appended::Committed, "{twist:?}");
        assert_eq!(stage.contents(ONE, 0).await, rows(0), "{twist:?}");
    }
}

// Hazards 1 and 23: a commit whose answer is lost, or that a layer below sends a second time, is one commit and a success.
#[tokio::test]
async fn a_commit_is_settled_by_reading_it_back_whatever_the_answer_says() {
    const BUSY: &str = "<Error><Code>ConditionalRequestConflict</Code><Message>Try again.</Message></Error>";
    // Requests that create the entry, and that read it.
    let stage = Stage::new().await;
    let cases = [
        (0, Twist::LoseAnswer, (1, 1)),
        (0, Twist::ReplaceAnswer(503), (1, 1)),
        // Sent again by `object_store`, whose second request is told that the entry is there: that of the first.
        (2, Twist::LoseAnswer, (2, 1)),
        (2, Twist::ReplaceAnswer(503), (2, 1)),
        // The same, but the first one was never done.
        (2, Twist::Cut, (2, 0)),
        (2, Twist::Answer(503, ""), (2, 0)),
        // A conflict with nobody.
        (2, Twist::Answer(409, BUSY), (2, 1)),
        (2, Twist::Answer(412, ""), (2, 1)),
    ];
    for ((retries, twist, expected), id) in cases.into_iter().zip(1..) {
        let mut config = config();
        config.bucket.retries_max = retries;
        let client = stage.client(config).await;
        let mut writer = shard(&client, id).open_writer("test").await.unwrap();
        assert_eq!(writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
        stage.proxy.take_seen();
        stage.proxy.twist(1, twist, commits(id));
        let appended = writer.compare_and_append(rows(1), at(1), at(2)).await.unwrap();
        assert_eq!(appended, Appended::Committed, "{twist:?}");
        assert_eq!(log_requests(&stage.proxy, id), expected, "{twist:?}");
        assert_eq!(writer.compare_and_append(rows(2), at(2), at(3)).await.unwrap(), Appended::Committed, "{twist:?}");
        let all: Vec<Row> = (0..3).flat_map(rows).map(|(row, _, diff)| (row, 2, diff)).collect();
        assert_eq!(stage.contents(id, 2).await, all, "{twist:?}");
    }
}

#[tokio::test]
async fn a_commit_that_another_one_overtook_on_a_bad_line_has_lost() {
    let stage = Stage::new().await;
    let (client, rival) = (stage.client(config()).await, stage.server.client().open().await.unwrap());
    let mut writer = shard(&client, ONE).open_writer("test").await.unwrap();
    let mut rival = shard(&rival, ONE).open_writer("rival").await.unwrap();
    stage.proxy.twist(usize::MAX, Twist::Cut, commits(ONE));
    let ours = vec![(("ours".to_owned(), 0), 0, 1)];
    let appending = tokio::spawn(async move { writer.compare_and_append(ours, at(0), at(1)).await });
    stage.proxy.twisted(2).await;
    assert_eq!(rival.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
    stage.proxy.calm();
    assert_eq!(appending.await.unwrap().unwrap(), Appended::UpperMismatch { current: at(1) });
    assert_eq!(stage.contents(ONE, 0).await, rows(0));
}

#[tokio::test]
async fn a_server_that_never_answers_is_unavailable_at_the_deadline_of_a_commit() {
    let stage = Stage::new().await;
    let mut config = config();
    config.log.request_deadline = Duration::from_millis(500);
    config.log.commit_deadline = Duration::from_secs(2);
    let client = stage.client(config).await;
    let mut writer = shard(&client, ONE).open_writer("test").await.unwrap();
    stage.proxy.twist(usize::MAX, Twist::Hang, |_| true);
    let error = writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Unavailable, Some(ShardId::from_u128(ONE))), "{error:?}");
    stage.proxy.calm();
    // The same append again takes effect once, on a machine that may be too busy for these deadlines now and then.
    let again = loop {
        match writer.compare_and_append(rows(0), at(0), at(1)).await {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
            Ok(appended) => break appended,
        }
    };
    assert_eq!(again, Appended::Committed);
    assert_eq!(stage.contents(ONE, 0).await, rows(0));
}

/// Appends a part that is an object, and gives the requests for it that one fetch of it makes under this twist.
async fn fetch_part(stage: &Stage, id: u128, times: usize, twist: Twist) -> (Result<Vec<Row>, Error>, usize) {
    let mut config = config();
    config.write.inline_part_bytes_max = 0;
    config.bucket.request_deadline = Duration::from_secs(4); // no request that gets through takes so long
    let client = stage.client(config).await;
    let mut writer = shard(&client, id).open_writer("test").await.unwrap();
    assert_eq!(writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
    let reader = shard(&client, id).open_reader("test").await.unwrap();
    let parts = reader.snapshot(at(0)).await.unwrap();
    let is_part = |request: &Request| request.line.starts_with("GET") && request.line.ends_with(".arrow");
    stage.proxy.twist(times, twist, is_part);
    stage.proxy.take_seen();
    let fetched = reader.fetcher().fetch(&parts[0]).await.map(|part| part.rows().collect());
    stage.proxy.calm();
    (fetched, stage.proxy.take_seen().iter().filter(|request| is_part(request)).count())
}

#[tokio::test]
async fn a_part_is_asked_for_again_only_where_that_may_help() {
    let stage = Stage::new().await;
    let (plain, requests) = fetch_part(&stage, 1, 0, Twist::Cut).await;
    assert_eq!(plain.unwrap(), rows(0));
    let curable = [(1, Twist::Hang), (1, Twist::HangAnswer), (1, Twist::Cut), (5, Twist::Answer(503, "busy"))];
    for ((times, twist), id) in curable.into_iter().zip(2..) {
        let (fetched, asked) = fetch_part(&stage, id, times, twist).await;
        assert_eq!(fetched.unwrap(), rows(0), "{twist:?}");
        assert_eq!(asked, requests + times, "{twist:?}");
    }
    let final_ones = [(403, ErrorKind::Unavailable), (401, ErrorKind::Unavailable), (404, ErrorKind::Missing)];
    for ((status, kind), id) in final_ones.into_iter().zip(10..) {
        let (fetched, asked) = fetch_part(&stage, id, usize::MAX, Twist::Answer(status, "")).await;
        assert_eq!(fetched.unwrap_err().kind(), kind, "{status}");
        assert_eq!(asked, 1, "{status}");
    }
}
