//! Building a batch by who must not wait, and through storage that fails for a while.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread::ThreadId;

use futures::FutureExt;
use serde::{Deserialize, Serialize};
use timely_persist::{Appended, Batch, Config, ErrorKind, Serde, Shard};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use crate::stage::{Row, Stage, Writer, at, quiesce, quiet, row, within};

/// A hundred rows make a run.
fn config() -> Config {
    let mut config = quiet();
    config.write.run_bytes_max = 3_200;
    config
}

fn rows(count: u64) -> Vec<Row> {
    (0..count).map(|index| row(&format!("{index:04}"), index, 0, 1)).collect()
}

async fn append(writer: &mut Writer, mut batch: Batch<u64>) {
    let appended = within(writer.compare_and_append_batch(&mut [&mut batch], at(0), at(1))).await.unwrap();
    assert_eq!(appended, Appended::Committed);
}

/// One run that storage has not taken, one collected: then there is no room, and nobody has waited.
#[tokio::test(start_paused = true)]
async fn who_must_not_wait_hears_that_there_is_no_room() {
    let stage = Stage::new();
    let process = stage.process(config()).await;
    let mut writer = process.writer().await;
    let mut builder = writer.batch_builder(at(0));
    let gate = Gate::closed();
    process.object_faults.add(Rule::every(Operation::Put, Fault::HoldBefore(gate.clone())));
    let mut offered = rows(1_000).into_iter();
    assert!(!builder.try_add(&mut offered).unwrap());
    assert_eq!(offered.len(), 800, "two runs are in memory");
    gate.arrived(1).await;
    for _ in 0..3 {
        assert!(!builder.try_add(&mut offered).unwrap());
    }
    assert_eq!(offered.len(), 800, "no row is taken that there is no room for");
    assert!(builder.ready().now_or_never().is_none());
    gate.open();
    // In a task, as an operator would have it done.
    while !builder.try_add(&mut offered).unwrap() {
        let task = tokio::spawn(async move {
            let ready = builder.ready().await;
            (builder, ready)
        });
        let (back, ready) = within(task).await.unwrap();
        ready.unwrap();
        builder = back;
    }
    append(&mut writer, builder.finish(at(1)).await.unwrap()).await;
    assert_eq!(process.contents(0).await, rows(1_000));
}

/// Whose rows are not to be had again does not lose them because a bucket is away for an hour.
#[tokio::test(start_paused = true)]
async fn what_storage_does_not_take_is_kept_and_offered_again() {
    for added in [30, 150, 1_000] {
        let stage = Stage::new();
        let process = stage.process(config()).await;
        let mut writer = process.writer().await;
        let mut builder = writer.batch_builder(at(0));
        let (mut offered, mut failures) = (rows(added).into_iter(), 0);
        let fails = || process.object_faults.add(Rule::every(Operation::Put, Fault::FailBefore));
        fails();
        loop {
            let filled = match builder.try_add(&mut offered) {
                Ok(true) => within(builder.flush()).await.map(|()| true),
                Ok(false) => within(builder.ready()).await.map(|()| false),
                Err(error) => Err(error),
            };
            match filled {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    assert_eq!((error.kind(), error.shard()), (ErrorKind::Unavailable, Some(stage.shard)), "{error}");
                    failures += 1;
                    process.object_faults.clear();
                    if failures % 3 != 0 {
                        fails(); // and again, the same run
                    }
                }
            }
        }
        assert!(failures >= 3);
        append(&mut writer, builder.finish(at(1)).await.unwrap()).await;
        assert_eq!(process.contents(0).await, rows(added), "{added} rows");
        quiesce().await;
        assert_eq!(stage.parts().await.len() as u64, process.shard.inspect().await.unwrap().parts, "no other object");
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_found_no_room_is_not_in_the_batch() {
    let stage = Stage::new();
    let process = stage.process(config()).await;
    let mut writer = process.writer().await;
    let mut builder = writer.batch_builder(at(0));
    process.object_faults.add(Rule::every(Operation::Put, Fault::FailBefore));
    for ((key, value), time, diff) in rows(300) {
        while let Err(error) = within(builder.add(&key, &value, &time, &diff)).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            process.object_faults.clear();
        }
    }
    append(&mut writer, builder.finish(at(1)).await.unwrap()).await;
    assert_eq!(process.contents(0).await, rows(300), "each of them once, though some were added again");
}

