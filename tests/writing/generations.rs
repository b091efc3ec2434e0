//! Once a newer generation has committed, an older one writes nothing more, however it asks.

use timely_persist::{AppendOutcome, Appended, Batch, Error, ErrorKind};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use crate::stage::{Process, Stage, Writer, at, quiesce, quiet, row, within};

async fn of(process: &Process, generation: u64) -> Writer {
    process.shard.open_writer_in("test", generation).await.unwrap()
}

async fn staged(writer: &Writer, time: u64) -> Batch<u64> {
    let mut builder = writer.batch_builder(at(time));
    builder.add(&"staged".to_owned(), &0, &time, &1).await.unwrap();
    builder.finish(at(time + 1)).await.unwrap()
}

/// That it was refused, by this generation.
fn fenced<R: std::fmt::Debug>(result: Result<R, Error>, generation: u64) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced { generation }, "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_older_generation_writes_nothing_more_however_it_asks() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
    let (mut none, mut old, mut new) = (there.writer().await, of(&there, 1).await, of(&here, 2).await);
    assert_eq!(none.compare_and_append(vec![row("a", 0, 0, 1)], at(0), at(1)).await.unwrap(), Appended::Committed);
    assert_eq!(old.compare_and_append(vec![row("b", 0, 1, 1)], at(1), at(2)).await.unwrap(), Appended::Committed);
    assert_eq!(here.shard.inspect().await.unwrap().generation, 1);
    let mut batch = staged(&old, 3).await;
    // The first commit counts, also without rows. The others' process has not heard of it: what it knows would let them on.
    new.advance_upper(&at(3)).await.unwrap();
    fenced(old.compare_and_append(vec![row("zombie", 0, 2, 1)], at(2), at(3)).await, 2);
    fenced(old.compare_and_append(vec![row("zombie", 0, 3, 1)], at(3), at(4)).await, 2);
    fenced(old.compare_and_append(vec![row("zombie", 0, 9, 1)], at(9), at(10)).await, 2);
    fenced(old.append(vec![row("zombie", 0, 3, 1)], at(0), at(4)).await, 2);
    fenced(old.append(vec![], at(0), at(1)).await, 2);
    fenced(old.append_batches(&mut [&mut batch], at(2), at(4)).await, 2);
    fenced(old.append_batches(&mut [], at(0), at(3)).await, 2);
    fenced(old.compare_and_append_batch(&mut [&mut batch], at(3), at(4)).await, 2);
    fenced(old.advance_upper(&at(4)).await, 2);
    fenced(old.advance_upper(&at(1)).await, 2);
    fenced(none.advance_upper(&at(4)).await, 2);
    fenced(there.shard.open_writer("late").await, 2);
    fenced(there.shard.open_writer_in("late", 1).await, 2);
    let info = there.shard.inspect().await.unwrap();
    assert_eq!((info.generation, info.upper), (2, at(3)));
    // What is refused is the batch's own still: whoever may write can have it.
    let mut peer = of(&there, 2).await;
    let appended = peer.append_batches(&mut [&mut batch], at(3), at(4)).await.unwrap();
    assert_eq!(appended, AppendOutcome::Committed { from: at(3) });
    new.advance_upper(&at(5)).await.unwrap();
    assert_eq!(here.contents(3).await, [row("a", 0, 3, 1), row("b", 0, 3, 1), row("staged", 0, 3, 1)]);
    drop((old, none, batch));
    quiesce().await;
    assert_eq!(stage.parts().await.len(), 3, "what a refused append has uploaded is removed");
}

/// The older one has decided, and its entry is on its way, when the newer one commits: it is decided again.
#[tokio::test(start_paused = true)]
async fn a_commit_that_is_overtaken_by_a_newer_generation_is_refused() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
    let (mut old, mut new) = (of(&there, 1).await, of(&here, 2).await);
    let gate = Gate::closed();
    there.log_faults.add(Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
    // At the upper that both expect, and beyond what the newer one appends: an upper alone would let it on.
    let zombie = old.append(vec![row("zombie", 0, 3, 1)], at(0), at(4));
    let (refused, ()) = tokio::join!(zombie, async {
        gate.arrived(1).await;
        new.advance_upper(&at(2)).await.unwrap();
        gate.open();
    });
    fenced(refused, 2);
    assert_eq!(here.shard.inspect().await.unwrap().upper, at(2));
}

#[tokio::test(start_paused = true)]
async fn what_an_older_generation_committed_before_is_told_so() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
    let (mut old, mut new) = (of(&there, 1).await, of(&here, 2).await);
    let mut batch = staged(&old, 0).await;
    let gate = Gate::closed();
    there.log_faults.add(Rule::every(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
    let unknown = within(old.append_batches(&mut [&mut batch], at(0), at(1))).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Unavailable);
    there.log_faults.clear();
    gate.open();
    quiesce().await;
    new.advance_upper(&at(2)).await.unwrap();
    let settled = old.append_batches(&mut [&mut batch], at(0), at(1)).await.unwrap();
    assert_eq!(settled, AppendOutcome::Committed { from: at(0) });
    fenced(old.append_batches(&mut [], at(2), at(3)).await, 2);
    assert_eq!(here.contents(1).await, [row("staged", 0, 1, 1)]);
}

/// Who opens the shard reads a rollup, and what lies behind it in the log: the generation is in front.
#[tokio::test(start_paused = true)]
async fn a_rollup_keeps_the_generation() {
    let stage = Stage::new();
    let mut config = quiet();
    config.upkeep.rollup_interval = 4;
    let process = stage.process(config).await;
    let mut writer = of(&process, 7).await;
    for time in 1..20 {
        writer.advance_upper(&at(time)).await.unwrap();
    }
    within(process.shard.settle()).await.unwrap();
    let fresh = stage.process(quiet()).await;
    fenced(fresh.shard.open_writer_in("late", 6).await, 7);
    let info = fresh.shard.inspect().await.unwrap();
    assert!(info.rollup.0 > 4, "{info:?}");
    assert_eq!(info.generation, 7);
}
