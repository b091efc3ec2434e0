//! The same of diffs of other types: what is beyond a type is refused where it is read; what is only beyond a word is
//! there as several rows, and nobody is refused anything.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::ControlFlow;

use futures::TryStreamExt;
use proptest::prelude::*;
use timely_persist::{Appended, Client, Diff, ErrorKind, Shard, ShardId};
use timely_persist_core::part::{Chunk, EncodeOptions, Merge, MergeStep, PartBuilder, decode_part};

use super::{at, client};

async fn append<D: Diff>(shard: &Shard<u8, (), u64, D>, time: u64, rows: impl IntoIterator<Item = (u8, D)>) {
    let rows = rows.into_iter().map(|(key, diff)| ((key, ()), time, diff));
    let mut writer = shard.open_writer("test").await.unwrap();
    let appended = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
}

async fn contents<D: Diff>(shard: &Shard<u8, (), u64, D>, as_of: u64) -> Vec<(u8, D)> {
    let reader = shard.open_reader("test").await.unwrap();
    let rows = reader.snapshot_and_fetch(at(as_of)).await.unwrap();
    rows.into_iter().map(|((key, ()), _, diff)| (key, diff)).collect()
}

/// Merges two batches at a time, into objects.
async fn compacting() -> Client {
    client(|config| {
        (config.upkeep.compact, config.upkeep.compaction_fan_in, config.write.inline_part_bytes_max) = (true, 2, 0);
    })
    .await
}

async fn move_since<D: Diff>(shard: &Shard<u8, (), u64, D>, since: u64) {
    shard.open_reader("test").await.unwrap().downgrade_since(&at(since)).await.unwrap();
    shard.settle().await.unwrap();
}

