//! `Ingest`: each position of a source once, whatever stops it and however many copies run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use timely_persist::ingest::{Ingest, IngestError, Ingested};
use timely_persist::{Config, ErrorKind, ListenEvent};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use super::poll_times;
use super::stage::{Process, Row, Stage, Strings, at, go_on, objects, put_back, quiet, within};

/// The rows of a position: a few, of which some are retractions.
fn rows_at(position: u64) -> Vec<((String, u64), i64)> {
    let rows = (0..position % 4).map(|n| ((format!("{position:04}"), n), 1 - 2 * (n as i64 % 2)));
    rows.collect()
}

/// The positions that the source has.
fn positions(from: u64, to: u64) -> impl Iterator<Item = u64> {
    (from..to).filter(|position| position % 5 != 3)
}

type Item = Result<(u64, Vec<((String, u64), i64)>), String>;

/// The source, with an await before each item.
fn source(from: u64, to: u64) -> impl Stream<Item = Item> + Send {
    stream::iter(positions(from, to)).then(|position| async move {
        tokio::task::yield_now().await;
        Ok((position, rows_at(position)))
    })
}

fn expected(to: u64) -> Vec<Row> {
    let rows = positions(0, to).flat_map(|at| rows_at(at).into_iter().map(move |(row, diff)| (row, at, diff)));
    rows.collect()
}

/// All rows before `upper`, at their own times.
pub(super) async fn history(shard: &Strings, upper: u64) -> Vec<Row> {
    if upper == 0 {
        return Vec::new();
    }
    let reader = shard.open_reader("history").await.unwrap();
    let listen = reader.subscribe(at(0)).await.unwrap().until(at(upper));
    let events: Vec<_> = listen.into_stream().try_collect().await.unwrap();
    let updates = events.into_iter().filter_map(|event| match event {
        ListenEvent::Updates(rows) => Some(rows),
        ListenEvent::Progress(_) => None,
    });
    let mut rows: Vec<_> = updates.flatten().collect();
    rows.sort();
    rows
}

fn every_position(process: &Process) -> Ingest<String, u64, u64, i64> {
    Ingest::new(&process.shard).commit_interval(Duration::ZERO)
}

async fn ingest(process: &Process, to: u64) -> Ingested<u64> {
    within(every_position(process).run(|from| source(from, to))).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_position_is_there_once_wherever_a_run_is_cancelled() {
    const TO: u64 = 13;
    let mut cancelled = 0;
    for polls in (1..).step_by(2) {
        let stage = Stage::new();
        let process = stage.process(quiet()).await;
        let slow = Fault::Delay(Duration::from_micros(400));
        process.log_faults.add(Rule::every(Operation::LogCompareAndSet, slow.clone()));
        process.log_faults.add(Rule::every(Operation::LogScan, slow.clone()));
        process.object_faults.add(Rule::every(Operation::Create, slow.clone()).named("/part-"));
        process.object_faults.add(Rule::every(Operation::Put, slow).named("/part-"));
        // Some positions of a commit are together, and some are alone.
        let run = || Ingest::new(&process.shard).commit_interval(Duration::from_micros(700)).commit_bytes(500);
        let first = poll_times(run().run(|from| source(from, TO)), polls).await;
        let second = poll_times(run().run(|from| source(from, TO)), polls).await;
        let ingested = ingest(&process, TO).await;
        assert_eq!((ingested.upper, ingested.skipped), (TO, 0), "after {polls} polls");
        assert_eq!(history(&process.shard, TO).await, expected(TO), "after {polls} polls");
        if first.is_some() && second.is_some() {
            break;
        }
        cancelled += 1;
    }
    assert!(cancelled > 20, "it was cancelled at {cancelled} places");
}

#[tokio::test(start_paused = true)]
async fn an_outage_holds_the_source_and_settles_each_commit_once() {
    for fault in [Fault::FailBefore, Fault::FailAfter, Fault::HoldAfter(Gate::closed())] {
        let stage = Stage::new();
        let process = stage.process(quiet()).await;
        // Longer than the deadline of a commit, so its caller hears that it may have happened.
        process.log_faults.add(Rule::every(Operation::LogCompareAndSet, fault.clone()).after(3));
        process.log_faults.add(Rule::every(Operation::LogScan, Fault::FailBefore).after(6));
        let given = Arc::new(AtomicU64::new(0));
        let count = given.clone();
        let run = every_position(&process).run(move |from| {
            let count = count.clone();
            source(from, 20).inspect(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            })
        });
        let faults = process.log_faults.clone();
        let (ingested, before) = tokio::join!(within(run), async {
            tokio::time::sleep(Duration::from_secs(300)).await;
            let before = given.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(300)).await;
            assert_eq!(given.load(Ordering::Relaxed), before, "{fault:?}: it takes more in than it can give away");
            faults.clear();
            before
        });
        assert!(before < 14, "{before} positions were taken in");
        let ingested = ingested.unwrap();
        assert_eq!((ingested.upper, ingested.reopened, ingested.skipped), (20, 0, 0), "{fault:?}");
        assert_eq!(history(&process.shard, 20).await, expected(20), "{fault:?}");
    }
}

