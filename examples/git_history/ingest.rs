//! Brings the store up to the repository's history.

use crate::history::{Commit, History};
use crate::interrupt::Interrupt;
use crate::problem::Problem;
use crate::progress::Stage;
use crate::report::{Ingested, short};
use crate::repository::Repository;
use crate::store::{Append, Store};

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
///
/// Where another run appends to the same store, each goes on behind what the other has done, after comparing again.
pub(crate) fn ingest(
    repository: &Repository,
    ids: &[String],
    store: &mut Store,
    interrupt: &Interrupt,
) -> Result<Ingested, Problem> {
    let mut ingested = Ingested::default();
    if store.upper() >= ids.len() {
        return Ok(ingested);
    }
    let first = store.upper();
    let mut stage = Stage::start("ingest", (ids.len() - first) as u64);
    store.create()?;
    check_continuation(repository, ids, store)?;
    while store.upper() < ids.len() {
        stage.reach(store.upper().saturating_sub(first) as u64);
        if let Appending::Overtaken = append_all(repository, ids, store, &mut stage, &mut ingested, interrupt)? {
            store.refresh()?;
            check_continuation(repository, ids, store)?;
        }
    }
    ingested.took = stage.finish();
    Ok(ingested)
}

/// How far an attempt came.
enum Appending {
    Done,
    Overtaken,
}

/// Appends from the store's upper on until all is appended or another run has appended something.
fn append_all(
    repository: &Repository,
    ids: &[String],
    store: &mut Store,
    stage: &mut Stage,
    ingested: &mut Ingested,
    interrupt: &Interrupt,
) -> Result<Appending, Problem> {
    let from = store.upper();
    let mut history = History::new(repository, ids.to_vec(), from, store.line_counts()?)?;
    loop {
        let batch = next_batch(&mut history, stage, interrupt)?;
        if batch.is_empty() {
            return Ok(Appending::Done);
        }
        let commits = batch.len();
        match store.append(batch)? {
            Append::Done { rows } => {
                ingested.commits += commits;
                ingested.rows += rows;
            }
            Append::Overtaken => return Ok(Appending::Overtaken),
        }
    }
}

/// The commits of one append; none at the end of the history.
fn next_batch(history: &mut History, stage: &mut Stage, interrupt: &Interrupt) -> Result<Vec<Commit>, Problem> {
    let mut batch: Vec<Commit> = Vec::new();
    let mut changes = 0;
    while changes < CHANGES_PER_APPEND && batch.len() < COMMITS_PER_APPEND {
        interrupt.check()?;
        let Some(commit) = history.next() else { break };
        let commit = commit?;
        changes += commit.changes.len();
        batch.push(commit);
        stage.advance(1);
    }
    Ok(batch)
}
