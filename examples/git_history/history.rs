//! The history of a repository as changes to the collection of `(path, lines)`.
//!
//! Commit number `n` is the `n`-th commit of the first-parent history, the oldest being 0. Its changes are what it did to
//! the collection, compared with commit `n - 1`: `+1` for a new file, `-1` for one that is gone, both for one whose
//! number of lines is another now. A rename is a file gone and a new one. A change that leaves the number of lines as it
//! was, of the mode for example, changes nothing. A merge is what it changed on the branch it was merged into.
//!
//! After commit `n`, the collection is what `git diff --numstat <empty tree> <commit n>` prints, a binary file counting 0
//! lines (see [`Repository`]).
//!
//! *How.* One `git diff-tree --stdin` process compares each commit with the one before. It tells the lines that each
//! change added and took away, so the count of the lines before gives the count after, and no file is read. Where
//! either side is binary it tells neither; these paths are then counted in the new commit by themselves.
//!
//! *Resuming.* What is binary depends on the `.gitattributes` in the work tree, and that may have changed since the last
//! run. So a history that begins behind commit 0 counts the last known commit once more, and the first commit carries
//! the difference with it: the newest state is always the one that git shows now. Commits that were counted before stay
//! as they were, since a stored history does not change.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout};
use std::thread::JoinHandle;

use crate::path_text::path_text;
use crate::problem::Problem;
use crate::repository::{LineCounts, NumStat, Repository, cannot_run, not_understood};

/// A commit and what it did to the collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its place in the first-parent history.
    pub(crate) number: u64,
    /// Its id in git.
    pub(crate) id: String,
    /// What it changed: retractions and additions, at most one of each per path.
    pub(crate) changes: Vec<Change>,
}

/// A row that a commit added to the collection or took from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The path, as [`path_text`] writes it.
    pub(crate) path: String,
    /// The number of lines.
    pub(crate) lines: u64,
    /// `1` for a row that is new, `-1` for one that is gone.
    pub(crate) diff: i64,
}

/// The commits of a repository from one number on, one after another. After an error there are no more.
pub(crate) struct History {
    repository: Repository,
    ids: Vec<String>,
    /// The number of the commit to come.
    next: usize,
    /// What the collection holds before it.
    lines: HashMap<String, u64>,
    /// What the first commit carries in addition.
    correction: Vec<Change>,
    /// `None` once all is read or something failed.
    git: Option<GitChanges>,
}

impl History {
    /// The commits `ids[from..]` of the repository, where `ids` are all of them (see [`Repository::commits`]) and `lines`
    /// is the collection after commit `from - 1`: empty if `from` is 0.
    pub(crate) fn new(
        repository: &Repository,
        ids: Vec<String>,
        from: usize,
        mut lines: HashMap<String, u64>,
    ) -> Result<Self, Problem> {
        let mut correction = Vec::new();
        let mut git = None;
        if from < ids.len() {
            if let Some(last) = from.checked_sub(1).and_then(|last| ids.get(last)) {
                let counted = repository.line_counts(last)?;
                correction = difference(&lines, &counted);
                lines = counted;
            }
            git = Some(GitChanges::start(repository, &ids, from)?);
        }
        Ok(Self { repository: repository.clone(), ids, next: from, lines, correction, git })
    }

    fn read_next(&mut self, id: &str) -> Result<Commit, Problem> {
        let Some(git) = &mut self.git else { return Err(not_understood(b"")) };
        let entries = git.entries_of(id)?;
        let uncounted = entries.iter().filter(|entry| matches!(entry.effect, Effect::Recount));
        let uncounted: Vec<Vec<u8>> = uncounted.map(|entry| entry.path.clone()).collect();
        let recounted = match uncounted.is_empty() {
            true => HashMap::new(),
            false => self.repository.line_counts_of(id, &uncounted)?,
        };
        let mut changes = std::mem::take(&mut self.correction);
        for entry in entries {
            let path = path_text(&entry.path);
            let lines = match entry.effect {
                Effect::Gone => None,
                Effect::New(lines) => Some(lines),
                // A file that became a submodule is not there for git if submodules are ignored.
                Effect::Recount => recounted.get(&path).copied(),
                Effect::Edited(counts) => {
                    let before = self.lines.get(&path).copied();
                    let after = before.and_then(|lines| lines.checked_add(counts.added)?.checked_sub(counts.deleted));
                    Some(after.ok_or_else(|| not_understood(&entry.path))?)
                }
            };
            set(&mut self.lines, path, lines, &mut changes);
        }
        let number = self.next as u64;
        self.next += 1;
        if self.next == self.ids.len()
            && let Some(git) = self.git.take()
        {
            git.finish()?;
        }
        Ok(Commit { number, id: id.to_owned(), changes })
    }
}

