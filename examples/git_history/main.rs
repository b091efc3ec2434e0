//! A differential dataflow over the history of a git repository, durable on disk.
//!
//! The collection is `(path, lines)`, time is the commit number. The program appends to a shard what each commit
//! changed, reads the shard back on several timely workers, and maintains files and lines per file extension.
//!
//!     cargo run --release --example git_history -- --help
//!
//! `repository` and `history` turn git's answers into changes; `data_directory` and `store` keep them; `ingest` brings
//! the one up to the other; `dataflow` computes the `table`; `report` prints it.

#![allow(clippy::disallowed_methods)] // a program: it measures how long it takes and it waits

mod args;
mod data_directory;
mod dataflow;
mod history;
mod ingest;
mod path_text;
mod problem;
mod progress;
mod report;
mod repository;
mod store;
mod table;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

use crate::args::Args;
use crate::data_directory::DataDirectory;
use crate::problem::Problem;
use crate::report::{Report, short};
use crate::repository::Repository;
use crate::store::Store;

/// How often `--follow` looks for a new commit.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The directory among git's own files, unless another is named.
const DATA_DIRECTORY: &str = "timely-persist";

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(io::stderr(), "error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Problem> {
    // Everything that can be refused is looked at before anything is written.
    let repository = match &args.repository {
        Some(path) => Repository::at(path)?,
        None => Repository::around()?,
    };
    let ids = repository.commits()?;
    let newest = ids.len() as u64 - 1;
    let commit = args.as_of.unwrap_or(newest);
    let Some(id) = ids.get(commit as usize) else {
        return Err(Problem::new(
            format!("There is no commit {commit}: the history of {} ends with commit {newest}", repository.name()),
            format!("Choose --as-of from 0 to {newest}"),
        ));
    };
    let data = args.data.clone().unwrap_or_else(|| repository.git_directory().join(DATA_DIRECTORY));
    let mut store = Store::open(DataDirectory::inspect(&data)?)?;
    ingest::check_continuation(&repository, &ids, &store)?;
    if repository.is_shallow() {
        let note = "note: this is a shallow clone, commit 0 is the oldest commit that it has";
        let _ = writeln!(io::stderr(), "{note}");
    }

    let ingested = ingest::ingest(&repository, &ids, &mut store)?;
    let hydrated = dataflow::hydrate(&store, commit, args.workers)?;
    let report = Report { commit, id: id.clone(), workers: args.workers.get(), ingested, hydrated };
    let printed = if args.json { print(format_args!("{}\n", report.to_json())) } else { print(&report) };
    if printed? && args.follow { follow(args, &repository, &mut store, report, ids) } else { Ok(()) }
}

/// Prints what each new commit changes, until nobody reads it any more.
fn follow(
    args: &Args,
    repository: &Repository,
    store: &mut Store,
    report: Report,
    mut ids: Vec<String>,
) -> Result<(), Problem> {
    let mut table = report.hydrated.table;
    loop {
        std::thread::sleep(LOOK_EVERY);
        if repository.head()?.as_ref() == ids.last() {
            continue;
        }
        let known = ids.len();
        ids = repository.commits()?;
        ingest::check_continuation(repository, &ids, store)?;
        ingest::ingest(repository, &ids, store)?;
        for (number, id) in ids.iter().enumerate().skip(known) {
            let next = dataflow::hydrate(store, number as u64, args.workers)?.table;
            let change = next.since(&table);
            table = next;
            let goes_on = if args.json {
                let total = table.total();
                print(format_args!(
                    "{}\n",
                    json!({
                        "commit": number, "files": total.files, "lines": total.lines,
                        "extensions": table.to_json(), "changed": change.to_json(),
                    })
                ))?
            } else if change.is_empty() {
                print(format_args!("commit {number} ({}): nothing changed\n", short(id)))?
            } else {
                print(format_args!("commit {number} ({})\n\n{}\n", short(id), change.signed()))?
            };
            if !goes_on {
                return Ok(());
            }
        }
    }
}

/// Prints to standard output; `false` if its reader has gone, which is no failure (`git_history | head`).
fn print(text: impl Display) -> Result<bool, Problem> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Problem::new(
            format!("Cannot write to standard output: {error}"),
            "Send it somewhere that can be written",
        )),
    }
}
