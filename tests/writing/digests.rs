//! The digest of what was appended: the same for the same rows however they came, and never that of other rows.

use timely_persist::{AppendOutcome, Appended, Batch, CommittedInterval, digest};

use crate::stage::{Row, Stage, Writer, at, quiesce, quiet, row, within};

/// What the digest of these rows must be.
fn of(rows: &[Row]) -> u64 {
    let each = rows.iter().map(|((key, value), time, diff)| digest::<_, _, _, i64>(key, value, time, diff).unwrap());
    each.fold(0, u64::wrapping_add)
}

fn rows(lower: u64, upper: u64) -> Vec<Row> {
    (lower..upper).flat_map(|time| [row("a", time, time, 1), row("b", time, time, -3)]).collect()
}

async fn staged(writer: &Writer, lower: u64, upper: u64, rows: &[Row]) -> Batch<u64> {
    let mut builder = writer.batch_builder(at(lower)).digested();
    for ((key, value), time, diff) in rows {
        builder.add(key, value, time, diff).await.unwrap();
    }
    builder.finish(at(upper)).await.unwrap()
}

async fn append(writer: &mut Writer, lower: u64, upper: u64) -> AppendOutcome<u64> {
    let mut batch = staged(writer, lower, upper, &rows(lower, upper)).await;
    writer.append_batches(&mut [&mut batch], at(lower), at(upper)).await.unwrap()
}

/// What a copy is told that has written nothing of its own.
async fn covered(writer: &mut Writer, lower: u64, upper: u64) -> Option<u64> {
    match writer.append_batches(&mut [], at(lower), at(upper)).await.unwrap() {
        AppendOutcome::Covered { digest } => digest,
        outcome => panic!("{outcome:?}"),
    }
}

