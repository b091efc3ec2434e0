//! The log in PostgreSQL, against a real server: the conformance suite, concurrent sessions, kills and restarts.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)] // a test that panics fails

#[path = "support/conformance.rs"]
mod conformance;
#[path = "postgres/damage.rs"]
mod damage;
#[path = "support/logs.rs"]
#[allow(dead_code)] // some are for other tests
mod logs;
#[path = "support/postgres.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conformance::{Log, assert_filled, commit, entry, fill, scan, woken};
use logs::InTurn;
use server::{PASSWORD, Server};
use timely_persist::store::{CompareAndSet, LogEntry, PostgresLog};
use timely_persist::{ErrorKind, SeqNo, ShardId};
use timely_persist_io::store::postgres::{PostgresOptions, TRUNCATED_DIGESTS_MAX};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

async fn start() -> Server {
    tokio::task::spawn_blocking(Server::start).await.unwrap()
}

async fn open(server: &Server) -> Log {
    let options = PostgresOptions { connections_max: 4, ..PostgresOptions::default() };
    Arc::new(PostgresLog::open_with(&server.url(), options).await.unwrap())
}

conformance_suite!(postgres_log, async {
    let server = start().await;
    (open(&server).await, server)
});

conformance_suite!(two_processes, async {
    let server = start().await;
    let log: Log = Arc::new(InTurn::logs([open(&server).await, open(&server).await]));
    (log, server)
});

/// A session of the test's own.
async fn session(server: &Server) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until a query that counts gives `count`.
async fn until_count(session: &Client, query: &str, count: i64) {
    let reached = async {
        while session.query_one(query, &[]).await.unwrap().get::<_, i64>(0) != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), reached).await.expect(query);
}

const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted";
const LISTENING: &str = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN timely_persist'";

