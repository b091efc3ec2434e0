//! What a reader promises, one test for each promise, named after what went wrong in systems of this kind.
#![allow(clippy::unwrap_used)]

#[path = "reading/leases.rs"]
mod leases;
#[path = "reading/pieces.rs"]
mod pieces;
#[path = "support/stage.rs"]
mod stage;

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use stage::{FOREVER, LAPSED, Process, Row, Stage, at, quiesce, quiet, row, within};
use timely::order::Product;
use timely::progress::Antichain;
use timely_persist::codec::Column;
use timely_persist::{Appended, Client, Config, CriticalReaderId, ErrorKind, Listen, ListenEvent, SinceDowngrade};
use timely_persist_testing::{Fault, Gate, Operation, Rule};
use timely_persist_types::config::PURPOSE_BYTES_MAX;

type Listener = Listen<String, u64, u64, i64>;

fn compacting() -> Config {
    let mut config = quiet();
    config.upkeep.compact = true;
    config.upkeep.compaction_fan_in = 2;
    config
}

async fn append_each(process: &Process, from: u64, to: u64) {
    let mut writer = process.writer().await;
    for time in from..to {
        let appended = writer.compare_and_append(vec![row("a", time, time, 1)], at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
}

fn rows(from: u64, to: u64) -> Vec<Row> {
    (from..to).map(|time| row("a", time, time, 1)).collect()
}

fn rows_at(from: u64, to: u64, as_of: u64) -> Vec<Row> {
    (from..to).map(|time| row("a", time, as_of.max(time), 1)).collect()
}

/// What the listener shows up to `frontier`, in the order of values.
async fn heard(listen: &mut Listener, frontier: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    while *listen.frontier() != at(frontier) {
        for event in within(listen.fetch_next()).await.unwrap() {
            if let ListenEvent::Updates(updates) = event {
                rows.extend(updates);
            }
        }
    }
    rows.sort();
    rows
}

async fn settle(process: &Process) {
    process.shard.inspect().await.unwrap();
    within(process.shard.settle()).await.unwrap();
}

// ---- snapshots

#[tokio::test(start_paused = true)]
async fn a_snapshot_waits_for_the_upper_and_refuses_what_is_gone() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 3).await;
    let reader = process.shard.open_reader("reader").await.unwrap();
    assert!(tokio::time::timeout(FOREVER, reader.snapshot(at(3))).await.is_err(), "the upper is 3");
    let waiting = tokio::spawn(async move {
        let rows = reader.snapshot_and_fetch(at(3)).await.unwrap();
        (reader, rows)
    });
    quiesce().await;
    append_each(&process, 3, 4).await;
    let (mut reader, snapshot) = within(waiting).await.unwrap();
    assert_eq!(snapshot, rows_at(0, 4, 3));
    reader.downgrade_since(&at(2)).await.unwrap();
    reader.downgrade_since(&at(1)).await.unwrap();
    assert_eq!(*reader.since(), at(2), "it moves only forward");
    let error = reader.snapshot(at(1)).await.unwrap_err();
    let ErrorKind::Since { earliest } = error.kind() else { panic!("{error}") };
    assert_eq!(earliest.decode(), Some(at(2)));
    let error = process.shard.open_reader_at("late", at(1)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Since { .. }), "{error}");
    assert_eq!(*process.shard.open_reader_at("later", at(9)).await.unwrap().since(), at(9));
}