/// An upload fails: where a position ends, with one object or several, or in the middle of one, which has three.
#[tokio::test(start_paused = true)]
async fn rows_that_are_lost_on_their_way_are_read_again() {
    for (run_bytes_max, stored) in [(Config::default().write.run_bytes_max, 2), (1, 2), (1, 6)] {
        let stage = Stage::new();
        let mut config = quiet();
        config.write.run_bytes_max = run_bytes_max;
        let process = stage.process(config).await;
        for operation in [Operation::Put, Operation::Create] {
            process.object_faults.add(Rule::every(operation, Fault::FailBefore).named("/part-").after(stored));
        }
        let opened = Arc::new(Mutex::new(Vec::new()));
        let run = every_position(&process).run(|from| {
            opened.lock().unwrap().push(from);
            source(from, 20)
        });
        let (ingested, ()) = tokio::join!(within(run), async {
            tokio::time::sleep(Duration::from_secs(200)).await;
            process.object_faults.clear();
        });
        let ingested = ingested.unwrap();
        let opened = opened.lock().unwrap().clone();
        assert!(opened.len() > 1 && opened[1..].iter().all(|from| *from == opened[1] && *from > 0), "{opened:?}");
        assert_eq!((ingested.upper, ingested.reopened, ingested.skipped), (20, opened.len() as u64 - 1, 0));
        assert_eq!(history(&process.shard, 20).await, expected(20));
    }
}

/// Staged so long ago, in the shard's time, that a sweep may have taken its objects.
#[tokio::test(start_paused = true)]
async fn rows_that_waited_too_long_for_their_commit_are_read_again() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    process.log_faults.add(Rule::every(Operation::LogCompareAndSet, Fault::FailBefore).after(4));
    let run = every_position(&process).run(|from| source(from, 20));
    let (ingested, ()) = tokio::join!(within(run), async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        process.clock.advance(Config::default().limits.orphan_age_min);
        tokio::time::sleep(Duration::from_secs(200)).await; // what was decided before would still be right
        process.log_faults.clear();
    });
    let ingested = ingested.unwrap();
    assert_eq!((ingested.upper, ingested.reopened, ingested.skipped), (20, 1, 0));
    assert_eq!(history(&process.shard, 20).await, expected(20));
}

