//! The workloads that this library is measured by: see BENCHMARKS.md for what each is and what it came to.
//!
//! `cargo bench --bench workloads -- WORKLOAD [OPTIONS]`, built for the machine's own instructions with
//! `RUSTFLAGS=-Ctarget-cpu=x86-64-v3`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // A program, with a clock of its own.
#![allow(missing_docs)]

mod append;
mod args;
mod cursor;
mod data;
mod ingest;
mod limits;
mod place;
mod process;
mod report;

use std::sync::Arc;

use clap::Parser;

use args::{Args, Workload};
use data::{Columns, Sums};
use report::{Sample, show};

/// Appends of `append`.
const APPENDS: u64 = 5_000;

fn main() {
    let mut args = Args::parse();
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
        Workload::Hydrate | Workload::Arrange | Workload::Tail | Workload::TailProcess => todo!(),
    }
}