#[tokio::test(start_paused = true)]
async fn equal_rows_sum_up_and_cancelling_rows_vanish() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    let first = vec![row("sum", 0, 0, 1), row("sum", 0, 0, 1), row("gone", 0, 0, 1), row("twice", 0, 0, 1)];
    let second = vec![row("gone", 0, 1, -1), row("twice", 0, 1, 1), row("twice", 0, 1, 0)];
    assert_eq!(writer.compare_and_append(first, at(0), at(1)).await.unwrap(), Appended::Committed);
    assert_eq!(writer.compare_and_append(second, at(1), at(2)).await.unwrap(), Appended::Committed);
    assert_eq!(process.contents(1).await, [row("sum", 0, 1, 2), row("twice", 0, 1, 2)]);
    let reader = process.shard.open_reader("reader").await.unwrap();
    let streamed: Vec<Row> = reader.snapshot_and_stream(at(1)).await.unwrap().try_collect().await.unwrap();
    assert_eq!(streamed.len(), 5, "the stream does not consolidate across parts");
    let gets = process.objects.counts().gets;
    let stats = reader.snapshot_parts_stats(at(1)).await.unwrap();
    assert_eq!((stats.parts, stats.rows), (2, 5));
    assert_eq!(process.objects.counts().gets, gets, "statistics fetch nothing");
}

/// A reader of the end of time: there is nothing to see, and it says so at once.
#[tokio::test(start_paused = true)]
async fn nothing_is_beyond_an_empty_as_of() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 3).await;
    let reader = process.shard.open_reader("reader").await.unwrap();
    assert_eq!(within(reader.snapshot_and_fetch(Antichain::new())).await.unwrap(), []);
    let mut listen = reader.listen(Antichain::new()).await.unwrap();
    assert_eq!(within(listen.fetch_next()).await.unwrap(), []);
    assert_eq!(*listen.frontier(), Antichain::new());
}

// ---- listening

#[tokio::test(start_paused = true)]
async fn a_listener_shows_what_is_strictly_after_at_its_time() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 4).await;
    let reader = process.shard.open_reader("reader").await.unwrap();
    let mut listen = reader.listen(at(1)).await.unwrap();
    assert_eq!(*listen.frontier(), at(1));
    assert_eq!(heard(&mut listen, 4).await, rows(2, 4));
    let stream = listen.into_stream();
    append_each(&process, 4, 6).await;
    let mut writer = process.writer().await;
    writer.advance_upper(&Antichain::new()).await.unwrap();
    let events: Vec<_> = within(stream.try_collect::<Vec<_>>()).await.unwrap();
    let updates = events.iter().filter_map(|event| match event {
        ListenEvent::Updates(rows) => Some(rows.clone()),
        ListenEvent::Progress(_) => None,
    });
    assert_eq!(updates.flatten().collect::<Vec<_>>(), rows(4, 6));
    assert_eq!(events.last(), Some(&ListenEvent::Progress(Antichain::new())), "the stream ends with the shard");
}

#[tokio::test(start_paused = true)]
async fn a_listener_ends_at_until() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 8).await;
    let reader = process.shard.open_reader("reader").await.unwrap();
    let listen = reader.subscribe(at(1)).await.unwrap().until(at(5));
    let events: Vec<_> = within(listen.into_stream().try_collect::<Vec<_>>()).await.unwrap();
    let updates = events.iter().filter_map(|event| match event {
        ListenEvent::Updates(rows) => Some(rows.clone()),
        ListenEvent::Progress(_) => None,
    });
    assert_eq!(updates.flatten().collect::<Vec<_>>(), rows_at(0, 5, 1));
}

