//! What is particular to a log in an object store: late and lost requests, each staged by gates, and what it costs.
#![allow(clippy::unwrap_used)] // a test that panics fails

#[path = "support/conformance.rs"]
#[allow(dead_code)] // the suite itself runs elsewhere
mod conformance;

use std::sync::Arc;

use conformance::{Log, assert_filled, commit, entry, fill, scan};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use timely_persist::store::{CompareAndSet, Damage, Directory, ObjectLog};
use timely_persist::{SeqNo, ShardId};
use timely_persist_io::store::keys;
use timely_persist_io::store::object_log::BOUNDARY_DIGESTS_MAX;
use timely_persist_testing::{CountingStore, Fault, Faults, FaultyStore, Gate, Operation, OperationCounts, Rule};

/// One store, a log on it, and a second log whose requests can be tampered with: two processes.
struct Stage {
    store: Arc<dyn ObjectStore>,
    sound: Log,
    faulty: Log,
    faults: Faults,
    shard: ShardId,
}

fn stage() -> Stage {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let faults = Faults::scripted();
    let sound = Arc::new(ObjectLog::new(Arc::clone(&store)));
    let faulty = Arc::new(ObjectLog::new(Arc::new(FaultyStore::new(Arc::clone(&store), faults.clone()))));
    Stage { store, sound, faulty, faults, shard: ShardId::new() }
}

impl Stage {
    /// The faulty log's commit, under way in a task of its own.
    fn commit_aside(
        &self,
        expected: u64,
        data: &'static str,
    ) -> tokio::task::JoinHandle<Result<CompareAndSet, timely_persist::store::LogError>> {
        let (log, shard) = (Arc::clone(&self.faulty), self.shard);
        tokio::spawn(async move { log.compare_and_set(shard, SeqNo(expected), entry(data)).await })
    }

    fn hold(&self, operation: Operation, fault: impl FnOnce(Gate) -> Fault, name: &str) -> Gate {
        let gate = Gate::closed();
        self.faults.add(Rule::next(operation, fault(gate.clone())).named(name));
        gate
    }

    async fn stands(&self, seqno: u64) -> bool {
        self.store.head(&keys::log_entry(self.shard, SeqNo(seqno))).await.is_ok()
    }
}

// Hazard 11: create-if-absent on a truncated position succeeds for a stalled writer.
#[tokio::test]
async fn a_writer_that_stalls_until_its_position_is_truncated_has_lost() {
    let stage = stage();
    fill(&stage.sound, stage.shard, 3).await;
    stage.faulty.head(stage.shard).await.unwrap();
    let gate = stage.hold(Operation::Create, Fault::HoldBefore, "/log/");
    let stalled = stage.commit_aside(3, "stalled");
    gate.arrived(1).await;
    for seqno in 4..=9 {
        assert_eq!(commit(&stage.sound, stage.shard, seqno - 1, entry(seqno)).await, CompareAndSet::Committed);
    }
    stage.sound.truncate(stage.shard, SeqNo(9)).await.unwrap();
    gate.open();
    assert_eq!(stalled.await.unwrap().unwrap(), CompareAndSet::Conflict);
    assert!(!stage.stands(4).await, "it cleans up after itself");
    assert_filled(&scan(&stage.sound, stage.shard, 1).await, 9..=9);
}

// The same, but nobody waits for the answer: what it leaves is not in the log, and goes with the next truncation.
#[tokio::test]
async fn a_stray_entry_is_never_read_and_removed_later() {
    let stage = stage();
    fill(&stage.sound, stage.shard, 6).await;
    stage.sound.truncate(stage.shard, SeqNo(5)).await.unwrap();
    let stray = keys::log_entry(stage.shard, SeqNo(4));
    stage.store.put(&stray, "stray".into()).await.unwrap();
    for from in [1, 3, 4, 5] {
        assert_filled(&scan(&stage.sound, stage.shard, from).await, 5..=6);
    }
    assert_eq!(commit(&stage.sound, stage.shard, 3, entry("late")).await, CompareAndSet::Conflict);
    assert_eq!(commit(&stage.sound, stage.shard, 4, entry("late")).await, CompareAndSet::Conflict);
    assert_eq!(stage.sound.truncate(stage.shard, SeqNo(5)).await.unwrap(), 1);
    assert!(!stage.stands(4).await);
}