fn intervals(known: Vec<CommittedInterval<u64>>) -> Vec<(u64, u64, Option<u64>)> {
    let bound = |frontier: timely::progress::Antichain<u64>| frontier.elements()[0];
    known
        .into_iter()
        .map(|CommittedInterval { lower, upper, digest, .. }| (bound(lower), bound(upper), digest))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_digest_is_of_what_the_rows_come_to() {
    let stage = Stage::new();
    let mut config = quiet();
    (config.write.run_bytes_max, config.write.part_bytes_max) = (2_000, 500); // many runs, many parts
    let process = stage.process(config).await;
    let writer = process.writer().await;
    let mut all: Vec<_> = (0..10).flat_map(|_| rows(0, 10)).collect();
    all.extend([row("a", 3, 3, i64::MAX), row("a", 3, 3, i64::MIN), row("c", 0, 0, 0), row("d", 1, 1, 5)]);
    all.push(row("d", 1, 1, -5));
    let whole = staged(&writer, 0, 10, &all).await;
    assert_eq!(whole.digest(), Some(of(&all)));
    // Rows that never were, nine tenths of the others in one, another order, and two batches.
    all.retain(|((key, _), _, _)| key != "c" && key != "d");
    all.sort_by(|a, b| b.cmp(a));
    let (one, other) = all.split_at(77);
    let (one, other) = (staged(&writer, 0, 10, one).await, staged(&writer, 0, 10, other).await);
    assert_eq!(one.digest().unwrap().wrapping_add(other.digest().unwrap()), whole.digest().unwrap());
    let summed: Vec<_> =
        rows(0, 10).into_iter().map(|((key, value), time, diff)| ((key, value), time, 10 * diff)).collect();
    let summed = staged(&writer, 0, 10, &summed).await;
    assert_eq!(summed.digest().unwrap().wrapping_add(of(&[row("a", 3, 3, -1)])), whole.digest().unwrap());
    // It is asked for, and before the first row.
    let mut builder = writer.batch_builder(at(0));
    assert_eq!(writer.batch_builder(at(0)).finish(at(1)).await.unwrap().digest(), None);
    builder.add(&"a".to_owned(), &0, &0, &1).await.unwrap();
    assert_eq!(builder.digested().finish(at(1)).await.unwrap().digest(), None);
    assert_eq!(writer.batch_builder(at(0)).digested().finish(at(1)).await.unwrap().digest(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_told_the_digest_of_what_another_committed() {
    let stage = Stage::new();
    let (here, there) = (stage.process(quiet()).await, stage.process(quiet()).await);
    let (mut mine, mut theirs) = (here.writer().await, there.writer().await);
    // Two workers' batches, one of them by way of another process, are one commit with one digest.
    let (one, other): (Vec<_>, Vec<_>) = rows(0, 5).into_iter().partition(|((key, _), _, _)| key == "a");
    let mut one = staged(&mine, 0, 5, &one).await;
    let bytes = staged(&theirs, 0, 5, &other).await.into_bytes();
    let mut other = mine.batch_from_bytes(&bytes).unwrap();
    assert_eq!(other.digest(), Some(of(&rows(0, 5)).wrapping_sub(one.digest().unwrap())), "it travels");
    let outcome = mine.append_batches(&mut [&mut one, &mut other], at(0), at(5)).await.unwrap();
    assert_eq!(outcome, AppendOutcome::Committed { from: at(0) });
    let mut same = staged(&theirs, 0, 5, &rows(0, 5)).await;
    let own = same.digest();
    let outcome = theirs.append_batches(&mut [&mut same], at(0), at(5)).await.unwrap();
    assert_eq!(outcome, AppendOutcome::Covered { digest: own }, "the copies agree");
    assert_eq!((covered(&mut theirs, 0, 4).await, covered(&mut theirs, 1, 5).await), (None, None), "not that interval");

    // Times without rows, a commit of which another wrote the beginning, one that was cut, one without a digest.
    for time in 5..9 {
        let outcome = mine.append_batches(&mut [], at(time), at(time + 1)).await.unwrap();
        assert_eq!(outcome, AppendOutcome::Committed { from: at(time) });
    }
    assert_eq!(covered(&mut theirs, 6, 8).await, Some(0));
    assert_eq!(covered(&mut theirs, 0, 8).await, own);
    assert_eq!(append(&mut theirs, 8, 11).await, AppendOutcome::Committed { from: at(9) });
    let mut wide = staged(&mine, 0, 20, &rows(0, 20)).await;
    assert_eq!(mine.compare_and_append_batch(&mut [&mut wide], at(11), at(13)).await.unwrap(), Appended::Committed);
    assert_eq!(mine.compare_and_append(rows(13, 14), at(13), at(14)).await.unwrap(), Appended::Committed);
    let mut exact = staged(&mine, 14, 15, &rows(14, 15)).await;
    assert_eq!(mine.compare_and_append_batch(&mut [&mut exact], at(14), at(15)).await.unwrap(), Appended::Committed);
    let last = Some(of(&rows(14, 15)));
    let expected = vec![(0, 5, own), (5, 9, Some(0)), (9, 11, None), (11, 13, None), (13, 14, None), (14, 15, last)];
    assert_eq!(intervals(mine.commits_since(&at(0))), expected);
    assert_eq!(intervals(mine.commits_since(&at(4))), expected, "the first may begin before");
    assert_eq!(intervals(mine.commits_since(&at(5))), expected[1..]);
    assert_eq!(intervals(mine.commits_since(&at(14))), expected[5..]);
    assert_eq!(intervals(mine.commits_since(&at(15))), []);
    // What this process has not heard of, it does not know: no I/O.
    let before = there.counts();
    assert_eq!(intervals(theirs.commits_since(&at(9))), [(9, 11, None)]);
    assert_eq!(there.counts(), before);
    theirs.fetch_upper().await.unwrap();
    assert_eq!(intervals(theirs.commits_since(&at(9))), expected[2..]);
}

#[tokio::test(start_paused = true)]
async fn a_digest_outlives_a_rollup_and_not_a_merge() {
    for compact in [false, true] {
        let stage = Stage::new();
        let mut config = quiet();
        (config.upkeep.rollup_interval, config.upkeep.compact, config.upkeep.compaction_fan_in) = (4, compact, 8);
        let process = stage.process(config).await;
        let mut writer = process.writer().await;
        for time in 0..8 {
            assert_eq!(append(&mut writer, time, time + 1).await, AppendOutcome::Committed { from: at(time) });
        }
        within(process.shard.settle()).await.unwrap();
        quiesce().await;
        let fresh = stage.process(quiet()).await;
        assert!(fresh.shard.inspect().await.unwrap().rollup.0 > 4);
        let mut copy = fresh.writer().await;
        let known = covered(&mut copy, 2, 3).await;
        assert_eq!(known, (!compact).then(|| of(&rows(2, 3))), "merged: {compact}");
        assert_eq!(copy.commits_since(&at(0)).len(), if compact { 1 } else { 8 });
    }
}