/// Batches that a listener has shown are merged with newer ones that it has not.
#[tokio::test(start_paused = true)]
async fn a_listener_neither_repeats_nor_drops_what_is_compacted_under_it() {
    let stage = Stage::new();
    let process = stage.process(compacting()).await;
    let mut other = process.shard.open_reader("other").await.unwrap();
    let reader = process.shard.open_reader("reader").await.unwrap();
    let mut listen = reader.subscribe(at(0)).await.unwrap();
    for time in 0..3 {
        append_each(&process, time, time + 1).await;
        assert_eq!(heard(&mut listen, time + 1).await, rows(time, time + 1));
    }
    append_each(&process, 3, 5).await;
    other.downgrade_since(&at(4)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await; // a heartbeat tells where the listener stands
    settle(&process).await;
    assert_eq!(process.shard.inspect().await.unwrap().batches, 1, "shown and not shown in one batch");
    assert_eq!(heard(&mut listen, 5).await, rows(3, 5));
    assert_eq!(process.shard.inspect().await.unwrap().since, at(2), "one step behind the frontier of then");
}

/// X and X - 1 must stay apart for who stands at X, and the since must move although empty batches are folded.
#[tokio::test(start_paused = true)]
async fn a_listener_stays_one_step_behind_its_frontier() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 1).await;
    let mut listen = process.shard.open_reader("reader").await.unwrap().listen(at(0)).await.unwrap();
    let mut writer = process.writer().await;
    for time in 1..50 {
        assert_eq!(heard(&mut listen, time).await, []);
        if time > 2 {
            assert_eq!(*listen.since(), at(time - 1));
        }
        writer.advance_upper(&at(time + 1)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_straddling_part_is_fetched_once() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    assert_eq!(writer.compare_and_append(rows(0, 10), at(0), at(10)).await.unwrap(), Appended::Committed);
    let mut listen = process.shard.open_reader("reader").await.unwrap().subscribe(at(4)).await.unwrap();
    let gets = process.objects.counts().gets;
    assert_eq!(heard(&mut listen, 10).await, rows_at(0, 10, 4));
    assert_eq!(process.objects.counts().gets - gets, 1);
}

/// Whatever a window does to a part: all of it at its times, all at one, or some.
#[tokio::test(start_paused = true)]
async fn a_fetched_part_shows_the_same_by_row_and_by_column() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    assert_eq!(writer.compare_and_append(rows(0, 10), at(0), at(10)).await.unwrap(), Appended::Committed);
    let reader = process.shard.open_reader("reader").await.unwrap();
    for as_of in [0, 4, 9] {
        let parts = reader.snapshot(at(as_of)).await.unwrap();
        let part = process.shard.fetcher().fetch(&parts[0]).await.unwrap();
        let expected = rows_at(0, as_of + 1, as_of);
        assert!(part.rows().eq(expected.iter().cloned()));
        let (mut by_column, mut by_halves) = (Vec::new(), Vec::new());
        for block in part {
            let columns = block.columns();
            let (keys, values, len) = (columns.keys(), columns.values(), columns.len());
            assert_eq!((len, block.time(len)), (10, None), "the reader sees nothing that is not there");
            by_column.extend(
                (0..len).filter_map(|at| {
                    Some(((keys.get(at).to_owned(), values.get(at)), block.time(at)?, columns.diff(at)))
                }),
            );
            for half in [0..5, 5..usize::MAX] {
                block.for_each(half, |key, value, time, diff| by_halves.push(((key.to_owned(), value), time, diff)));
            }
        }
        assert_eq!((&by_column, &by_halves), (&expected, &expected), "at {as_of}");
    }
}

