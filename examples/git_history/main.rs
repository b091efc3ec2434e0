//! A differential dataflow over the history of a git repository, durable on disk.
//!
//! The collection is `(path, lines)`, time is the commit number. The program appends to a shard what each commit
//! changed, reads the shard back on several timely workers, and maintains files and lines per file extension.
//!
//!     cargo run --release --example git_history -- --help
//!
//! With `--keep` the table is kept in a shard of its own, and shown from there.
//!
//! `repository` and `history` turn git's answers into changes; `data_directory`, `shards` and `store` keep them; `ingest`
//! brings the one up to the other; `dataflow` computes the `table` and puts it on the `board`; `report` prints it;
//! `follow` goes on from there; `interrupt` hears that the user wants to end.

#![allow(clippy::disallowed_methods)] // a program: it measures how long it takes and it waits

mod args;
mod board;
mod data_directory;
mod dataflow;
mod follow;
mod history;
mod ingest;
mod interrupt;
mod path_text;
mod problem;
mod progress;
mod report;
mod repository;
mod shards;
mod store;
mod table;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::data_directory::DataDirectory;
use crate::dataflow::Dataflow;
use crate::interrupt::Interrupt;
use crate::problem::Problem;
use crate::report::Report;
use crate::repository::Repository;
use crate::store::Store;

/// The directory among git's own files, unless another is named.
const DATA_DIRECTORY: &str = "timely-persist";

fn main() -> ExitCode {
    let args = Args::parse();
    let interrupt = Interrupt::none(args.follow);
    match run(&args, &interrupt) {
        Ok(()) => ExitCode::SUCCESS,
        // Whatever else was found then: Ctrl-C also ends git, which is in the middle of an answer.
        Err(_) if interrupt.is_heard() => interrupt.exit_code(),
        Err(problem) => {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(io::stderr(), "error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, interrupt: &Interrupt) -> Result<(), Problem> {
    // Everything that can be refused is looked at before anything is written.
    let repository = match &args.repository {
        Some(path) => Repository::at(path)?,
        None => Repository::around()?,
    };
    let ids = repository.commits()?;
    let newest = ids.len() as u64 - 1;
    if let Some(commit) = args.as_of.filter(|commit| *commit > newest) {
        return Err(Problem::new(
            format!("There is no commit {commit}: the history of {} ends with commit {newest}", repository.name()),
            format!("Choose --as-of from 0 to {newest}"),
        ));
    }
    let data = args.data.clone().unwrap_or_else(|| repository.git_directory().join(DATA_DIRECTORY));
    let mut store = Store::open(DataDirectory::inspect(&data)?)?;
    interrupt.listen(store.runtime());
    ingest::check_continuation(&repository, &ids, &store)?;
    if repository.is_shallow() {
        let note = "note: this is a shallow clone, commit 0 is the oldest commit that it has";
        let _ = writeln!(io::stderr(), "{note}");
    }

    let shown = show(args, &repository, ids, &mut store, interrupt);
    if shown.is_ok() || interrupt.is_heard() {
        store.close(interrupt)?;
    }
    shown
}

/// Appends what is new, and prints the table as of a commit; then, if that is wanted, what changes.
fn show(
    args: &Args,
    repository: &Repository,
    ids: Vec<String>,
    store: &mut Store,
    interrupt: &Interrupt,
) -> Result<(), Problem> {
    let ingested = ingest::ingest(repository, &ids, store, interrupt)?;
    let commit = args.as_of.unwrap_or(ids.len() as u64 - 1);
    let id = ids.get(commit as usize).cloned().unwrap_or_default();
    let (dataflow, hydrated) = Dataflow::start(store, commit, args.follow, args.keep, args.workers, interrupt)?;
    // Before anybody is told anything: what comes to stand in its place from here on is another.
    store.directory().remember()?;
    let report = Report { commit, id, workers: args.workers.get(), ingested, hydrated };
    let printed = if args.json { print(format_args!("{}\n", report.to_json())) } else { print(&report) };
    if printed? && args.follow {
        follow::follow(repository, ids, store, dataflow, report.hydrated.table, args.json, interrupt)?;
    }
    Ok(())
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
