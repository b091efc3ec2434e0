//! Leases: what is held and how long, and what a reader hears that has lost its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use timely_persist::{Client, CriticalReaderId, ErrorKind, Holder, LeaseId, SeqNo, ShardId};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use crate::stage::{FOREVER, LAPSED, Process, Stage, at, lose_leases, quiesce, quiet, row, within};
use crate::{append_each, compacting, heard, rows, rows_at, settle};

async fn hold(process: &Process) -> SeqNo {
    process.shard.inspect().await.unwrap().seqno_hold
}

fn assert_lost(error: &timely_persist::Error) {
    let ErrorKind::LeaseExpired { earliest } = error.kind() else { panic!("{error}") };
    assert!(earliest.decode::<u64>().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_hold_stays_until_the_last_lease_comes_home() {
    let stage = Stage::new();
    let (process, holder) = (stage.process(compacting()).await, stage.process(quiet()).await);
    append_each(&holder, 0, 3).await;
    let mut reader = holder.shard.open_reader("reader").await.unwrap();
    let mut parts = reader.snapshot(at(2)).await.unwrap();
    assert_eq!((parts.len(), reader.outstanding_leases()), (3, 3));
    append_each(&process, 3, 4).await;
    settle(&process).await;
    let replaced = process.shard.inspect().await.unwrap();
    assert_eq!(replaced.batches, 1, "what is leased was replaced");
    // The parts were in use until they were replaced: up to there the hold follows.
    holder.shard.inspect().await.unwrap();
    reader.downgrade_since(&at(0)).await.unwrap();
    let leased_at = hold(&process).await;
    assert!(leased_at < replaced.seqno);
    let fetcher = process.shard.fetcher().await.unwrap();
    while let Some(part) = parts.pop() {
        reader.downgrade_since(&at(0)).await.unwrap();
        settle(&process).await;
        assert_eq!(hold(&process).await, leased_at, "{} leases are out", reader.outstanding_leases());
        assert_eq!(fetcher.fetch(part).await.unwrap().rows().count(), 1);
    }
    assert_eq!(reader.outstanding_leases(), 0);
    reader.downgrade_since(&at(0)).await.unwrap();
    assert!(hold(&process).await > leased_at);
    settle(&process).await;
    assert_eq!(process.shard.inspect().await.unwrap().garbage, 0);
    assert_eq!(stage.parts().await.len(), 1, "and what it held is deleted");
}

#[tokio::test(start_paused = true)]
async fn an_exchanged_lease_holds_until_its_id_comes_back() {
    let stage = Stage::new();
    let (process, elsewhere) = (stage.process(compacting()).await, stage.process(quiet()).await);
    append_each(&elsewhere, 0, 3).await;
    let holder = stage.process(quiet()).await;
    let mut reader = holder.shard.open_reader("reader").await.unwrap();
    let parts: Vec<_> =
        reader.snapshot(at(2)).await.unwrap().into_iter().map(|part| part.into_exchangeable()).collect();
    let leased_at = holder.shard.inspect().await.unwrap().seqno;
    append_each(&process, 3, 4).await;
    settle(&process).await;
    reader.downgrade_since(&at(0)).await.unwrap();
    settle(&process).await;
    assert_eq!(hold(&process).await, leased_at);
    let fetcher = elsewhere.shard.fetcher().await.unwrap();
    for part in &parts {
        assert_eq!(fetcher.fetch(part).await.unwrap().rows().count(), 1);
        reader.return_lease(part.lease_id()).unwrap();
        // Given back twice, unknown, of another reader: an answer, not a panic.
        let own = reader.reader_id();
        let others = timely_persist::LeasedReaderId::from_u128(5);
        for id in [part.lease_id(), LeaseId { reader: own, number: 999 }, LeaseId { reader: others, number: 0 }] {
            assert_eq!(reader.return_lease(id).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
    reader.downgrade_since(&at(0)).await.unwrap();
    assert!(hold(&process).await > leased_at);
}

/// A lease of a part that stays in use must not pin what others let go.
#[tokio::test(start_paused = true)]
async fn a_hold_moves_on_during_a_long_wait() {
    let stage = Stage::new();
    let process = stage.process(compacting()).await;
    let reader = process.shard.open_reader("reader").await.unwrap();
    let waiting = tokio::spawn(async move { reader.snapshot_and_fetch(at(100)).await });
    append_each(&process, 0, 20).await;
    settle(&process).await;
    tokio::time::sleep(Duration::from_secs(600)).await; // heartbeats
    settle(&process).await;
    let info = process.shard.inspect().await.unwrap();
    assert_eq!((info.garbage, stage.parts().await.len() as u64), (0, info.parts));
    append_each(&process, 20, 101).await;
    assert_eq!(within(waiting).await.unwrap().unwrap(), rows_at(0, 101, 100));
}

/// One lock covers the list of parts and their leases: a compaction and a sweep between the two would delete them.
#[tokio::test]
async fn a_lease_is_atomic_with_the_list_of_parts() {
    let mut config = compacting();
    config.upkeep.rollup_interval = 5;
    // Renewals all the time, each with the hold of its moment.
    config.lease.heartbeat_interval = Duration::from_micros(100);
    let store = Arc::new(object_store::memory::InMemory::new());
    let client = Client::builder(store).config(config).open().await.unwrap();
    let shard = client.shard::<String, u64, u64, i64>(ShardId::from_u128(1));
    let appending = {
        let shard = shard.clone();
        client.runtime().spawn(async move {
            let mut writer = shard.open_writer("writer").await.unwrap();
            for time in 0..150 {
                writer.compare_and_append(rows(time, time + 1), at(time), at(time + 1)).await.map(drop).unwrap();
            }
        })
    };
    let mut reader = shard.open_reader("reader").await.unwrap();
    while !appending.is_finished() {
        reader.downgrade_since(&at(0)).await.unwrap();
        let upper = shard.inspect().await.unwrap().upper;
        let as_of = upper.elements()[0].saturating_sub(1);
        if upper == at(0) {
            continue;
        }
        assert_eq!(reader.snapshot_and_fetch(at(as_of)).await.unwrap(), rows_at(0, as_of + 1, as_of));
    }
    appending.await.unwrap();
    client.shutdown().await.unwrap();
}

// ---- handles that go

#[tokio::test(start_paused = true)]
async fn a_dropped_reader_is_removed_when_its_last_part_came_home() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 2).await;
    let reader = process.shard.open_reader("reader").await.unwrap();
    let parts = reader.snapshot(at(1)).await.unwrap();
    drop(reader);
    quiesce().await;
    assert_eq!(process.shard.inspect().await.unwrap().readers, 1, "its parts are still out");
    drop(parts);
    quiesce().await;
    assert_eq!(process.shard.inspect().await.unwrap().readers, 0);
}

#[test]
fn handles_may_be_dropped_where_there_is_no_runtime() {
    let block_on = futures::executor::block_on::<std::pin::Pin<Box<dyn Future<Output = ()>>>>;
    let store = Arc::new(object_store::memory::InMemory::new());
    block_on(Box::pin(async {
        let client = Client::builder(store).open().await.unwrap();
        let shard = client.shard::<String, u64, u64, i64>(ShardId::from_u128(1));
        let mut writer = shard.open_writer("writer").await.unwrap();
        writer.compare_and_append(vec![row("a", 0, 0, 1)], at(0), at(1)).await.map(drop).unwrap();
        let reader = shard.open_reader("reader").await.unwrap();
        let parts = reader.snapshot(at(0)).await.unwrap();
        let listen = reader.fork("listen").await.unwrap().listen(at(0)).await.unwrap();
        drop((reader, parts, listen));
        while shard.inspect().await.unwrap().readers > 0 {
            std::thread::yield_now(); // the note is carried out by the client's own threads
        }
        client.shutdown().await.unwrap();
    }));
}

// ---- leases that are lost

#[tokio::test(start_paused = true)]
async fn a_reader_that_lost_its_lease_hears_so_and_can_open_again() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(compacting()).await);
    append_each(&here, 0, 4).await;
    let mut reader = here.shard.open_reader("reader").await.unwrap();
    let fetcher = here.shard.fetcher().await.unwrap();
    let mut parts = reader.snapshot(at(3)).await.unwrap();
    let exchanged = parts.pop().unwrap().into_exchangeable();
    let kept = parts.pop().unwrap();
    lose_leases(&here, &there).await;
    append_each(&there, 4, 6).await;
    assert_eq!(there.shard.inspect().await.unwrap().readers, 0);
    settle(&there).await;
    // This process does not know yet: the object is gone, and that is why.
    assert_lost(&within(fetcher.fetch(&kept)).await.unwrap_err());
    assert_lost(&within(fetcher.fetch(&exchanged)).await.unwrap_err());
    assert_lost(&reader.snapshot(at(5)).await.unwrap_err());
    assert_lost(&reader.downgrade_since(&at(1)).await.unwrap_err());
    assert_lost(&reader.maybe_downgrade_since(&at(1)).await.unwrap_err());
    assert_lost(&reader.listen(at(3)).await.unwrap_err());
    assert_eq!(here.contents(5).await, rows_at(0, 6, 5));
}

/// A process that has not heard of it finds an object gone: only the log can say whether that is damage.
#[tokio::test(start_paused = true)]
async fn a_missing_object_is_no_damage_until_the_log_says_that_the_lease_stands() {
    let stage = Stage::new();
    let mut config = quiet();
    config.read.cursor_bytes_max = 1; // nothing is read before it is wanted
    let (here, there) = (stage.process(config).await, stage.process(compacting()).await);
    append_each(&here, 0, 4).await;
    let reader = here.shard.open_reader("reader").await.unwrap();
    let fetcher = here.shard.fetcher().await.unwrap();
    let mut parts = reader.snapshot(at(3)).await.unwrap();
    let exchanged = parts.pop().unwrap().into_exchangeable();
    let kept = parts.pop().unwrap();
    let mut late = reader.snapshot_cursor(at(3), |_stats| true).await.unwrap();
    let mut cursor = reader.snapshot_cursor(at(3), |_stats| true).await.unwrap();
    lose_leases(&here, &there).await;
    append_each(&there, 4, 6).await;
    settle(&there).await;
    here.cut_off_the_log();
    assert_eq!(within(fetcher.fetch(&kept)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(within(fetcher.fetch(&exchanged)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(within(late.next()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    here.log_faults.clear();
    assert_lost(&within(cursor.next()).await.unwrap_err());
    assert_lost(&within(fetcher.fetch(&exchanged)).await.unwrap_err());
    assert_lost(&within(fetcher.fetch(&kept)).await.unwrap_err());
}

/// A reader that waits must hear that its lease was lost, not wait for what may never come.
#[tokio::test(start_paused = true)]
async fn a_waiting_reader_hears_that_its_lease_was_lost() {
    let stage = Stage::new();
    let mut config = quiet();
    config.log.watch_fallback = Duration::from_secs(15);
    let (here, there) = (stage.process(config).await, stage.process(quiet()).await);
    append_each(&there, 0, 1).await;
    let reader = here.shard.open_reader("reader").await.unwrap();
    let mut listen = here.shard.open_reader("listen").await.unwrap().listen(at(0)).await.unwrap();
    assert_eq!(heard(&mut listen, 1).await, []);
    let snapshot = tokio::spawn(async move { reader.snapshot(at(7)).await.map(drop) });
    let next = tokio::spawn(async move { listen.next().await.map(drop) });
    quiesce().await;
    lose_leases(&here, &there).await;
    let begun = tokio::time::Instant::now();
    assert_lost(&within(snapshot).await.unwrap().unwrap_err());
    assert_lost(&within(next).await.unwrap().unwrap_err());
    assert!(begun.elapsed() < Duration::from_secs(60));
}

/// By its own clock, before others may expire it.
#[tokio::test(start_paused = true)]
async fn a_reader_fences_itself_when_it_cannot_renew() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 1).await;
    let reader = process.shard.open_reader("reader").await.unwrap();
    process.cut_off_the_log();
    let lease = process.client.config().lease.duration;
    tokio::time::sleep(lease - Duration::from_secs(70)).await;
    assert!(reader.snapshot(at(0)).await.is_ok());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_lost(&reader.snapshot(at(0)).await.unwrap_err());
    process.log_faults.clear();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(reader.snapshot(at(0)).await.is_ok(), "nobody has expired it meanwhile");
}

/// The removal is decided again with the rest after a conflict.
#[tokio::test(start_paused = true)]
async fn a_lapsed_reader_is_expired_although_the_first_try_conflicts() {
    let stage = Stage::new();
    let (here, there, third) =
        (stage.process(quiet()).await, stage.process(quiet()).await, stage.process(quiet()).await);
    append_each(&here, 0, 1).await;
    let _reader = here.shard.open_reader("reader").await.unwrap();
    append_each(&there, 1, 2).await;
    append_each(&third, 2, 3).await;
    here.cut_off_the_log();
    tokio::time::sleep(Duration::from_secs(16 * 60)).await;
    // This one does not know of the third's entry: its own, with the removal, conflicts first.
    let mut writer = there.writer().await;
    append_each(&third, 3, 4).await;
    writer.advance_upper(&at(9)).await.unwrap();
    assert!(there.log.counts().conflicts > 0);
    assert_eq!(there.shard.inspect().await.unwrap().readers, 0);
}

/// A command that changes nothing is answered on a state that is read again; so is the question who has lapsed.
#[tokio::test(start_paused = true)]
async fn a_lapsed_reader_is_expired_although_the_first_command_changes_nothing() {
    let stage = Stage::new();
    let (here, there, third) =
        (stage.process(quiet()).await, stage.process(quiet()).await, stage.process(quiet()).await);
    append_each(&there, 0, 1).await;
    let mut writer = there.writer().await;
    let _reader = here.shard.open_reader("reader").await.unwrap();
    for process in [&there, &third] {
        process.clock.advance(LAPSED);
    }
    third.shard.open_critical_since(CriticalReaderId::from_u128(1), 0).await.unwrap();
    // This one does not know yet of the reader, nor of the shard's time.
    writer.advance_upper(&at(1)).await.unwrap();
    writer.advance_upper(&at(2)).await.unwrap();
    assert_eq!(there.shard.inspect().await.unwrap().readers, 0);
}

#[tokio::test(start_paused = true)]
async fn the_since_is_not_recomputed_when_readers_expire() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
    append_each(&here, 0, 9).await;
    let _one = here.shard.open_reader("one").await.unwrap();
    let _two = here.shard.open_reader_at("two", at(4)).await.unwrap();
    let mut third = there.shard.open_reader_at("three", at(6)).await.unwrap();
    third.downgrade_since(&at(6)).await.unwrap();
    here.cut_off_the_log();
    tokio::time::sleep(Duration::from_secs(20 * 60)).await;
    append_each(&there, 9, 10).await;
    let info = there.shard.inspect().await.unwrap();
    assert_eq!((info.readers, info.since), (1, at(0)));
    third.downgrade_since(&at(7)).await.unwrap();
    assert_eq!(there.shard.inspect().await.unwrap().since, at(7));
}

/// A clock that stands behind the shard's time must not make it run backwards, nor expire anybody by it.
#[tokio::test(start_paused = true)]
async fn the_time_of_a_shard_does_not_run_backwards() {
    let stage = Stage::new();
    let (ahead, behind) = (stage.process(quiet()).await, stage.process(quiet()).await);
    ahead.clock.advance(Duration::from_secs(3600));
    append_each(&ahead, 0, 1).await;
    let mut reader = behind.shard.open_reader("behind").await.unwrap();
    append_each(&ahead, 1, 2).await;
    reader.downgrade_since(&at(0)).await.unwrap();
    let holds = ahead.shard.holds().await.unwrap();
    assert_eq!(holds[0].opened_ms, Some(1_000_000 + 3_600_000));
    assert_eq!(holds[0].heartbeat_ms, Some(1_000_000 + 3_600_000 + 1), "a renewal shows, though the time stands still");
}

// ---- heartbeats

#[tokio::test(start_paused = true)]
async fn all_readers_of_a_process_beat_in_one_entry() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(process.shard.open_reader("reader").await.unwrap());
    }
    let before = process.log.counts();
    let hour = Duration::from_secs(3600);
    for _ in 0..60 {
        process.clock.advance(hour / 60);
        tokio::time::sleep(hour / 60).await;
    }
    let beats = process.log.counts().compare_and_sets - before.compare_and_sets;
    assert!((15..=30).contains(&beats), "{beats} beats in an hour, each after 2 to 4 minutes");
    assert_eq!(process.shard.inspect().await.unwrap().readers, 20);
    drop(readers);
    quiesce().await;
    let before = process.log.counts().compare_and_sets;
    tokio::time::sleep(hour).await;
    assert_eq!(process.log.counts().compare_and_sets, before, "nobody is left to beat for");
}

/// Hazard 9: a dataflow may take every thread that does storage work; leases are renewed all the same.
#[tokio::test]
async fn heartbeats_come_although_every_thread_is_busy() {
    let store = Arc::new(object_store::memory::InMemory::new());
    let mut config = quiet();
    config.lease.heartbeat_interval = Duration::from_millis(5);
    let busy = Client::builder(store.clone()).config(config.clone()).open().await.unwrap();
    let other = Client::builder(store).config(quiet()).open().await.unwrap();
    let [here, there] = [&busy, &other].map(|client| client.shard::<String, u64, u64, i64>(ShardId::from_u128(1)));
    let _reader = here.open_reader("reader").await.unwrap();
    let blocked = Arc::new(AtomicUsize::new(0));
    let mut release = Vec::new();
    for _ in 0..config.threads.work {
        let (released, wait) = std::sync::mpsc::sync_channel::<()>(0);
        release.push(released);
        let blocked = Arc::clone(&blocked);
        busy.runtime().spawn(async move {
            blocked.fetch_add(1, Ordering::SeqCst);
            let _ = wait.recv(); // until the test ends
        });
    }
    let beats = async {
        while blocked.load(Ordering::SeqCst) < config.threads.work {
            tokio::task::yield_now().await;
        }
        let mut heard = BTreeSet::new();
        while heard.len() < 4 {
            heard.insert(there.holds().await.unwrap()[0].heartbeat_ms);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), beats).await.expect("the heartbeat stands still");
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn processes_that_start_together_do_not_beat_together() {
    let stage = Stage::new();
    let mut processes = Vec::new();
    for _ in 0..8 {
        let process = stage.process(quiet()).await;
        let reader = process.shard.open_reader("reader").await.unwrap();
        processes.push((process, reader));
    }
    let mut beats = std::collections::BTreeSet::new();
    let counts = |processes: &[(Process, _)]| -> Vec<u64> {
        processes.iter().map(|(process, _)| process.log.counts().committed).collect()
    };
    let mut before = counts(&processes);
    for second in 0..240 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = counts(&processes);
        if now != before {
            beats.insert(second);
        }
        before = now;
    }
    assert!(beats.len() >= 5, "they beat at {beats:?}");
}

#[tokio::test(start_paused = true)]
async fn maybe_downgrade_tells_the_shard_only_now_and_then() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 5).await;
    let mut reader = process.shard.open_reader("reader").await.unwrap();
    let before = process.log.counts().compare_and_sets;
    reader.maybe_downgrade_since(&at(2)).await.unwrap();
    assert_eq!(process.log.counts().compare_and_sets, before);
    assert_eq!(*reader.since(), at(2));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(process.shard.inspect().await.unwrap().since, at(2), "the heartbeat told it");
}

