//! `append`: small appends, one after another.

use std::time::Instant;

use timely_persist::{Appended, ShardId};

use crate::args::Args;
use crate::data::{Row, at, key_value};
use crate::place::{Counted, Strings, folder};
use crate::process::Meter;
use crate::report::{Sample, percentile};

/// Rows of one append.
pub const ROWS: u64 = 10;

/// The rows of append `time`.
pub fn rows(time: u64) -> Vec<Row> {
    (time * ROWS..(time + 1) * ROWS).map(|i| (key_value(i), time, 1)).collect()
}

pub async fn run(args: &Args) -> Sample {
    let appends = args.appends;
    let folder = folder(args);
    let counted = Counted::open(args, folder.path()).await;
    let shard: Strings = counted.client.shard(ShardId::new());
    let mut writer = shard.open_writer("bench").await.unwrap();
    let batches: Vec<Vec<Row>> = (0..appends).map(rows).collect();
    let mut latencies = Vec::with_capacity(batches.len());
    let meter = Meter::start();
    let before = counted.counts();
    for (rows, time) in batches.into_iter().zip(0..) {
        let start = Instant::now();
        let appended = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
        latencies.push(start.elapsed().as_secs_f64() * 1e6);
        assert_eq!(appended, Appended::Committed);
    }
    let mut sample = Sample { ops: counted.since(before, appends as f64), ..meter.sample() };
    for (name, percent) in [("p50_us", 50.0), ("p90_us", 90.0), ("p99_us", 99.0), ("max_us", 100.0)] {
        sample.more.insert(name.to_owned(), percentile(&latencies, percent).into());
    }
    let rows = shard.inspect().await.unwrap().rows;
    assert_eq!(rows, appends * ROWS, "rows were lost");
    drop((writer, shard));
    counted.client.shutdown().await.unwrap();
    sample
}
