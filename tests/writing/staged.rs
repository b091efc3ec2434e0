//! Staged batches: appended once, by whoever has them.

use timely_persist::{Appended, ErrorKind, ShardId};

use crate::mismatch;
use crate::stage::{Stage, at, quiesce, quiet, row};

#[tokio::test(start_paused = true)]
async fn a_batch_is_appended_once() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    let mut builder = writer.batch_builder(at(0));
    builder.add(&"a".to_owned(), &0, &0, &1).await.unwrap();
    let mut batch = builder.finish(at(10)).await.unwrap();
    let refused = writer.compare_and_append_batch(&mut [&mut batch], at(1), at(10)).await.unwrap();
    assert_eq!(refused, mismatch(0));
    assert_eq!(batch.rows(), 1, "after a mismatch it can be used again");
    let appended = writer.compare_and_append_batch(&mut [&mut batch], at(0), at(5)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    // Again, it would be an append of nothing that looks like a success.
    let error = writer.compare_and_append_batch(&mut [&mut batch], at(5), at(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    drop(batch);
    quiesce().await;
    assert_eq!(process.contents(4).await, [row("a", 0, 4, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_staged_batch_travels_as_bytes() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
    let mut builder = here.writer().await.batch_builder(at(0));
    builder.add(&"a".to_owned(), &0, &0, &1).await.unwrap();
    let bytes = builder.finish(at(1)).await.unwrap().into_bytes();
    quiesce().await;
    let mut writer = there.writer().await;
    let mut batch = writer.batch_from_bytes(&bytes).unwrap();
    let appended = writer.compare_and_append_batch(&mut [&mut batch], at(0), at(1)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    assert_eq!(here.contents(0).await, [row("a", 0, 0, 1)]);

    for length in 0..bytes.len() {
        assert_eq!(writer.batch_from_bytes(&bytes.slice(..length)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let other = there.client.shard::<String, u64, u64, i64>(ShardId::from_u128(2));
    let error = other.open_writer("other").await.unwrap().batch_from_bytes(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    quiesce().await;
    assert_eq!(stage.parts().await.len(), 1, "a batch that was refused is not removed");
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_other_types_is_refused() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    // The shard is fresh: it does not know its types yet.
    let other = process.client.shard::<u64, u64, u64, i64>(stage.shard);
    let mut builder = other.open_writer("other").await.unwrap().batch_builder(at(0));
    builder.add(&1, &1, &0, &1).await.unwrap();
    let mut batch = builder.finish(at(1)).await.unwrap();
    let error = writer.compare_and_append_batch(&mut [&mut batch], at(0), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CodecMismatch);
    assert_eq!(process.log.counts().committed, 0);
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_batch_outside_the_append_are_left_out() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let mut writer = process.writer().await;
    let mut builder = writer.batch_builder(at(0));
    for time in 0..10 {
        builder.add(&"a".to_owned(), &time, &time, &1).await.unwrap();
    }
    let mut batch = builder.finish(at(10)).await.unwrap();
    assert_eq!(writer.compare_and_append(vec![], at(0), at(3)).await.unwrap(), Appended::Committed);
    let appended = writer.compare_and_append_batch(&mut [&mut batch], at(3), at(6)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    let apart = writer.batch_builder(at(0)).finish(at(4)).await.unwrap();
    let error = writer.compare_and_append_batch(&mut [&mut { apart }], at(3), at(6)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "it neither lies within nor covers");
    let expected: Vec<_> = (3..6).map(|time| row("a", time, 5, 1)).collect();
    assert_eq!(process.contents(5).await, expected);
}

// ---- uppers