/// A burst of commands of one process is few entries.
#[tokio::test(start_paused = true)]
async fn commands_that_wait_together_share_an_entry() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    append_each(&process, 0, 1).await;
    let gate = Gate::closed();
    process.log_faults.add(Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
    let before = process.log.counts().committed;
    let first = tokio::spawn({
        let shard = process.shard.clone();
        async move { shard.open_reader("first").await }
    });
    gate.arrived(1).await;
    let opened = futures::future::join_all((0..30).map(|_| process.shard.open_reader("reader")));
    let (readers, ()) = tokio::join!(opened, async {
        quiesce().await;
        gate.open();
    });
    assert!(readers.iter().all(Result::is_ok));
    first.await.unwrap().unwrap();
    assert_eq!(process.log.counts().committed - before, 2, "the first, and all that came while it was under way");
}

// ---- who holds what

#[tokio::test(start_paused = true)]
async fn anyone_can_see_who_holds_what() {
    let stage = Stage::new();
    let process = stage.process(compacting()).await;
    append_each(&stage.process(quiet()).await, 0, 4).await;
    let reader = process.shard.open_reader("a report").await.unwrap();
    let parts = reader.snapshot(at(3)).await.unwrap();
    let id = timely_persist::CriticalReaderId::from_u128(3);
    let critical = process.shard.open_critical_since(id, 0).await.unwrap();
    append_each(&process, 4, 5).await;
    settle(&process).await;
    let holds = process.shard.holds().await.unwrap();
    assert_eq!(holds.len(), 2);
    assert_eq!((holds[0].holder, holds[0].purpose.as_str()), (Holder::Leased(reader.reader_id()), "a report"));
    assert!(holds[0].garbage_kept >= 4 && holds[0].bytes_kept > 0);
    assert_eq!((holds[1].holder, holds[1].seqno), (Holder::Critical(id), None));
    drop((parts, critical));
    reader.expire().await.unwrap();
    within(async {
        while process.shard.inspect().await.unwrap().readers > 0 {
            tokio::time::sleep(FOREVER / 1000).await;
        }
    })
    .await;
}