// The other side of hazard 11: an entry that was committed, read and truncated before its writer looked at the boundary.
#[tokio::test]
async fn a_writer_that_is_slow_to_look_learns_that_it_won() {
    let stage = stage();
    fill(&stage.sound, stage.shard, 3).await;
    stage.faulty.head(stage.shard).await.unwrap();
    let gate = stage.hold(Operation::List, Fault::HoldBefore, "/boundary");
    let slow = stage.commit_aside(3, "4");
    gate.arrived(1).await;
    assert_filled(&scan(&stage.sound, stage.shard, 1).await, 1..=4);
    for seqno in 5..=9 {
        assert_eq!(commit(&stage.sound, stage.shard, seqno - 1, entry(seqno)).await, CompareAndSet::Committed);
        stage.sound.truncate(stage.shard, SeqNo(seqno)).await.unwrap();
    }
    gate.open();
    assert_eq!(slow.await.unwrap().unwrap(), CompareAndSet::Committed);
    assert_filled(&scan(&stage.sound, stage.shard, 1).await, 9..=9);
}

// Where the log has forgotten who won, it says so instead of guessing.
#[tokio::test]
async fn a_writer_overtaken_too_far_is_told_that_nobody_knows() {
    let stage = stage();
    fill(&stage.sound, stage.shard, 1).await;
    stage.faulty.head(stage.shard).await.unwrap();
    let gate = stage.hold(Operation::Create, Fault::HoldBefore, "/log/");
    let stalled = stage.commit_aside(1, "stalled");
    gate.arrived(1).await;
    let last = BOUNDARY_DIGESTS_MAX as u64 + 4;
    for seqno in 2..=last {
        assert_eq!(commit(&stage.sound, stage.shard, seqno - 1, entry(seqno)).await, CompareAndSet::Committed);
    }
    // At once and bit by bit, a marker keeps no more than its bound.
    stage.sound.truncate(stage.shard, SeqNo(last - 1)).await.unwrap();
    stage.sound.truncate(stage.shard, SeqNo(last)).await.unwrap();
    gate.open();
    let error = stalled.await.unwrap().unwrap_err();
    assert!(error.may_have_happened, "{error}");
    assert_filled(&scan(&stage.sound, stage.shard, 1).await, last..=last);
    let edge = last - BOUNDARY_DIGESTS_MAX as u64;
    assert_eq!(commit(&stage.sound, stage.shard, edge - 1, entry("other")).await, CompareAndSet::Conflict);
    assert!(stage.sound.compare_and_set(stage.shard, SeqNo(edge - 2), entry("other")).await.is_err());
}

