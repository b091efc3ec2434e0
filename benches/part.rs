//! How fast parts are encoded, decoded, scanned and merged on one thread: 13-byte keys, 100-byte values.
//!
//! `cargo bench --bench part [-- PART_OF_A_NAME]`. Each figure is the best of a few.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // A program, with a clock of its own.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

use timely_persist::Compression;
use timely_persist_core::part::{Chunk, EncodeOptions, EncodedPart, Merge, MergeStep, PartBuilder, decode_part};

/// Of each figure; the best is shown.
const REPEATS: usize = 5;
const RUNS: u64 = 20;
const ROWS: u64 = 100_000;

type Strings = Chunk<String, String, u64, i64>;

/// The finalizer of splitmix64.
fn mix(seed: u64) -> u64 {
    let a = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

fn row(i: u64) -> (String, String) {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let letter = |j| LETTERS[(mix(i * 100 + j) % 62) as usize] as char;
    (format!("k{:012}", mix(i) % 1_000_000_000_000), (0..100).map(letter).collect())
}

fn encode(rows: &[(String, String)], time: u64, options: &EncodeOptions) -> EncodedPart<u64> {
    let mut builder = PartBuilder::<String, String, u64, i64>::new();
    for (key, value) in rows {
        builder.push(key, value, &time, &1).unwrap();
    }
    builder.finish(options).unwrap().unwrap()
}

fn decode(part: &EncodedPart<u64>) -> Vec<Strings> {
    decode_part(part.bytes.clone(), &part.meta).unwrap()
}

fn scan(runs: &[Vec<Strings>]) -> u64 {
    let rows = runs.iter().flatten().flat_map(Chunk::refs);
    rows.map(|(key, value, time, diff)| key.len() as u64 + value.as_bytes()[50] as u64 + time + diff as u64).sum()
}

fn lengths(runs: &[Vec<Strings>]) -> u64 {
    let rows = runs.iter().flatten().flat_map(Chunk::refs);
    rows.map(|(key, value, time, diff)| (key.len() + value.len()) as u64 + time + diff as u64).sum()
}

fn merge(runs: &[Vec<Strings>]) -> u64 {
    let mut runs: Vec<_> = runs.iter().map(|run| run.iter()).collect();
    let mut merge = Merge::<String, String, u64, i64>::new(runs.len());
    let mut rows = 0;
    loop {
        let step = merge.step(
            |_, time| Some(time),
            |key, value, _, _| {
                rows += u64::from(key.len() + value.len() == 113);
                ControlFlow::<()>::Continue(())
            },
        );
        match step.unwrap() {
            MergeStep::NeedChunk(input) => match runs[input].next() {
                Some(chunk) => merge.push_chunk(input, chunk.clone()).unwrap(),
                None => merge.finish_input(input),
            },
            MergeStep::Paused(()) => {}
            MergeStep::Done => return rows,
        }
    }
}

fn measure<R>(name: &str, rows: u64, mut run: impl FnMut() -> R) {
    if std::env::args().nth(1).is_some_and(|only| !only.starts_with('-') && !name.contains(&only)) {
        return;
    }
    let time = |_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed().as_secs_f64()
    };
    let best = (0..REPEATS).map(time).fold(f64::INFINITY, f64::min);
    println!("{name:32} {:9.2} ms {:9.2} M rows/s", best * 1e3, rows as f64 / best / 1e6);
}

fn main() {
    let runs: Vec<Vec<_>> = (0..RUNS).map(|run| (0..ROWS).map(|i| row(run * ROWS + i)).collect()).collect();
    let options = |compression| EncodeOptions { compression, ..EncodeOptions::default() };
    let plain = options(Compression::None);
    for (name, compression) in [("none", Compression::None), ("lz4", Compression::Lz4), ("zstd", Compression::Zstd)] {
        let options = options(compression);
        measure(&format!("encode, {name}"), ROWS, || encode(&runs[0], 0, &options));
        let part = encode(&runs[0], 0, &options);
        println!("{:32} {:9} bytes", "", part.bytes.len());
        measure(&format!("decode, {name}"), ROWS, || decode(&part));
    }
    let mut sorted = runs[0].clone();
    sorted.sort();
    measure("encode, none, once more", ROWS, || encode(&runs[0], 0, &plain));
    measure("encode, sorted input", ROWS, || encode(&sorted, 0, &plain));
    let parts: Vec<_> = runs.iter().zip(0..).map(|(run, time)| encode(run, time, &plain)).collect();
    let chunks: Vec<_> = parts.iter().map(decode).collect();
    let total = RUNS * ROWS;
    measure("decode", total, || parts.iter().map(decode).collect::<Vec<_>>());
    measure("borrowed scan", total, || scan(&chunks));
    measure("borrowed scan, lengths only", total, || lengths(&chunks));
    measure("decode and borrowed scan", total, || scan(&parts.iter().map(decode).collect::<Vec<_>>()));
    measure("owned rows", total, || {
        chunks.iter().flatten().flat_map(Chunk::rows).map(|row| black_box(row).2).sum::<i64>()
    });
    let strings = || runs.iter().flatten().cloned();
    measure("plain allocation of the same", total, || strings().map(|row| black_box(row).0.len()).sum::<usize>());
    measure("merge of 20 runs", total, || merge(&chunks));
    measure("decode and merge of 20 runs", total, || merge(&parts.iter().map(decode).collect::<Vec<_>>()));
}
