//! Two processes by different limits of the store, before and after a change: what one commits, the other does not delete.

use std::sync::Arc;

use object_store::ObjectStore;
use timely_persist::{Appended, Batch, ClientBuilder, Config};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use crate::agreement::{hours, kept, on, orphan_age, retention};
use crate::stage::{ManualClock, Process, Row, Stage, Strings, Writer, at, quiesce, row, within};

/// Another process on the same store, by the same clock.
async fn beside(stage: &Stage, first: &Process, config: Config, how: fn(ClientBuilder) -> ClientBuilder) -> Strings {
    beside_the_clock(stage, &first.clock, config, how).await
}

async fn beside_the_clock(
    stage: &Stage,
    clock: &Arc<ManualClock>,
    config: Config,
    how: fn(ClientBuilder) -> ClientBuilder,
) -> Strings {
    let store: Arc<dyn ObjectStore> = stage.store.clone();
    let builder = how(on(&store, config)).clock(clock.clone());
    builder.open().await.unwrap().shard(stage.shard)
}

/// Looks for lost objects at the first rollup, which comes soon.
fn sweeping(mut config: Config) -> Config {
    config.upkeep.rollup_interval = 3;
    config
}

/// A row that is uploaded now and committed later, at a time far from those of the rest.
const LATER: u64 = 1_000;

async fn stage_row(writer: &Writer) -> Batch<u64> {
    let mut builder = writer.batch_builder(at(LATER));
    builder.add(&"staged".to_owned(), &0, &LATER, &1).await.unwrap();
    builder.finish(at(LATER + 1)).await.unwrap()
}

