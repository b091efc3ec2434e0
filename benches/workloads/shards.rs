//! `shards`: many shards in one process, each appended to once per second.

use std::time::Duration;

use timely_persist::{Appended, ShardId};
use tokio::time::Instant;

use crate::append::rows;
use crate::args::Args;
use crate::data::at;
use crate::place::{Counted, Strings, folder};
use crate::process::Meter;
use crate::report::{Sample, percentile};

/// The time between two appends to one shard.
const PACE: Duration = Duration::from_secs(1);

/// Threads that append.
const THREADS: usize = 2;

/// On threads of its own: what appends is not what one thread can do.
pub fn run(args: &Args) -> Sample {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    runtime.block_on(append_to_all(args))
}

async fn append_to_all(args: &Args) -> Sample {
    let folder = folder(args);
    let counted = Counted::open(args, folder.path()).await;
    let (shards, appends) = (args.shards, args.shards * args.seconds);
    let opening = Instant::now();
    let mut writers = Vec::new();
    for _ in 0..shards {
        let shard: Strings = counted.client.shard(ShardId::new());
        let mut writer = shard.open_writer("bench").await.unwrap();
        // The first append of a shard is not like the others: it brings the types.
        assert_eq!(writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
        writers.push((shard, writer));
    }
    let open_s = opening.elapsed().as_secs_f64();
    let (meter, before) = (Meter::start(), counted.counts());
    let begin = Instant::now();
    let tasks = writers.into_iter().zip(0u32..).map(|((shard, mut writer), index)| {
        // Evenly over the second.
        let first = begin + PACE * index / shards as u32;
        let seconds = args.seconds;
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(seconds as usize);
            for time in 1..=seconds {
                tokio::time::sleep_until(first + PACE * (time - 1) as u32).await;
                let rows = rows(time);
                let start = Instant::now();
                let appended = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
                latencies.push(start.elapsed().as_secs_f64() * 1e6);
                assert_eq!(appended, Appended::Committed);
            }
            (shard, writer, latencies)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut latencies = Vec::new();
    let mut kept = Vec::new();
    for task in tasks {
        let (shard, writer, of_shard) = task.await.unwrap();
        latencies.extend(of_shard);
        kept.push((shard, writer));
    }
    let (wall_s, cpu_s) = (meter.wall_s(), meter.cpu_s());
    let mut sample = Sample { wall_s, cpu_s, ops: counted.since(before, appends as f64), ..meter.sample() };
    let operations = counted.operations_since(before);
    assert_eq!(latencies.len() as u64, appends, "appends were lost");
    let figures = [
        ("shards", shards as f64),
        ("open_s", open_s),
        ("operations_per_s", operations / wall_s),
        ("operations_per_append", operations / appends as f64),
        ("cpu_per_s", cpu_s / wall_s),
        ("cpu_per_append_us", cpu_s / appends as f64 * 1e6),
        ("p50_us", percentile(&latencies, 50.0)),
        ("p99_us", percentile(&latencies, 99.0)),
        ("max_us", percentile(&latencies, 100.0)),
    ];
    sample.more.extend(figures.map(|(name, value)| (name.to_owned(), value.into())));
    drop(kept);
    counted.client.shutdown().await.unwrap();
    sample
}
