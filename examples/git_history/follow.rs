//! Stays, and prints what changes when a commit is added.
//!
//! The dataflow that made the table keeps running. New commits are appended to the shard, by this run or another; its
//! source hears of them, and what comes out is what they change. Nothing is read twice.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::board::News;
use crate::dataflow::Dataflow;
use crate::ingest;
use crate::print;
use crate::problem::Problem;
use crate::report::short;
use crate::repository::Repository;
use crate::store::Store;
use crate::table::Table;

/// How often the repository is asked for a new commit.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Prints what each commit behind `ids` changes, until the user wants to end or nobody reads it any more. `table` is the
/// table as of the last of `ids`.
pub(crate) fn follow(
    repository: &Repository,
    mut ids: Vec<String>,
    store: &mut Store,
    mut dataflow: Dataflow,
    mut table: Table,
    json: bool,
) -> Result<(), Problem> {
    let board = Arc::clone(dataflow.board());
    store.runtime().spawn(async move {
        interrupted().await;
        board.interrupt();
    });
    loop {
        if repository.head()?.as_ref() != ids.last() {
            ids = repository.commits()?;
            ingest::check_continuation(repository, &ids, store)?;
            ingest::ingest(repository, &ids, store)?;
        }
        // A history that was stored before may go on behind the commit that the repository stands at now.
        while let Some(id) = ids.get(dataflow.next() as usize) {
            let commit = dataflow.next();
            let change = match dataflow.news(LOOK_EVERY)? {
                News::Complete(change) => change,
                News::Incomplete => continue,
                News::Interrupted => return Ok(()),
            };
            table.apply(&change);
            if !show(commit, id, &change, &table, json)? {
                return Ok(());
            }
        }
        if dataflow.board().rest(LOOK_EVERY)? {
            return Ok(());
        }
    }
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

/// The user presses Ctrl-C, or the system asks the program to end.
async fn interrupted() {
    let pressed = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // There is no such signal here: the system ends the program by itself.
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            () = pressed => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    pressed.await;
}
