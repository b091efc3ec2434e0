//! Batches that several writers append alike: what another wrote is left out, and a gap is said.

use timely_persist::{AppendOutcome, Batch, ErrorKind};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use crate::stage::{Process, Row, Stage, Writer, at, quiesce, quiet, row, within};

fn committed(from: u64) -> AppendOutcome<u64> {
    AppendOutcome::Committed { from: at(from) }
}

fn gap(current: u64) -> AppendOutcome<u64> {
    AppendOutcome::Gap { current: at(current) }
}

/// A row for each time, as every copy makes it.
fn rows(lower: u64, upper: u64) -> Vec<Row> {
    (lower..upper).map(|time| row("a", time, time, 1)).collect()
}

async fn staged(writer: &Writer, lower: u64, upper: u64) -> Batch<u64> {
    let mut builder = writer.batch_builder(at(lower));
    for ((key, value), time, diff) in rows(lower, upper) {
        builder.add(&key, &value, &time, &diff).await.unwrap();
    }
    builder.finish(at(upper)).await.unwrap()
}

async fn append(writer: &mut Writer, lower: u64, upper: u64) -> AppendOutcome<u64> {
    let mut batch = staged(writer, lower, upper).await;
    writer.append_batches(&mut [&mut batch], at(lower), at(upper)).await.unwrap()
}

/// What a shard of these times has, all read at the last.
async fn has(process: &Process, upper: u64) -> bool {
    let expected: Vec<_> = (0..upper).map(|time| row("a", time, upper - 1, 1)).collect();
    process.contents(upper - 1).await == expected
}

#[tokio::test(start_paused = true)]
async fn what_another_wrote_is_left_out_and_where_the_rest_begins_is_said() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
    let (mut mine, mut theirs) = (here.writer().await, there.writer().await);
    assert_eq!(append(&mut mine, 0, 3).await, committed(0));
    assert_eq!(append(&mut theirs, 0, 5).await, committed(3), "the beginning was another's");
    assert!(matches!(append(&mut mine, 3, 4).await, AppendOutcome::Covered { .. }));
    assert!(matches!(append(&mut mine, 3, 5).await, AppendOutcome::Covered { .. }));
    // Several batches are one commit.
    let before = here.log.counts().committed;
    let (mut one, mut other) = (staged(&mine, 5, 6).await, staged(&mine, 6, 9).await);
    let both = mine.append_batches(&mut [&mut one, &mut other], at(4), at(9)).await.unwrap();
    assert_eq!((both, here.log.counts().committed - before), (committed(5), 1));
    assert!(has(&there, 9).await);
    quiesce().await;
    assert_eq!(stage.parts().await.len(), 4, "the objects of what was covered are removed");
    let refused = mine.append_batches(&mut [&mut one], at(5), at(6)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}: it is used up");
}

#[tokio::test(start_paused = true)]
async fn a_gap_writes_nothing_and_leaves_the_batches() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    assert_eq!(append(&mut writer, 0, 3).await, committed(0));
    let mut batch = staged(&writer, 4, 6).await;
    assert_eq!(writer.append_batches(&mut [&mut batch], at(4), at(6)).await.unwrap(), gap(3));
    assert_eq!(writer.append_batches(&mut [], at(4), at(6)).await.unwrap(), gap(3), "nor does it pass over times");
    assert_eq!(process.shard.inspect().await.unwrap().upper, at(3));
    assert_eq!(append(&mut writer, 3, 4).await, committed(3));
    assert_eq!(writer.append_batches(&mut [&mut batch], at(4), at(6)).await.unwrap(), committed(4));
    assert!(has(&process, 6).await);
}

#[tokio::test(start_paused = true)]
async fn an_interval_without_rows_is_one_commit_and_no_batch_more() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    assert_eq!(append(&mut writer, 0, 3).await, committed(0));
    for time in 3..9 {
        assert_eq!(writer.append_batches(&mut [], at(time), at(time + 1)).await.unwrap(), committed(time));
    }
    assert_eq!(writer.append_batches(&mut [], at(7), at(10)).await.unwrap(), committed(9));
    assert!(matches!(writer.append_batches(&mut [], at(7), at(10)).await.unwrap(), AppendOutcome::Covered { .. }));
    assert_eq!(process.shard.inspect().await.unwrap().batches, 2);
    let backwards = writer.append_batches(&mut [], at(10), at(9)).await.unwrap_err();
    assert_eq!(backwards.kind(), ErrorKind::Invalid);
}

/// Another wrote the beginning; the log hangs beyond the deadline; what was sent lands before or after the call is
/// repeated, or never.
#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_settled_by_the_same_batches() {
    for lands in ["before", "after", "never"] {
        let stage = Stage::new();
        let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
        let (mut mine, mut theirs) = (here.writer().await, there.writer().await);
        assert_eq!(append(&mut theirs, 0, 2).await, committed(0));
        let mut batch = staged(&mine, 0, 5).await;
        let gate = Gate::closed();
        let fault = if lands == "never" { Fault::FailBefore } else { Fault::HoldBefore(gate.clone()) };
        here.log_faults.add(Rule::every(Operation::LogCompareAndSet, fault));
        let unknown = within(mine.append_batches(&mut [&mut batch], at(0), at(5))).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::Unavailable);
        here.log_faults.clear();
        if lands == "before" {
            gate.open();
            quiesce().await;
            // It was the first try's, whatever came since.
            assert_eq!(append(&mut theirs, 5, 7).await, committed(5));
        }
        let settled = within(mine.append_batches(&mut [&mut batch], at(0), at(5))).await.unwrap();
        assert_eq!(settled, committed(2), "landing {lands}");
        gate.open();
        quiesce().await;
        drop(batch);
        quiesce().await;
        assert!(has(&there, if lands == "before" { 7 } else { 5 }).await, "landing {lands}");
    }
}
