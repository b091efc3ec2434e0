//! What compaction makes of history that nobody can read any more, and what it writes for that.
#![allow(clippy::unwrap_used)]

#[path = "support/stage.rs"]
mod stage;

use stage::{Process, Row, Stage, Writer, at, quiesce, quiet, within};
use timely_persist::{Appended, Config, CriticalReaderId, ReadHandle, ShardInfo, SinceDowngrade, SinceHandle};

/// Keys that are written again and again.
const KEYS: u64 = 2_000;

/// The collection at one time takes less than this, in bytes.
const LIVE_BYTES_MAX: u64 = 2_000 * 130;

fn compacting() -> Config {
    let mut config = quiet();
    config.upkeep.compact = true;
    config.upkeep.collapse_bytes_min = 64 << 10;
    config
}

fn key(number: u64) -> String {
    format!("{number:0100}")
}

/// Every key has a new value at `time`, and not that of the time before any more.
fn rewritten(time: u64) -> Vec<Row> {
    let values = |key: String| {
        let new = ((key.clone(), time), time, 1);
        let old = time.checked_sub(1).map(|before| ((key, before), time, -1));
        std::iter::once(new).chain(old)
    };
    (0..KEYS).flat_map(|number| values(key(number))).collect()
}

/// Keys that were never there before.
fn added(time: u64) -> Vec<Row> {
    (0..KEYS).map(|number| ((key(time * KEYS + number), 0), time, 1)).collect()
}

/// Keys of which half are there once less than not at all: no collection that anybody would want.
fn balanced(time: u64) -> Vec<Row> {
    let diff = |number: u64| if number.is_multiple_of(2) { 1 } else { -1 };
    (0..KEYS).map(|number| ((key(time * KEYS + number), 0), time, diff(number))).collect()
}

async fn append(writer: &mut Writer, rows: Vec<Row>, time: u64) {
    assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
}

async fn settled(process: &Process) -> ShardInfo<u64> {
    within(process.shard.settle()).await.unwrap();
    process.shard.inspect().await.unwrap()
}

/// A reader that lets the since move as far as it is moved.
async fn follower(process: &Process) -> ReadHandle<String, u64, u64, i64> {
    process.shard.open_reader("follower").await.unwrap()
}