impl Iterator for History {
    type Item = Result<Commit, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.git.as_ref()?;
        let id = self.ids.get(self.next)?.clone();
        let result = self.read_next(&id);
        if result.is_err() {
            self.git = None;
        }
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.ids.len().saturating_sub(self.next)))
    }
}

/// Gives `path` another number of lines, or none, and notes what that changes.
fn set(all: &mut HashMap<String, u64>, path: String, lines: Option<u64>, changes: &mut Vec<Change>) {
    let mut note = |path: &str, lines, diff| changes.push(Change { path: path.to_owned(), lines, diff });
    match (all.entry(path), lines) {
        (Entry::Occupied(entry), None) => {
            let (path, before) = entry.remove_entry();
            note(&path, before, -1);
        }
        (Entry::Occupied(mut entry), Some(after)) => {
            let before = entry.insert(after);
            if before != after {
                note(entry.key(), before, -1);
                note(entry.key(), after, 1);
            }
        }
        (Entry::Vacant(entry), Some(after)) => {
            note(entry.key(), after, 1);
            entry.insert(after);
        }
        (Entry::Vacant(_), None) => {}
    }
}

/// The changes that lead from one collection to another.
fn difference(from: &HashMap<String, u64>, to: &HashMap<String, u64>) -> Vec<Change> {
    let only_in = |one: &HashMap<String, u64>, other: &HashMap<String, u64>, diff: i64| -> Vec<Change> {
        let rows = one.iter().filter(|(path, lines)| other.get(*path) != Some(*lines));
        rows.map(|(path, lines)| Change { path: path.clone(), lines: *lines, diff }).collect()
    };
    let mut changes = only_in(from, to, -1);
    changes.extend(only_in(to, from, 1));
    changes.sort_by(|a, b| (&a.path, a.diff).cmp(&(&b.path, b.diff)));
    changes
}

/// A changed entry of a tree, and what that means for its count.
struct Changed {
    path: Vec<u8>,
    effect: Effect,
}

#[derive(Clone, Copy, Debug)]
enum Effect {
    /// It is not there any more.
    Gone,
    /// It was not there before and has so many lines.
    New(u64),
    /// It was text and is text.
    Edited(LineCounts),
    /// Git does not tell: a side is binary, or the entry is another kind of thing than before.
    Recount,
}

/// Why the entries of a commit are not there.
enum Unexpected {
    /// Git printed this where something else was expected, or left out what belongs to it.
    Record(Vec<u8>),
    Told(Problem),
}

impl From<Problem> for Unexpected {
    fn from(problem: Problem) -> Self {
        Self::Told(problem)
    }
}

/// The running git process. Dropping it ends the process.
struct GitChanges {
    repository: Repository,
    child: Child,
    output: BufReader<ChildStdout>,
    /// The id that was read behind the entries of the commit before it.
    announced: Option<Vec<u8>>,
    feeder: Option<JoinHandle<()>>,
    complaints: Option<JoinHandle<Vec<u8>>>,
}

/// What is kept of git's complaints.
const COMPLAINT_BYTES_MAX: u64 = 4096;

