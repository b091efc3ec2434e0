//! What one commit carries: one small part of many batches, statistics that fit, and nothing that does not.

use futures::future::join_all;
use timely_persist::{Appended, Batch, Config, ErrorKind};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use crate::stage::{Process, Row, Stage, Writer, at, quiesce, quiet, row, within};

/// Small parts stay inline.
fn inline() -> Config {
    let mut config = quiet();
    config.write.inline_part_bytes_max = Config::default().write.inline_part_bytes_max;
    config
}

/// Stages a batch of `[lower, upper)`.
async fn stage(writer: &Writer, rows: &[Row], lower: u64, upper: u64) -> Batch<u64> {
    let mut builder = writer.batch_builder(at(lower));
    for ((key, value), time, diff) in rows {
        builder.add(key, value, time, diff).await.unwrap();
    }
    builder.finish(at(upper)).await.unwrap()
}

/// The rows of a worker at these times: some of all workers alike, some that cancel another's out.
fn rows_of(worker: u64, times: std::ops::Range<u64>) -> Vec<Row> {
    let each = |time| {
        [
            row(&format!("of {worker} {}", "x".repeat(80)), 1, time, 1),
            row("of all", 7, time, 1),
            row("of none", worker / 2, time, if worker.is_multiple_of(2) { 1 } else { -1 }),
        ]
    };
    times.flat_map(each).collect()
}

fn summed(mut rows: Vec<Row>) -> Vec<Row> {
    differential_dataflow::consolidation::consolidate_updates(&mut rows);
    rows
}

async fn append(writer: &mut Writer, batches: &mut [Batch<u64>], lower: u64, upper: u64) -> Appended<u64> {
    let mut batches: Vec<_> = batches.iter_mut().collect();
    within(writer.compare_and_append_batch(&mut batches, at(lower), at(upper))).await.unwrap()
}

/// What it has in the log, inline and not, and in the store.
async fn parts(process: &Process, stage: &Stage) -> (u64, bool, usize) {
    let info = process.shard.inspect().await.unwrap();
    (info.parts, info.inline_bytes > 0, stage.parts().await.len())
}

#[tokio::test(start_paused = true)]
async fn small_batches_of_many_workers_are_one_part() {
    const WORKERS: u64 = 8;
    for (inline_part_bytes_max, objects) in [(8 << 10, 0), (1 << 10, 1)] {
        let place = Stage::new();
        let mut config = inline();
        config.write.inline_part_bytes_max = inline_part_bytes_max;
        let process = place.process(config).await;
        let mut writer = process.writer().await;
        let mut batches = Vec::new();
        for worker in 0..WORKERS {
            batches.push(stage(&writer, &rows_of(worker, 0..2), 0, 2).await);
        }
        assert_eq!(place.parts().await, [""; 0], "all are in memory");
        let (before, log_before) = (process.objects.counts(), process.log.counts());
        assert_eq!(append(&mut writer, &mut batches, 0, 2).await, Appended::Committed);
        let counts = process.objects.counts() - before;
        assert_eq!((counts.puts, counts.operations()), (objects, objects));
        assert_eq!((process.log.counts() - log_before).compare_and_sets, 1);
        assert_eq!(parts(&process, &place).await, (1, objects == 0, objects as usize));
        let expected = (0..WORKERS).flat_map(|worker| rows_of(worker, 0..2)).map(|(data, _, diff)| (data, 1, diff));
        assert_eq!(process.contents(1).await, summed(expected.collect()));
    }
}

/// Neither too few rows nor too many: what the interval does not have stays out, though it was merged with what it has.
#[tokio::test(start_paused = true)]
async fn rows_outside_the_interval_are_left_out_of_merged_batches_too() {
    for inline_part_bytes_max in [8 << 10, 1 << 10] {
        let place = Stage::new();
        let mut config = inline();
        config.write.inline_part_bytes_max = inline_part_bytes_max;
        let (process, other) = (place.process(config).await, place.process(inline()).await);
        let (mut writer, mut first) = (process.writer().await, other.writer().await);
        let all = |times: std::ops::Range<u64>| (0..3).flat_map(|worker| rows_of(worker, times.clone())).collect();
        let all: [Vec<Row>; 2] = [all(0..2), all(0..5)];
        assert_eq!(first.compare_and_append(all[0].clone(), at(0), at(2)).await.unwrap(), Appended::Committed);
        let mut batches = Vec::new();
        for worker in 0..3 {
            batches.push(stage(&writer, &rows_of(worker, 0..7), 0, 7).await);
        }
        assert_eq!(append(&mut writer, &mut batches, 2, 5).await, Appended::Committed);
        let at_the_end = |rows: &[Row]| summed(rows.iter().map(|((k, v), _, diff)| row(k, *v, 4, *diff)).collect());
        assert_eq!(other.contents(4).await, at_the_end(&all[1]));
    }
}

