//! Batches that wait for their commit for longer than their objects are kept.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::{ObjectStore, ObjectStoreExt, Result};
use timely_persist::{Appended, Batch, Config, ErrorKind};
use timely_persist_testing::{Fault, Gate, HookedStore, Operation, Rule, StoreAnswer, StoreHook, StoreRequest};

use crate::poll_times;
use crate::stage::{Row, Stage, Writer, at, quiesce, quiet, row, within};

/// As old as an object is when it is due, and a little older.
fn due() -> Duration {
    Config::default().limits.renewal_age() + Duration::from_millis(1)
}

fn rows(count: u64) -> Vec<Row> {
    (0..count).map(|index| row(&format!("{index:04}"), index, 0, 1)).collect()
}

/// A batch of three runs, each an object.
async fn staged(writer: &Writer) -> Batch<u64> {
    let mut builder = writer.batch_builder(at(0));
    builder.add_rows(rows(30)).await.unwrap();
    builder.finish(at(1)).await.unwrap()
}

/// Ten rows make a run.
fn config() -> Config {
    let mut config = quiet();
    config.write.run_bytes_max = 320;
    config
}

async fn append(writer: &mut Writer, batch: &mut Batch<u64>) -> Appended<u64> {
    within(writer.compare_and_append_batch(&mut [batch], at(0), at(1))).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_renewed_can_be_appended_for_ever() {
    let stage = Stage::new();
    let process = stage.process(config()).await;
    let mut writer = process.writer().await;
    let (mut batch, mut forgotten) = (staged(&writer).await, staged(&writer).await);
    let mut before = stage.parts().await;
    assert_eq!(before.len(), 6);
    for _ in 0..10 {
        let counts = process.objects.counts();
        process.clock.advance(due() - Duration::from_millis(2));
        within(batch.renew()).await.unwrap();
        assert_eq!((process.objects.counts() - counts).operations(), 0, "nothing is due");
        process.clock.advance(Duration::from_millis(2));
        within(batch.renew()).await.unwrap();
        quiesce().await;
        let counts = process.objects.counts() - counts;
        assert_eq!((counts.copies, counts.gets, counts.deletes, counts.operations()), (3, 3, 3, 9));
        let after = stage.parts().await;
        assert_eq!(after.len(), 6, "each in the place of another");
        assert_eq!(after.iter().filter(|name| before.contains(name)).count(), 3, "those of the other batch stay");
        before = after;
    }
    let mut offered = [&mut forgotten];
    let refused = within(writer.compare_and_append_batch(&mut offered, at(0), at(1))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "it is ten quarters old: {refused}");
    assert_eq!(append(&mut writer, &mut batch).await, Appended::Committed);
    assert_eq!(process.contents(0).await, rows(30));
    within(batch.renew()).await.unwrap(); // used up: nothing of it is the batch's any more
    assert_eq!(process.contents(0).await, rows(30));
}

/// What a store may make of a copy.
#[derive(Clone, Copy, Debug)]
enum Copies {
    Refuses,
    SaysSoAndDoesNot,
    DoesHalf,
}

#[async_trait]
impl StoreHook for Copies {
    fn name(&self) -> &'static str {
        "Copies"
    }

    async fn ask(&self, store: &Arc<dyn ObjectStore>, request: StoreRequest) -> Result<StoreAnswer> {
        let StoreRequest::Copy(from, to, _) = &request else { return request.send(store).await };
        match self {
            Copies::Refuses => {
                let (operation, implementer) = ("copy".to_owned(), "Copies".to_owned());
                return Err(object_store::Error::NotImplemented { operation, implementer });
            }
            Copies::SaysSoAndDoesNot => {}
            Copies::DoesHalf => {
                let bytes = store.get(from).await?.bytes().await?;
                store.put(to, bytes.slice(..bytes.len() / 2).into()).await?;
            }
        }
        Ok(StoreAnswer::Copied)
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_store_does_not_copy_the_bytes_pass_through() {
    for copies in [Copies::Refuses, Copies::SaysSoAndDoesNot, Copies::DoesHalf] {
        let stage = Stage::new();
        let store = HookedStore::with_hook(stage.store.clone(), copies);
        let process = stage.process_by(Arc::new(store), config()).await;
        let mut writer = process.writer().await;
        let mut batch = staged(&writer).await;
        let before = stage.parts().await;
        process.clock.advance(due());
        let counts = process.objects.counts();
        within(batch.renew()).await.unwrap();
        assert_eq!((process.objects.counts() - counts).puts, 3, "{copies:?}");
        quiesce().await;
        let after = stage.parts().await;
        assert!(after.len() == 3 && after.iter().all(|name| !before.contains(name)), "{copies:?}: {after:?}");
        assert_eq!(append(&mut writer, &mut batch).await, Appended::Committed);
        assert_eq!(process.contents(0).await, rows(30), "{copies:?}");
    }
}

/// Whatever was given up half-way: what the batch refers to is there, and the next renewal goes on.
#[tokio::test(start_paused = true)]
async fn a_renewal_cancelled_anywhere_leaves_a_batch_that_is_whole() {
    let mut finished = 0;
    for polls in 0..24 {
        let stage = Stage::new();
        let process = stage.process(config()).await;
        for operation in [Operation::Copy, Operation::Get, Operation::Delete] {
            process.object_faults.add(Rule::every(operation, Fault::Delay(Duration::from_millis(1))));
        }
        let mut writer = process.writer().await;
        let mut batch = staged(&writer).await;
        process.clock.advance(due());
        finished += usize::from(poll_times(batch.renew(), polls).await.is_some());
        quiesce().await;
        tokio::time::sleep(Duration::from_secs(1)).await; // what is to be removed is removed
        if polls % 2 == 0 {
            within(batch.renew()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(append(&mut writer, &mut batch).await, Appended::Committed);
        assert_eq!(process.contents(0).await, rows(30), "after {polls} polls");
    }
    assert!((1..24).contains(&finished), "some were cancelled and some were not: {finished}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_loses_nothing_and_can_be_tried_again() {
    let stage = Stage::new();
    let process = stage.process(config()).await;
    let mut writer = process.writer().await;
    let mut batch = staged(&writer).await;
    process.clock.advance(due());
    for operation in [Operation::Copy, Operation::Get] {
        process.object_faults.add(Rule::every(operation, Fault::FailBefore));
        let error = within(batch.renew()).await.unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Unavailable, Some(stage.shard)), "{error}");
        process.object_faults.clear();
    }
    within(batch.renew()).await.unwrap();
    quiesce().await;
    assert_eq!(append(&mut writer, &mut batch).await, Appended::Committed);
    assert_eq!(process.contents(0).await, rows(30));
    // And where an object is gone, that is said, by name.
    let before = stage.parts().await;
    let mut batch = staged(&writer).await;
    let gone = stage.parts().await.into_iter().find(|name| !before.contains(name)).unwrap();
    stage.replace_blob(&gone, None).await;
    process.clock.advance(due());
    let error = within(batch.renew()).await.unwrap_err();
    assert_eq!((error.kind(), error.object()), (ErrorKind::Invalid, Some(gone.as_str())), "{error}");
}

/// The entry with the old names may still come: their objects stay, and the new names are the same append.
#[tokio::test(start_paused = true)]
async fn a_batch_of_unknown_outcome_that_is_renewed_is_there_once() {
    for lands in [true, false] {
        let stage = Stage::new();
        let process = stage.process(config()).await;
        let mut writer = process.writer().await;
        let mut batch = staged(&writer).await;
        let gate = Gate::closed();
        process.log_faults.add(Rule::every(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone())));
        let mut offered = [&mut batch];
        let error = within(writer.compare_and_append_batch(&mut offered, at(0), at(1))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        process.log_faults.clear();
        process.clock.advance(due());
        within(batch.renew()).await.unwrap();
        quiesce().await;
        if lands {
            gate.open();
            quiesce().await;
        }
        assert_eq!(append(&mut writer, &mut batch).await, Appended::Committed);
        gate.open();
        drop(batch);
        quiesce().await;
        assert_eq!(process.contents(0).await, rows(30), "landing: {lands}");
    }
}

/// Hours between one row and the next, days until the last: a hydration.
#[tokio::test(start_paused = true)]
async fn a_builder_renews_what_it_has_staged() {
    let stage = Stage::new();
    let process = stage.process(config()).await;
    let mut writer = process.writer().await;
    let mut builder = writer.batch_builder(at(0));
    for ((key, value), time, diff) in rows(60) {
        builder.add(&key, &value, &time, &diff).await.unwrap();
        process.clock.advance(Duration::from_secs(3600));
    }
    let mut batch = builder.finish(at(1)).await.unwrap();
    quiesce().await;
    assert_eq!(stage.parts().await.len(), 6, "what was renewed is removed");
    assert_eq!(append(&mut writer, &mut batch).await, Appended::Committed);
    assert_eq!(process.contents(0).await, rows(60));
    // One that gets no rows for days is renewed by who holds it.
    let mut builder = writer.batch_builder(at(1));
    for ((key, value), _, diff) in rows(30) {
        builder.add(&key, &value, &1, &diff).await.unwrap();
    }
    for _ in 0..10 {
        process.clock.advance(due());
        within(builder.renew()).await.unwrap();
    }
    let mut batch = builder.finish(at(2)).await.unwrap();
    let appended = writer.compare_and_append_batch(&mut [&mut batch], at(1), at(2)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    assert_eq!(process.contents(1).await.len(), 60);
}
