//! `churn`: values that were replaced again and again, read with their history and without it.

use serde_json::{Map, Value, json};
use timely_persist::{Appended, CriticalReaderId, ShardId, SinceDowngrade, SinceHandle, WriteHandle};
use tokio::runtime::Runtime;

use crate::args::Args;
use crate::data::{Row, at, key_value};
use crate::drain::{Contents, drain};
use crate::place::{Counted, Strings, folder};
use crate::process::Meter;
use crate::report::Sample;

/// How often each value is replaced.
const REPLACED: u64 = 10;

/// Of so many rows that are appended or replaced, one is live in the end.
const ROWS_PER_LIVE: u64 = 10;

/// The value that key `i` of `live` has at a time.
fn at_time(i: u64, time: u64, live: u64) -> (String, String) {
    (key_value(i).0, key_value(i + time * live).1)
}

/// What a time does to each key: its old value goes, its new one comes.
fn upserts(time: u64, live: u64) -> Vec<Row> {
    let old = (0..live).filter(|_| time > 0).map(|i| (at_time(i, time - 1, live), time, -1));
    old.chain(contents(time, live)).collect()
}

pub fn run(args: &Args, runtime: &Runtime) -> Sample {
    let live = live(args);
    let folder = folder(args);
    let filled = runtime.block_on(Counted::open(&args.at_rest(), folder.path()));
    let (churned, only_live) = (ShardId::new(), ShardId::new());
    let shard: Strings = filled.client.shard(churned);
    let read = |shard, time| read(args, runtime, &filled, shard, time);
    runtime.block_on(append_once(&filled.client.shard(only_live), live));
    let mut kept = runtime.block_on(churn(&shard, live));
    let before = read(churned, REPLACED);
    let (meter, written) = (Meter::start(), filled.bytes_written());
    runtime.block_on(async {
        downgrade(&mut kept, REPLACED).await;
        shard.settle().await.unwrap();
    });
    let (compacted_s, rewritten) = (meter.wall_s(), filled.bytes_written() - written);
    let mut after = read(churned, REPLACED);
    runtime.block_on(go_on(&shard, &mut kept, live));
    let steady = read(churned, 2 * REPLACED);
    let ideal = read(only_live, REPLACED);
    let mut more = Map::new();
    more.insert("compacted_s".to_owned(), compacted_s.into());
    more.insert("rewritten_bytes".to_owned(), rewritten.into());
    for (name, sample) in [("before", &before), ("after", &after), ("steady", &steady), ("only_live", &ideal)] {
        more.insert(format!("{name}_s"), sample.wall_s.into());
        more.insert(format!("{name}_rows_per_s"), (live as f64 / sample.wall_s).into());
        more.insert(format!("{name}_wall_ratio"), (sample.wall_s / ideal.wall_s).into());
        more.insert(format!("{name}_bytes_ratio"), (number(sample, "bytes") / number(&ideal, "bytes")).into());
        more.extend(sample.more.iter().map(|(field, value)| (format!("{name}_{field}"), value.clone())));
    }
    after.more = more;
    drop((kept, shard));
    runtime.block_on(filled.client.shutdown()).unwrap();
    after
}

/// The rows that are live in the end.
pub fn live(args: &Args) -> u64 {
    (args.rows / ROWS_PER_LIVE).max(1)
}

/// The contents as of a time.
fn contents(time: u64, live: u64) -> impl Iterator<Item = Row> {
    (0..live).map(move |i| (at_time(i, time, live), time, 1))
}

fn number(sample: &Sample, name: &str) -> f64 {
    sample.more.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

async fn downgrade(kept: &mut SinceHandle<u64>, since: u64) {
    let downgraded = kept.compare_and_downgrade_since(0, (0, &at(since))).await.unwrap();
    assert_eq!(downgraded, SinceDowngrade::Downgraded { since: at(since) });
}

/// As many replacements once more, with the since behind each of them.
async fn go_on(shard: &Strings, kept: &mut SinceHandle<u64>, live: u64) {
    let mut writer = shard.open_writer("bench").await.unwrap();
    for time in REPLACED + 1..=2 * REPLACED {
        append(&mut writer, upserts(time, live), time, time + 1).await;
        downgrade(kept, time).await;
    }
    writer.expire().await.unwrap();
    shard.settle().await.unwrap();
}

/// What is live after the first replacements, and nothing else.
async fn append_once(shard: &Strings, live: u64) {
    let mut writer = shard.open_writer("bench").await.unwrap();
    append(&mut writer, contents(REPLACED, live).collect(), 0, REPLACED + 1).await;
    writer.expire().await.unwrap();
    shard.settle().await.unwrap();
}

/// All upserts, with a since that stays at the first time.
async fn churn(shard: &Strings, live: u64) -> SinceHandle<u64> {
    let kept = shard.open_critical_since(CriticalReaderId::new(), 0).await.unwrap();
    let mut writer = shard.open_writer("bench").await.unwrap();
    for time in 0..=REPLACED {
        append(&mut writer, upserts(time, live), time, time + 1).await;
    }
    writer.expire().await.unwrap();
    shard.settle().await.unwrap();
    kept
}

async fn append(writer: &mut WriteHandle<String, String, u64, i64>, rows: Vec<Row>, lower: u64, upper: u64) {
    assert_eq!(writer.compare_and_append(rows, at(lower), at(upper)).await.unwrap(), Appended::Committed);
}

/// A hydration as of `time` by a fresh client.
fn read(args: &Args, runtime: &Runtime, filled: &Counted, shard: ShardId, time: u64) -> Sample {
    let counted = runtime.block_on(filled.again(args));
    let (meter, before) = (Meter::start(), counted.counts());
    let shard: Strings = counted.client.shard(shard);
    let drained = drain(&shard, args.workers, time, time + 1);
    let mut sample = Sample { wall_s: drained.wall_s, ops: counted.since(before, 1.0), ..meter.sample() };
    let mut expected = Contents::default();
    contents(time, live(args)).for_each(|((key, value), _time, diff)| expected.add(&key, &value, diff));
    assert_eq!(drained.contents, expected, "a read gave other rows than are live");
    let info = runtime.block_on(shard.inspect()).unwrap();
    let more = json!({ "updates": drained.updates, "bytes": info.bytes, "parts": info.parts, "batches": info.batches });
    sample.more = more.as_object().cloned().unwrap_or_default();
    drop(shard);
    runtime.block_on(counted.client.shutdown()).unwrap();
    sample
}
