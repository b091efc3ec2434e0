//! `times`: many distinct times of retained history.

use std::time::Instant;

use serde_json::json;
use timely_persist::{Appended, CriticalReaderId, ShardId};
use tokio::runtime::Runtime;

use crate::append::{ROWS, rows};
use crate::args::Args;
use crate::data::{at, key_value};
use crate::drain::{Contents, drain};
use crate::place::{Counted, Strings, folder};
use crate::process::Meter;
use crate::report::Sample;

pub fn run(args: &Args, runtime: &Runtime) -> Sample {
    let times = args.times;
    let folder = folder(args);
    let filled = runtime.block_on(Counted::open(&args.at_rest(), folder.path()));
    let id = ShardId::new();
    let start = Instant::now();
    runtime.block_on(fill(&filled.client.shard(id), times));
    let fill_s = start.elapsed().as_secs_f64();
    let info = runtime.block_on(filled.client.shard::<String, String, u64, i64>(id).inspect()).unwrap();

    let start = Instant::now();
    let opened = runtime.block_on(filled.again(args));
    let shard: Strings = opened.client.shard(id);
    let reader = runtime.block_on(shard.open_reader("bench")).unwrap();
    let open_s = start.elapsed().as_secs_f64();
    runtime.block_on(reader.expire()).unwrap();
    drop(shard);
    runtime.block_on(opened.client.shutdown()).unwrap();

    // Each by a fresh client.
    let read = |as_of, until| {
        let counted = runtime.block_on(filled.again(args));
        let (meter, before) = (Meter::start(), counted.counts());
        let drained = drain(&counted.client.shard(id), args.workers, as_of, until);
        let sample = Sample { wall_s: drained.wall_s, ops: counted.since(before, 1.0), ..meter.sample() };
        assert_eq!(drained.contents, expected(until), "a read gave other rows than were written");
        runtime.block_on(counted.client.shutdown()).unwrap();
        sample
    };
    let middle = times / 2;
    let (replay, middle) = (read(0, times), read(middle, middle + 1));
    let mut end = read(times - 1, times);
    let more = json!({
        "times": times,
        "fill_s": fill_s,
        "open_s": open_s,
        "replay_s": replay.wall_s,
        "replay_cpu_s": replay.cpu_s,
        "middle_s": middle.wall_s,
        "end_s": end.wall_s,
        "batches": info.batches,
        "parts": info.parts,
        "bytes": info.bytes,
    });
    end.more = more.as_object().cloned().unwrap_or_default();
    runtime.block_on(filled.client.shutdown()).unwrap();
    end
}

/// Appends to each time, with a since that stays at the first.
async fn fill(shard: &Strings, times: u64) {
    let _kept = shard.open_critical_since(CriticalReaderId::new(), 0).await.unwrap();
    let mut writer = shard.open_writer("bench").await.unwrap();
    for time in 0..times {
        let appended = writer.compare_and_append(rows(time), at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
    writer.expire().await.unwrap();
    shard.settle().await.unwrap();
}

/// The rows of all times before `until`.
fn expected(until: u64) -> Contents {
    let mut contents = Contents::default();
    for (key, value) in (0..until * ROWS).map(key_value) {
        contents.add(&key, &value, 1);
    }
    contents
}