#[tokio::test]
async fn pairs_of_any_size_come_back_as_they_are() {
    let of = [i64::MIN, i64::MAX, 0, 1, -1, 1 << 30, -1 << 31, 5_000_000_000, 1 << 60];
    let pairs: Vec<_> =
        of.iter().flat_map(|a| of.iter().map(move |b| (*a, *b))).filter(|pair| *pair != (0, 0)).collect();
    let rows: Vec<_> = (0..).zip(pairs).collect();
    for inline_part_bytes_max in [1 << 20, 0] {
        let client = client(|config| config.write.inline_part_bytes_max = inline_part_bytes_max).await;
        let shard = client.shard::<u8, (), u64, (i64, i64)>(ShardId::new());
        append(&shard, 0, rows.clone()).await;
        assert_eq!(contents(&shard, 0).await, rows);
        // Row by row, a pair is a few.
        let reader = shard.open_reader("test").await.unwrap();
        let stream = reader.snapshot_and_stream(at(0)).await.unwrap();
        let stream: Vec<_> = stream.try_collect().await.unwrap();
        assert!(stream.len() > rows.len() && stream.len() <= 3 * rows.len(), "{}", stream.len());
        let mut sums = BTreeMap::<u8, (i64, i64)>::new();
        for ((key, ()), _, (a, b)) in stream {
            let sum = sums.entry(key).or_default();
            *sum = (sum.0 + a, sum.1 + b); // no part of a sum is beyond it
        }
        assert_eq!(sums.into_iter().collect::<Vec<_>>(), rows);
        client.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_sum_of_pairs_that_outgrows_a_word_is_kept() {
    let client = compacting().await;
    let shard = client.shard::<u8, (), u64, (i64, i64)>(ShardId::new());
    let amount = i64::MAX / 4 - 77;
    for time in 0..4 {
        append(&shard, time, [(1, (amount, 1)), (2, (1, 1))]).await;
    }
    move_since(&shard, 3).await;
    append(&shard, 4, [(2, (1, 1))]).await;
    move_since(&shard, 4).await;
    assert_eq!(contents(&shard, 4).await, [(1, (4 * amount, 4)), (2, (5, 5))]);
    let info = shard.inspect().await.unwrap();
    assert!(info.batches <= 2 && info.rows <= 5, "{info:?}");
    // Beyond the type, a read is refused, and compaction is not.
    append(&shard, 5, [(1, (amount, 1))]).await;
    move_since(&shard, 5).await;
    let error = shard.open_reader("test").await.unwrap().snapshot_and_fetch(at(5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("add up beyond what (i64,i64) holds"), "{error}");
    append(&shard, 6, [(1, (-2 * amount, -2))]).await;
    move_since(&shard, 6).await;
    assert_eq!(contents(&shard, 6).await, [(1, (3 * amount, 3)), (2, (5, 5))]);
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_sum_beyond_an_i32_is_neither_wrapped_nor_lost() {
    let client = compacting().await;
    let shard = client.shard::<u8, (), u64, i32>(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    let twice = [((1, ()), 0, i32::MAX), ((1, ()), 0, 1)];
    let error = writer.compare_and_append(twice, at(0), at(1)).await.unwrap_err();
    assert!(error.to_string().contains("add up beyond what i32 holds: nothing was written"), "{error}");
    for time in 0..4 {
        append(&shard, time, [(1, i32::MAX), (2, -1)]).await;
    }
    move_since(&shard, 3).await;
    append(&shard, 4, [(2, -1)]).await; // what was merged before the since moved is merged again with this
    move_since(&shard, 4).await;
    let info = shard.inspect().await.unwrap();
    assert!(info.batches <= 2 && info.rows <= 6, "{info:?}"); // of ten; four are of the row that has no word
    let error = shard.open_reader("test").await.unwrap().snapshot_and_fetch(at(4)).await.unwrap_err();
    assert!(error.to_string().contains("add up beyond what i32 holds"), "{error}");
    for time in 5..8 {
        append(&shard, time, [(1, -i32::MAX)]).await;
    }
    assert_eq!(contents(&shard, 7).await, [(1, i32::MAX), (2, -5)]);
    client.shutdown().await.unwrap();
}

/// What differential's own operators give is stored as what most programs write by hand.
#[tokio::test]
async fn isize_and_i64_are_one_type_to_a_shard() {
    let client = client(|_| {}).await;
    let written = client.shard::<u8, (), u64, isize>(ShardId::new());
    append(&written, 0, [(1, isize::MAX), (2, -2)]).await;
    let read = client.shard::<u8, (), u64, i64>(written.id());
    assert_eq!(contents(&read, 0).await, [(1, i64::MAX), (2, -2)]);
    append(&read, 1, [(2, 3)]).await;
    assert_eq!(contents(&written, 1).await, [(1, isize::MAX), (2, 1)]);
    let other = client.shard::<u8, (), u64, i32>(written.id()).open_reader("test").await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::CodecMismatch);
    client.shutdown().await.unwrap();
}

/// The sum of all rows is a hint to upkeep, which merges again and again where it is wrong.
#[test]
fn the_sum_of_a_part_is_right_where_it_is_beyond_the_type() {
    fn diff_sum<D: Diff>(diffs: &[D]) -> i64 {
        let mut builder = PartBuilder::<u64, (), u64, D>::new();
        (0..).zip(diffs).for_each(|(key, diff)| builder.push(key, (), &0, diff).unwrap());
        i64::from_le_bytes(builder.finish(&EncodeOptions::default()).unwrap().unwrap().meta.diff_sum)
    }
    assert_eq!(diff_sum(&[i32::MAX; 5]), 5 * i64::from(i32::MAX));
    assert_eq!(diff_sum(&[i32::MIN, -1, 3]), i64::from(i32::MIN) + 2);
    assert_eq!(diff_sum(&[u32::MAX; 5]), 5 * i64::from(u32::MAX));
    assert_eq!(diff_sum(&[-3isize, 1]), -2);
}

/// Rows that cancel out vanish, also where nothing else gives a reason to merge.
#[tokio::test]
async fn counts_of_every_type_collapse() {
    async fn collapses<D: Diff>(one: D, minus_one: D) {
        let client = client(|config| {
            (config.upkeep.compact, config.upkeep.collapse_bytes_min, config.write.inline_part_bytes_max) =
                (true, 1, 0);
        });
        let client = client.await;
        let shard = client.shard::<u8, (), u64, D>(ShardId::new());
        append(&shard, 0, (0..100).map(|key| (key, one.clone()))).await;
        append(&shard, 1, (0..99).map(|key| (key, minus_one.clone()))).await;
        move_since(&shard, 1).await;
        assert_eq!(shard.inspect().await.unwrap().rows, 1, "{}", D::NAME);
        client.shutdown().await.unwrap();
    }
    collapses(1i64, -1).await;
    collapses(1isize, -1).await;
    collapses(1i32, -1).await;
}

type Row<D> = (u8, u64, D);

fn chunks<D: Diff>(rows: &[Row<D>], chunk_rows_max: usize) -> Option<Vec<Chunk<u8, (), u64, D>>> {
    let mut builder = PartBuilder::<u8, (), u64, D>::new();
    rows.iter().for_each(|(key, time, diff)| builder.push(*key, (), time, diff).unwrap());
    let part = builder.finish(&EncodeOptions { chunk_rows_max, ..EncodeOptions::default() }).ok()?;
    Some(part.map_or_else(Vec::new, |part| decode_part(part.bytes, &part.meta).unwrap()))
}

fn merged<D: Diff>(
    mut merge: Merge<u8, (), u64, D>,
    runs: &[Vec<Chunk<u8, (), u64, D>>],
    floor: u64,
) -> Option<Vec<Row<D>>> {
    let mut runs: Vec<_> = runs.iter().map(|run| run.iter()).collect();
    let mut rows = Vec::new();
    loop {
        let step = merge.step(
            |_, time| Some(time.max(floor)),
            |key, (), time, diff| {
                rows.push((key, *time, diff.clone()));
                ControlFlow::<()>::Continue(())
            },
        );
        match step.ok()? {
            MergeStep::NeedChunk(input) => match runs[input].next() {
                Some(chunk) => merge.push_chunk(input, chunk.clone()).unwrap(),
                None => merge.finish_input(input),
            },
            MergeStep::Paused(()) => {}
            MergeStep::Done => return Some(rows),
        }
    }
}

type Sums = BTreeMap<(u8, u64), (i128, i128)>;

fn sums<'a, D: Diff>(
    rows: impl IntoIterator<Item = &'a Row<D>>,
    exact: impl Fn(&D) -> (i128, i128),
    floor: u64,
) -> Sums {
    let mut sums = Sums::new();
    for (key, time, diff) in rows {
        let (sum, diff) = (sums.entry((*key, (*time).max(floor))).or_default(), exact(diff));
        *sum = (sum.0 + diff.0, sum.1 + diff.1);
    }
    sums.retain(|_, sum| *sum != (0, 0));
    sums
}

/// A part has exactly its rows, each sum once or, where it has no word, a few times; a reader's merge has each once, or is
/// refused; a writer's has words, and loses nothing.
fn check<D: Diff + Debug>(
    runs: &[Vec<Row<D>>],
    chunk_rows_max: usize,
    floor: u64,
    exact: impl Fn(&D) -> (i128, i128),
    whole: impl Fn((i128, i128)) -> Option<D>,
) {
    let fits = |sums: &Sums| sums.values().all(|sum| whole(*sum).is_some());
    let mut parts = Vec::new();
    for rows in runs {
        let expected = sums(rows, &exact, 0);
        let part = chunks(rows, chunk_rows_max);
        assert_eq!(part.is_some(), fits(&expected), "{rows:?}");
        let Some(part) = part else { continue };
        let stored: Vec<_> =
            part.iter().flat_map(Chunk::rows).map(|((key, ()), time, diff)| (key, time, diff)).collect();
        assert_eq!(sums(&stored, &exact, 0), expected);
        parts.push((part, stored));
    }
    let (parts, stored): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let expected = sums(stored.iter().flatten(), &exact, floor);
    let read = merged(Merge::new(parts.len()), &parts, floor);
    let all = expected.iter().map(|((key, time), sum)| Some((*key, *time, whole(*sum)?))).collect::<Option<Vec<_>>>();
    assert_eq!(read, all);
    let written = merged(Merge::new(parts.len()).splitting(), &parts, floor).unwrap();
    assert_eq!(sums(&written, &exact, floor), expected);
    assert!(written.is_sorted_by_key(|(key, time, _)| (*key, *time)));
    for (place, sum) in expected {
        let pieces = written.iter().filter(|(key, time, _)| (*key, *time) == place);
        assert!(pieces.clone().all(|(_, _, diff)| diff.check().is_ok()));
        let one = whole(sum).is_some_and(|sum| sum.check().is_ok());
        assert_eq!(pieces.count() == 1, one, "{sum:?} in {written:?}");
    }
}

fn number() -> impl Strategy<Value = i64> {
    let edges =
        [i64::MIN, i64::MIN / 2, -1 << 60, -1 << 31, -1 << 30, -2, -1, 0, 1, 2, 1 << 29, 1 << 30, 1 << 31, i64::MAX];
    prop_oneof![prop::sample::select(edges.to_vec()), any::<i64>(), any::<i32>().prop_map(i64::from)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn sums_are_exact_for_every_type(
        runs in prop::collection::vec(prop::collection::vec((0u8..2, 0u64..4, (number(), number())), 0..8), 0..5),
        chunk_rows_max in 1usize..4,
        floor in 0u64..5,
    ) {
        let pair = |(a, b)| Some((i64::try_from(a).ok()?, i64::try_from(b).ok()?));
        check(&runs, chunk_rows_max, floor, |(a, b)| ((*a).into(), (*b).into()), pair);
        macro_rules! integers {
            ($($integer:ident)*) => {$(
                let of = |(key, time, diff): &Row<(i64, i64)>| (*key, *time, diff.0 as $integer);
                let typed: Vec<Vec<_>> = runs.iter().map(|rows| rows.iter().map(of).collect()).collect();
                check(&typed, chunk_rows_max, floor, |n| (*n as i128, 0), |(n, _)| $integer::try_from(n).ok());
            )*};
        }
        integers!(i32 u32 isize);
    }
}
