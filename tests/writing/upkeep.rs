//! What commits leave to be done: compaction, rollups, deletions.

use std::time::Duration;

use timely_persist::{Appended, Config, ErrorKind};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use crate::stage::{FOREVER, Process, Stage, at, quiet, row, within};

pub async fn append_each(process: &Process, from: u64, to: u64) {
    let mut writer = process.writer().await;
    for time in from..to {
        let appended = writer.compare_and_append(vec![row("a", time, time, 1)], at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
}

pub fn compacting() -> Config {
    let mut config = quiet();
    config.upkeep.compact = true;
    config.upkeep.compaction_fan_in = 2;
    config
}

/// A rollup is an entry of the log and its predecessor's removal another: they must not call for the next rollup.
#[tokio::test(start_paused = true)]
async fn rollups_do_not_beget_rollups() {
    for interval in 0..4 {
        let stage = Stage::new();
        let mut config = quiet();
        config.upkeep.rollup_interval = interval;
        let process = stage.process(config).await;
        append_each(&process, 0, 20).await;
        within(process.shard.settle()).await.unwrap();
        let settled = process.shard.inspect().await.unwrap().seqno;
        tokio::time::sleep(FOREVER).await;
        assert_eq!(process.shard.inspect().await.unwrap().seqno, settled);
        assert_eq!(stage.blobs().await.len(), 20 + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn too_much_inline_moves_to_objects_even_from_one_batch() {
    let stage = Stage::new();
    let mut config = quiet();
    config.upkeep.compact = true;
    config.write.inline_part_bytes_max = 1 << 20;
    config.upkeep.inline_total_bytes_max = 100;
    let process = stage.process(config).await;
    append_each(&process, 0, 1).await;
    within(process.shard.settle()).await.unwrap();
    let info = process.shard.inspect().await.unwrap();
    assert_eq!((info.inline_bytes, info.parts), (0, 1));
    assert_eq!(stage.parts().await.len(), 1);
    assert_eq!(process.contents(0).await, [row("a", 0, 0, 1)]);
}

/// What compaction reads is held by nobody: another process may have merged and deleted it.
#[tokio::test(start_paused = true)]
async fn a_compaction_overtaken_by_another_process_is_no_error() {
    let stage = Stage::new();
    let (here, there) = (stage.process(compacting()).await, stage.process(compacting()).await);
    let gate = Gate::closed();
    here.object_faults.add(Rule::next(Operation::Get, Fault::HoldBefore(gate.clone())));
    append_each(&here, 0, 4).await;
    gate.arrived(1).await;
    there.shard.inspect().await.unwrap();
    within(there.shard.settle()).await.unwrap();
    gate.open();
    within(here.shard.settle()).await.unwrap();
    let expected: Vec<_> = (0..4).map(|time| row("a", time, 3, 1)).collect();
    assert_eq!(here.contents(3).await, expected);
    let info = here.shard.inspect().await.unwrap();
    assert_eq!(stage.parts().await.len() as u64, info.parts, "what was merged in vain is removed");
}

#[tokio::test(start_paused = true)]
async fn a_missing_input_of_a_compaction_is_an_error() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 4).await;
    let lost = stage.parts().await[1].clone();
    stage.replace_blob(&lost, None).await;
    let compactor = stage.process(compacting()).await;
    compactor.shard.inspect().await.unwrap();
    let error = within(compactor.shard.settle()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.to_string().contains(&lost), "{error}");
    assert_eq!(stage.parts().await.len(), 3, "nothing is left of the attempt");
}

/// An append that only advances the upper changes the last batch. A compaction under way must not be in vain for it.
#[tokio::test(start_paused = true)]
async fn empty_appends_do_not_defeat_compaction() {
    let stage = Stage::new();
    let process = stage.process(compacting()).await;
    let gate = Gate::closed();
    process.object_faults.add(Rule::next(Operation::Get, Fault::HoldBefore(gate.clone())));
    append_each(&process, 0, 2).await;
    let mut writer = process.writer().await;
    writer.advance_upper(&at(3)).await.unwrap();
    gate.arrived(1).await;
    writer.advance_upper(&at(4)).await.unwrap();
    let before = process.objects.counts().puts;
    gate.open();
    within(process.shard.settle()).await.unwrap();
    assert_eq!(process.objects.counts().puts - before, 1, "it was merged once");
    assert_eq!(stage.parts().await.len(), 1);
}

/// The commit of a compaction or a rollup whose answer was lost: its objects are in use.
#[tokio::test(start_paused = true)]
async fn upkeep_of_unknown_outcome_does_not_delete_what_it_wrote() {
    for fault in [Fault::FailAfter, Fault::FailBefore, Fault::Delay(Duration::from_secs(11))] {
        let stage = Stage::new();
        let mut config = compacting();
        config.upkeep.rollup_interval = 3;
        let process = stage.process(config).await;
        for time in 0..12 {
            process.log_faults.add(Rule::next(Operation::LogCompareAndSet, fault.clone()).after(1).times(2));
            append_each(&process, time, time + 1).await;
            within(process.shard.settle()).await.unwrap();
            process.log_faults.clear();
        }
        let expected: Vec<_> = (0..12).map(|time| row("a", time, 11, 1)).collect();
        assert_eq!(process.contents(11).await, expected);
        // A fresh process needs the newest rollup.
        let fresh = stage.process(quiet()).await;
        assert_eq!(fresh.contents(11).await, expected);
    }
}

/// Hazard 3: a compaction hears nothing until its deadline, and lands after it: what it wrote is in use from then on.
#[tokio::test(start_paused = true)]
async fn a_compaction_that_lands_after_its_deadline_has_its_objects() {
    let stage = Stage::new();
    let process = stage.process(compacting()).await;
    append_each(&process, 0, 1).await;
    let gate = Gate::closed();
    let held = Rule::every(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone()));
    process.log_faults.add(held.after(1)); // the append that makes compaction due comes through
    append_each(&process, 1, 2).await;
    assert_eq!(within(process.shard.settle()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    process.log_faults.clear();
    gate.open();
    within(process.shard.settle()).await.unwrap();
    assert_eq!(process.shard.inspect().await.unwrap().batches, 1);
    assert_eq!(process.contents(1).await, [row("a", 0, 1, 1), row("a", 1, 1, 1)]);
}

/// First the objects, then the record, then the log: interrupted, a sweep leaves work and not orphans.
#[tokio::test(start_paused = true)]
async fn an_interrupted_sweep_leaves_its_record() {
    let stage = Stage::new();
    let process = stage.process(compacting()).await;
    process.object_faults.add(Rule::every(Operation::Delete, Fault::FailBefore));
    append_each(&process, 0, 2).await;
    let error = within(process.shard.settle()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(process.shard.inspect().await.unwrap().garbage, 2);
    process.object_faults.clear();
    within(process.shard.settle()).await.unwrap();
    assert_eq!(process.shard.inspect().await.unwrap().garbage, 0);
    assert_eq!(stage.parts().await.len(), 1);
}

/// No answer until the deadline: a compaction may be in the log. It leaks, or is in use; it is not removed.
#[tokio::test(start_paused = true)]
async fn a_compaction_whose_fate_is_never_learned_leaks() {
    for lands in [true, false] {
        let stage = Stage::new();
        append_each(&stage.process(quiet()).await, 0, 4).await;
        let process = stage.process(compacting()).await;
        process.shard.inspect().await.unwrap();
        let fault = if lands { Fault::FailAfter } else { Fault::FailBefore };
        process.log_faults.add(Rule::every(Operation::LogCompareAndSet, fault));
        process.log_faults.add(Rule::every(Operation::LogScan, Fault::FailBefore));
        let error = within(process.shard.settle()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(stage.parts().await.len(), 4 + 1, "landed: {lands}");
        assert_eq!(process.objects.counts().deletes, 0, "landed: {lands}");
        let fresh = stage.process(quiet()).await;
        assert_eq!(fresh.shard.inspect().await.unwrap().parts, if lands { 1 } else { 4 });
        let expected: Vec<_> = (0..4).map(|time| row("a", time, 3, 1)).collect();
        assert_eq!(fresh.contents(3).await, expected, "landed: {lands}");
    }
}

/// The log goes only as far as a rollup stands in for it: one that is written, and that the log itself names.
#[tokio::test(start_paused = true)]
async fn the_log_is_not_truncated_before_its_rollup_is_there() {
    for (what, on_store, operation) in
        [("not written", true, Operation::Put), ("not committed", false, Operation::LogCompareAndSet)]
    {
        let stage = Stage::new();
        let mut limits = quiet();
        limits.upkeep.maintain = false;
        append_each(&stage.process(limits).await, 0, 9).await;
        let mut config = quiet();
        config.upkeep.rollup_interval = 3;
        let process = stage.process(config).await;
        process.shard.inspect().await.unwrap();
        let faults = if on_store { &process.object_faults } else { &process.log_faults };
        faults.add(Rule::every(operation, Fault::FailBefore));
        let error = within(process.shard.settle()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}");
        assert_eq!(process.log.counts().entries_truncated, 0, "{what}");
        let expected: Vec<_> = (0..9).map(|time| row("a", time, 8, 1)).collect();
        assert_eq!(stage.process(quiet()).await.contents(8).await, expected, "{what}");

        faults.clear();
        within(process.shard.settle()).await.unwrap();
        assert!(process.log.counts().entries_truncated >= 9, "{what}");
        assert_eq!(stage.process(quiet()).await.contents(8).await, expected, "{what}");
    }
}

/// Hazard 26: a client that must not maintain writes its own rows and removes its own readers, and nothing more.
#[tokio::test(start_paused = true)]
async fn a_client_that_must_not_maintain_leaves_it_to_others() {
    let stage = Stage::new();
    let mut config = compacting();
    config.upkeep.rollup_interval = 3;
    let maintainer = stage.process(config.clone()).await;
    config.upkeep.maintain = false;
    let process = stage.process(config).await;
    append_each(&process, 0, 12).await;
    tokio::time::sleep(FOREVER).await;
    let info = process.shard.inspect().await.unwrap();
    assert_eq!((info.seqno.0, info.batches, info.rollup.0), (12, 12, 0));
    assert_eq!(process.shard.settle().await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!((stage.blobs().await.len(), process.counts().1.deletes), (12, 0));
    // What it left is done by whoever may.
    maintainer.shard.inspect().await.unwrap();
    within(maintainer.shard.settle()).await.unwrap();
    let info = process.shard.inspect().await.unwrap();
    assert!(info.batches < 12 && info.rollup.0 > 0 && info.garbage == 0, "{info:?}");
    assert_eq!(process.contents(11).await.len(), 12);
}