/// Commits of different sizes: one copy's commit is in the middle of the other's.
#[tokio::test(start_paused = true)]
async fn copies_that_run_at_once_write_each_position_once() {
    for interval in [0, 1, 7] {
        let stage = Stage::new();
        let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
        let slow = |from, wait| {
            source(from, 60).then(move |item| async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                item
            })
        };
        let other = Ingest::new(&there.shard).commit_interval(Duration::from_millis(interval));
        let (one, two) = tokio::join!(
            within(Ingest::new(&here.shard).commit_interval(Duration::from_millis(5)).run(|from| slow(from, 2))),
            within(other.run(|from| slow(from, 3))),
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!((one.upper, two.upper), (60, 60));
        assert!(one.skipped + two.skipped > 0, "one copy was ahead: {one:?} {two:?}");
        assert_eq!(history(&here.shard, 60).await, expected(60));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_source_gives_again_is_dropped_and_counted() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    ingest(&process, 7).await;
    // It can only be opened at multiples of five.
    let run = every_position(&process).run(|from| source(from / 5 * 5, 12));
    let ingested = within(run).await.unwrap();
    assert_eq!((ingested.upper, ingested.positions, ingested.skipped), (12, 6, 2));
    assert_eq!(history(&process.shard, 12).await, expected(12));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_contradicts_itself_is_refused() {
    for (bad, previous) in [(4_u64, 5_u64), (5, 5), (0, 5)] {
        let stage = Stage::new();
        let process = stage.process(quiet()).await;
        ingest(&process, 3).await;
        let items = [4, 5, bad].map(|position| Ok::<_, String>((position, rows_at(position))));
        let items = stream::iter(items);
        let error = within(Ingest::new(&process.shard).run(|_| items.clone())).await.unwrap_err();
        let shard = stage.shard;
        assert_eq!(error, IngestError::NotBeyond { shard, position: bad, previous });
        assert!(error.to_string().contains(&format!("position {bad} behind {previous}")), "{error}");
        // The first position is committed at once; what is collected behind it is not trusted any more.
        assert_eq!(process.writer().await.fetch_upper().await.unwrap(), at(5));
        assert_eq!(history(&process.shard, 5).await, [expected(3), expected(5).split_off(expected(4).len())].concat());
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_before_an_error_is_committed() {
    let stage = Stage::new();
    let mut config = quiet();
    config.write.row_bytes_max = 1_000;
    let process = stage.process(config).await;
    // The source's own.
    let run = Ingest::new(&process.shard)
        .run(|from| source(from, 7).chain(stream::iter([Err("the wire is cut".to_owned())])));
    let error = within(run).await.unwrap_err();
    assert_eq!(error, IngestError::Source { shard: stage.shard, error: "the wire is cut".to_owned() });
    assert_eq!(history(&process.shard, 7).await, expected(7));

    // A row that cannot be written, in the middle of a position.
    let bad = vec![((format!("{:04}", 11), 0), 1), (("x".repeat(2_000), 0), 1)];
    let run = Ingest::new(&process.shard)
        .run(|from| source(from, 11).chain(stream::iter([Ok((11, bad.clone())), Ok((12, vec![]))])));
    let Err(IngestError::Storage(error)) = within(run).await else { panic!("it is written") };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(process.writer().await.fetch_upper().await.unwrap(), at(11));
    assert_eq!(history(&process.shard, 11).await, expected(11));

    // The last position: writing it would close the shard.
    let last = stream::iter([Ok((12, rows_at(12))), Ok::<_, String>((u64::MAX, vec![]))]);
    let error = within(Ingest::new(&process.shard).run(|_| last.clone())).await.unwrap_err();
    assert_eq!(error, IngestError::Last { shard: stage.shard, position: u64::MAX });
    assert_eq!(process.writer().await.fetch_upper().await.unwrap(), at(13));
}

#[tokio::test(start_paused = true)]
async fn it_ends_at_until_and_leaves_the_shard_open() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    for until in [8, 9, 10] {
        // 8 is not there, so the next position says that it has passed; 9 is known to be the last without waiting.
        let source = |from| {
            source(from, until)
                .chain(stream::iter((until < 10).then_some(Ok((9, rows_at(9))))))
                .chain(stream::pending())
        };
        let ingested = within(Ingest::new(&process.shard).until(until).run(source)).await.unwrap();
        assert_eq!((ingested.upper, ingested.skipped), (until, 0));
        assert_eq!(history(&process.shard, until).await, expected(until));
    }
    let again = within(Ingest::new(&process.shard).until(4).run(|_| -> stream::Pending<Item> { panic!("opened") }));
    assert_eq!(again.await.unwrap().upper, 10);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_closed_is_refused() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    process.writer().await.advance_upper(&timely::progress::Antichain::new()).await.unwrap();
    let Err(IngestError::Storage(error)) = within(every_position(&process).run(|from| source(from, 5))).await else {
        panic!("it is written")
    };
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("closed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn positions_are_committed_together_by_time_and_size() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let commits = |ingest: Ingest<String, u64, u64, i64>, to: u64, pause: u64| async move {
        let run = ingest.run(move |from| {
            source(from, to).then(move |item| async move {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                item
            })
        });
        within(run).await.unwrap().commits
    };
    let ingest = || Ingest::new(&process.shard);
    // 80 positions, all at once: the first alone, the others together.
    assert_eq!(commits(ingest(), 100, 0).await, 2);
    // 80 positions, one in 10 ms: ten in a commit, but for the first.
    let by_time = commits(ingest(), 200, 10).await;
    assert!((8..=10).contains(&by_time), "{by_time} commits");
    // Each alone.
    assert_eq!(commits(ingest().commit_bytes(0), 300, 0).await, 80);
    assert_eq!(commits(ingest().commit_interval(Duration::ZERO), 400, 0).await, 80);
    assert_eq!(commits(ingest().commit_interval(Duration::MAX), 500, 0).await, 2);
    assert_eq!(history(&process.shard, 500).await, expected(500));
}

/// The rows of a position go to storage while it is taken in.
#[tokio::test(start_paused = true)]
async fn a_position_of_many_rows_is_not_collected_in_memory() {
    let stage = Stage::new();
    let mut config = quiet();
    (config.write.run_bytes_max, config.write.part_bytes_max) = (4 << 10, 4 << 10);
    let process = stage.process(config).await;
    let objects = process.objects.clone();
    let most = Arc::new(AtomicU64::new(0));
    let rows = {
        let most = most.clone();
        (0..2_000_u64).map(move |n| {
            let stored = 4 * objects.counts().puts; // some four runs wait or are on their way
            most.fetch_max(n.saturating_sub(stored * 10), Ordering::Relaxed);
            ((format!("{n:08} {}", "x".repeat(100)), n), 1)
        })
    };
    let run = Ingest::new(&process.shard).run(|_| stream::iter([Ok::<_, String>((5, rows.clone()))]));
    let ingested = within(run).await.unwrap();
    assert_eq!((ingested.upper, ingested.rows, ingested.commits), (6, 2_000, 1));
    assert!(most.load(Ordering::Relaxed) < 1_000, "{most:?} rows were collected");
    assert_eq!(process.contents(5).await.len(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn the_source_is_told_what_is_durable_and_never_earlier() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    ingest(&process, 3).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = {
        let told = told.clone();
        move |upper: &u64| told.lock().unwrap().push(*upper)
    };
    let gate = Gate::closed();
    process.log_faults.add(Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())).after(1));
    let run = every_position(&process).on_durable(tell).run(|from| source(from, 7));
    let (ingested, ()) = tokio::join!(within(run), async {
        gate.arrived(1).await;
        tokio::task::yield_now().await;
        assert_eq!(*told.lock().unwrap(), [3, 5], "the second commit is not settled");
        gate.open();
    });
    assert_eq!(ingested.unwrap().upper, 7);
    assert_eq!(*told.lock().unwrap(), [3, 5, 6, 7]);
}

/// It may run in a task of its own, and outside any runtime.
#[test]
fn it_runs_wherever_it_is_polled() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = runtime.block_on(async {
        timely_persist::Client::builder(Arc::new(object_store::memory::InMemory::new()))
            .config(Config::default())
            .open()
            .await
    });
    let client = client.unwrap();
    let shard: Strings = client.shard(timely_persist::ShardId::new());
    let run = |to: u64| Ingest::new(&shard).run(move |from| source(from, to));
    runtime.block_on(async { tokio::spawn(run(9)).await }).unwrap().unwrap();
    assert_eq!(futures::executor::block_on(run(12)).unwrap().upper, 12);
    runtime.block_on(client.shutdown()).unwrap();
    let Err(IngestError::Storage(error)) = futures::executor::block_on(run(20)) else { panic!("it is written") };
    assert_eq!(error.kind(), ErrorKind::Closed);
}

/// An older store is put back under a run, and goes on without it: longer than the log that the run knows, and not as far. What
/// was lost stays to be read again.
#[tokio::test(start_paused = true)]
async fn an_older_store_under_a_run_is_refused() {
    let (stage, mut config) = (Stage::new(), quiet());
    config.upkeep.rollup_interval = 3;
    let process = stage.process(config.clone()).await;
    assert_eq!(ingest(&process, 4).await.upper, 3);
    process.shard.settle().await.unwrap();
    let older = objects(&stage.store).await;
    let restored = async || {
        process.shard.settle().await.unwrap();
        put_back(&stage.store, older.clone()).await;
        go_on(&stage.process(config.clone()).await.shard).await;
        Ok((9, rows_at(9)))
    };
    let run = every_position(&process).run(|from| source(from, 8).chain(stream::once(restored())));
    let Err(IngestError::Storage(error)) = within(run).await else { panic!("it goes on") };
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("went back from 8 to 3"), "{error}");
    let again = stage.process(config).await;
    let ingested = ingest(&again, 12).await;
    assert_eq!((ingested.upper, ingested.positions, ingested.skipped), (12, 7, 0));
    assert_eq!(history(&again.shard, 12).await, expected(12));
}