/// Parts whose rows reach outside their batch's description, on every path to them.
#[tokio::test(start_paused = true)]
async fn rows_outside_the_description_are_cut_on_every_path() {
    for overlapping in [true, false] {
        let stage = Stage::new();
        let process = stage.process(quiet()).await;
        let mut writer = process.writer().await;
        for (from, to) in [(0, 4), (2, 7), (1, 9)] {
            if overlapping {
                let appended = writer.append(rows(from, to), at(from), at(to)).await.unwrap();
                assert_eq!(appended, Appended::Committed);
                continue;
            }
            let mut builder = writer.batch_builder(at(from));
            for ((key, value), time, diff) in rows(from, to + 2) {
                builder.add(&key, &value, &time, &diff).await.unwrap();
            }
            let mut batch = builder.finish(at(to + 2)).await.unwrap();
            let upper = writer.upper().clone();
            let appended = writer.compare_and_append_batch(&mut [&mut batch], upper, at(to)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
        }
        let paths = async || {
            for as_of in [0, 3, 4, 6, 8] {
                assert_eq!(process.contents(as_of).await, rows_at(0, as_of + 1, as_of), "fetched at {as_of}");
                let reader = process.shard.open_reader("reader").await.unwrap();
                let stream = reader.snapshot_and_stream(at(as_of)).await.unwrap();
                let mut streamed: Vec<Row> = stream.try_collect().await.unwrap();
                streamed.sort();
                assert_eq!(streamed, rows_at(0, as_of + 1, as_of), "streamed at {as_of}");
                let mut subscribed = reader.fork("subscribe").await.unwrap().subscribe(at(as_of)).await.unwrap();
                assert_eq!(heard(&mut subscribed, 9).await, rows_at(0, 9, as_of), "subscribed at {as_of}");
                let mut listen = reader.listen(at(as_of)).await.unwrap();
                assert_eq!(heard(&mut listen, 9).await, rows(as_of + 1, 9), "heard from {as_of}");
            }
        };
        paths().await;
        quiesce().await;
        let compactor = stage.process(compacting()).await;
        settle(&compactor).await;
        process.shard.inspect().await.unwrap();
        assert_eq!(process.shard.inspect().await.unwrap().rows, 9, "compaction cuts them too");
        paths().await;
    }
}

/// A step whose parts show nothing is not the end.
#[tokio::test(start_paused = true)]
async fn a_step_that_shows_nothing_is_not_taken_for_the_end() {
    let stage = Stage::new();
    let mut config = quiet();
    config.read.listen_parts_max = 1;
    let process = stage.process(config).await;
    let mut writer = process.writer().await;
    // The second part reaches before its batch: it has to be looked at to see that nothing in it is after 5.
    assert_eq!(writer.append(rows(0, 4), at(0), at(4)).await.unwrap(), Appended::Committed);
    assert_eq!(writer.append(rows(2, 5), at(2), at(5)).await.unwrap(), Appended::Committed);
    assert_eq!(writer.append(rows(5, 8), at(5), at(8)).await.unwrap(), Appended::Committed);
    let mut listen = process.shard.open_reader("reader").await.unwrap().listen(at(6)).await.unwrap();
    let events = within(listen.fetch_next()).await.unwrap();
    assert_eq!(events, [ListenEvent::Updates(rows(7, 8)), ListenEvent::Progress(at(8))]);
}

// ---- partially ordered times

/// A time below several elements of `as_of` is seen at their meet: progress must not say otherwise.
#[tokio::test(start_paused = true)]
async fn progress_begins_where_the_first_rows_are_seen() {
    type Pair = Product<u32, u32>;
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let shard = process.client.shard::<String, u64, Pair, i64>(timely_persist::ShardId::from_u128(2));
    let mut writer = shard.open_writer("test").await.unwrap();
    let origin = Antichain::from_elem(Product::new(0, 0));
    let rows = vec![(("a".to_owned(), 0), Product::new(0, 0), 1), (("b".to_owned(), 0), Product::new(0, 5), 1)];
    let upper = Antichain::from_elem(Product::new(9, 9));
    assert_eq!(writer.compare_and_append(rows, origin, upper).await.unwrap(), Appended::Committed);
    let as_of = Antichain::from(vec![Product::new(0u32, 3u32), Product::new(3, 0)]);
    let mut listen = shard.open_reader("reader").await.unwrap().subscribe(as_of).await.unwrap();
    let mut frontier = listen.frontier().clone();
    let mut shown = Vec::new();
    for event in within(listen.fetch_next()).await.unwrap() {
        match event {
            ListenEvent::Updates(rows) => {
                assert!(rows.iter().all(|(_, time, _)| frontier.less_equal(time)), "{rows:?} is behind {frontier:?}");
                shown.extend(rows);
            }
            ListenEvent::Progress(progress) => frontier = progress,
        }
    }
    assert_eq!(shown, [(("a".to_owned(), 0), Product::new(0, 0), 1), (("b".to_owned(), 0), Product::new(0, 5), 1)]);
}

// ---- without the log

#[tokio::test(start_paused = true)]
async fn what_this_process_knows_is_read_without_the_log() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 6).await;
    let reader = process.shard.open_reader("reader").await.unwrap();
    let listener = reader.fork("listen").await.unwrap();
    process.cut_off_the_log();
    assert_eq!(within(reader.snapshot_and_fetch(at(5))).await.unwrap(), rows_at(0, 6, 5));
    let mut listen = listener.listen(at(2)).await.unwrap();
    let mut health = listen.health();
    assert_eq!(heard(&mut listen, 6).await, rows(3, 6));
    within(health.wait_for(|health| *health != timely_persist::Health::Well)).await.unwrap();
    let known = process.log.counts().heads;
    assert_eq!(within(reader.snapshot_and_fetch(at(0))).await.unwrap(), rows(0, 1));
    assert_eq!(process.log.counts().heads, known);
    process.log_faults.clear();
    within(health.wait_for(|health| *health == timely_persist::Health::Well)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_listener_of_the_same_process_does_not_touch_the_log() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 2).await;
    let mut listen = process.shard.open_reader("reader").await.unwrap().listen(at(1)).await.unwrap();
    let mut writer = process.writer().await;
    quiesce().await;
    for time in 2..50 {
        let (log, objects) = process.counts();
        let appended = writer.compare_and_append(rows(time, time + 1), at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        assert_eq!(heard(&mut listen, time + 1).await, rows(time, time + 1));
        quiesce().await;
        let (log_after, objects_after) = process.counts();
        assert_eq!((log_after.scans, log_after.heads), (log.scans, log.heads), "step {time}");
        assert_eq!(log_after.compare_and_sets - log.compare_and_sets, 1);
        let objects = objects_after - objects;
        assert_eq!((objects.puts, objects.gets, objects.operations()), (1, 1, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_costs_one_request_per_part() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 7).await;
    let reader = process.shard.open_reader("reader").await.unwrap();
    let (log, objects) = process.counts();
    assert_eq!(reader.snapshot_and_fetch(at(4)).await.unwrap().len(), 5);
    let (log_after, objects_after) = process.counts();
    assert_eq!(log_after, log);
    let objects = objects_after - objects;
    assert_eq!((objects.gets, objects.operations()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn an_idle_minute_costs_what_is_stated() {
    let stage = Stage::new();
    let mut config = quiet();
    config.log.watch_fallback = Duration::from_secs(15);
    // No heartbeat falls into the minutes of this test.
    (config.lease.heartbeat_interval, config.lease.duration) = (Duration::from_secs(900), Duration::from_secs(3600));
    let process = stage.process(config).await;
    append_each(&process, 0, 1).await;
    let mut reader = process.shard.open_reader("reader").await.unwrap();
    quiesce().await;
    let (log, objects) = process.counts();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(process.counts(), (log, objects), "a reader that follows nothing costs nothing between heartbeats");
    let listen = reader.fork("listen").await.unwrap().listen(at(0)).await.unwrap();
    quiesce().await;
    let (log, objects) = process.counts();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (log_after, objects_after) = process.counts();
    let looks = log_after.scans - log.scans;
    assert!((4..=6).contains(&looks), "{looks} looks in 60 s, each after 11 to 15 s");
    assert_eq!((log_after.heads, log_after.compare_and_sets), (log.heads, log.compare_and_sets));
    assert_eq!(objects_after, objects);
    drop(listen);
    quiesce().await;
    let log = process.log.counts().scans;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(process.log.counts().scans, log, "nobody listens any more");
    reader.downgrade_since(&at(0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_listener_hears_another_process_although_nothing_wakes_it() {
    let stage = Stage::new();
    let mut config = quiet();
    config.log.watch_fallback = Duration::from_secs(15);
    let (here, there) = (stage.process(config).await, stage.process(quiet()).await);
    let mut listen = here.shard.open_reader("reader").await.unwrap().subscribe(at(0)).await.unwrap();
    append_each(&there, 0, 5).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(heard(&mut listen, 5).await, rows(0, 5));
    assert!(begun.elapsed() <= Duration::from_secs(16));
}

// ---- critical readers

#[tokio::test(start_paused = true)]
async fn a_critical_reader_keeps_history_and_is_fenced() {
    let stage = Stage::new();
    let id = CriticalReaderId::from_u128(9);
    {
        let process = stage.process(quiet()).await;
        append_each(&process, 0, 6).await;
        let mut critical = process.shard.open_critical_since(id, 1).await.unwrap();
        let downgraded = critical.compare_and_downgrade_since(1, (2, &at(2))).await.unwrap();
        assert_eq!(downgraded, SinceDowngrade::Downgraded { since: at(2) });
    }
    let process = stage.process(quiet()).await;
    let mut reader = process.shard.open_reader("reader").await.unwrap();
    assert_eq!(*reader.since(), at(2), "it outlived its process");
    reader.downgrade_since(&at(5)).await.unwrap();
    process.clock.advance(LAPSED);
    reader.downgrade_since(&at(5)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    reader.downgrade_since(&at(5)).await.unwrap();
    assert_eq!(process.shard.inspect().await.unwrap().since, at(2), "it does not expire");

    let mut mine = process.shard.open_critical_since(id, 77).await.unwrap();
    assert_eq!((mine.opaque(), mine.since().clone()), (2, at(2)), "found, not made");
    let mut theirs = process.shard.open_critical_since(id, 77).await.unwrap();
    let taken = theirs.compare_and_downgrade_since(2, (3, &at(2))).await.unwrap();
    assert_eq!(taken, SinceDowngrade::Downgraded { since: at(2) });
    let fenced = mine.compare_and_downgrade_since(2, (4, &at(4))).await.unwrap();
    assert_eq!(fenced, SinceDowngrade::OpaqueMismatch { current: 3 });
    let back = theirs.compare_and_downgrade_since(3, (3, &at(1))).await.unwrap();
    assert_eq!(back, SinceDowngrade::Downgraded { since: at(2) }, "never backwards");
    theirs.expire().await.unwrap();
    assert_eq!(mine.compare_and_downgrade_since(3, (4, &at(4))).await.unwrap_err().kind(), ErrorKind::Invalid);
}

/// The program that made it may be gone for years: who it was for stands beside what it keeps.
#[tokio::test(start_paused = true)]
async fn a_critical_reader_says_what_it_is_for() {
    let stage = Stage::new();
    let id = CriticalReaderId::from_u128(9);
    {
        let process = stage.process(quiet()).await;
        let long = "x".repeat(PURPOSE_BYTES_MAX + 1);
        let refused = process.shard.open_critical_since_as(id, 1, &long).await.unwrap_err();
        assert_eq!((refused.kind(), refused.shard()), (ErrorKind::Invalid, Some(stage.shard)));
        assert_eq!(process.shard.inspect().await.unwrap().critical_readers, 0, "nothing was written");
        let mut made = process.shard.open_critical_since_as(id, 1, "the nightly report").await.unwrap();
        let _ = made.compare_and_downgrade_since(1, (2, &at(0))).await.unwrap();
    }
    let process = stage.process(quiet()).await;
    let mut found = process.shard.open_critical_since_as(id, 7, "somebody else").await.unwrap();
    assert_eq!(found.opaque(), 2);
    let _ = found.clone().compare_and_downgrade_since(2, (3, &at(0))).await.unwrap();
    let stale = found.compare_and_downgrade_since(2, (4, &at(0))).await.unwrap();
    assert_eq!(stale, SinceDowngrade::OpaqueMismatch { current: 3 }, "a clone is the same reader");
    process.shard.open_critical_since(CriticalReaderId::from_u128(10), 0).await.unwrap();
    let holds = process.shard.holds().await.unwrap();
    assert_eq!(holds.iter().map(|hold| hold.purpose.as_str()).collect::<Vec<_>>(), ["the nightly report", ""]);
}

/// The log answers only after the downgrade took effect, and forgets where: its owner must not be told that another took
/// over.
#[tokio::test(start_paused = true)]
async fn a_downgrade_of_unknown_outcome_is_settled_by_repeating_it() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 6).await;
    let mut critical = process.shard.open_critical_since(CriticalReaderId::from_u128(9), 1).await.unwrap();
    let gate = Gate::closed();
    process.log_faults.add(Rule::every(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
    let unknown = within(critical.compare_and_downgrade_since(1, (2, &at(3)))).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Unavailable);
    process.log_faults.clear();
    gate.open();
    quiesce().await;
    let settled = critical.compare_and_downgrade_since(1, (2, &at(3))).await.unwrap();
    assert_eq!(settled, SinceDowngrade::Downgraded { since: at(3) });
}

// ---- other types, damaged objects

#[tokio::test(start_paused = true)]
async fn other_types_are_refused_and_named() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 1).await;
    let fresh = stage.process(quiet()).await;
    let mismatch = |error: timely_persist::Error| {
        assert_eq!(error.kind(), ErrorKind::CodecMismatch, "{error}");
        assert!(error.to_string().contains(&stage.shard.to_string()), "{error}");
    };
    mismatch(process.client.shard::<u64, u64, u64, i64>(stage.shard).open_reader("x").await.unwrap_err());
    mismatch(process.client.shard::<String, u64, u64, u64>(stage.shard).open_writer("x").await.unwrap_err());
    mismatch(process.client.shard::<String, u64, i64, i64>(stage.shard).open_writer("x").await.unwrap_err());
    mismatch(fresh.client.shard::<String, u64, i64, i64>(stage.shard).open_writer("x").await.unwrap_err());
    mismatch(
        fresh.client.shard::<String, u64, Product<u32, u32>, i64>(stage.shard).open_reader("x").await.unwrap_err(),
    );
}

#[tokio::test(start_paused = true)]
async fn damaged_objects_are_named() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 1).await;
    let name = stage.parts().await[0].clone();
    let path = timely_persist_io::store::keys::blob(stage.shard, &name);
    let whole = object_store::ObjectStoreExt::get(&*stage.store, &path).await.unwrap().bytes().await.unwrap().to_vec();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let cases = [
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("truncated", Some(whole[..whole.len() - 9].to_vec())),
        ("damaged", Some(flipped)),
        ("foreign", Some(b"something else".repeat(100))),
    ];
    for (what, bytes) in cases {
        stage.replace_blob(&name, bytes).await;
        let reader = process.shard.open_reader("reader").await.unwrap();
        let error = within(reader.snapshot_and_fetch(at(0))).await.unwrap_err();
        let kind = if what == "missing" { ErrorKind::Missing } else { ErrorKind::Corrupt };
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.to_string().contains(&name), "{what}: {error}");
        let streamed: Vec<_> = reader.snapshot_and_stream(at(0)).await.unwrap().collect().await;
        assert_eq!(streamed.len(), 1, "{what}: an error ends the stream");
    }
    stage.replace_blob(&name, Some(whole)).await;
    let part = process.shard.open_reader("reader").await.unwrap().snapshot(at(0)).await.unwrap().remove(0);
    let other = process.client.shard::<String, u64, u64, i64>(timely_persist::ShardId::from_u128(7));
    let error = other.fetcher().await.unwrap().fetch(&part).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let client = Client::open("memory:").await.unwrap();
    drop(client);
}
