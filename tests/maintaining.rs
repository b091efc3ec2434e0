//! A process that maintains what others write: `Shard::maintain`.
//!
//! The writers here never maintain, and nothing here asks for a shard to settle: what is done, the maintainer did.
#![allow(clippy::unwrap_used)]

#[path = "support/stage.rs"]
mod stage;

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use stage::{FOREVER, Process, Stage, Writer, at, quiet, row, within};
use timely_persist::store::ObjectLog;
use timely_persist::{Appended, Config, ErrorKind, ShardInfo};
use timely_persist_io::store::keys;
use timely_persist_testing::{Fault, Gate, Operation, Rule};

/// So long a maintainer needs at most to notice and to do everything: a few looks at the log.
const SOON: Duration = Duration::from_secs(120);

fn writing() -> Config {
    let mut config = quiet();
    config.upkeep.maintain = false;
    config
}

fn maintaining() -> Config {
    let mut config = quiet();
    config.upkeep.compact = true;
    config.upkeep.compaction_fan_in = 4;
    config.upkeep.rollup_interval = 16;
    config.log.watch_fallback = Duration::from_secs(15);
    config
}

async fn append_each(writer: &mut Writer, from: u64, to: u64) {
    for time in from..to {
        let appended = writer.compare_and_append(vec![row("a", time, time, 1)], at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
}

async fn info(process: &Process) -> ShardInfo<u64> {
    process.shard.inspect().await.unwrap()
}

/// Waits until the shard is as it should be, on a clock that jumps.
async fn until(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(limit, looking).await.unwrap_or_else(|_| panic!("in {limit:?} never: {what}"));
}

#[tokio::test(start_paused = true)]
async fn a_maintainer_brings_into_shape_what_others_write() {
    let stage = Stage::new();
    let (writers, maintainer) = (stage.process(writing()).await, stage.process(maintaining()).await);
    let mut writer = writers.writer().await;
    append_each(&mut writer, 0, 40).await;
    assert_eq!((info(&writers).await.batches, stage.parts().await.len()), (40, 40), "the writers leave it as it is");

    let _maintained = maintainer.shard.maintain().await.unwrap();
    let in_shape = async || {
        let now = info(&writers).await;
        now.batches < 4 && now.garbage == 0 && now.parts == stage.parts().await.len() as u64
    };
    until("what was there is merged", SOON, in_shape).await;
    append_each(&mut writer, 40, 60).await;
    until("what comes is merged", SOON, in_shape).await;

    let now = info(&writers).await;
    assert!(now.seqno.0 - now.rollup.0 < 16 + 3, "rollups keep up: {now:?}");
    let log = stage.store.list(Some(&keys::log_folder(stage.shard)));
    let entries = log.try_fold(0, async |count, _| Ok(count + 1)).await.unwrap();
    assert!(entries <= 16 + 3, "the log is truncated: {entries} entries");
    assert_eq!(stage.blobs().await.len(), now.parts as usize + 1, "one rollup stays");
    let expected: Vec<_> = (0..60).map(|time| row("a", time, 59, 1)).collect();
    assert_eq!(writers.contents(59).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_maintainer_is_woken_by_commits_of_others() {
    let stage = Stage::new();
    let store: Arc<dyn ObjectStore> = stage.store.clone();
    let log = Arc::new(ObjectLog::new(store));
    let mut never = maintaining();
    never.log.watch_fallback = FOREVER;
    let (writers, maintainer) = (stage.process_on(log.clone(), writing()).await, stage.process_on(log, never).await);
    let _maintained = maintainer.shard.maintain().await.unwrap();
    append_each(&mut writers.writer().await, 0, 8).await;
    until("it is merged", Duration::from_secs(10), async || info(&writers).await.batches < 4).await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_guard_and_with_its_client() {
    for shut_down in [false, true] {
        let stage = Stage::new();
        let (writers, maintainer) = (stage.process(writing()).await, stage.process(maintaining()).await);
        let mut writer = writers.writer().await;
        append_each(&mut writer, 0, 8).await;
        let maintained = maintainer.shard.maintain().await.unwrap();
        until("it is merged", SOON, async || info(&writers).await.batches < 4).await;
        let _maintained = if shut_down {
            maintainer.client.shutdown().await.unwrap();
            Some(maintained)
        } else {
            drop(maintained);
            None
        };
        tokio::time::sleep(SOON).await;
        let before = (maintainer.counts(), info(&writers).await.batches);
        append_each(&mut writer, 8, 24).await;
        tokio::time::sleep(FOREVER).await;
        assert_eq!(maintainer.counts(), before.0, "it asks for nothing more");
        assert_eq!(info(&writers).await.batches, before.1 + 16);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_keeps_its_client() {
    let stage = Stage::new();
    let writers = stage.process(writing()).await;
    let maintained = {
        let maintainer = stage.process(maintaining()).await;
        maintainer.shard.maintain().await.unwrap()
    };
    append_each(&mut writers.writer().await, 0, 8).await;
    until("it is merged", SOON, async || info(&writers).await.batches < 4).await;
    drop(maintained);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_must_not_maintain_refuses_and_types_are_checked() {
    let stage = Stage::new();
    let (writers, maintainer) = (stage.process(writing()).await, stage.process(maintaining()).await);
    append_each(&mut writers.writer().await, 0, 1).await;
    assert_eq!(writers.shard.maintain().await.unwrap_err().kind(), ErrorKind::Invalid);
    let other = maintainer.client.shard::<u64, u64, u64, i64>(stage.shard);
    assert_eq!(other.maintain().await.unwrap_err().kind(), ErrorKind::CodecMismatch);
}

/// The process that merged is killed between two uploads: another one begins again, and removes what the first left.
#[tokio::test(start_paused = true)]
async fn work_left_half_done_by_a_killed_process_is_picked_up() {
    let stage = Stage::new();
    let mut config = maintaining();
    config.write.part_bytes_max = 1;
    let (writers, killed) = (stage.process(writing()).await, stage.process(config.clone()).await);
    append_each(&mut writers.writer().await, 0, 8).await;
    let gate = Gate::closed();
    killed.object_faults.add(Rule::next(Operation::Put, Fault::HoldBefore(gate.clone())).named("part").after(3));
    let maintained = killed.shard.maintain().await.unwrap();
    within(gate.arrived(1)).await;
    drop((maintained, killed));
    assert_eq!((info(&writers).await.batches, stage.parts().await.len()), (8, 8 + 3));

    config.write.part_bytes_max = 1 << 20;
    let heir = stage.process(config.clone()).await;
    let _maintained = heir.shard.maintain().await.unwrap();
    until("it is merged", SOON, async || info(&writers).await.batches < 4).await;
    until("its inputs are deleted", SOON, async || info(&writers).await.garbage == 0).await;
    let known = info(&writers).await.parts as usize;
    assert_eq!(stage.parts().await.len(), known + 3, "the leak sweep waits until nobody can want them");
    heir.clock.advance(config.limits.orphan_age_min + Duration::from_secs(1));
    // Nobody commits, so nobody tells how late it is: the heir must have waited for as long itself.
    until("what was left is deleted", FOREVER * 2, async || stage.parts().await.len() == known).await;
    let expected: Vec<_> = (0..8).map(|time| row("a", time, 7, 1)).collect();
    assert_eq!(writers.contents(7).await, expected);
}

/// Nobody commits any more, so nobody removes a reader that died: what it held would stay for ever.
#[tokio::test(start_paused = true)]
async fn a_reader_that_died_on_an_idle_shard_is_removed() {
    let stage = Stage::new();
    let (writers, maintainer) = (stage.process(writing()).await, stage.process(maintaining()).await);
    append_each(&mut writers.writer().await, 0, 8).await;
    let reader = writers.shard.open_reader("dies").await.unwrap();
    let lease = reader.snapshot(at(7)).await.unwrap();
    // A dead process: it says nothing more, and does not hear that it is dead.
    writers.cut_off_the_log();
    let _maintained = maintainer.shard.maintain().await.unwrap();
    until("it is merged", SOON, async || info(&maintainer).await.batches < 4).await;
    let held = info(&maintainer).await;
    assert_eq!((held.readers, held.garbage), (1, 8));
    // It must see the reader stand still for a lease, and looks every few minutes.
    until("what it held is deleted", Config::default().lease.duration * 2, async || {
        let now = info(&maintainer).await;
        now.readers == 0 && now.garbage == 0
    })
    .await;
    drop((lease, reader));
}

/// Each round two maintainers find the same work at the same moment. One of them wins, the other has worked in vain,
/// once.
#[tokio::test(start_paused = true)]
async fn two_maintainers_waste_at_most_one_compaction_a_round() {
    let stage = Stage::new();
    let store: Arc<dyn ObjectStore> = stage.store.clone();
    let log = Arc::new(ObjectLog::new(store));
    let mut config = maintaining();
    config.upkeep.rollup_interval = u64::MAX;
    let writers = stage.process_on(log.clone(), writing()).await;
    let pair =
        [stage.process_on(log.clone(), config.clone()).await, stage.process_on(log.clone(), config.clone()).await];
    let _maintained = (pair[0].shard.maintain().await.unwrap(), pair[1].shard.maintain().await.unwrap());
    let mut writer = writers.writer().await;
    let puts = || pair.iter().map(|process| process.objects.counts().puts).sum::<u64>();
    let (mut wasted, mut upper) = (0, 0);
    // Slow storage: both are in the middle of the same merge.
    for process in &pair {
        let slow = Fault::Delay(Duration::from_millis(10));
        process.object_faults.add(Rule::every(Operation::Get, slow.clone()));
        process.object_faults.add(Rule::every(Operation::Put, slow));
    }
    for round in 0..20 {
        let before = puts();
        let missing = if round == 0 { 4 } else { 3 }; // with what the last round came to
        append_each(&mut writer, upper, upper + missing).await;
        upper += missing;
        until("it is merged", SOON, async || {
            let now = info(&writers).await;
            now.batches == 1 && now.garbage == 0 && stage.parts().await.len() as u64 == now.parts
        })
        .await;
        tokio::time::sleep(SOON).await;
        let made = puts() - before;
        assert!((1..=2).contains(&made), "round {round}: {made} uploads for one compaction");
        wasted += made - 1;
    }
    assert!(wasted > 0, "they never met: the test shows nothing");
}

/// The newest entries are lost, and what is left is an older log. A rollup tells of them: what only they refer to stays,
/// also when the log has gone on without them.
#[tokio::test(start_paused = true)]
async fn what_a_lost_newest_entry_refers_to_stays_while_a_rollup_tells_of_it() {
    let stage = Stage::new();
    let writers = stage.process(writing()).await;
    append_each(&mut writers.writer().await, 0, 4).await;
    let mut config = maintaining();
    (config.upkeep.compact, config.upkeep.rollup_interval) = (false, 3);
    let dies = stage.process(config.clone()).await;
    dies.shard.inspect().await.unwrap();
    dies.log_faults.add(Rule::every(Operation::LogCompareAndSet, Fault::FailBefore));
    dies.shard.settle().await.unwrap_err(); // between the rollup and the entry that names it
    let lost = info(&writers).await.seqno;
    drop((writers, dies));
    let entry = keys::log_entry(stage.shard, lost);
    let bytes = stage.store.get(&entry).await.unwrap().bytes().await.unwrap();
    stage.store.delete(&entry).await.unwrap();
    let before = stage.blobs().await;
    assert_eq!(before.len(), 4 + 1);

    config.upkeep.rollup_interval = u64::MAX;
    let maintainer = stage.process(config.clone()).await;
    maintainer.clock.advance(config.limits.orphan_age_min * 2);
    let maintained = maintainer.shard.maintain().await.unwrap();
    tokio::time::sleep(config.upkeep.leak_sweep_interval * 2).await;
    assert_eq!(stage.blobs().await, before, "nothing is deleted");
    append_each(&mut maintainer.writer().await, 3, 4).await; // it cannot know
    tokio::time::sleep(config.upkeep.leak_sweep_interval * 2).await;
    let after = stage.blobs().await;
    assert!(before.iter().all(|name| after.contains(name)), "nothing is deleted: {before:?}, then {after:?}");
    drop(maintained);

    // The log as it was, without what came by mistake: everything is there.
    stage.store.put(&entry, bytes.into()).await.unwrap();
    let expected: Vec<_> = (0..4).map(|time| row("a", time, 3, 1)).collect();
    assert_eq!(stage.process(quiet()).await.contents(3).await, expected);
}
