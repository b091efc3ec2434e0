//! Diffs that add up beyond what their type holds: an error that names the row, or both rows as they are, and never a sum
//! that wrapped. Whether overflow is checked (as in tests) or not makes no difference: nothing here relies on it.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "large_diffs/types.rs"]
mod types;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use proptest::prelude::*;
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Config, Error, ErrorKind, ShardId, WriteHandle};
use timely_persist_core::part::{Chunk, EncodeOptions, Merge, MergeStep, PartBuilder, decode_part};

type Row = ((u8, String), u64, i64);

const MAX: i64 = i64::MAX;
const MIN: i64 = i64::MIN;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn row(key: u8, time: u64, diff: i64) -> Row {
    ((key, "value".to_owned()), time, diff)
}

async fn client(configure: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config::default();
    config.upkeep.compact = false;
    configure(&mut config);
    Client::builder(Arc::new(InMemory::new())).config(config).open().await.unwrap()
}

async fn append(writer: &mut WriteHandle<u8, String, u64, i64>, time: u64, rows: Vec<Row>) {
    let appended = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
}

fn names_the_row<R: Debug>(outcome: Result<R, Error>, row: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(error.shard().is_some());
    let text = error.to_string();
    assert!(text.contains(&format!("the diffs of the row {row} add up beyond what i64 holds")), "{text}");
}

#[tokio::test]
async fn an_append_whose_diffs_add_up_to_too_much_is_refused() {
    // Inline, and as an object.
    for inline_part_bytes_max in [1 << 20, 0] {
        let client = client(|config| config.write.inline_part_bytes_max = inline_part_bytes_max).await;
        let shard = client.shard(ShardId::new());
        let mut writer = shard.open_writer("test").await.unwrap();
        for diffs in [[MAX, 1, 0], [MIN, -1, 0], [MAX, MAX, MAX], [MIN, MIN, MIN]] {
            let rows = diffs.into_iter().map(|diff| row(7, 0, diff)).chain([row(8, 0, 1)]);
            let appended = writer.compare_and_append(rows, at(0), at(1)).await;
            names_the_row(appended, "(7, \"value\") at 0");
        }
        let info = shard.inspect().await.unwrap();
        assert_eq!((info.upper, info.parts), (at(0), 0));
        // What is too large only on the way is not.
        append(&mut writer, 0, vec![row(7, 0, MAX), row(7, 0, MAX), row(7, 0, MIN), row(7, 0, MIN), row(7, 0, 5)])
            .await;
        let reader = shard.open_reader("test").await.unwrap();
        assert_eq!(reader.snapshot_and_fetch(at(0)).await.unwrap(), [row(7, 0, 3)]);
        client.shutdown().await.unwrap();
    }
}

