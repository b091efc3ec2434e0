//! The workloads that this library is measured by: see BENCHMARKS.md for what each is and what it came to.
//!
//! `make bench WORKLOAD="NAME [OPTIONS]"`, which is `cargo bench --bench workloads -- NAME [OPTIONS]` built with
//! `RUSTFLAGS=-Ctarget-cpu=x86-64-v3`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // A program, with a clock of its own.
#![allow(missing_docs)]

mod append;
mod args;
mod arrange;
mod churn;
mod cursor;
mod data;
mod database;
mod drain;
mod hydrate;
mod ingest;
mod limits;
mod place;
#[path = "../../tests/support/postgres.rs"]
#[allow(dead_code)] // most is for tests
mod postgres;
mod process;
mod report;
mod shards;
mod tail;
mod times;
mod types;

use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use args::{Args, Mode, Place, Workload};
use data::{Columns, Sums};
use report::{Sample, result, show};
use serde_json::Value;
use timely_persist::ShardId;
use tokio::runtime::Runtime;

/// Appends of `tail` and `tail-process`.
const TAIL_APPENDS: u64 = 2_000;

/// How much larger each step of `--growth` is.
const GROWTH: u64 = 10;

/// Encoded bytes of a row: key, value, two offsets, time and diff.
const ROW_BYTES: f64 = 137.0;

fn main() {
    let mut args = Args::parse();
    if let Err(message) = args.check() {
        Args::command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    if let Some(child) = &args.child {
        match args.workload {
            Workload::TailProcess => tail::write_here(&args, child, TAIL_APPENDS),
            _ => println!("{}", serde_json::to_string(&hydrate::run_here(&args, child)).unwrap()),
        }
        return;
    }
    let _server = database::start(&mut args);
    if !args.growth {
        return show(&args, &measure(args.clone()));
    }
    let smallest = measure(args.smaller(GROWTH * GROWTH));
    show(&args, &smallest);
    for divisor in [GROWTH, 1] {
        let mut result = measure(args.smaller(divisor));
        result["growth"] = report::growth(&smallest, &result);
        show(&args, &result);
    }
}

/// Measures the workload, as often as asked for, and the machine's limits after it.
fn measure(mut args: Args) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let times = |mut run: Box<dyn FnMut() -> Sample + '_>| (0..args.runs).map(|_| run()).collect::<Vec<Sample>>();
    match args.workload {
        Workload::Hydrate | Workload::Arrange | Workload::Join | Workload::Sink => return hydrate(&args, &runtime),
        Workload::Types => return types::run(&args, &runtime),
        Workload::Ingest | Workload::Cursor => {
            let (columns, expected) = (Arc::new(Columns::new(args.rows)), Sums::expected(args.rows));
            let samples = match args.workload {
                Workload::Ingest => times(Box::new(|| runtime.block_on(ingest::run(&args, &columns, expected)))),
                _ => runtime.block_on(cursor::run(&args, &columns, expected)),
            };
            let limits = limits::measure(&columns, args.workers, None);
            return result(&args, &samples, &limits, Some(("owned_rows_per_s", limits.owned_rows_per_s)));
        }
        _ => {}
    }
    let (rows, samples) = match args.workload {
        Workload::Append => (args.appends * append::ROWS, times(Box::new(|| runtime.block_on(append::run(&args))))),
        Workload::Times => (args.times * append::ROWS, times(Box::new(|| times::run(&args, &runtime)))),
        Workload::Churn => (churn::live(&args), times(Box::new(|| churn::run(&args, &runtime)))),
        Workload::Shards => {
            let rows = args.shards * args.seconds * append::ROWS;
            (rows, times(Box::new(|| shards::run(&args))))
        }
        Workload::Tail | Workload::TailProcess | Workload::Pipeline => {
            (TAIL_APPENDS * append::ROWS, times(Box::new(|| tail::run(&args, TAIL_APPENDS))))
        }
        _ => (args.rows, vec![Sample { wall_s: 1.0, ..Sample::default() }]),
    };
    args.rows = rows;
    let limits = limits::measure(&Arc::new(Columns::new(rows)), args.workers, None);
    result(&args, &samples, &limits, None)
}

fn hydrate(args: &Args, runtime: &Runtime) -> Value {
    let columns = Arc::new(Columns::new(args.rows));
    let folder = place::folder(args);
    let id = ShardId::new();
    if args.store == Place::File {
        runtime.block_on(async {
            let counted = place::Counted::open(&args.at_rest(), folder.path()).await;
            place::fill(&counted.client, id, &columns).await;
            counted.client.shutdown().await.unwrap();
        });
    }
    let samples = hydrate::run(args, folder.path(), id);
    let limits = limits::measure(&columns, args.workers, Some(folder.path()));
    let limit = match (args.workload, args.mode) {
        (Workload::Arrange, _) => {
            let from_memory = || hydrate::child(args, folder.path(), hydrate::FROM_MEMORY).wall_s;
            let from_memory: Vec<f64> = (0..args.runs).map(|_| from_memory()).collect();
            ("arranged from memory", args.rows as f64 / report::median(&from_memory))
        }
        (_, Mode::Borrowed) => ("read_fresh_gb_per_s", limits.read_fresh_gb_per_s * 1e9 / ROW_BYTES),
        _ => {
            // More workers than processors build no more rows.
            let threads = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(args.workers));
            ("owned_rows_per_s x threads", limits.owned_rows_per_s * threads as f64)
        }
    };
    result(args, &samples, &limits, Some(limit))
}
