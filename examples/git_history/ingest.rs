//! Brings the store up to the repository's history.

use crate::history::{Commit, History};
use crate::problem::Problem;
use crate::progress::Stage;
use crate::report::{Ingested, short};
use crate::repository::Repository;
use crate::store::Store;

/// Commits are appended together until they have so many changes,
const CHANGES_PER_APPEND: usize = 20_000;
/// or are so many themselves. A kill loses at most this much work.
const COMMITS_PER_APPEND: usize = 1_000;

/// Checks that what is stored belongs to this history: to all of it, or to a beginning or a continuation of it.
pub(crate) fn check_continuation(repository: &Repository, ids: &[String], store: &Store) -> Result<(), Problem> {
    let common = ids.len().min(store.announced().len());
    let Some(last) = common.checked_sub(1) else { return Ok(()) };
    let (Some(here), Some(stored)) = (ids.get(last), store.announced().get(last)) else { return Ok(()) };
    if here == stored {
        return Ok(());
    }
    let directory = store.directory().path().display();
    Err(Problem::new(
        format!(
            "Commit {last} of {} is {}, but the data in {directory} was made from a history in which it is {}: the \
             history was rewritten or deepened, or another branch or repository was read before",
            repository.name(),
            short(here),
            short(stored),
        ),
        format!("Name another directory with --data, or delete {directory} to read this history from its beginning"),
    ))
}

/// Appends the commits that the store does not have yet.
pub(crate) fn ingest(repository: &Repository, ids: &[String], store: &mut Store) -> Result<Ingested, Problem> {
    let from = store.upper();
    if from >= ids.len() {
        return Ok(Ingested::default());
    }
    let commits = ids.len() - from;
    let mut stage = Stage::start("ingest", commits as u64);
    store.directory().create()?;
    let lines = store.line_counts()?;
    let mut rows = 0;
    let mut batch: Vec<Commit> = Vec::new();
    let mut changes = 0;
    for commit in History::new(repository, ids.to_vec(), from, lines)? {
        let commit = commit?;
        changes += commit.changes.len();
        batch.push(commit);
        if changes >= CHANGES_PER_APPEND || batch.len() >= COMMITS_PER_APPEND {
            rows += store.append(std::mem::take(&mut batch))?;
            changes = 0;
        }
        stage.advance(1);
    }
    if !batch.is_empty() {
        rows += store.append(batch)?;
    }
    Ok(Ingested { commits, rows, took: stage.finish() })
}