/// Whether it happened is not known, and a merged part is made again: it is the same append all the same.
#[tokio::test(start_paused = true)]
async fn merged_batches_of_unknown_outcome_are_settled_by_repeating_them() {
    for (lands, inline_part_bytes_max) in
        [("before", 8 << 10), ("after", 8 << 10), ("never", 8 << 10), ("before", 1 << 10)]
    {
        let place = Stage::new();
        let mut config = inline();
        config.write.inline_part_bytes_max = inline_part_bytes_max;
        let process = place.process(config).await;
        let mut writer = process.writer().await;
        let mut batches = Vec::new();
        for worker in 0..8 {
            batches.push(stage(&writer, &rows_of(worker, 0..1), 0, 1).await);
        }
        let gate = Gate::closed();
        let fault = if lands == "never" { Fault::FailBefore } else { Fault::HoldBefore(gate.clone()) };
        process.log_faults.add(Rule::every(Operation::LogCompareAndSet, fault));
        let mut offered: Vec<_> = batches.iter_mut().collect();
        let error = within(writer.compare_and_append_batch(&mut offered, at(0), at(1))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        process.log_faults.clear();
        if lands == "before" {
            gate.open();
            quiesce().await;
        }
        assert_eq!(append(&mut writer, &mut batches, 0, 1).await, Appended::Committed, "landing {lands}");
        gate.open();
        quiesce().await;
        drop(batches);
        quiesce().await;
        let rows = (0..8).flat_map(|worker| rows_of(worker, 0..1)).collect();
        assert_eq!(process.contents(0).await, summed(rows), "landing {lands}");
        let objects = usize::from(inline_part_bytes_max < 8 << 10);
        assert_eq!(parts(&process, &place).await, (1, objects == 0, objects), "landing {lands}: none is left behind");
    }
}

#[tokio::test(start_paused = true)]
async fn merged_batches_that_are_refused_can_be_appended_again() {
    let place = Stage::new();
    let mut config = inline();
    config.write.inline_part_bytes_max = 1 << 10;
    let process = place.process(config).await;
    let mut writer = process.writer().await;
    let mut batches = Vec::new();
    for worker in 0..8 {
        batches.push(stage(&writer, &rows_of(worker, 3..4), 3, 4).await);
    }
    assert_eq!(append(&mut writer, &mut batches, 3, 4).await, Appended::UpperMismatch { current: at(0) });
    quiesce().await;
    assert_eq!(place.parts().await, [""; 0], "what was merged is removed");
    process.object_faults.add(Rule::every(Operation::Put, Fault::FailBefore));
    writer.advance_upper(&at(3)).await.unwrap();
    let mut offered: Vec<_> = batches.iter_mut().collect();
    let error = within(writer.compare_and_append_batch(&mut offered, at(3), at(4))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    process.object_faults.clear();
    assert_eq!(append(&mut writer, &mut batches, 3, 4).await, Appended::Committed);
    let rows = (0..8).flat_map(|worker| rows_of(worker, 3..4)).collect();
    assert_eq!(process.contents(3).await, summed(rows));
}

/// Bytes that another process sent are looked at before they are in the shard, where they would stop every reader.
#[tokio::test(start_paused = true)]
async fn an_inline_part_that_is_damaged_is_not_merged() {
    use timely_persist_core::state::{Location, wire};
    let place = Stage::new();
    let process = place.process(inline()).await;
    let mut writer = process.writer().await;
    let batch = stage(&writer, &[row("a", 0, 0, 1)], 0, 1).await;
    let (shard, types, mut staged) = wire::decode_staged::<u64>(&batch.into_bytes()).unwrap();
    if let Location::Inline(bytes) = &mut staged.runs[0][0].location {
        let mut damaged = bytes.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        *bytes = damaged.into();
    }
    let damaged = wire::encode_staged(shard, &types, &staged);
    let mut batches = [stage(&writer, &[row("b", 0, 0, 1)], 0, 1).await, writer.batch_from_bytes(&damaged).unwrap()];
    let before = process.log.counts().compare_and_sets;
    let mut offered: Vec<_> = batches.iter_mut().collect();
    let error = within(writer.compare_and_append_batch(&mut offered, at(0), at(1))).await.unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Corrupt, Some(place.shard)), "{error}");
    assert_eq!(process.log.counts().compare_and_sets, before);
    assert_eq!(append(&mut writer, &mut batches[..1], 0, 1).await, Appended::Committed);
}

