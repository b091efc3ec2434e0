//! What a recorder is told, held against what the log and the store were asked for, and against the shard.
#![allow(clippy::unwrap_used)]

#[path = "recording/panics.rs"]
mod panics;
#[path = "support/random.rs"]
#[allow(dead_code)]
mod random;
#[path = "recording/run.rs"]
mod run;
#[path = "support/stage.rs"]
mod stage;
#[path = "recording/told.rs"]
mod told;

use std::sync::Arc;
use std::time::Duration;

use stage::{Process, Stage, at, fill, lose_leases, quiesce, quiet, row, within};
use timely_persist::record::{
    BackgroundWork, LogOperation, LogOutcome, MergeOutcome, ObjectKind, Outcome, ReaderExpired, ReaderOpened,
};
use timely_persist::{Appended, Client, Config, ErrorKind, ShardId, ShardInfo};
use timely_persist_testing::{Fault, Operation, Rule};

use told::{Facts, Told};

async fn recorded(stage: &Stage, config: Config) -> (Process, Arc<Told>) {
    let told = Arc::new(Told::default());
    (stage.recorded(config, told.clone()).await, told)
}

async fn info(process: &Process) -> ShardInfo<u64> {
    process.shard.inspect().await.unwrap()
}

/// All that there is to compact, and nothing else: rollups come every sixteen entries.
fn maintaining() -> Config {
    let mut config = quiet();
    config.upkeep.compact = true;
    config.upkeep.compaction_fan_in = 4;
    config.upkeep.rollup_interval = 16;
    config
}