// The argument for READ COMMITTED, step by step: the second waits for the first, and then knows.
#[tokio::test]
async fn a_commit_that_waits_for_another_learns_whether_it_lost() {
    let server = start().await;
    let (log, observer, rival) = (open(&server).await, session(&server).await, session(&server).await);
    for (end, expected) in [("COMMIT", CompareAndSet::Conflict), ("ROLLBACK", CompareAndSet::Committed)] {
        let shard = ShardId::new();
        fill(&log, shard, 3).await;
        let key = Uuid::from_u128(shard.as_u128());
        rival.batch_execute("BEGIN").await.unwrap();
        rival.execute("UPDATE timely_persist.head SET seqno = 4 WHERE shard = $1", &[&key]).await.unwrap();
        rival.execute("INSERT INTO timely_persist.entry VALUES ($1, 4, 'rival')", &[&key]).await.unwrap();
        let (waiting, data) = (Arc::clone(&log), entry("ours"));
        let ours = tokio::spawn(async move { waiting.compare_and_set(shard, SeqNo(3), data).await });
        until_count(&observer, WAITING, 1).await;
        // A reader waits for neither.
        assert_filled(&scan(&log, shard, 1).await, 1..=3);
        rival.batch_execute(end).await.unwrap();
        assert_eq!(ours.await.unwrap().unwrap(), expected, "after {end}");
        let head = log.head(shard).await.unwrap().unwrap();
        let winner = if expected == CompareAndSet::Committed { "ours" } else { "rival" };
        assert_eq!(head, LogEntry { seqno: SeqNo(4), data: entry(winner) });
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up_and_settled_later() {
    let server = start().await;
    let options = PostgresOptions { statement_timeout: Duration::from_millis(100), ..PostgresOptions::default() };
    let log: Log = Arc::new(PostgresLog::open_with(&server.url(), options).await.unwrap());
    let shard = ShardId::new();
    fill(&log, shard, 1).await;
    let rival = session(&server).await;
    rival.batch_execute("BEGIN; SELECT FROM timely_persist.head FOR UPDATE").await.unwrap();
    let error = log.compare_and_set(shard, SeqNo(1), entry(2)).await.unwrap_err();
    assert!(error.may_have_happened, "{error}");
    // Who else has something to ask is not held up.
    assert_filled(&scan(&log, shard, 1).await, 1..=1);
    rival.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(commit(&log, shard, 1, entry(2)).await, CompareAndSet::Committed);
    assert_filled(&scan(&log, shard, 1).await, 1..=2);
}

/// Commits until `count` are acknowledged, whatever happens to the server.
async fn insist(log: Log, shard: ShardId, writer: usize, count: usize, total: Arc<AtomicUsize>) -> Vec<LogEntry> {
    let pause = || tokio::time::sleep(Duration::from_millis(5));
    let mut acknowledged = Vec::new();
    let mut head = SeqNo::ZERO;
    while acknowledged.len() < count {
        let data = entry(format!("{writer}: {}", acknowledged.len()));
        match log.compare_and_set(shard, head, data.clone()).await {
            Ok(CompareAndSet::Committed) => {
                head = head.next();
                acknowledged.push(LogEntry { seqno: head, data });
                total.fetch_add(1, Ordering::Relaxed);
            }
            Ok(CompareAndSet::Conflict) => match log.scan(shard, head.next(), 1000).await {
                Ok(newer) => head = newer.last().map_or(head, |entry| entry.seqno),
                Err(_) => pause().await,
            },
            // The same bytes at the same place, until it is known.
            Err(_) => pause().await,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_killed_or_restarted_under_load_loses_nothing_that_was_acknowledged() {
    const WRITERS: usize = 8;
    const COMMITS: usize = 60;
    const KILLS: usize = 3;
    let server = Arc::new(start().await);
    let logs = [open(&server).await, open(&server).await];
    let (shard, total) = (ShardId::new(), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(insist(Arc::clone(&logs[writer % 2]), shard, writer, COMMITS, Arc::clone(&total))))
        .collect();
    for kill in 1..=KILLS {
        while total.load(Ordering::Relaxed) < kill * WRITERS * COMMITS / (KILLS + 1) {
            tokio::task::yield_now().await;
        }
        let server = Arc::clone(&server);
        // A power cut, and a restart in good order, which tells the sessions that it ends.
        let stop = if kill % 2 == 0 { Server::stop } else { Server::kill };
        tokio::task::spawn_blocking(move || (stop(&server), server.resume())).await.unwrap();
    }
    let finished = tokio::time::timeout(Duration::from_secs(120), futures::future::try_join_all(writers)).await;
    let mut acknowledged = finished.expect("the writers to reconnect").unwrap().concat();
    acknowledged.sort_by_key(|entry| entry.seqno);
    let history = scan(&open(&server).await, shard, 1).await;
    assert_eq!(history.len(), WRITERS * COMMITS, "each commit is there once");
    assert_eq!(acknowledged, history);
}

#[tokio::test]
async fn commits_of_another_process_wake_watches_also_after_a_restart() {
    let server = start().await;
    let (one, two, shard) = (open(&server).await, open(&server).await, ShardId::new());
    fill(&one, shard, 1).await;
    let mut watch = two.watch(shard);
    assert_eq!(woken(watch.changed()).await, None, "it listens now, and cannot know what was before");
    assert_eq!(commit(&one, shard, 1, entry(2)).await, CompareAndSet::Committed);
    assert_eq!(woken(watch.changed()).await, Some(SeqNo(2)));

    let server = tokio::task::spawn_blocking(move || {
        server.kill();
        server.resume();
        server
    });
    let server = server.await.unwrap();
    assert_eq!(woken(watch.changed()).await, None, "it listens again");
    while one.compare_and_set(shard, SeqNo(2), entry(3)).await.is_err() {}
    assert_eq!(woken(watch.changed()).await, Some(SeqNo(3)));

    let observer = session(&server).await;
    until_count(&observer, LISTENING, 1).await;
    drop(watch);
    until_count(&observer, LISTENING, 0).await;
}

#[tokio::test]
async fn tables_are_created_once_however_many_open_at_once() {
    let server = start().await;
    let opened = futures::future::join_all((0..8).map(|_| open(&server))).await;
    let shard = ShardId::new();
    for (log, expected) in opened.iter().zip(0..) {
        assert_eq!(commit(log, shard, expected, entry(expected + 1)).await, CompareAndSet::Committed);
    }
    assert_filled(&scan(&opened[0], shard, 1).await, 1..=8);
    let later = session(&server).await;
    later.batch_execute("UPDATE timely_persist.layout SET version = 2").await.unwrap();
    let error = PostgresLog::open(&server.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Newer);
    assert!(error.to_string().contains("layout 2") && error.to_string().contains("upgrade"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_is_told_without_its_password() {
    let server = start().await;
    let secret = "tell nobody";
    let unreachable = "postgres://tester:tell%20nobody@%2Fnowhere/postgres".to_owned();
    for (url, kind) in [
        (server.url_as("tester", secret, "postgres"), ErrorKind::Invalid),
        (server.url_as("nobody", secret, "postgres"), ErrorKind::Invalid),
        (server.url_as("tester", PASSWORD, "missing"), ErrorKind::Invalid),
        (format!("{}?sslmode=require", server.url()), ErrorKind::Invalid),
        (format!("{}?{}=1", server.url(), secret.replace(' ', "%20")), ErrorKind::Invalid),
        (format!("port={secret}"), ErrorKind::Invalid),
        (unreachable, ErrorKind::Unavailable),
    ] {
        let error = PostgresLog::open(&url).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        for text in [error.to_string(), format!("{error:?}")] {
            for secret in [secret, "tell%20nobody", PASSWORD, "open%20sesame"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
    let log = PostgresLog::open(&server.url()).await.unwrap();
    assert!(!format!("{log:?}").contains("sesame"), "{log:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    // Connections are made, and that is all.
    let listening = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            connections.push(connection);
        }
    });
    let options = PostgresOptions { connect_timeout: Duration::from_millis(50), ..PostgresOptions::default() };
    let url = format!("postgres://tester@127.0.0.1:{port}/postgres");
    let opening = tokio::time::timeout(Duration::from_secs(60), PostgresLog::open_with(&url, options));
    let error = opening.await.expect("it is given up").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    listening.abort();
}

/// Nothing that a caller gives becomes part of a statement: only one file has any, and it puts none together.
#[test]
fn statements_are_constants() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("io/src/store/postgres");
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let mut statements = 0;
    for path in files.chain([folder.with_extension("rs")]) {
        let text = std::fs::read_to_string(&path).unwrap();
        if path.ends_with("statements.rs") {
            assert!(!text.contains("format!") && !text.contains("fn ") && !text.contains("String"), "put together");
            statements = text.matches("pub(super) const").count();
            continue;
        }
        for word in ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE ", "\"SET ", "\"LISTEN ", "\"BEGIN"] {
            assert!(!text.contains(word), "{} has a statement of its own", path.display());
        }
    }
    assert!(statements > 10, "the file of statements is not where it was");
}

#[tokio::test]
async fn digests_of_truncated_entries_are_bounded() {
    let server = start().await;
    let (log, raw, shard) = (open(&server).await, session(&server).await, ShardId::new());
    let (key, count) = (Uuid::from_u128(shard.as_u128()), TRUNCATED_DIGESTS_MAX + 10);
    raw.execute("INSERT INTO timely_persist.head VALUES ($1, $2)", &[&key, &count]).await.unwrap();
    let entries = "INSERT INTO timely_persist.entry SELECT $1, n, n::text::bytea FROM generate_series(1, $2::bigint) n";
    raw.execute(entries, &[&key, &count]).await.unwrap();
    for (below, found) in [(8, 7), (count as u64 - 1, count as usize - 9), (u64::MAX, 1)] {
        assert_eq!(log.truncate(shard, SeqNo(below)).await.unwrap(), found);
    }
    until_count(&raw, "SELECT count(*) FROM timely_persist.truncated", TRUNCATED_DIGESTS_MAX).await;
    assert_eq!(commit(&log, shard, 9, entry(10)).await, CompareAndSet::Committed);
    assert_eq!(commit(&log, shard, 9, entry("other")).await, CompareAndSet::Conflict);
    assert!(log.compare_and_set(shard, SeqNo(8), entry(9)).await.unwrap_err().may_have_happened);
}
