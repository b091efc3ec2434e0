//! `cursor`: all rows of a snapshot, consolidated, in memory.

use timely_persist::ShardId;

use crate::args::Args;
use crate::data::{BATCHES, Columns, Sums, at};
use crate::place::{Counted, Strings, fill, folder};
use crate::process::Meter;
use crate::report::Sample;

pub async fn run(args: &Args, columns: &Columns, expected: Sums) -> Vec<Sample> {
    let folder = folder(args);
    let counted = Counted::open(args, folder.path()).await;
    let shard: Strings = fill(&counted.client, ShardId::new(), columns).await;
    let mut samples = Vec::new();
    for _ in 0..args.runs {
        let reader = shard.open_reader("bench").await.unwrap();
        let meter = Meter::start();
        let before = counted.counts();
        let rows = reader.snapshot_and_fetch(at(BATCHES - 1)).await.unwrap();
        let wall_s = meter.wall_s();
        let mut sample = Sample { wall_s, ops: counted.since(before, 1.0), ..meter.sample() };
        let mut sums = Sums::default();
        rows.iter().for_each(|((key, _value), _time, diff)| sums.add(key, *diff));
        sums.check(expected);
        let parts = shard.inspect().await.unwrap().parts;
        sample.more.insert("parts".to_owned(), parts.into());
        samples.push(sample);
        drop(rows);
        reader.expire().await.unwrap();
    }
    drop(shard);
    counted.client.shutdown().await.unwrap();
    samples
}