/// A builder that is dropped while storage fails leaves no object, also none of the parts that were taken.
#[tokio::test(start_paused = true)]
async fn a_builder_given_up_while_storage_fails_removes_what_it_has_stored() {
    let stage = Stage::new();
    let mut config = config();
    (config.write.part_bytes_max, config.write.part_bytes_min) = (320, 0);
    let process = stage.process(config).await;
    let writer = process.writer().await;
    let mut builder = writer.batch_builder(at(0));
    process.object_faults.add(Rule::every(Operation::Put, Fault::FailBefore).after(4));
    assert!(builder.try_add(&mut rows(100).into_iter()).is_ok());
    let error = within(builder.flush()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(stage.parts().await.len(), 4, "some were taken");
    drop(builder);
    quiesce().await;
    assert_eq!(stage.parts().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_builder_whose_rows_cannot_be_stored_says_so_from_then_on() {
    let stage = Stage::new();
    let process = stage.process(config()).await;
    let writer = process.writer().await;
    let mut builder = writer.batch_builder(at(0));
    for _ in 0..2 {
        builder.add(&"a".to_owned(), &0, &0, &i64::MAX).await.unwrap();
    }
    for _ in 0..2 {
        let error = within(builder.flush()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!(builder.try_add(&mut rows(1).into_iter()).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(within(builder.finish(at(1))).await.unwrap_err().kind(), ErrorKind::Invalid, "rows would be missing");
}

static COMPARED_ON: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A key that remembers on which threads it was compared: where rows are sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Watched(String);

impl PartialOrd for Watched {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Watched {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let here: ThreadId = std::thread::current().id();
        COMPARED_ON.lock().unwrap().insert(format!("{here:?}"));
        self.0.cmp(&other.0)
    }
}

/// A thread that sorts renews no leases and steps no dataflow: many builders, each of a part that may stay inline, too.
#[tokio::test]
async fn many_builders_sort_on_threads_for_that() {
    let stage = Stage::new();
    let mut config = quiet();
    config.write.inline_part_bytes_max = 1 << 20;
    let process = stage.process(config).await;
    let shard: Shard<Serde<Watched>, (), u64, i64> = process.client.shard(stage.shard);
    let writer = shard.open_writer("test").await.unwrap();
    let mut builders = Vec::new();
    for seed in 0..20u64 {
        let mut builder = writer.batch_builder(at(0));
        let key = |index: u64| format!("the same beginning {:04} {}", index * 7 % 90, "x".repeat(1_000));
        builder.add_rows((0..90).map(|index| ((Serde(Watched(key(index + seed))), ()), 0, 1))).await.unwrap();
        builders.push(builder);
    }
    COMPARED_ON.lock().unwrap().clear(); // each value is compared with what it reads back as
    let finishing = builders.into_iter().map(async |builder| builder.finish(at(1)).await.unwrap());
    let batches = futures::future::join_all(finishing).await;
    assert!(batches.iter().all(|batch| batch.rows() == 90));
    let here = format!("{:?}", std::thread::current().id());
    let on = COMPARED_ON.lock().unwrap();
    assert!(!on.is_empty() && !on.contains(&here), "compared on {on:?}, this is {here}");
}

/// Whatever the rows are, a task may have a builder and what it waits for.
#[tokio::test(start_paused = true)]
async fn a_builder_and_its_futures_can_be_sent() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let stage = Stage::new();
    let process = stage.process(config()).await;
    let writer = process.writer().await;
    let mut builder = sent(writer.batch_builder(at(0)));
    sent(builder.add_rows(rows(1))).await.unwrap();
    sent(builder.ready()).await.unwrap();
    sent(builder.flush()).await.unwrap();
    sent(builder.renew()).await.unwrap();
    let mut batch = sent(sent(builder.finish(at(1))).await.unwrap());
    sent(batch.renew()).await.unwrap();
}
