//! The workloads that this library is measured by: see BENCHMARKS.md for what each is and what it came to.
//!
//! `make bench WORKLOAD="NAME [OPTIONS]"`, which is `cargo bench --bench workloads -- NAME [OPTIONS]` built with
//! `RUSTFLAGS=-Ctarget-cpu=x86-64-v3`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // A program, with a clock of its own.
#![allow(missing_docs)]

mod append;
mod args;
mod cursor;
mod data;
mod hydrate;
mod ingest;
mod limits;
mod place;
mod process;
mod report;
mod tail;

use std::sync::Arc;

use clap::Parser;

use args::{Args, Mode, Place, Workload};
use data::{Columns, Sums};
use report::{Sample, show};
use timely_persist::ShardId;

/// Appends of `append`.
const APPENDS: u64 = 5_000;

/// Appends of `tail` and `tail-process`.
const TAIL_APPENDS: u64 = 2_000;

/// Encoded bytes of a row: key, value, two offsets, time and diff.
const ROW_BYTES: f64 = 137.0;

fn main() {
    let mut args = Args::parse();
    if let Some(child) = &args.child {
        match args.workload {
            Workload::TailProcess => tail::write_here(&args, child, TAIL_APPENDS),
            _ => println!("{}", serde_json::to_string(&hydrate::run_here(&args, child)).unwrap()),
        }
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match args.workload {
        Workload::Append => {
            args.rows = APPENDS * append::ROWS;
            let samples: Vec<Sample> = (0..args.runs).map(|_| runtime.block_on(append::run(&args, APPENDS))).collect();
            let limits = limits::measure(&Arc::new(Columns::new(args.rows)), args.workers, None);
            show(&args, "append", &samples, &limits, None);
        }
        Workload::Ingest => {
            let (columns, expected) = (Arc::new(Columns::new(args.rows)), Sums::expected(args.rows));
            let runs = (0..args.runs).map(|_| runtime.block_on(ingest::run(&args, &columns, expected)));
            let samples: Vec<Sample> = runs.collect();
            let limits = limits::measure(&columns, args.workers, None);
            show(&args, "ingest", &samples, &limits, Some(("owned_rows_per_s", limits.owned_rows_per_s)));
        }
        Workload::Cursor => {
            let (columns, expected) = (Arc::new(Columns::new(args.rows)), Sums::expected(args.rows));
            let samples = runtime.block_on(cursor::run(&args, &columns, expected));
            let limits = limits::measure(&columns, args.workers, None);
            show(&args, "cursor", &samples, &limits, Some(("owned_rows_per_s", limits.owned_rows_per_s)));
        }
        Workload::Limits => {
            let columns = Arc::new(Columns::new(args.rows));
            let sample = Sample { wall_s: 1.0, ..Sample::default() };
            let limits = limits::measure(&columns, args.workers, None);
            show(&args, "limits", &[sample], &limits, None);
        }
        Workload::Hydrate | Workload::Arrange => {
            let columns = Arc::new(Columns::new(args.rows));
            let folder = place::folder(&args);
            let id = ShardId::new();
            if args.store == Place::File {
                runtime.block_on(async {
                    let counted = place::Counted::open(&args, folder.path()).await;
                    place::fill(&counted.client, id, &columns).await;
                    counted.client.shutdown().await.unwrap();
                });
            }
            let samples = hydrate::run(&args, folder.path(), id);
            let baseline: Vec<Sample> = match args.workload {
                Workload::Arrange => {
                    (0..args.runs).map(|_| hydrate::child(&args, folder.path(), hydrate::FROM_MEMORY)).collect()
                }
                _ => Vec::new(),
            };
            let limits = limits::measure(&columns, args.workers, Some(folder.path()));
            let from_memory_s = report::median(&baseline.iter().map(|sample| sample.wall_s).collect::<Vec<_>>());
            let limit = match (args.workload, args.mode) {
                (Workload::Arrange, _) => ("arranged from memory", args.rows as f64 / from_memory_s),
                (_, Mode::Borrowed) => ("read_fresh_gb_per_s", limits.read_fresh_gb_per_s * 1e9 / ROW_BYTES),
                _ => ("owned_rows_per_s x workers", limits.owned_rows_per_s * args.workers as f64),
            };
            show(&args, &args.workload.name(), &samples, &limits, Some(limit));
        }
        Workload::Tail | Workload::TailProcess => {
            args.rows = TAIL_APPENDS * append::ROWS;
            let samples: Vec<Sample> = (0..args.runs).map(|_| tail::run(&args, TAIL_APPENDS)).collect();
            let limits = limits::measure(&Arc::new(Columns::new(args.rows)), args.workers, None);
            show(&args, &args.workload.name(), &samples, &limits, None);
        }
    }
}