/// Commits it, and reads it back.
async fn commit_row(shard: &Strings, writer: &mut Writer, mut batch: Batch<u64>) {
    let upper = writer.fetch_upper().await.unwrap();
    assert_eq!(writer.append(Vec::<Row>::new(), upper, at(LATER)).await.unwrap(), Appended::Committed);
    let appended = writer.compare_and_append_batch(&mut [&mut batch], at(LATER), at(LATER + 1)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    let reader = shard.open_reader("check").await.unwrap();
    assert_eq!(reader.snapshot_and_fetch(at(LATER)).await.unwrap(), [row("staged", 0, LATER, 1)]);
}

/// Makes entries until the shard has had a rollup, and with it a leak sweep.
async fn sweep(shard: &Strings) {
    let mut writer = shard.open_writer("sweep").await.unwrap();
    for _ in 0..5 {
        let time = *writer.fetch_upper().await.unwrap().elements().first().unwrap();
        let appended = writer.compare_and_append(Vec::<Row>::new(), at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        shard.settle().await.unwrap();
    }
}

/// The loss itself: hazard 46. By the maintainer's own limit, what waits for its commit is lost.
#[tokio::test(start_paused = true)]
async fn a_maintainer_of_other_limits_does_not_take_what_waits_for_its_commit() {
    let stage = Stage::new();
    let writing = stage.process(orphan_age(24)).await;
    let mut writer = writing.writer().await;
    let staged = stage_row(&writer).await;
    writing.clock.advance(hours(3));
    let store: Arc<dyn ObjectStore> = stage.store.clone();
    let by_its_own = on(&store, sweeping(orphan_age(1))).clock(writing.clock.clone()).open().await;
    let maintainer = match by_its_own {
        Ok(client) => client.shard(stage.shard),
        Err(_refused) => beside(&stage, &writing, sweeping(orphan_age(1)), ClientBuilder::adopt_limits).await,
    };
    sweep(&maintainer).await;
    commit_row(&writing.shard, &mut writer, staged).await;
}

/// Raised while a maintainer runs that was opened before: it asks before it deletes.
#[tokio::test(start_paused = true)]
async fn a_raised_limit_counts_for_the_sweeps_of_those_who_run_already() {
    let stage = Stage::new();
    let maintainer = stage.process(sweeping(orphan_age(1))).await;
    let raised = beside(&stage, &maintainer, orphan_age(24), ClientBuilder::change_limits).await;
    let mut writer = raised.open_writer("raised").await.unwrap();
    let staged = stage_row(&writer).await;
    maintainer.clock.advance(hours(3));
    sweep(&maintainer.shard).await;
    commit_row(&raised, &mut writer, staged).await;
    let store: Arc<dyn ObjectStore> = stage.store.clone();
    assert_eq!(kept(&store, 2).await.current.orphan_age_min, hours(24));
    on(&store, orphan_age(1)).open().await.unwrap_err();
    on(&store, orphan_age(24)).open().await.unwrap();
}

/// Lowered while a writer runs that was opened before: the store remembers what that one goes by, until nobody does.
#[tokio::test(start_paused = true)]
async fn a_lowered_limit_does_not_count_for_sweeps_until_nobody_runs_by_the_old_one() {
    let stage = Stage::new();
    let writing = stage.process(orphan_age(24)).await;
    let mut writer = writing.writer().await;
    let staged = stage_row(&writer).await;
    writing.clock.advance(hours(3));
    let lowered = beside(&stage, &writing, sweeping(orphan_age(1)), ClientBuilder::change_limits).await;
    assert_eq!(lowered.client().config().limits.orphan_age_min, hours(1));
    sweep(&lowered).await;
    commit_row(&writing.shard, &mut writer, staged).await;

    let lost = stage_row(&writer).await;
    lost.into_bytes(); // nobody removes it any more
    drop((writing.client, writing.shard, writer));
    writing.clock.advance(hours(3));
    let others = beside_the_clock(&stage, &writing.clock, sweeping(orphan_age(1)), ClientBuilder::change_limits).await;
    let objects = stage.parts().await.len();
    sweep(&others).await;
    assert_eq!(stage.parts().await.len(), objects, "those of before may be running");
    let alone =
        beside_the_clock(&stage, &writing.clock, sweeping(orphan_age(1)), ClientBuilder::change_limits_alone).await;
    sweep(&alone).await;
    assert_eq!(stage.parts().await.len(), objects - 1);
}

/// The record by which a repeated append is told as the success that it was is dropped by no process that keeps less.
#[tokio::test(start_paused = true)]
async fn a_shorter_retention_does_not_drop_the_records_of_those_who_run_already() {
    let stage = Stage::new();
    let writing = stage.process(retention(24)).await;
    let mut writer = writing.writer().await;
    let rows = [row("a", 0, 0, 1)];
    let gate = Gate::closed();
    writing.log_faults.add(Rule::every(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
    within(writer.compare_and_append(rows.clone(), at(0), at(1))).await.unwrap_err();
    writing.log_faults.clear();
    gate.open();
    quiesce().await; // it lands, and nobody has told the writer
    writing.clock.advance(hours(3));
    let store: Arc<dyn ObjectStore> = stage.store.clone();
    let by_its_own = on(&store, retention(1)).clock(writing.clock.clone()).open().await;
    let other = match by_its_own {
        Ok(client) => client.shard(stage.shard),
        Err(_refused) => beside(&stage, &writing, retention(1), ClientBuilder::change_limits).await,
    };
    let mut others = other.open_writer("other").await.unwrap();
    // It sees the record stand still for longer than its own limit.
    for time in 1..3 {
        let appended = others.compare_and_append([row("b", 0, time, 1)], at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        tokio::time::sleep(hours(3)).await;
    }
    others.expire().await.unwrap();
    let repeated = writer.compare_and_append(rows, at(0), at(1)).await.unwrap();
    assert_eq!(repeated, Appended::Committed, "a success is told as a failure: it would be done again");

    // Nobody is left who counts on it.
    let alone = beside(&stage, &writing, retention(1), ClientBuilder::change_limits_alone).await;
    let mut last = alone.open_writer("alone").await.unwrap();
    last.advance_upper(&at(4)).await.unwrap();
    tokio::time::sleep(hours(2)).await;
    last.advance_upper(&at(5)).await.unwrap();
    assert_eq!(alone.inspect().await.unwrap().writers, 1);
}

/// Changes at once: each builds on the one before it, and what was ever in force is remembered.
#[tokio::test(start_paused = true)]
async fn changes_at_the_same_time_follow_each_other() {
    let stage = Stage::new();
    let store: Arc<dyn ObjectStore> = stage.store.clone();
    on(&store, orphan_age(10)).open().await.unwrap();
    let change = |age| on(&store, orphan_age(age)).change_limits().open();
    let changed = futures::future::join_all([20, 30, 40, 5].map(change)).await;
    for (client, age) in changed.into_iter().zip([20, 30, 40, 5]) {
        assert_eq!(client.unwrap().config().limits.orphan_age_min, hours(age));
    }
    let last = kept(&store, 5).await;
    assert_eq!(last.kept.orphan_age_min, hours(40));
    on(&store, orphan_age(40)).change_limits_alone().open().await.unwrap();
    let forgotten = on(&store, orphan_age(5)).change_limits_alone().open().await.unwrap();
    let newest = if last.current.orphan_age_min == hours(40) { 6 } else { 7 };
    assert_eq!(kept(&store, newest).await.kept, forgotten.config().limits);
    // The same again writes nothing.
    on(&store, orphan_age(5)).change_limits().open().await.unwrap();
    on(&store, orphan_age(5)).change_limits_alone().open().await.unwrap();
    let versions = futures::StreamExt::count(store.list(Some(&timely_persist_io::store::keys::limits_folder()))).await;
    assert_eq!(versions as u64, newest);
}