async fn laggard(process: &Process) -> SinceHandle<u64> {
    process.shard.open_critical_since(CriticalReaderId::from_u128(1), 0).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn churned_rows_come_down_to_the_live_ones() {
    let stage = Stage::new();
    let process = stage.process(compacting()).await;
    let (mut writer, mut reader) = (process.writer().await, follower(&process).await);
    for time in 0..10 {
        append(&mut writer, rewritten(time), time).await;
        reader.downgrade_since(&at(time)).await.unwrap();
    }
    let after = settled(&process).await;
    assert!(after.rows <= 2 * KEYS && after.bytes < 2 * LIVE_BYTES_MAX, "{after:?}");
    let contents = process.contents(9).await;
    assert_eq!(contents.len() as u64, KEYS);
    assert!(contents.iter().all(|((_, value), _, diff)| (*value, *diff) == (9, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_since_that_lags_keeps_its_history_until_it_moves() {
    let stage = Stage::new();
    let process = stage.process(compacting()).await;
    let (mut writer, mut lagging) = (process.writer().await, laggard(&process).await);
    for time in 0..10 {
        append(&mut writer, rewritten(time), time).await;
    }
    let rows = KEYS * 19;
    assert_eq!(settled(&process).await.rows, rows);
    let reader = process.shard.open_reader("early").await.unwrap();
    let early = reader.snapshot_and_fetch(at(3)).await.unwrap();
    assert!(early.len() as u64 == KEYS && early.iter().all(|((_, value), _, _)| *value == 3));
    reader.expire().await.unwrap();

    // Nothing is written any more: the since alone brings it about, in one merge of all there is.
    let puts = process.objects.counts().puts;
    let moved = lagging.compare_and_downgrade_since(0, (1, &at(9))).await.unwrap();
    assert!(matches!(moved, SinceDowngrade::Downgraded { .. }), "{moved:?}");
    within(async {
        while process.shard.inspect().await.unwrap().rows > KEYS {
            quiesce().await;
        }
    })
    .await;
    let after = settled(&process).await;
    assert_eq!((after.rows, after.parts, after.garbage), (KEYS, 1, 0));
    assert!(after.bytes < LIVE_BYTES_MAX, "{after:?}");
    assert_eq!(process.objects.counts().puts - puts, 1);
    let contents = process.contents(9).await;
    assert!(contents.len() as u64 == KEYS && contents.iter().all(|((_, value), _, _)| *value == 9));
}

#[tokio::test(start_paused = true)]
async fn a_since_within_the_history_collapses_what_it_has_passed() {
    let stage = Stage::new();
    let mut config = compacting();
    config.upkeep.compaction_fan_in = 64; // each append stays a batch of its own
    let process = stage.process(config).await;
    let (mut writer, mut reader) = (process.writer().await, follower(&process).await);
    for time in 0..12 {
        append(&mut writer, rewritten(time), time).await;
    }
    assert_eq!(settled(&process).await.rows, KEYS * 23);
    reader.downgrade_since(&at(7)).await.unwrap();
    let after = settled(&process).await;
    assert_eq!((after.rows, after.batches), (KEYS + KEYS * 8, 1 + 4));
    for time in 7..12 {
        let there = reader.snapshot_and_fetch(at(time)).await.unwrap();
        assert!(there.len() as u64 == KEYS && there.iter().all(|((_, value), _, _)| *value == time), "at {time}");
    }
}

/// What nothing can be merged in is not written again for a since that moves, however often.
#[tokio::test(start_paused = true)]
async fn what_cannot_collapse_is_left_alone() {
    for (what, rows) in [("added", added as fn(u64) -> Vec<Row>), ("balanced", balanced)] {
        let stage = Stage::new();
        let process = stage.process(compacting()).await;
        let (mut writer, mut reader) = (process.writer().await, follower(&process).await);
        for time in 0..10 {
            append(&mut writer, rows(time), time).await;
        }
        reader.downgrade_since(&at(9)).await.unwrap();
        assert_eq!(settled(&process).await.rows, KEYS * 10);
        let puts = process.objects.counts().puts;
        for time in 10..30 {
            writer.advance_upper(&at(time + 1)).await.unwrap();
            reader.downgrade_since(&at(time)).await.unwrap();
            assert_eq!(settled(&process).await.rows, KEYS * 10);
        }
        assert_eq!(process.objects.counts().puts, puts, "{what}");
    }
}

/// Bytes written by compaction for each byte appended, with a since that follows.
async fn amplification(rows: fn(u64) -> Vec<Row>, rounds: u64) -> f64 {
    let stage = Stage::new();
    let mut config = compacting();
    config.upkeep.rollup_interval = u64::MAX;
    let process = stage.process(config).await;
    let (mut writer, mut reader) = (process.writer().await, follower(&process).await);
    let (mut appended, mut last) = (0, 0);
    for time in 0..rounds {
        let before = process.objects.counts().bytes_written;
        append(&mut writer, rows(time), time).await;
        appended += process.objects.counts().bytes_written - before;
        reader.downgrade_since(&at(time)).await.unwrap();
        last = settled(&process).await.rows;
    }
    assert!(last > 0);
    (process.objects.counts().bytes_written - appended) as f64 / appended as f64
}

/// Eight batches of one tier become one, and 64 appends climb two tiers: so often is each byte written again. Where rows
/// vanish, that costs one more; where their diffs lie about it, four.
#[tokio::test(start_paused = true)]
async fn what_compaction_writes_is_bounded() {
    let tiers = 2.0;
    let plain = amplification(added, 64).await;
    let churned = amplification(rewritten, 64).await;
    let lying = amplification(balanced, 64).await;
    assert!(plain <= tiers, "{plain} bytes written again for each byte");
    assert!(churned <= tiers + 1.0, "{churned} bytes written again for each byte that is replaced");
    assert!(lying <= tiers + 4.0, "{lying} bytes written again for each byte where diffs cancel out");
}

/// A batch of more runs than memory is merged in steps. Rows outside of what it speaks for stay outside at every step, also
/// at the very time to which others are moved.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_merged_in_steps_shows_no_row_outside_it() {
    let stage = Stage::new();
    let mut config = compacting();
    (config.upkeep.compaction_fan_in, config.upkeep.compaction_bytes_max) = (2, 1);
    let process = stage.process(config).await;
    let (mut writer, mut reader) = (process.writer().await, follower(&process).await);
    writer.advance_upper(&at(3)).await.unwrap();
    reader.downgrade_since(&at(8)).await.unwrap();
    for (lower, upper) in [(3, 6), (6, 9)] {
        let mut staged = Vec::new();
        for number in 0..5 {
            let mut builder = writer.batch_builder(at(0));
            for time in 0..10 {
                builder.add(&key(number), &time, &time, &1).await.unwrap();
            }
            staged.push(builder.finish(at(10)).await.unwrap());
        }
        let mut staged: Vec<_> = staged.iter_mut().collect();
        let appended = writer.compare_and_append_batch(&mut staged, at(lower), at(upper)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
    let after = settled(&process).await;
    assert_eq!((after.parts, after.rows), (1, 5 * 6));
    let expected: Vec<_> = (0..5).flat_map(|number| (3..9).map(move |time| ((key(number), time), 8, 1))).collect();
    assert_eq!(process.contents(8).await, expected);
}
