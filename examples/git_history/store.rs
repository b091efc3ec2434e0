//! What is kept of a history, and in which order it is written.
//!
//! Two shards lie in the data directory:
//!
//! * `files`: the collection of `(path, lines)`. Time is the commit number.
//! * `commits`: the rows `(commit number, commit id)`, each added at the time of its number and never retracted.
//!
//! *Why two.* The collection at time `n` is right only for one commit, and a rewritten history has another one there.
//! `commits` says which. A commit's id stands for all that came before it, so equality of the newest common one is
//! equality of the whole history.
//!
//! *Order.* For a batch of commits `[a, b)`, first `commits` is appended from upper `a` to `b`, then `files` from upper
//! `a` to `b`. Each append is atomic and happens only if the upper is the expected one. So at every moment:
//!
//! * `upper(files) <= upper(commits)`: what `files` holds was announced before, and an id once announced for a number
//!   stays the id of that number for ever;
//! * a run that is killed between the two leaves commits that are announced but not yet counted. The next run compares
//!   the announced ids with the history, does not announce them again, and appends to `files` from its upper on;
//! * of two runs at once, one wins each append. The other sees a mismatch of the upper, reads both uppers and the new ids
//!   again, compares, and goes on from there. Neither can append to `files` what the ids in `commits` do not announce.
//!
//! A history that was rewritten after being announced is an error even if its changes never reached `files`; this takes
//! a kill within milliseconds and a rewrite before the next run, and costs reading the history once more.
//!
//! Both shards are in memory until the library can open them: the next run begins again.

use std::collections::HashMap;

use crate::data_directory::DataDirectory;
use crate::history::Commit;
use crate::problem::Problem;

/// An update of the collection, as differential has it.
pub(crate) type Update = ((String, u64), u64, i64);

/// The two shards of a history.
pub(crate) struct Store {
    directory: DataDirectory,
    /// The contents of `commits`.
    announced: Vec<String>,
    /// The contents of `files`, and its upper.
    updates: Vec<Update>,
    upper: usize,
}

impl Store {
    /// The shards in the directory. Writes nothing.
    pub(crate) fn open(directory: DataDirectory) -> Result<Self, Problem> {
        Ok(Self { directory, announced: Vec::new(), updates: Vec::new(), upper: 0 })
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// The ids of the commits that are announced, by number.
    pub(crate) fn announced(&self) -> &[String] {
        &self.announced
    }

    /// The number of commits whose changes are in the collection.
    pub(crate) fn upper(&self) -> usize {
        self.upper
    }

    /// The collection after its newest commit.
    pub(crate) fn line_counts(&self) -> Result<HashMap<String, u64>, Problem> {
        let mut multiset: HashMap<(&str, u64), i64> = HashMap::new();
        for ((path, lines), _, diff) in &self.updates {
            *multiset.entry((path, *lines)).or_default() += diff;
        }
        let rows = multiset.into_iter().filter(|(_, count)| *count != 0);
        Ok(rows.map(|((path, lines), _)| (path.to_owned(), lines)).collect())
    }

    /// Appends commits, the first of which is number [`Store::upper`], and says how many updates that took.
    pub(crate) fn append(&mut self, commits: Vec<Commit>) -> Result<u64, Problem> {
        let upper = self.upper + commits.len();
        for commit in &commits {
            if commit.number as usize >= self.announced.len() {
                self.announced.push(commit.id.clone());
            }
        }
        let before = self.updates.len();
        for commit in commits {
            let time = commit.number;
            self.updates
                .extend(commit.changes.into_iter().map(|change| ((change.path, change.lines), time, change.diff)));
        }
        self.upper = upper;
        Ok((self.updates.len() - before) as u64)
    }

    /// The updates that a reader as of a commit sees.
    pub(crate) fn updates_as_of(&self, commit: u64) -> impl Iterator<Item = &Update> {
        self.updates.iter().filter(move |(_, time, _)| *time <= commit)
    }
}
