//! `ingest`: the 20 appends, and until compaction has settled.

use std::time::Instant;

use timely_persist::{Appended, ShardId};

use crate::args::Args;
use crate::data::{BATCHES, Columns, Sums, at};
use crate::place::{Counted, Strings, folder};
use crate::process::Meter;
use crate::report::Sample;

pub async fn run(args: &Args, columns: &Columns, expected: Sums) -> Sample {
    let folder = folder(args);
    let counted = Counted::open(args, folder.path()).await;
    let shard: Strings = counted.client.shard(ShardId::new());
    let mut writer = shard.open_writer("bench").await.unwrap();
    let meter = Meter::start();
    let before = counted.counts();
    let mut wall_s = 0.0;
    for batch in 0..BATCHES {
        // Built just before, so that they do not count as memory that was there.
        let rows = columns.batch(batch);
        let start = Instant::now();
        let appended = writer.compare_and_append(rows, at(batch), at(batch + 1)).await.unwrap();
        wall_s += start.elapsed().as_secs_f64();
        assert_eq!(appended, Appended::Committed);
    }
    shard.settle().await.unwrap();
    let settled_s = meter.wall_s();
    let mut sample = Sample { wall_s, ops: counted.since(before, 1.0), ..meter.sample() };
    let info = shard.inspect().await.unwrap();
    sample.more.insert("settled_s".to_owned(), settled_s.into());
    sample.more.insert("parts".to_owned(), info.parts.into());
    sample.more.insert("batches".to_owned(), info.batches.into());
    let amplification = counted.bytes_written() as f64 / info.bytes as f64;
    sample.more.insert("write_amplification".to_owned(), amplification.into());
    sample.more.insert("rss_above_start_mb".to_owned(), (sample.peak_rss_mb - sample.rss_before_mb).into());
    let reader = shard.open_reader("check").await.unwrap();
    let mut sums = Sums::default();
    let parts = reader.snapshot(at(BATCHES - 1)).await.unwrap();
    let fetcher = reader.fetcher();
    for part in parts {
        let fetched = fetcher.fetch(part).await.unwrap();
        fetched.refs().for_each(|(key, _value, _time, diff)| sums.add(key, diff));
    }
    sums.check(expected);
    drop((reader, writer, shard));
    counted.client.shutdown().await.unwrap();
    sample
}