impl GitChanges {
    fn start(repository: &Repository, ids: &[String], from: usize) -> Result<Self, Problem> {
        let mut questions = Vec::new();
        for (number, id) in ids.iter().enumerate().skip(from) {
            questions.extend_from_slice(id.as_bytes());
            if let Some(parent) = number.checked_sub(1).and_then(|parent| ids.get(parent)) {
                questions.push(b' ');
                questions.extend_from_slice(parent.as_bytes());
            }
            questions.push(b'\n');
        }
        let mut child = repository.changes_command().spawn().map_err(cannot_run)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(mut stderr)) = (stdin, stdout, stderr) else {
            return Err(cannot_run(std::io::Error::other("its pipes are not there")));
        };
        // All three pipes are served at once: git waits where one is full. The threads end when git does.
        let feeder = std::thread::spawn(move || {
            // A git that ended early says why on standard error.
            let _ = stdin.write_all(&questions);
        });
        let complaints = std::thread::spawn(move || {
            let mut kept = Vec::new();
            let _ = stderr.by_ref().take(COMPLAINT_BYTES_MAX).read_to_end(&mut kept);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            kept
        });
        Ok(Self {
            repository: repository.clone(),
            child,
            output: BufReader::with_capacity(1 << 16, stdout),
            announced: None,
            feeder: Some(feeder),
            complaints: Some(complaints),
        })
    }

    /// The entries that the commit changed, which must be the next in line.
    fn entries_of(&mut self, id: &str) -> Result<Vec<Changed>, Problem> {
        self.read_entries(id).map_err(|unexpected| match unexpected {
            Unexpected::Record(record) => self.explain(&record),
            Unexpected::Told(problem) => problem,
        })
    }

    fn read_entries(&mut self, id: &str) -> Result<Vec<Changed>, Unexpected> {
        let announced = match self.announced.take() {
            Some(announced) => Some(announced),
            None => self.token()?,
        };
        match announced {
            Some(announced) if announced == id.as_bytes() => {}
            Some(other) => return Err(Unexpected::Record(other)),
            None => return Err(Unexpected::Told(self.ended_early())),
        }
        let mut raw = Vec::new();
        let mut stats: HashMap<Vec<u8>, Option<LineCounts>> = HashMap::new();
        while let Some(token) = self.token()? {
            if token.first() == Some(&b':') {
                let Some(entry) = self.token()?.and_then(|path| RawEntry::parse(&token, path)) else {
                    return Err(Unexpected::Record(token));
                };
                raw.push(entry);
            } else if let Some(stat) = NumStat::parse(&token) {
                stats.insert(stat.path.to_vec(), stat.counts);
            } else {
                self.announced = Some(token);
                break;
            }
        }
        let mut changed = Vec::with_capacity(raw.len());
        for entry in raw {
            let Some(&counts) = stats.get(&entry.path) else {
                return Err(Unexpected::Record(entry.path));
            };
            if let Some(effect) = entry.effect(counts) {
                changed.push(Changed { path: entry.path, effect });
            }
        }
        Ok(changed)
    }

    /// What stands before the next NUL; `None` at the end.
    fn token(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let mut token = Vec::new();
        self.output.read_until(0, &mut token).map_err(cannot_run)?;
        match token.pop() {
            Some(0) => Ok(Some(token)),
            Some(_) => Err(self.ended_early()),
            None => Ok(None),
        }
    }

    /// Makes sure that git had nothing more to say, good or bad.
    fn finish(mut self) -> Result<(), Problem> {
        let more = match self.announced.take() {
            Some(more) => Some(more),
            None => self.token()?,
        };
        if let Some(more) = more {
            return Err(self.explain(&more));
        }
        if self.child.wait().map_err(cannot_run)?.success() { Ok(()) } else { Err(self.ended_early()) }
    }

    fn ended_early(&mut self) -> Problem {
        let complaints = self.complaints();
        self.repository.refused(&complaints)
    }

    /// What a record is about that does not fit. A git that met something damaged leaves the rest of its answer out: then
    /// what it says itself is the reason.
    fn explain(&mut self, record: &[u8]) -> Problem {
        let complaints = self.complaints();
        if complaints.is_empty() { not_understood(record) } else { self.repository.refused(&complaints) }
    }

    /// Ends git, and takes what it said on standard error.
    fn complaints(&mut self) -> Vec<u8> {
        self.end();
        self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }

    fn end(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
    }
}

impl Drop for GitChanges {
    fn drop(&mut self) {
        self.end();
    }
}

/// One record of `--raw -z`: `:<mode> <mode> <id> <id> <status>`, and the path behind it.
struct RawEntry {
    same_content: bool,
    status: u8,
    path: Vec<u8>,
}

impl RawEntry {
    fn parse(record: &[u8], path: Vec<u8>) -> Option<Self> {
        let fields: Vec<&[u8]> = record.get(1..)?.split(|byte| *byte == b' ').collect();
        let [_, _, before, after, [status]] = fields[..] else { return None };
        matches!(status, b'A' | b'D' | b'M' | b'T').then(|| Self {
            same_content: before == after,
            status: *status,
            path,
        })
    }

    /// What the entry does to its count, given what `--numstat` says; `None` if nothing.
    fn effect(&self, counts: Option<LineCounts>) -> Option<Effect> {
        match self.status {
            b'A' => Some(Effect::New(counts.map_or(0, |counts| counts.added))),
            b'D' => Some(Effect::Gone),
            b'M' if self.same_content => None,
            b'M' => Some(counts.map_or(Effect::Recount, Effect::Edited)),
            // The bytes may be the same where a link becomes a file, but attributes count only for files.
            _ => Some(Effect::Recount),
        }
    }
}