/// Stages so many batches of one row and one object each, at this time.
async fn objects(writer: &Writer, count: usize, time: u64) -> Vec<Batch<u64>> {
    let mut batches = Vec::with_capacity(count);
    for index in 0..count {
        let rows = [row(&format!("{index:06} {}", "x".repeat(60)), 0, time, 1)];
        batches.push(stage(writer, &rows, time, time + 1).await);
    }
    batches
}

#[tokio::test(start_paused = true)]
async fn statistics_of_many_parts_are_bounded_and_filters_stay_right() {
    const PARTS: usize = 60;
    let place = Stage::new();
    let mut config = quiet();
    config.write.entry_stats_bytes_max = PARTS * 20;
    let process = place.process(config).await;
    let mut writer = process.writer().await;
    let mut batches = objects(&writer, PARTS, 0).await;
    assert_eq!(append(&mut writer, &mut batches, 0, 1).await, Appended::Committed);
    let reader = process.shard.open_reader("test").await.unwrap();
    let stats = reader.snapshot_parts_stats(at(0)).await.unwrap().stats;
    let known = stats.iter().flatten().count();
    let bytes: usize = stats.iter().flatten().map(|stats| stats.encode().len()).sum();
    assert!(stats.len() == PARTS && (1..PARTS / 2).contains(&known) && bytes <= PARTS * 20, "{known} are known");
    for wanted in (0..PARTS).step_by(6) {
        let key = format!("{wanted:06} {}", "x".repeat(60));
        let may_have =
            |stats: &timely_persist::PartStats| stats.column("key").is_none_or(|column| column.may_contain_utf8(&key));
        let mut cursor = reader.snapshot_cursor(at(0), may_have).await.unwrap();
        let (mut found, mut fetched) = (0, 0);
        while let Some(rows) = cursor.next().await.unwrap() {
            found += rows.iter().filter(|((found, _), _, _)| *found == key).count();
            fetched += rows.len();
        }
        assert_eq!(found, 1, "a part that nothing is known of is kept");
        assert!(fetched <= 1 + PARTS - known, "{fetched} rows");
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_too_large_for_an_entry_is_refused_before_it_is_written() {
    const PARTS: usize = 400;
    let place = Stage::new();
    let mut config = quiet();
    (config.log.entry_bytes_max, config.write.entry_stats_bytes_max) = (64 << 10, 0);
    let process = place.process(config).await;
    let mut writer = process.writer().await;
    let mut batches = objects(&writer, PARTS, 0).await;
    let before = process.log.counts();
    let mut offered: Vec<_> = batches.iter_mut().collect();
    let error = within(writer.compare_and_append_batch(&mut offered, at(0), at(1))).await.unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Invalid, Some(place.shard)), "{error}");
    assert!(error.to_string().contains("config.log.entry_bytes_max"), "{error}");
    assert_eq!(process.log.counts(), before, "the log hears nothing of it");
    assert_eq!(append(&mut writer, &mut batches[..PARTS / 2], 0, 1).await, Appended::Committed);
    drop(batches);
    quiesce().await;
    assert_eq!(place.parts().await.len(), PARTS / 2, "what was refused is removed with its batches");
    let largest = process.log.counts() - before;
    assert!(largest.bytes_committed < 64 << 10);
}

/// Commands that wait together share an entry, as far as that has room for them.
#[tokio::test(start_paused = true)]
async fn what_is_too_much_for_one_entry_together_takes_several() {
    for (entry_bytes_max, entries) in [(1 << 20, 2), (64 << 10, 3)] {
        let place = Stage::new();
        let mut config = quiet();
        (config.log.entry_bytes_max, config.write.entry_stats_bytes_max) = (entry_bytes_max, 0);
        let process = place.process(config).await;
        let (mut writers, mut batches) = (Vec::new(), Vec::new());
        for time in 0..3 {
            let writer = process.writer().await;
            batches.push(objects(&writer, 180, time).await); // more than half of 64 KiB
            writers.push(writer);
        }
        let before = process.log.counts();
        let gate = Gate::closed();
        process.log_faults.add(Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
        let appends = writers.iter_mut().zip(&mut batches).zip(0..).map(|((writer, batches), time)| {
            let gate = &gate;
            async move {
                if time > 0 {
                    gate.arrived(1).await; // the others come while the first is being written, and are decided behind it
                }
                append(writer, batches, time, time + 1).await
            }
        });
        let (appended, ()) = futures::join!(join_all(appends), async {
            gate.arrived(1).await;
            quiesce().await;
            gate.open();
        });
        assert_eq!(appended, vec![Appended::Committed; 3]);
        assert_eq!((process.log.counts() - before).compare_and_sets, entries);
    }
}
