//! What a writer promises, one test for each promise, named after what went wrong in systems of this kind.
#![allow(clippy::unwrap_used)]

#[path = "writing/append_batches.rs"]
mod append_batches;
#[path = "writing/building.rs"]
mod building;
#[path = "writing/carried.rs"]
mod carried;
#[path = "writing/contention.rs"]
mod contention;
#[path = "writing/digests.rs"]
mod digests;
#[path = "writing/generations.rs"]
mod generations;
#[path = "writing/ingest.rs"]
mod ingest;
#[path = "writing/ingest_partitions.rs"]
mod ingest_partitions;
#[path = "writing/large.rs"]
mod large;
#[path = "writing/panics.rs"]
mod panics;
#[allow(dead_code)]
#[path = "support/random.rs"]
mod random;
#[path = "writing/remap.rs"]
mod remap;
#[path = "writing/renewal.rs"]
mod renewal;
#[path = "support/stage.rs"]
mod stage;
#[path = "writing/staged.rs"]
mod staged;
#[path = "writing/times.rs"]
mod times;
#[path = "writing/upkeep.rs"]
mod upkeep;

use std::time::Duration;

use stage::{Stage, at, quiesce, quiet, row, within};
use timely::progress::Antichain;
use timely_persist::{Appended, ErrorKind};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

fn mismatch(upper: u64) -> Appended<u64> {
    Appended::UpperMismatch { current: at(upper) }
}

