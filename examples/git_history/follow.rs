//! Stays, and prints what changes when a commit is added.
//!
//! The dataflow that made the table keeps running. New commits are appended to the shard, by this run or another; its
//! source hears of them, and what comes out is what they change. Nothing is read twice.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::board::News;
use crate::dataflow::Dataflow;
use crate::ingest;
use crate::interrupt::Interrupt;
use crate::print;
use crate::problem::Problem;
use crate::report::short;
use crate::repository::Repository;
use crate::store::Store;
use crate::table::Table;

/// How often the repository is asked for a new commit.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often it is asked whether the user wants to end.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

/// Prints what each commit behind `ids` changes, until the user wants to end or nobody reads it any more. `table` is the
/// table as of the last of `ids`.
pub(crate) fn follow(
    repository: &Repository,
    mut ids: Vec<String>,
    store: &mut Store,
    mut dataflow: Dataflow,
    mut table: Table,
    json: bool,
    interrupt: &Interrupt,
) -> Result<(), Problem> {
    let mut look = Instant::now();
    while !interrupt.is_heard() {
        let until = look.saturating_duration_since(Instant::now());
        if !until.is_zero() {
            dataflow.rest(until.min(LISTEN_EVERY))?;
            continue;
        }
        look = Instant::now() + LOOK_EVERY;
        store.directory().is_still_there()?;
        if repository.head()?.as_ref() != ids.last() {
            // Asking git takes its time: what went away before the commit was made is noticed here.
            store.directory().is_still_there()?;
            ids = repository.commits()?;
            ingest::check_continuation(repository, &ids, store)?;
            ingest::ingest(repository, &ids, store, interrupt)?;
        }
        // A history that was stored before may go on behind the commit that the repository stands at now.
        while let Some(id) = ids.get(dataflow.next() as usize) {
            interrupt.check()?;
            let commit = dataflow.next();
            let News::Complete(change) = dataflow.news(LISTEN_EVERY)? else { continue };
            table.apply(&change);
            if !show(commit, id, &change, &table, json)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Prints what a commit changed; `false` if nobody reads it any more.
fn show(commit: u64, id: &str, change: &Table, table: &Table, json: bool) -> Result<bool, Problem> {
    if json {
        let total = table.total();
        let object = json!({
            "commit": commit, "files": total.files, "lines": total.lines,
            "extensions": table.to_json(), "changed": change.to_json(),
        });
        print(format_args!("{object}\n"))
    } else if change.is_empty() {
        print(format_args!("commit {commit} ({}): nothing changed\n", short(id)))
    } else {
        print(format_args!("commit {commit} ({})\n\n{}\n", short(id), change.signed()))
    }
}