#[tokio::test(start_paused = true)]
async fn a_small_append_is_one_entry() {
    let stage = Stage::new();
    let (process, told) = recorded(&stage, Config::default()).await;
    let mut writer = process.writer().await;
    told.take();
    let before = process.counts();
    let rows = vec![row("a", 1, 0, 1), row("b", 2, 0, 1), row("b", 2, 0, 1)];
    assert_eq!(writer.compare_and_append(rows, at(0), at(1)).await.unwrap(), Appended::Committed);
    let (facts, after) = (told.take(), process.counts());

    let info = info(&process).await;
    let [appended] = facts.appended[..] else { panic!("{facts:?}") };
    assert_eq!((appended.rows, appended.parts, appended.inline_parts), (2, 1, 1), "equal rows add up");
    assert_eq!((appended.rows, appended.bytes), (info.rows, info.bytes));
    let [committed] = &facts.committed[..] else { panic!("{facts:?}") };
    assert_eq!(committed.commands, ["append"]);
    assert_eq!((committed.seqno, committed.tries), (info.seqno, 1));
    assert_eq!(committed.bytes, after.0.bytes_committed - before.0.bytes_committed);
    assert_eq!(committed.changes, 3, "the types, the batch, the record of the writer");
    assert_eq!((committed.readers_lapsed, committed.writers_lapsed), (0, 0));
    assert_eq!((facts.refused.len(), facts.gave_up.len(), facts.stored.len()), (0, 0, 0));
    let last = facts.log_requests.last().unwrap();
    assert_eq!((last.operation, last.outcome, last.entries), (LogOperation::CompareAndSet, LogOutcome::Answered, 1));
    assert_eq!(last.bytes, committed.bytes);
    assert_eq!(after.1, before.1, "the objects were asked for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_larger_append_is_an_object_and_an_entry() {
    let stage = Stage::new();
    let (process, told) = recorded(&stage, quiet()).await;
    process.object_faults.add(Rule::next(Operation::Put, Fault::FailBefore));
    fill(&process.shard, 0..1, 10).await;
    let (facts, info) = (told.take(), info(&process).await);
    let [stored] = facts.stored[..] else { panic!("{facts:?}") };
    assert_eq!((stored.object, stored.outcome, stored.bytes), (ObjectKind::Part, Outcome::Done, info.bytes));
    assert_eq!(stored.tries, 2, "the first one failed");
    assert!(stored.elapsed > Duration::ZERO, "it paused in between");
    assert_eq!((facts.appended[0].inline_parts, facts.contents()), (0, told::contents(&info)));
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_another_process_costs_a_try() {
    let stage = Stage::new();
    let (here, told) = recorded(&stage, quiet()).await;
    let there = stage.process(quiet()).await;
    let mut writer = here.writer().await;
    writer.advance_upper(&at(1)).await.unwrap();
    fill(&there.shard, 1..2, 1).await;
    told.take();
    writer.advance_upper(&at(3)).await.unwrap();
    let facts = told.take();
    let [committed] = &facts.committed[..] else { panic!("{facts:?}") };
    assert_eq!((committed.tries, facts.tries()), (2, 2));
    let outcomes = facts.log_requests.iter().map(|request| (request.operation, request.outcome));
    let expected = [
        (LogOperation::CompareAndSet, LogOutcome::Conflict),
        (LogOperation::Scan, LogOutcome::Answered),
        (LogOperation::CompareAndSet, LogOutcome::Answered),
    ];
    assert!(outcomes.eq(expected), "{facts:?}");

    // One that cannot be decided otherwise on what the other has written is refused.
    let batch = writer.batch_builder(at(3));
    let mut batch = batch.finish(at(4)).await.unwrap();
    fill(&there.shard, 3..5, 1).await;
    told.take();
    let appended = writer.compare_and_append_batch(&mut [&mut batch], at(3), at(4)).await.unwrap();
    assert_eq!(appended, Appended::UpperMismatch { current: at(5) });
    let facts = told.take();
    let [refused] = &facts.refused[..] else { panic!("{facts:?}") };
    assert_eq!((&refused.commands[..], refused.tries), (&["append"][..], 1));
    assert_eq!((facts.committed.len(), facts.appended.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer_is_told_try_by_try() {
    let stage = Stage::new();
    let mut config = quiet();
    config.log.commit_deadline = Duration::from_secs(5);
    let (process, told) = recorded(&stage, config).await;
    let mut writer = process.writer().await;
    writer.advance_upper(&at(1)).await.unwrap();
    process.cut_off_the_log();
    told.take();
    let before = process.log.counts();
    let error = writer.compare_and_append(vec![row("a", 0, 1, 1)], at(1), at(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let (facts, after) = (told.take(), process.log.counts());
    let [gave_up] = &facts.gave_up[..] else { panic!("{facts:?}") };
    assert_eq!(gave_up.tries, after.compare_and_sets - before.compare_and_sets);
    assert!(gave_up.tries > 2 && gave_up.elapsed > Duration::from_secs(2) && facts.appended.is_empty(), "{facts:?}");
    assert!(facts.log_requests.iter().all(|request| request.outcome == LogOutcome::Failed));

    // The same again settles it: the batch is told once, whichever try it came in by.
    process.log_faults.clear();
    told.take();
    let again = writer.compare_and_append(vec![row("a", 0, 1, 1)], at(1), at(2)).await.unwrap();
    assert_eq!((again, told.take().appended.len()), (Appended::Committed, 1));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_fetches_its_parts_and_a_cache_has_them() {
    for cached in [false, true] {
        let stage = Stage::new();
        let mut config = quiet();
        config.cache.memory_bytes_max = if cached { 1 << 20 } else { 0 };
        let (process, told) = recorded(&stage, config).await;
        fill(&process.shard, 0..3, 10).await;
        let (before, shard) = (process.objects.counts(), info(&process).await);
        let reader = process.shard.open_reader("test").await.unwrap();
        told.take();
        for round in 0..2 {
            assert_eq!(reader.snapshot_and_fetch(at(2)).await.unwrap().len(), 30);
            let facts = told.take();
            let from_cache = cached && round == 1;
            assert_eq!(facts.fetched.len(), 3);
            assert_eq!(facts.fetched.iter().map(|fetched| fetched.bytes).sum::<u64>(), shard.bytes);
            for fetched in &facts.fetched {
                assert_eq!((fetched.object, fetched.outcome), (ObjectKind::Part, Outcome::Done));
                assert_eq!((fetched.cached, fetched.tries), (from_cache, u64::from(!from_cache)));
            }
        }
        let requests = process.objects.counts() - before;
        let rounds = if cached { 1 } else { 2 };
        assert_eq!((requests.gets, requests.bytes_read), (3 * rounds, shard.bytes * rounds));
    }
}

#[tokio::test]
async fn a_part_that_is_read_piece_by_piece_from_a_file_is_fetched_once() {
    let directory = tempfile::tempdir().unwrap();
    let told = Arc::new(Told::default());
    let mut config = quiet();
    config.upkeep.maintain = false;
    let client = Client::in_directory(directory.path()).config(config).recorder(told.clone()).open().await.unwrap();
    let shard = client.shard(ShardId::from_u128(1));
    fill(&shard, 0..1, 40_000).await;
    let reader = shard.open_reader("test").await.unwrap();
    let part = reader.snapshot(at(0)).await.unwrap().pop().unwrap();
    told.take();
    let (bytes, mut pieces) = (part.encoded_bytes(), reader.fetcher().fetch_pieces(part));
    let (mut count, mut rows) = (0, 0);
    while !pieces.is_finished() {
        rows += pieces.next().await.unwrap().rows().count();
        count += 1;
    }
    assert!(count > 1 && rows == 40_000, "{count} pieces of {rows} rows");
    let facts = told.take();
    let [fetched] = facts.fetched[..] else { panic!("{facts:?}") };
    assert_eq!((fetched.bytes, fetched.tries, fetched.outcome), (bytes, 1, Outcome::Done));
    client.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_missing_is_told_so() {
    let stage = Stage::new();
    let (process, told) = recorded(&stage, quiet()).await;
    fill(&process.shard, 0..1, 10).await;
    let reader = process.shard.open_reader("test").await.unwrap();
    stage.replace_blob(&stage.parts().await[0], None).await;
    told.take();
    assert_eq!(reader.snapshot_and_fetch(at(0)).await.unwrap_err().kind(), ErrorKind::Missing);
    let facts = told.take();
    let [fetched] = facts.fetched[..] else { panic!("{facts:?}") };
    assert_eq!((fetched.outcome, fetched.bytes, fetched.tries), (Outcome::Missing, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn readers_are_told_from_their_opening_to_their_end() {
    let stage = Stage::new();
    let (process, told) = recorded(&stage, quiet()).await;
    fill(&process.shard, 0..2, 1).await;
    told.take();
    let mut reader = process.shard.open_reader("test").await.unwrap();
    let id = reader.reader_id();
    let facts = told.take();
    let [ReaderOpened { reader: opened, .. }] = facts.readers_opened[..] else { panic!("{facts:?}") };
    assert_eq!((opened, &facts.committed[0].commands[..]), (id, &["register reader"][..]));

    reader.downgrade_since(&at(1)).await.unwrap();
    let facts = told.take();
    let [renewed] = facts.renewed[..] else { panic!("{facts:?}") };
    assert_eq!((renewed.readers, renewed.lost), (1, 0));

    reader.expire().await.unwrap();
    let facts = told.take();
    let [ReaderExpired { reader: expired, dropped, .. }] = facts.readers_expired[..] else { panic!("{facts:?}") };
    assert_eq!((expired, dropped, info(&process).await.readers), (id, false, 0));

    drop(process.shard.open_reader("dropped").await.unwrap());
    quiesce().await;
    let facts = told.take();
    let [ReaderExpired { reader: expired, dropped, .. }] = facts.readers_expired[..] else { panic!("{facts:?}") };
    assert_eq!((expired, dropped), (facts.readers_opened[0].reader, true));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_lapses_is_told_by_who_removes_it_and_by_who_loses_it() {
    let stage = Stage::new();
    let ((here, lost), (there, removed)) = (recorded(&stage, quiet()).await, recorded(&stage, quiet()).await);
    fill(&here.shard, 0..1, 1).await;
    let _reader = here.shard.open_reader("test").await.unwrap();
    lose_leases(&here, &there).await;
    let lapsed = |facts: &Facts| facts.committed.iter().map(|committed| committed.readers_lapsed).sum::<u64>();
    assert_eq!((lapsed(&removed.take()), lapsed(&lost.facts())), (1, 0));
    tokio::time::sleep(Config::default().lease.duration).await;
    let facts = lost.take();
    let renewals = facts.renewed.iter().fold((0, 0), |sums, fact| (sums.0 + fact.readers, sums.1 + fact.lost));
    assert_eq!((renewals, lapsed(&facts)), ((0, 1), 0), "{:?}", facts.renewed);
    assert!(facts.readers_expired.is_empty(), "its owner did not");
}

#[tokio::test(start_paused = true)]
async fn work_behind_the_callers_backs_that_stalls_is_told() {
    let stage = Stage::new();
    let mut config = maintaining();
    config.log.watch_fallback = Config::default().log.watch_fallback;
    let (process, told) = recorded(&stage, config).await;
    fill(&process.shard, 0..1, 1).await;
    let _reader = process.shard.open_reader("renewed").await.unwrap();
    let mut writer = process.writer().await;
    let waiting = tokio::spawn(async move { writer.wait_for_upper_past(&at(100)).await });
    quiesce().await;
    process.cut_off_the_log();
    process.object_faults.add(Rule::every(Operation::Put, Fault::FailBefore));
    tokio::time::sleep(Config::default().lease.heartbeat_interval * 2).await;
    let stalled = |facts: &Facts, work| facts.stalled.iter().filter(|stalled| stalled.work == work).count();
    let facts = told.take();
    assert!(
        stalled(&facts, BackgroundWork::Renewing) > 0 && stalled(&facts, BackgroundWork::Following) > 0,
        "{facts:?}"
    );
    assert_eq!(stalled(&facts, BackgroundWork::Upkeep), 0, "there is none");

    process.log_faults.clear();
    fill(&process.shard, 1..2, 0).await;
    let mut writer = process.writer().await;
    for time in 2..20 {
        writer.advance_upper(&at(time + 1)).await.unwrap();
    }
    tokio::time::sleep(Config::default().store.deadline * 2).await;
    let facts = told.take();
    assert!(stalled(&facts, BackgroundWork::Upkeep) > 0, "the rollup cannot be written: {facts:?}");
    assert!(facts.stored.iter().all(|stored| stored.outcome == Outcome::Failed && stored.tries > 1));
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_compaction_tells_what_came_in_and_out_and_a_sweep_what_is_gone() {
    let stage = Stage::new();
    fill(&stage.process(quiet()).await.shard, 0..4, 10).await;
    let (process, told) = recorded(&stage, maintaining()).await;
    let (before, counts) = (info(&process).await, process.objects.counts());
    within(process.shard.settle()).await.unwrap();
    let (facts, after) = (told.take(), info(&process).await);

    let [merged] = facts.merged[..] else { panic!("{facts:?}") };
    assert_eq!((merged.outcome, merged.batches_in, merged.runs_in), (MergeOutcome::Replaced, 4, 4));
    assert_eq!([merged.parts_in, merged.rows_in, merged.bytes_in], told::contents(&before));
    assert_eq!([merged.parts_out, merged.rows_out, merged.bytes_out], told::contents(&after));
    assert_eq!(merged.rows_in, merged.rows_out, "nothing cancels");
    assert_eq!(facts.fetched.iter().map(|fetched| fetched.bytes).sum::<u64>(), before.bytes);
    assert_eq!(facts.stored.iter().map(|stored| stored.bytes).sum::<u64>(), after.bytes);
    let [swept] = facts.swept[..] else { panic!("{facts:?}") };
    assert_eq!((swept.objects, swept.garbage_left), (before.parts, after.garbage));
    let requests = process.objects.counts() - counts;
    assert_eq!((facts.deleted.len() as u64, requests.deletes), (swept.objects, swept.objects));
    let commands: Vec<_> = facts.committed.iter().flat_map(|committed| &committed.commands).copied().collect();
    assert_eq!(commands, ["replace batches", "delete garbage"]);
    assert_eq!((facts.rollups_written.len(), facts.leaks_swept.len()), (0, 0), "none is due");
}

#[tokio::test(start_paused = true)]
async fn rows_that_cancel_are_fewer_behind_a_merge() {
    let stage = Stage::new();
    let writers = stage.process(quiet()).await;
    let mut writer = writers.writer().await;
    for time in 0..4 {
        let rows = vec![row("a", 1, time, if time % 2 == 0 { 1 } else { -1 })];
        assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
    let mut reader = writers.shard.open_reader("moves the since").await.unwrap();
    reader.downgrade_since(&at(3)).await.unwrap();
    let (process, told) = recorded(&stage, maintaining()).await;
    info(&process).await;
    within(process.shard.settle()).await.unwrap();
    let facts = told.take();
    let [merged] = facts.merged[..] else { panic!("{facts:?}") };
    assert_eq!((merged.outcome, merged.rows_in, merged.parts_out, merged.rows_out), (MergeOutcome::Replaced, 4, 0, 0));
    assert_eq!((facts.stored.len(), info(&process).await.rows), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rollup_tells_its_bytes_and_the_entries_behind_it() {
    let stage = Stage::new();
    let mut config = maintaining();
    config.upkeep.compact = false;
    let (process, told) = recorded(&stage, config).await;
    fill(&process.shard, 0..20, 1).await;
    within(process.shard.settle()).await.unwrap();
    let (facts, log, info) = (told.take(), process.log.counts(), info(&process).await);
    let [written] = facts.rollups_written[..] else { panic!("{facts:?}") };
    assert_eq!((written.seqno, written.used), (info.rollup, true));
    let rollups: Vec<_> = facts.stored.iter().filter(|stored| stored.object == ObjectKind::Rollup).collect();
    assert_eq!((rollups.len(), rollups[0].bytes), (1, written.bytes));
    let truncated = facts.log_requests.iter().find(|request| request.operation == LogOperation::Truncate).unwrap();
    assert_eq!((truncated.entries, log.truncates), (info.rollup.0, 1));
    let [leaks] = facts.leaks_swept[..] else { panic!("{facts:?}") };
    assert_eq!((leaks.objects, facts.listed.len()), (0, 1), "it looks for what is lost, and nothing is");
    assert_eq!(facts.listed[0].objects, 16 + 1, "as soon as it is due");
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_told_when_it_is_found() {
    let stage = Stage::new();
    let (process, told) = recorded(&stage, maintaining()).await;
    fill(&process.shard, 0..1, 1).await;
    let name = stage.parts().await[0].clone();
    let lost = format!("part-{:013}-{}", 0, uuid::Uuid::from_u128(7));
    let bytes = stage.bytes(&name).await;
    stage.replace_blob(&lost, Some(bytes)).await;
    process.clock.advance(Duration::from_secs(3 * 24 * 60 * 60));
    fill(&process.shard, 1..20, 1).await;
    within(process.shard.settle()).await.unwrap();
    let facts = told.take();
    let leaks: u64 = facts.leaks_swept.iter().map(|swept| swept.objects).sum();
    assert_eq!((leaks, stage.parts().await.contains(&lost)), (1, false), "{:?}", facts.leaks_swept);
}