// Hazard 1: a cancelled earlier call lands late. It is one commit, whoever asks.
#[tokio::test]
async fn a_cancelled_commit_that_lands_late_is_found_by_its_repetition() {
    let stage = stage();
    let gate = stage.hold(Operation::Create, Fault::HoldBefore, "/log/");
    let first = stage.commit_aside(0, "1");
    gate.arrived(1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // Another position is not confused by it, and the same attempt finds it, whichever of the two lands first.
    assert_eq!(commit(&stage.faulty, stage.shard, 0, entry(1)).await, CompareAndSet::Committed);
    gate.open();
    assert_eq!(commit(&stage.faulty, stage.shard, 1, entry(2)).await, CompareAndSet::Committed);
    assert_eq!(commit(&stage.faulty, stage.shard, 0, entry(1)).await, CompareAndSet::Committed);
    assert_filled(&scan(&stage.sound, stage.shard, 1).await, 1..=2);
}

// Hazard 23: a conflict with one's own retried success, and an `AlreadyExists` for something never written.
#[tokio::test(start_paused = true)]
async fn what_a_create_answers_is_settled_by_what_stands_there() {
    let stage = stage();
    stage.faults.add(Rule::next(Operation::Create, Fault::FailAfter));
    assert_eq!(commit(&stage.faulty, stage.shard, 0, entry(1)).await, CompareAndSet::Committed);
    stage.faults.add(Rule::next(Operation::Create, Fault::ClaimExists));
    assert_eq!(commit(&stage.faulty, stage.shard, 1, entry(2)).await, CompareAndSet::Committed);
    stage.faults.add(Rule::next(Operation::Create, Fault::FailBefore).times(2));
    assert_eq!(commit(&stage.faulty, stage.shard, 2, entry(3)).await, CompareAndSet::Committed);
    stage.faults.add(Rule::next(Operation::Create, Fault::FailBefore));
    assert_eq!(commit(&stage.faulty, stage.shard, 2, entry("other")).await, CompareAndSet::Conflict);

    stage.faults.add(Rule::every(Operation::Create, Fault::FailBefore));
    let error = stage.faulty.compare_and_set(stage.shard, SeqNo(3), entry(4)).await.unwrap_err();
    assert!(error.may_have_happened, "{error}");
    assert_filled(&scan(&stage.sound, stage.shard, 1).await, 1..=3);
}

#[tokio::test]
async fn a_commit_whose_check_fails_may_have_happened() {
    let stage = stage();
    stage.faults.add(Rule::next(Operation::List, Fault::FailBefore));
    let error = stage.faulty.compare_and_set(stage.shard, SeqNo(0), entry(1)).await.unwrap_err();
    assert!(error.may_have_happened, "{error}");
    assert_eq!(commit(&stage.faulty, stage.shard, 0, entry(1)).await, CompareAndSet::Committed);
    // Before anything was created, it has not happened.
    let (fresh, faults) = (stage.store, Faults::scripted());
    let fresh: Log = Arc::new(ObjectLog::new(Arc::new(FaultyStore::new(fresh, faults.clone()))));
    faults.add(Rule::next(Operation::Get, Fault::FailBefore));
    let error = fresh.compare_and_set(stage.shard, SeqNo(1), entry(2)).await.unwrap_err();
    assert!(!error.may_have_happened, "{error}");
}

async fn commit_at(stage: &Stage, seqno: u64) {
    assert_eq!(commit(&stage.sound, stage.shard, seqno - 1, entry(seqno)).await, CompareAndSet::Committed);
}

#[tokio::test]
async fn readers_start_again_when_a_truncation_overtakes_them() {
    let stage = stage();
    fill(&stage.sound, stage.shard, 10).await;
    let gate = stage.hold(Operation::Get, Fault::HoldBefore, "/log/");
    let (log, shard) = (Arc::clone(&stage.faulty), stage.shard);
    let reader = tokio::spawn(async move { log.scan(shard, SeqNo(2), 100).await });
    gate.arrived(1).await;
    stage.sound.truncate(stage.shard, SeqNo(7)).await.unwrap();
    gate.open();
    assert_filled(&reader.await.unwrap().unwrap(), 7..=10);

    // The head is listed, then truncated, then fetched.
    let gate = stage.hold(Operation::Get, Fault::HoldBefore, "/log/");
    let log = Arc::clone(&stage.faulty);
    let reader = tokio::spawn(async move { log.head(shard).await });
    gate.arrived(1).await;
    assert_eq!(commit(&stage.sound, stage.shard, 10, entry(11)).await, CompareAndSet::Committed);
    stage.sound.truncate(stage.shard, SeqNo(11)).await.unwrap();
    gate.open();
    assert_filled(reader.await.unwrap().unwrap().as_slice(), 11..=11);

    // The same, and a stray stands where it was.
    let gate = stage.hold(Operation::List, Fault::HoldAfter, "/log");
    let log = Arc::clone(&stage.faulty);
    let reader = tokio::spawn(async move { log.head(shard).await });
    gate.arrived(1).await;
    commit_at(&stage, 12).await;
    stage.sound.truncate(stage.shard, SeqNo(12)).await.unwrap();
    stage.store.put(&keys::log_entry(shard, SeqNo(11)), "stray".into()).await.unwrap();
    gate.open();
    assert_filled(reader.await.unwrap().unwrap().as_slice(), 12..=12);

    // The first entries are fetched, and truncated before the boundary is looked at.
    for seqno in 13..=15 {
        commit_at(&stage, seqno).await;
    }
    for (limit, until) in [(100, 15), (2, 15)] {
        let gate = stage.hold(Operation::List, Fault::HoldBefore, "/boundary");
        let log = Arc::clone(&stage.faulty);
        let reader = tokio::spawn(async move { log.scan(shard, SeqNo(12), limit).await });
        gate.arrived(1).await;
        stage.sound.truncate(stage.shard, SeqNo(14)).await.unwrap();
        gate.open();
        assert_filled(&reader.await.unwrap().unwrap(), 14..=until);
    }
}

#[tokio::test]
async fn an_interrupted_truncation_is_completed_by_the_next() {
    let stage = stage();
    fill(&stage.sound, stage.shard, 10).await;
    // Before the boundary stands, nothing is gone.
    stage.faults.add(Rule::next(Operation::Create, Fault::FailBefore));
    assert!(stage.faulty.truncate(stage.shard, SeqNo(6)).await.is_err());
    assert_filled(&scan(&stage.sound, stage.shard, 1).await, 1..=10);
    // As soon as it stands, nothing below it is read, deleted or not.
    stage.faults.add(Rule::next(Operation::Delete, Fault::FailBefore).after(2));
    let error = stage.faulty.truncate(stage.shard, SeqNo(6)).await.unwrap_err();
    assert!(error.may_have_happened, "{error}");
    assert_filled(&scan(&stage.sound, stage.shard, 1).await, 6..=10);
    assert!(!stage.stands(2).await && stage.stands(3).await, "the oldest go first");
    assert_eq!(stage.sound.truncate(stage.shard, SeqNo::ZERO).await.unwrap(), 3);
    assert!(!stage.stands(5).await);
}

#[tokio::test]
async fn two_truncations_at_once_agree() {
    let stage = stage();
    fill(&stage.sound, stage.shard, 10).await;
    let gate = stage.hold(Operation::Create, Fault::HoldBefore, "/boundary/");
    let (log, shard) = (Arc::clone(&stage.faulty), stage.shard);
    let slower = tokio::spawn(async move { log.truncate(shard, SeqNo(5)).await });
    gate.arrived(1).await;
    assert_eq!(stage.sound.truncate(stage.shard, SeqNo(8)).await.unwrap(), 7);
    gate.open();
    slower.await.unwrap().unwrap();
    assert_filled(&scan(&stage.sound, stage.shard, 1).await, 8..=10);
    for expected in 0..7 {
        assert_eq!(commit(&stage.sound, stage.shard, expected, entry("late")).await, CompareAndSet::Conflict);
        assert_eq!(commit(&stage.sound, stage.shard, expected, entry(expected + 1)).await, CompareAndSet::Committed);
    }
    assert_filled(&scan(&stage.sound, stage.shard, 1).await, 8..=10);
}

#[tokio::test]
async fn what_each_call_costs() {
    let store = CountingStore::new(Arc::new(InMemory::new()));
    let open = || Arc::new(ObjectLog::new(Arc::new(store.clone()))) as Log;
    let (log, shard) = (open(), ShardId::new());
    let before = std::cell::Cell::new(OperationCounts::default());
    let spent = || {
        let spent = store.counts() - before.get();
        before.set(store.counts());
        (spent.creates, spent.heads, spent.gets, spent.lists, spent.deletes, spent.operations())
    };
    fill(&log, shard, 1).await;
    assert_eq!(spent(), (1, 0, 0, 1, 0, 2), "a first commit");
    commit(&log, shard, 1, entry(2)).await;
    assert_eq!(spent(), (1, 0, 0, 1, 0, 2), "a commit");
    commit(&log, shard, 1, entry("other")).await;
    assert_eq!(spent(), (0, 0, 1, 1, 0, 2), "a conflict that this process knows of");
    let behind = open();
    behind.scan(shard, SeqNo(1), 1).await.unwrap();
    spent();
    commit(&behind, shard, 1, entry("other")).await;
    assert_eq!(spent(), (1, 0, 1, 1, 0, 3), "a conflict");
    commit(&log, shard, 9, entry("gap")).await;
    assert_eq!(spent(), (0, 1, 1, 1, 0, 3), "a gap");
    log.scan(shard, SeqNo(3), 100).await.unwrap();
    assert_eq!(spent(), (0, 0, 1, 1, 0, 2), "nothing new");
    log.scan(shard, SeqNo(2), 100).await.unwrap();
    assert_eq!(spent(), (0, 0, 2, 1, 0, 3), "one entry");
    for seqno in 3..=100 {
        commit(&log, shard, seqno - 1, entry(seqno)).await;
    }
    spent();
    log.scan(shard, SeqNo(1), 1000).await.unwrap();
    let (.., gets, lists, _, operations) = spent();
    assert!((101..=116).contains(&gets) && lists == 1 && operations == gets + 1, "a long scan: {gets} gets");
    log.head(shard).await.unwrap();
    assert_eq!(spent(), (0, 0, 1, 2, 0, 3), "the head");
    log.truncate(shard, SeqNo(91)).await.unwrap();
    assert_eq!(spent(), (1, 0, 90, 2, 90, 183), "the first truncation");
    log.truncate(shard, SeqNo(95)).await.unwrap();
    assert_eq!(spent(), (1, 0, 5, 2, 4, 12), "a truncation");
    log.truncate(shard, SeqNo(97)).await.unwrap();
    assert_eq!(spent(), (1, 0, 3, 2, 3, 9), "a truncation that removes an old marker");
    log.truncate(shard, SeqNo(97)).await.unwrap();
    assert_eq!(spent(), (0, 0, 0, 2, 0, 2), "nothing to truncate");
    let other = open();
    commit(&other, shard, 100, entry(101)).await;
    assert_eq!(spent(), (1, 1, 0, 1, 0, 3), "a commit behind what this process has not seen");
    other.watch(shard);
    assert_eq!(spent(), (0, 0, 0, 0, 0, 0), "a watch");
}

fn process(directory: &std::path::Path) -> Log {
    Arc::new(ObjectLog::new(Arc::new(Directory::open(directory).unwrap())).watching_directory(directory))
}

#[tokio::test]
async fn another_process_over_the_same_directory_wakes_watches() {
    let temporary = tempfile::tempdir().unwrap();
    let (one, two, shard) = (process(temporary.path()), process(temporary.path()), ShardId::new());
    // Also of a shard that does not exist yet.
    let mut watch = two.watch(shard);
    fill(&one, shard, 1).await;
    assert_eq!(conformance::woken(watch.changed()).await, Some(SeqNo(1)));
    assert_filled(&scan(&two, shard, 1).await, 1..=1);
    assert_eq!(commit(&one, shard, 1, entry(2)).await, CompareAndSet::Committed);
    assert_eq!(conformance::woken(watch.changed()).await, Some(SeqNo(2)));
}

#[tokio::test]
async fn what_a_crash_leaves_in_a_directory_confuses_nobody() {
    let temporary = tempfile::tempdir().unwrap();
    let shard = ShardId::new();
    fill(&process(temporary.path()), shard, 3).await;
    let folder = temporary.path().join(keys::log_folder(shard).as_ref());
    for name in ["00000000000000000004#1", "00000000000000000002#17", "notes.txt", "4", "99999999999999999999"] {
        std::fs::write(folder.join(name), "half an en").unwrap();
    }
    let log = process(temporary.path());
    assert_filled(log.head(shard).await.unwrap().as_slice(), 3..=3);
    assert_filled(&scan(&log, shard, 1).await, 1..=3);
    assert_eq!(commit(&log, shard, 3, entry(4)).await, CompareAndSet::Committed);
    assert_eq!(log.truncate(shard, SeqNo(4)).await.unwrap(), 3);
    assert_filled(&scan(&process(temporary.path()), shard, 1).await, 4..=4);
}

#[tokio::test]
async fn boundary_markers_do_not_pile_up() {
    let stage = stage();
    for seqno in 1..=20 {
        assert_eq!(commit(&stage.sound, stage.shard, seqno - 1, entry(seqno)).await, CompareAndSet::Committed);
        stage.sound.truncate(stage.shard, SeqNo(seqno)).await.unwrap();
    }
    let markers: Vec<_> = stage.store.list(Some(&keys::boundary_folder(stage.shard))).try_collect().await.unwrap();
    assert_eq!(markers.len(), 2);
    assert_eq!(stage.store.list(Some(&keys::log_folder(stage.shard))).count().await, 1);
}

/// A scan finds nothing at the end of the log; before it looks at the boundary, that is written and becomes the boundary.
/// It was not there then, and was not lost.
#[tokio::test]
async fn an_entry_that_becomes_the_boundary_while_it_is_looked_for_is_not_taken_for_lost() {
    let stage = stage();
    fill(&stage.sound, stage.shard, 3).await;
    assert_filled(&scan(&stage.faulty, stage.shard, 1).await, 1..=3);
    let gate = stage.hold(Operation::List, Fault::HoldBefore, "boundary");
    let (log, shard) = (Arc::clone(&stage.faulty), stage.shard);
    let scanning = tokio::spawn(async move { log.scan(shard, SeqNo(4), 100).await });
    gate.arrived(1).await;
    fill_from(&stage.sound, stage.shard, 4, 4).await;
    assert_eq!(stage.sound.truncate(stage.shard, SeqNo(4)).await.unwrap(), 3);
    gate.open();
    let found = scanning.await.unwrap().unwrap();
    assert_eq!(found.iter().map(|entry| entry.seqno).collect::<Vec<_>>(), [SeqNo(4)]);
}

/// A process that is behind hears of an entry, and one before it is lost: it does not take that position for free.
#[tokio::test]
async fn a_position_below_one_that_a_wake_up_has_told_is_not_free() {
    let temporary = tempfile::tempdir().unwrap();
    let (one, behind, shard) = (process(temporary.path()), process(temporary.path()), ShardId::new());
    fill(&one, shard, 3).await;
    assert_filled(&scan(&behind, shard, 1).await, 1..=3);
    let mut watch = behind.watch(shard);
    fill_from(&one, shard, 4, 6).await;
    while conformance::woken(watch.changed()).await != Some(SeqNo(6)) {}
    let lost = temporary.path().join(keys::log_entry(shard, SeqNo(4)).as_ref());
    std::fs::remove_file(&lost).unwrap();
    let damaged = behind.scan(shard, SeqNo(4), 100).await.unwrap_err();
    assert!(
        damaged.damaged == Some(Damage::Missing) && damaged.message.contains("log entry 4 is missing"),
        "{damaged}"
    );
    let damaged = behind.compare_and_set(shard, SeqNo(3), entry("into the hole")).await.unwrap_err();
    assert!(
        damaged.damaged == Some(Damage::Missing) && damaged.message.contains("log entry 4 is missing"),
        "{damaged}"
    );
    assert!(!lost.exists(), "nothing was written");
}

async fn fill_from(log: &Log, shard: ShardId, from: u64, to: u64) {
    for seqno in from..=to {
        assert_eq!(commit(log, shard, seqno - 1, entry(seqno)).await, CompareAndSet::Committed);
    }
}