/// Runs `future` up to its `polls`-th poll; whether it came to its end. Between the polls others make progress.
async fn poll_times<R>(future: impl Future<Output = R>, polls: usize) -> Option<R> {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if let std::task::Poll::Ready(result) = futures::poll!(&mut future) {
            return Some(result);
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    None
}

// ---- one success, told once

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_one_success_told_once() {
    let gate = Gate::closed();
    gate.open();
    let late = Duration::from_secs(11); // later than the deadline of a request
    for (index, fault) in [
        Fault::FailBefore,
        Fault::FailAfter,
        Fault::Delay(late),
        Fault::HoldBefore(gate.clone()),
        Fault::HoldAfter(gate.clone()),
    ]
    .into_iter()
    .enumerate()
    {
        let stage = Stage::new();
        let process = stage.process(quiet()).await;
        let mut writer = process.writer().await;
        for time in 0..3 {
            process.log_faults.add(Rule::next(Operation::LogCompareAndSet, fault.clone()));
            let rows = vec![row("a", time, time, 1)];
            let appended = within(writer.compare_and_append(rows, at(time), at(time + 1))).await.unwrap();
            assert_eq!(appended, Appended::Committed, "fault {index}");
        }
        let expected: Vec<_> = (0..3).map(|time| row("a", time, 2, 1)).collect();
        assert_eq!(process.contents(2).await, expected, "fault {index}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_lands_after_its_deadline_is_recognized() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    let gate = Gate::closed();
    process.log_faults.add(Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
    // The first request hangs beyond its own deadline; it is asked again, and then the first lands too.
    let rows = vec![row("a", 0, 0, 1)];
    assert_eq!(within(writer.compare_and_append(rows, at(0), at(1))).await.unwrap(), Appended::Committed);
    gate.open();
    quiesce().await;
    let rows = vec![row("a", 1, 1, 1)];
    assert_eq!(within(writer.compare_and_append(rows, at(1), at(2))).await.unwrap(), Appended::Committed);
    assert_eq!(process.contents(1).await, [row("a", 0, 1, 1), row("a", 1, 1, 1)]);
}

/// No answer, and by then another's entry stands there: reading it back says so, and the command is decided again.
#[tokio::test(start_paused = true)]
async fn a_commit_of_unknown_outcome_that_lost_is_decided_again_at_once() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
    let (mut writer, mut other) = (here.writer().await, there.writer().await);
    let gate = Gate::closed();
    here.log_faults.add(Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
    let before = here.log.counts();
    let (lost, won) = tokio::join!(writer.compare_and_append(vec![row("a", 0, 0, 1)], at(0), at(1)), async {
        gate.arrived(1).await;
        other.compare_and_append(vec![row("b", 0, 0, 1)], at(0), at(2)).await
    });
    assert_eq!((lost.unwrap(), won.unwrap()), (mismatch(2), Appended::Committed));
    let counts = here.log.counts();
    let asked = (counts.compare_and_sets - before.compare_and_sets, counts.scans - before.scans);
    assert_eq!(asked, (1, 2), "one try, its position read back, the log read to its head");
    gate.open();
    quiesce().await;
    assert_eq!(here.contents(1).await, [row("b", 0, 1, 1)]);
}

/// The log hangs beyond the commit's deadline; what was sent lands before or after the append is repeated, or never.
#[tokio::test(start_paused = true)]
async fn an_unavailable_append_is_settled_by_repeating_it() {
    for lands in ["before", "after", "never"] {
        let stage = Stage::new();
        let process = stage.process(quiet()).await;
        let mut writer = process.writer().await;
        let gate = Gate::closed();
        let fault = if lands == "never" { Fault::FailBefore } else { Fault::HoldBefore(gate.clone()) };
        process.log_faults.add(Rule::every(Operation::LogCompareAndSet, fault));
        let rows = vec![row("a", 0, 0, 1)];
        let error = within(writer.compare_and_append(rows.clone(), at(0), at(1))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        process.log_faults.clear();
        if lands == "before" {
            gate.open();
            quiesce().await;
        }
        let repeated = within(writer.compare_and_append(rows.clone(), at(0), at(1))).await.unwrap();
        assert_eq!(repeated, Appended::Committed, "landing {lands}");
        gate.open();
        quiesce().await;
        assert_eq!(process.contents(0).await, rows, "landing {lands}");
        let again = writer.compare_and_append(rows, at(0), at(1)).await.unwrap();
        assert_eq!(again, mismatch(1), "a third time it is another append");
    }
}

#[tokio::test(start_paused = true)]
async fn a_staged_batch_of_unknown_outcome_can_be_offered_again() {
    for lands in [true, false] {
        let stage = Stage::new();
        let process = stage.process(quiet()).await;
        let mut writer = process.writer().await;
        let mut builder = writer.batch_builder(at(0));
        builder.add(&"a".to_owned(), &0, &0, &1).await.unwrap();
        let mut batch = builder.finish(at(1)).await.unwrap();
        let gate = Gate::closed();
        let fault = if lands { Fault::HoldBefore(gate.clone()) } else { Fault::FailBefore };
        process.log_faults.add(Rule::every(Operation::LogCompareAndSet, fault));
        let offered = within(writer.compare_and_append_batch(&mut [&mut batch], at(0), at(1))).await;
        assert_eq!(offered.unwrap_err().kind(), ErrorKind::Unavailable);
        process.log_faults.clear();
        gate.open();
        quiesce().await;
        let offered = within(writer.compare_and_append_batch(&mut [&mut batch], at(0), at(1))).await.unwrap();
        assert_eq!(offered, Appended::Committed);
        drop(batch);
        quiesce().await;
        assert_eq!(process.contents(0).await, [row("a", 0, 0, 1)], "landed early: {lands}");
    }
}

/// A commit goes on without its caller: the objects that it names must not be removed with the cancelled call.
#[tokio::test(start_paused = true)]
async fn a_cancelled_append_that_lands_has_its_objects() {
    for staged in [false, true] {
        let stage = Stage::new();
        let process = stage.process(quiet()).await;
        let mut writer = process.writer().await;
        let gate = Gate::closed();
        process.log_faults.add(Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
        let mut builder = writer.batch_builder(at(0));
        builder.add(&"a".to_owned(), &0, &0, &1).await.unwrap();
        let mut batch = builder.finish(at(1)).await.unwrap();
        let mut offered = [&mut batch];
        if staged {
            let append = writer.compare_and_append_batch(&mut offered, at(0), at(1));
            tokio::select! {
                _ = append => panic!("it was held"),
                () = gate.arrived(1) => {}
            }
        } else {
            let append = writer.compare_and_append(vec![row("a", 0, 0, 1)], at(0), at(1));
            tokio::select! {
                _ = append => panic!("it was held"),
                () = gate.arrived(1) => {}
            }
        }
        drop(batch);
        quiesce().await; // what the cancelled call would remove is removed now
        gate.open();
        quiesce().await;
        assert_eq!(process.contents(0).await, [row("a", 0, 0, 1)], "staged: {staged}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_cancelled_anywhere_and_repeated_is_there_once() {
    for inline in [true, false] {
        let mut finished = 0;
        for polls in 0..40 {
            let stage = Stage::new();
            let mut config = quiet();
            config.write.inline_part_bytes_max = if inline { 1 << 20 } else { 0 };
            let process = stage.process(config).await;
            for operation in [Operation::LogCompareAndSet, Operation::LogScan, Operation::Put] {
                let slow = Fault::Delay(Duration::from_millis(1));
                process.log_faults.add(Rule::every(operation, slow.clone()));
                process.object_faults.add(Rule::every(operation, slow));
            }
            let mut writer = process.writer().await;
            let rows = vec![row("a", 0, 0, 1), row("b", 0, 0, 1)];
            let first = poll_times(writer.compare_and_append(rows.clone(), at(0), at(1)), polls).await;
            if polls % 2 == 0 {
                quiesce().await;
            }
            if let Some(first) = first {
                assert_eq!(first.unwrap(), Appended::Committed);
                finished += 1;
            } else {
                let second = within(writer.compare_and_append(rows.clone(), at(0), at(1))).await.unwrap();
                assert_eq!(second, Appended::Committed, "after {polls} polls");
            }
            quiesce().await;
            assert_eq!(process.contents(0).await, rows, "after {polls} polls");
        }
        assert!((1..40).contains(&finished), "some were cancelled and some were not: {finished}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_append_does_not_confuse_the_next() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    let gate = Gate::closed();
    process.log_faults.add(Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
    {
        let append = writer.compare_and_append(vec![row("a", 0, 0, 1)], at(0), at(1));
        tokio::select! {
            _ = append => panic!("it was held"),
            () = gate.arrived(1) => {}
        }
    }
    gate.open();
    // Other rows: another append, which the first has overtaken.
    let appended = within(writer.compare_and_append(vec![row("b", 0, 0, 1)], at(0), at(1))).await.unwrap();
    assert_eq!(appended, mismatch(1));
    assert_eq!(process.contents(0).await, [row("a", 0, 0, 1)]);
    quiesce().await;
    assert_eq!(stage.parts().await.len(), 1, "the objects of the second are removed");
}

/// A future that holds a place in the queue but is not polled any more must not keep others, heartbeats least of all.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_polled_keeps_nobody_waiting() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let (mut lazy, mut busy) = (process.writer().await, process.writer().await);
    let mut reader = process.shard.open_reader("reader").await.unwrap();
    process.log_faults.add(Rule::next(Operation::LogCompareAndSet, Fault::Delay(Duration::from_millis(5))));
    let mut asleep = std::pin::pin!(lazy.compare_and_append(vec![row("a", 0, 0, 1)], at(0), at(1)));
    while process.log.counts().compare_and_sets < 2 {
        assert!(futures::poll!(&mut asleep).is_pending());
        tokio::task::yield_now().await;
    }
    // From here on the first future rests, in the middle of its commit.
    within(reader.downgrade_since(&at(0))).await.unwrap();
    assert_eq!(within(busy.compare_and_append(vec![], at(0), at(1))).await.unwrap(), mismatch(1));
    assert_eq!(asleep.await.unwrap(), Appended::Committed);
}

// ---- decided on fresh state

#[tokio::test(start_paused = true)]
async fn an_upper_mismatch_is_decided_on_fresh_state() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
    let (mut mine, mut theirs) = (here.writer().await, there.writer().await);
    let rows = vec![row("a", 0, 3, 1)];
    assert_eq!(theirs.compare_and_append(rows, at(0), at(5)).await.unwrap(), Appended::Committed);
    // What this process knows, an upper of 0, would say no to the first and yes to the second.
    let rows = vec![row("b", 0, 5, 1)];
    assert_eq!(mine.compare_and_append(rows, at(5), at(6)).await.unwrap(), Appended::Committed);
    assert_eq!(theirs.compare_and_append(vec![], at(5), at(6)).await.unwrap(), mismatch(6));
    assert_eq!(*theirs.upper(), at(6));
    assert_eq!(mine.fetch_upper().await.unwrap(), at(6));
}

#[tokio::test(start_paused = true)]
async fn of_identical_writers_each_row_is_there_once() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
    let (mut mine, mut theirs) = (here.writer().await, there.writer().await);
    let rows: Vec<_> = (0..8).map(|time| row("a", time, time, 1)).collect();
    let among = |from: usize, to: usize| rows[from..to].to_vec();
    assert_eq!(mine.append(among(0, 3), at(0), at(3)).await.unwrap(), Appended::Committed);
    assert_eq!(theirs.append(among(0, 5), at(0), at(5)).await.unwrap(), Appended::Committed);
    assert_eq!(mine.append(among(3, 4), at(3), at(4)).await.unwrap(), Appended::Committed, "covered");
    assert_eq!(mine.append(among(4, 8), at(4), at(8)).await.unwrap(), Appended::Committed);
    assert_eq!(mine.append(vec![], at(9), at(10)).await.unwrap(), mismatch(8), "that would be a gap");
    let expected: Vec<_> = (0..8).map(|time| row("a", time, 7, 1)).collect();
    assert_eq!(there.contents(7).await, expected);
    quiesce().await;
    assert_eq!(stage.parts().await.len(), 3, "the objects of the covered append are removed");
}

// ---- refused before anything is written

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let stage = Stage::new();
    let mut config = quiet();
    config.write.row_bytes_max = 1_000;
    let process = stage.process(config).await;
    let mut writer = process.writer().await;
    assert_eq!(writer.compare_and_append(vec![], at(0), at(5)).await.unwrap(), Appended::Committed);
    let before = process.counts();
    let long = "x".repeat(1_001);
    let cases = [
        ("a row before the lower", vec![row("a", 0, 4, 1)], at(5), at(6)),
        ("a row at the upper", vec![row("a", 0, 6, 1)], at(5), at(6)),
        ("a row beyond the upper", vec![row("a", 0, 9, 1)], at(5), at(6)),
        ("an upper before the lower", vec![], at(5), at(4)),
        ("a row in no time", vec![row("a", 0, 5, 1)], at(5), at(5)),
        ("a row too large", vec![row(&long, 0, 5, 1)], at(5), at(6)),
    ];
    for (what, rows, lower, upper) in cases {
        let error = writer.compare_and_append(rows.clone(), lower.clone(), upper.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
        let error = writer.append(rows, lower, upper).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
    }
    assert_eq!(process.counts(), before);
    let rows = vec![row("a", 0, 5, 0), row("b", 0, 5, 1), row("b", 0, 5, -1)];
    assert_eq!(writer.compare_and_append(rows, at(5), at(6)).await.unwrap(), Appended::Committed);
    assert_eq!(process.contents(5).await, [], "zero diffs are left out");
    assert_eq!(process.objects.counts().puts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_builder_goes_on_after_a_row_that_it_refused() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    let mut builder = writer.batch_builder(at(2));
    let refused = builder.add(&"early".to_owned(), &0, &1, &1).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    builder.add(&"a".to_owned(), &0, &2, &1).await.unwrap();
    let mut batch = builder.finish(at(3)).await.unwrap();
    assert_eq!(writer.compare_and_append(vec![], at(0), at(2)).await.unwrap(), Appended::Committed);
    let appended = writer.compare_and_append_batch(&mut [&mut batch], at(2), at(3)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    assert_eq!(process.contents(2).await, [row("a", 0, 2, 1)]);
}

// ---- staged batches

#[tokio::test(start_paused = true)]
async fn what_is_not_appended_removes_its_objects() {
    let stage = Stage::new();
    let mut config = quiet();
    config.write.part_bytes_max = 100;
    let process = stage.process(config).await;
    let writer = process.writer().await;
    let fill = async |rows: u64| {
        let mut builder = writer.batch_builder(at(0));
        for value in 0..rows {
            builder.add(&"a".to_owned(), &value, &0, &1).await.unwrap();
        }
        builder
    };
    let batch = fill(40).await.finish(at(1)).await.unwrap();
    assert!(stage.parts().await.len() > 5);
    drop(batch);
    quiesce().await;
    assert_eq!(stage.parts().await, Vec::<String>::new(), "a dropped batch");

    drop(fill(40).await);
    within(async {
        while !stage.parts().await.is_empty() {
            quiesce().await;
        }
    })
    .await;

    fill(40).await.finish(at(1)).await.unwrap().delete().await.unwrap();
    assert_eq!(stage.parts().await, Vec::<String>::new(), "a deleted batch");

    let error = fill(40).await.finish(at(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    within(async {
        while !stage.parts().await.is_empty() {
            quiesce().await;
        }
    })
    .await;
}

/// Nothing is beyond the empty frontier: who waits for that waits for the end.
#[tokio::test(start_paused = true)]
async fn waiting_past_an_empty_frontier_ends_with_the_shard() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let (mut one, mut other) = (process.writer().await, process.writer().await);
    one.advance_upper(&at(7)).await.unwrap();
    let waiting = tokio::spawn(async move {
        other.wait_for_upper_past(&Antichain::new()).await.unwrap();
        other.upper().clone()
    });
    quiesce().await;
    assert!(!waiting.is_finished());
    one.advance_upper(&Antichain::new()).await.unwrap();
    assert_eq!(within(waiting).await.unwrap(), Antichain::new());
    within(tokio::spawn(async move { one.wait_for_upper_past(&Antichain::new()).await.unwrap() })).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_upper_is_advanced_and_awaited() {
    let stage = Stage::new();
    let mut config = quiet();
    config.log.watch_fallback = Duration::from_secs(15);
    let (here, there) = (stage.process(quiet()).await, stage.process(config).await);
    let (mut mine, mut theirs) = (here.writer().await, there.writer().await);
    mine.advance_upper(&at(7)).await.unwrap();
    mine.advance_upper(&at(3)).await.unwrap();
    assert_eq!(mine.fetch_upper().await.unwrap(), at(7));
    let waiting = tokio::spawn(async move {
        theirs.wait_for_upper_past(&at(7)).await.unwrap();
        theirs.upper().clone()
    });
    quiesce().await;
    assert!(!waiting.is_finished());
    mine.advance_upper(&Antichain::new()).await.unwrap();
    assert_eq!(within(waiting).await.unwrap(), Antichain::new());
    assert_eq!(
        mine.compare_and_append(vec![], at(7), at(8)).await.unwrap(),
        Appended::UpperMismatch { current: Antichain::new() }
    );
    mine.expire().await.unwrap();
    assert_eq!(here.shard.inspect().await.unwrap().writers, 0);
}

// ---- what it costs

#[tokio::test(start_paused = true)]
async fn an_append_is_one_operation_however_many_came_before() {
    let stage = Stage::new();
    let mut config = quiet();
    config.write.inline_part_bytes_max = 8 << 10;
    config.upkeep.rollup_interval = u64::MAX;
    let process = stage.process(config).await;
    let mut writer = process.writer().await;
    // The first command of a process looks for the log's head.
    process.shard.open_critical_since(timely_persist::CriticalReaderId::from_u128(1), 0).await.unwrap();
    for time in 0..2_000u64 {
        let (log, objects) = process.counts();
        let large = time % 100 == 99;
        let count = if large { 2_000 } else { 1 };
        let rows: Vec<_> = (0..count).map(|value| row("a", value, time, 1)).collect();
        assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
        let (log_after, objects_after) = process.counts();
        assert_eq!(log_after.compare_and_sets - log.compare_and_sets, 1, "append {time}");
        assert_eq!((log_after.heads, log_after.scans), (log.heads, log.scans), "append {time}");
        assert_eq!((objects_after - objects).operations(), u64::from(large), "append {time}");
    }
}

// ---- finalizing

#[tokio::test(start_paused = true)]
async fn a_finalized_shard_has_a_calm_answer_to_everything() {
    let stage = Stage::new();
    let mut config = quiet();
    config.upkeep.sweep_step_objects_max = 2;
    let process = stage.process(config).await;
    let mut writer = process.writer().await;
    let mut reader = process.shard.open_reader("reader").await.unwrap();
    for time in 0..9 {
        let appended = writer.compare_and_append(vec![row("a", time, time, 1)], at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
    assert_eq!(process.shard.finalize().await.unwrap_err().kind(), ErrorKind::Invalid);
    writer.advance_upper(&Antichain::new()).await.unwrap();
    assert_eq!(process.shard.finalize().await.unwrap_err().kind(), ErrorKind::Invalid);
    reader.downgrade_since(&Antichain::new()).await.unwrap();
    process.shard.finalize().await.unwrap();
    process.shard.finalize().await.unwrap();
    reader.expire().await.unwrap();
    within(process.shard.settle()).await.unwrap();
    let info = process.shard.inspect().await.unwrap();
    assert!(info.finalized);
    assert_eq!((info.parts, info.bytes, info.garbage), (0, 0, 0));
    assert_eq!(stage.parts().await, Vec::<String>::new());
    // Each entry names at most a step's objects.
    let appended = writer.compare_and_append(vec![], at(9), at(10)).await.unwrap();
    assert_eq!(appended, Appended::UpperMismatch { current: Antichain::new() });
    writer.advance_upper(&at(99)).await.unwrap();
    let finalized = |result: Result<(), timely_persist::Error>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Finalized);
    };
    finalized(process.shard.open_writer("late").await.map(drop));
    finalized(process.shard.open_reader("late").await.map(drop));
    finalized(process.shard.open_critical_since(timely_persist::CriticalReaderId::from_u128(1), 0).await.map(drop));
    assert_eq!(process.shard.holds().await.unwrap(), []);
}