/// Nor is what the diffs of different rows come to: nobody asks for that.
#[tokio::test]
async fn the_diffs_of_a_part_may_add_up_to_anything() {
    for inline_part_bytes_max in [1 << 20, 0] {
        let client = client(|config| config.write.inline_part_bytes_max = inline_part_bytes_max).await;
        let shard = client.shard(ShardId::new());
        let mut writer = shard.open_writer("test").await.unwrap();
        let rows: Vec<_> = (0..100).map(|key| row(key, 0, if key < 90 { MAX } else { MIN })).collect();
        append(&mut writer, 0, rows.clone()).await;
        let reader = shard.open_reader("test").await.unwrap();
        assert_eq!(reader.snapshot_and_fetch(at(0)).await.unwrap(), rows);
        client.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_whose_diffs_add_up_to_too_much_names_the_row() {
    let client = client(|_| {}).await;
    let shard = client.shard(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    append(&mut writer, 0, vec![row(1, 0, 1), row(7, 0, MAX)]).await;
    append(&mut writer, 1, vec![row(7, 1, 2), row(9, 1, 1)]).await;
    append(&mut writer, 2, vec![row(7, 2, -2)]).await;
    let reader = shard.open_reader("test").await.unwrap();
    let before = reader.snapshot_and_fetch(at(0)).await.unwrap();
    assert_eq!(before, [row(1, 0, 1), row(7, 0, MAX)]);
    names_the_row(reader.snapshot_and_fetch(at(1)).await, "(7, \"value\") at 1");
    let mut cursor = reader.snapshot_cursor(at(1), |_| true).await.unwrap();
    names_the_row(cursor.next().await, "(7, \"value\") at 1");
    assert_eq!(cursor.next().await.unwrap(), None);
    // Row by row all is there.
    let rows: Vec<Row> = reader.snapshot_and_stream(at(1)).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows, [row(1, 1, 1), row(7, 1, MAX), row(7, 1, 2), row(9, 1, 1)]);
    // And what brings the sum back makes it readable again.
    let after = reader.snapshot_and_fetch(at(2)).await.unwrap();
    assert_eq!(after, [row(1, 2, 1), row(7, 2, MAX), row(9, 2, 1)]);
    client.shutdown().await.unwrap();
}

/// Compaction moves the times of both rows to one. It neither fails for ever nor sums.
#[tokio::test]
async fn a_compaction_leaves_rows_apart_whose_diffs_add_up_to_too_much() {
    for sign in [1, -1] {
        let client = client(|config| {
            (config.upkeep.compact, config.upkeep.compaction_fan_in, config.write.inline_part_bytes_max) = (true, 2, 0);
        });
        let client = client.await;
        let shard = client.shard(ShardId::new());
        let mut writer = shard.open_writer("test").await.unwrap();
        for time in 0..6 {
            append(&mut writer, time, vec![row(1, time, 1), row(7, time, sign * MAX)]).await;
        }
        let mut reader = shard.open_reader("test").await.unwrap();
        reader.downgrade_since(&at(5)).await.unwrap();
        // Twice: what was left apart is merged again.
        for time in 6..10 {
            append(&mut writer, time, vec![row(1, time, 1)]).await;
            shard.settle().await.unwrap();
        }
        let info = shard.inspect().await.unwrap();
        assert!(info.batches <= 3 && info.rows < 16, "{info:?}");
        names_the_row(reader.snapshot_and_fetch(at(9)).await, "(7, \"value\") at 9");
        let rows: Vec<Row> = reader.snapshot_and_stream(at(9)).await.unwrap().try_collect().await.unwrap();
        let sum = |key| rows.iter().filter(|row| row.0.0 == key).map(|row| i128::from(row.2)).sum::<i128>();
        assert_eq!((sum(1), sum(7)), (10, 6 * i128::from(sign * MAX)));
        // Five of the six are taken back.
        for time in 10..15 {
            append(&mut writer, time, vec![row(7, time, -sign * MAX)]).await;
        }
        shard.settle().await.unwrap();
        let contents = reader.snapshot_and_fetch(at(14)).await.unwrap();
        assert_eq!(contents, [row(1, 14, 10), row(7, 14, sign * MAX)]);
        client.shutdown().await.unwrap();
    }
}

/// Of unsigned diffs the same.
#[tokio::test]
async fn unsigned_diffs_do_not_wrap() {
    let client = client(|_| {}).await;
    let shard = client.shard::<u8, (), u64, u64>(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    let row = |time, diff| ((1, ()), time, diff);
    let error = writer.compare_and_append([row(0, u64::MAX), row(0, 1)], at(0), at(1)).await.unwrap_err();
    assert!(error.to_string().contains("add up beyond what u64 holds"), "{error}");
    for time in 0..2 {
        let appended = writer.compare_and_append([row(time, u64::MAX)], at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
    let reader = shard.open_reader("test").await.unwrap();
    let error = reader.snapshot_and_fetch(at(1)).await.unwrap_err();
    assert!(error.to_string().contains("add up beyond what u64 holds"), "{error}");
    client.shutdown().await.unwrap();
}

fn chunks(rows: &[(u8, u64, i64)], chunk_rows_max: usize) -> Option<Vec<Chunk<u8, (), u64, i64>>> {
    let mut builder = PartBuilder::<u8, (), u64, i64>::new();
    for (key, time, diff) in rows {
        builder.push(*key, (), time, diff).unwrap();
    }
    let part = builder.finish(&EncodeOptions { chunk_rows_max, ..EncodeOptions::default() });
    match (part, sums(rows, |time| time)) {
        (Ok(part), Some(_)) => Some(part.map_or_else(Vec::new, |part| decode_part(part.bytes, &part.meta).unwrap())),
        (Err(error), None) => {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            None
        }
        (part, sums) => panic!("{part:?} of rows that come to {sums:?}"),
    }
}

/// What the rows come to, exactly; `None` if one comes to too much.
fn sums(rows: &[(u8, u64, i64)], move_time: impl Fn(u64) -> u64) -> Option<BTreeMap<(u8, u64), i64>> {
    let mut sums = BTreeMap::<(u8, u64), i128>::new();
    for (key, time, diff) in rows {
        *sums.entry((*key, move_time(*time))).or_default() += i128::from(*diff);
    }
    sums.retain(|_, sum| *sum != 0);
    sums.into_iter().map(|(row, sum)| Some((row, i64::try_from(sum).ok()?))).collect()
}

fn merged(
    merge: Merge<u8, (), u64, i64>,
    runs: &[Vec<Chunk<u8, (), u64, i64>>],
    move_time: impl Fn(u64) -> u64,
) -> Result<Vec<(u8, u64, i64)>, Error> {
    let mut merge = merge;
    let mut runs: Vec<_> = runs.iter().map(|run| run.iter()).collect();
    let mut rows = Vec::new();
    loop {
        let step = merge.step(
            |_, time| Some(move_time(time)),
            |key, (), time, diff| {
                rows.push((key, *time, *diff));
                ControlFlow::<()>::Continue(())
            },
        );
        match step? {
            MergeStep::NeedChunk(input) => match runs[input].next() {
                Some(chunk) => merge.push_chunk(input, chunk.clone())?,
                None => merge.finish_input(input),
            },
            MergeStep::Paused(()) => {}
            MergeStep::Done => return Ok(rows),
        }
    }
}

fn diff() -> impl Strategy<Value = i64> {
    let edges = [MIN, MIN + 1, MIN / 2, -2, -1, 1, 2, MAX / 2, MAX - 1, MAX];
    prop_oneof![prop::sample::select(edges.to_vec()), any::<i64>().prop_filter("not zero", |diff| *diff != 0)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A merge gives exact sums or an error; one that splits gives rows that add up to the same, each once where that
    /// is enough.
    #[test]
    fn sums_are_exact_or_refused(
        runs in prop::collection::vec(prop::collection::vec((0u8..2, 0u64..4, diff()), 0..8), 0..5),
        chunk_rows_max in 1usize..4,
        floor in 0u64..5,
    ) {
        let kept: Vec<_> = runs.into_iter().filter_map(|rows| Some((chunks(&rows, chunk_rows_max)?, rows))).collect();
        let (runs, rows): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
        let rows = rows.concat();
        let move_time = |time: u64| time.max(floor);
        let expected = sums(&rows, move_time);
        match (merged(Merge::new(runs.len()), &runs, move_time), &expected) {
            (Ok(rows), Some(sums)) => {
                prop_assert_eq!(rows, sums.iter().map(|((key, time), sum)| (*key, *time, *sum)).collect::<Vec<_>>());
            }
            (Err(error), None) => prop_assert_eq!(error.kind(), ErrorKind::Invalid),
            (merged, sums) => prop_assert!(false, "{merged:?} instead of {sums:?}"),
        }
        let split = merged(Merge::new(runs.len()).splitting(), &runs, move_time).unwrap();
        prop_assert!(split.is_sorted_by_key(|(key, time, _)| (*key, *time)));
        let exact = |rows: &[(u8, u64, i64)]| {
            let mut sums = BTreeMap::<(u8, u64), (i128, usize)>::new();
            for (key, time, diff) in rows {
                let (sum, count) = sums.entry((*key, move_time(*time))).or_default();
                *sum += i128::from(*diff);
                *count += 1;
            }
            sums.retain(|_, (sum, _)| *sum != 0);
            sums
        };
        let (split, whole) = (exact(&split), exact(&rows));
        prop_assert!(split.iter().map(|(row, (sum, _))| (row, sum)).eq(whole.iter().map(|(row, (sum, _))| (row, sum))));
        for (sum, count) in split.values() {
            let least = if i64::try_from(*sum).is_ok() { 1 } else { 2 };
            prop_assert!(*count >= least && (*count == 1) == (least == 1), "{count} rows for {sum}");
        }
    }
}

/// More updates of one row than are kept before they are summed: on the way they are too much.
#[test]
fn a_sum_that_comes_back_is_exact_however_many_there_are() {
    let run = |sign: i64, from: u64| {
        let rows: Vec<_> = (0..10_000).map(|time| (7, from + time, sign * (MAX - 1))).collect();
        chunks(&rows, 1_000).unwrap()
    };
    let runs = [run(1, 0), run(-1, 10_000), chunks(&[(7, 5, 11)], 1).unwrap_or_default()];
    let rows = merged(Merge::new(3), &runs, |_| 20_000);
    assert_eq!(rows.unwrap(), [(7, 20_000, 11)]);
}
