//! Where the dataflow's workers write what they find, and the main thread reads it.
//!
//! Workers never wait: they add to what is there, under a lock that is held for moments. What is there is bounded by the
//! commits that the main thread has not taken yet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::problem::Problem;
use crate::table::{Count, Table};

/// What is known of the dataflow's result.
#[derive(Debug, Default)]
pub(crate) struct Board {
    found: Mutex<Found>,
    changed: Condvar,
    /// Updates that the source emitted.
    rows: AtomicU64,
    /// Whether the workers should end.
    stopped: AtomicBool,
    /// Whether a worker is gone.
    lost_worker: AtomicBool,
}

#[derive(Debug, Default)]
struct Found {
    /// The changes of the table at each commit, as far as they are known.
    changes: BTreeMap<u64, Table>,
    /// All changes before this commit are known.
    complete: u64,
    problem: Option<Problem>,
}

/// What the main thread finds.
#[derive(Debug, PartialEq)]
pub(crate) enum News {
    /// What the commit changes: all of it.
    Complete(Table),
    /// More is to come.
    Incomplete,
}

impl Board {
    /// Adds to what a commit changes.
    pub(crate) fn add(&self, commit: u64, extension: &str, count: Count) {
        self.found().changes.entry(commit).or_default().add(extension, count);
    }

    /// Nothing will be added before this commit any more.
    pub(crate) fn complete_before(&self, commit: u64) {
        let mut found = self.found();
        if commit > found.complete {
            found.complete = commit;
            self.changed.notify_all();
        }
    }

    /// The dataflow cannot go on. The first reason stays.
    pub(crate) fn fail(&self, problem: Problem) {
        self.found().problem.get_or_insert(problem);
        self.changed.notify_all();
    }

    /// A worker is gone, and the others wait for it.
    pub(crate) fn lose_worker(&self, problem: Problem) {
        self.lost_worker.store(true, Ordering::Release);
        self.fail(problem);
    }

    /// Whether a worker is gone.
    pub(crate) fn has_lost_worker(&self) -> bool {
        self.lost_worker.load(Ordering::Acquire)
    }

    /// Takes what a commit changes. Waits for it for a while.
    pub(crate) fn take(&self, commit: u64, patience: Duration) -> Result<News, Problem> {
        let idle = |found: &mut Found| found.problem.is_none() && found.complete <= commit;
        let waited = self.changed.wait_timeout_while(self.found(), patience, idle);
        let (mut found, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(problem) = &found.problem {
            return Err(problem.clone());
        }
        if found.complete <= commit {
            return Ok(News::Incomplete);
        }
        Ok(News::Complete(found.changes.remove(&commit).unwrap_or_default()))
    }

    /// The source has emitted so many updates more.
    pub(crate) fn count_rows(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Updates that the source has emitted.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Tells the workers to end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether the workers should end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_complete_is_taken() {
        let board = Board::default();
        let count = |files| Count { files, lines: 10 };
        for commit in [3, 5] {
            board.add(commit, "rs", count(1));
            board.add(commit, "rs", count(2));
        }
        let take = |commit| board.take(commit, Duration::ZERO);
        assert_eq!(take(3), Ok(News::Incomplete));
        board.complete_before(5);
        board.complete_before(4);
        let mut table = Table::default();
        table.add("rs", Count { files: 3, lines: 20 });
        assert_eq!(take(3), Ok(News::Complete(table)));
        assert_eq!(take(4), Ok(News::Complete(Table::default())), "it changes nothing");
        assert_eq!(take(5), Ok(News::Incomplete));
        board.fail(Problem::new("a", "b"));
        board.fail(Problem::new("c", "d"));
        assert_eq!(take(5), Err(Problem::new("a", "b")));
    }
}
