//! Processes whose wall clocks are days apart: nothing that is acknowledged depends on a clock.
//!
//! Hazards 45 and 47. Each test has a process whose clock is right, and one whose clock is not.
#![allow(clippy::unwrap_used)]

#[path = "support/stage.rs"]
mod stage;

use std::time::Duration;

use stage::{Process, Stage, Writer, at, quiet, row, within};
use timely_persist::{Appended, Batch, Config, ErrorKind};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// Longer than a maintainer waits before it looks for what is lost.
const SOON: Duration = Duration::from_secs(600);

fn maintaining() -> Config {
    let mut config = quiet();
    config.upkeep.rollup_interval = u64::MAX;
    config
}

async fn append(writer: &mut Writer, time: u64) {
    let appended = writer.compare_and_append(vec![row("a", time, time, 1)], at(time), at(time + 1)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
}

/// An object, before the commit that refers to it.
async fn staged(writer: &Writer, time: u64) -> Batch<u64> {
    let mut builder = writer.batch_builder(at(time));
    builder.add(&"a".to_owned(), &time, &time, &1).await.unwrap();
    builder.finish(at(time + 1)).await.unwrap()
}

/// A process that uploaded a part and has not committed it, and one whose clock leapt meanwhile.
async fn leapt() -> (Process, Process, Writer, Batch<u64>) {
    let stage = Stage::new();
    let (healthy, ahead) = (stage.process(quiet()).await, stage.process(maintaining()).await);
    let mut writer = healthy.writer().await;
    append(&mut writer, 0).await;
    let batch = staged(&writer, 1).await;
    ahead.clock.advance(TWO_DAYS);
    (healthy, ahead, writer, batch)
}

async fn has_all(process: &Process, upper: u64) {
    let expected: Vec<_> = (0..upper).map(|time| row("a", time, upper - 1, 1)).collect();
    assert_eq!(process.contents(upper - 1).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_on_a_clock_that_is_ahead_does_not_take_what_waits_for_its_commit() {
    let (healthy, ahead, mut writer, mut batch) = leapt().await;
    let _maintained = ahead.shard.maintain().await.unwrap();
    tokio::time::sleep(SOON).await;
    let appended = writer.compare_and_append_batch(&mut [&mut batch], at(1), at(2)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    has_all(&healthy, 2).await;
}

/// It commits, so that the shard's time is days ahead: then what was uploaded before is refused, once, and never taken
/// after it was acknowledged.
#[tokio::test(start_paused = true)]
async fn what_was_uploaded_before_the_time_leapt_is_refused_and_not_lost() {
    let (healthy, ahead, mut writer, mut batch) = leapt().await;
    ahead.writer().await.advance_upper(&at(1)).await.unwrap();
    let _reader = ahead.shard.open_reader("moves the time").await.unwrap();
    let _maintained = ahead.shard.maintain().await.unwrap();
    tokio::time::sleep(SOON).await;
    let refused = writer.compare_and_append_batch(&mut [&mut batch], at(1), at(2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert!(refused.to_string().contains("append its rows again"), "{refused}");
    append(&mut writer, 1).await;
    has_all(&healthy, 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_writer_on_a_clock_that_is_behind_uploads_is_not_old() {
    let stage = Stage::new();
    let (healthy, behind) = (stage.process(maintaining()).await, stage.process(quiet()).await);
    healthy.clock.advance(TWO_DAYS);
    append(&mut healthy.writer().await, 0).await;
    let mut writer = behind.writer().await;
    let mut batch = staged(&writer, 1).await;
    let _maintained = healthy.shard.maintain().await.unwrap();
    tokio::time::sleep(SOON).await;
    let appended = writer.compare_and_append_batch(&mut [&mut batch], at(1), at(2)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    has_all(&healthy, 2).await;
}

#[tokio::test(start_paused = true)]
async fn one_commit_on_a_clock_ahead_harms_nobody_else() {
    let stage = Stage::new();
    let (healthy, ahead) = (stage.process(maintaining()).await, stage.process(quiet()).await);
    let mut writer = healthy.writer().await;
    append(&mut writer, 0).await;
    let mut reader = healthy.shard.open_reader("reader").await.unwrap();
    ahead.clock.advance(TWO_DAYS);
    append(&mut ahead.writer().await, 1).await;
    let mut others = ahead.writer().await;
    for round in 0..8 {
        let time = 2 + 2 * round;
        append(&mut writer, time).await;
        append(&mut others, time + 1).await; // and looks, each time, who has lapsed
        tokio::time::sleep(SOON).await;
        reader.downgrade_since(&at(0)).await.unwrap();
    }
    assert_eq!(ahead.shard.inspect().await.unwrap().readers, 1, "it renews, and is seen to");
    within(healthy.shard.settle()).await.unwrap();
    has_all(&healthy, 18).await;
}

/// The shard's time leaps between a rollup and the entry that names it: that is refused, and is no work done.
#[tokio::test(start_paused = true)]
async fn a_refused_rollup_is_not_tried_again_at_once() {
    let stage = Stage::new();
    let mut config = quiet();
    config.upkeep.rollup_interval = 4;
    let (healthy, ahead) = (stage.process(config).await, stage.process(maintaining()).await);
    let gate = Gate::closed();
    healthy.object_faults.add(Rule::next(Operation::Put, Fault::HoldBefore(gate.clone())).named("rollup"));
    let mut writer = healthy.writer().await;
    for time in 0..4 {
        append(&mut writer, time).await;
    }
    within(gate.arrived(1)).await;
    ahead.clock.advance(TWO_DAYS);
    append(&mut ahead.writer().await, 4).await;
    let before = healthy.objects.counts().puts;
    gate.open();
    within(healthy.shard.settle()).await.unwrap();
    let rollups = healthy.objects.counts().puts - before;
    assert!((1..=2).contains(&rollups), "{rollups} rollups: the refused one, and one when it was asked for again");
    has_all(&healthy, 5).await;
}
