//! What is kept of a history, and in which order it is written.
//!
//! Two shards lie in the data directory (see [`crate::shards`]), and a third one once [`Store::keep`] was called:
//!
//! * `files`: the collection of `(path, lines)`. Time is the commit number.
//! * `commits`: the rows `(commit number, commit id)`, each added at the time of its number and never retracted.
//! * `kept`: the table per extension, which a dataflow computes of `files` at the same times. Its upper is at or before that
//!   of `files`.
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
//! *History.* The shards stay readable from commit 0 on: before anything else, a critical reader is put there.
//!
//! Nothing is written before [`Store::create`], where there is no data yet.

use std::collections::HashMap;
use std::future::Future;

use timely::progress::Antichain;
use timely_persist::{Appended, Client, Error, ReadHandle, WriteHandle};
use tokio::runtime::{Builder, Runtime};

use crate::data_directory::DataDirectory;
use crate::history::Commit;
use crate::interrupt::Interrupt;
use crate::problem::Problem;
use crate::shards::{self, Commits, Files, Kept};

/// The shards of a history.
pub(crate) struct Store {
    directory: DataDirectory,
    runtime: Runtime,
    /// The shards, once there are any.
    shards: Option<Shards>,
    /// The contents of `commits`.
    announced: Vec<String>,
    /// The upper of `files`.
    upper: usize,
}

/// The open shards and this run's writers.
struct Shards {
    client: Client,
    files: Files,
    commits: Commits,
    /// The table, if it is kept.
    kept: Option<Kept>,
    files_writer: WriteHandle<String, u64, u64, i64>,
    commits_writer: WriteHandle<u64, String, u64, i64>,
}

/// What became of an append.
#[must_use = "an append that was overtaken wrote nothing to the collection"]
pub(crate) enum Append {
    /// The collection has so many updates more.
    Done { rows: u64 },
    /// Another run has appended meanwhile. Read the store again, and compare.
    Overtaken,
}

/// What there is to read as of a commit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    pub(crate) parts: u64,
    pub(crate) bytes: u64,
    /// Rows in these parts: not fewer than a reader sees.
    pub(crate) rows: u64,
}

impl Store {
    /// The shards in the directory, as far as they are there.
    pub(crate) fn open(directory: DataDirectory) -> Result<Self, Problem> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("git_history").enable_all().build();
        let runtime = runtime.map_err(|error| {
            Problem::new(
                format!("Cannot start a thread: {error}"),
                "Free some of the machine's resources and run again",
            )
        })?;
        let mut store = Self { directory, runtime, shards: None, announced: Vec::new(), upper: 0 };
        if store.directory.has_store() {
            store.connect()?;
            store.refresh()?;
        }
        Ok(store)
    }

    /// Makes the directory and the shards, unless they are there.
    pub(crate) fn create(&mut self) -> Result<(), Problem> {
        if self.shards.is_some() {
            return Ok(());
        }
        self.directory.create()?;
        self.connect()?;
        // Another run may have made them meanwhile.
        self.refresh()
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

    /// What runs beside the dataflow.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The collection, for a dataflow to read. There is none before [`Store::create`].
    pub(crate) fn files(&self) -> Option<Files> {
        self.shards.as_ref().map(|shards| shards.files.clone())
    }

    /// The table, for a dataflow to keep and to read, and how many commits are in it.
    pub(crate) fn keep(&mut self) -> Result<Option<(Kept, u64)>, Problem> {
        let Some(shards) = &mut self.shards else { return Ok(None) };
        let kept = shards::kept(&shards.client);
        let look = async {
            kept.open_critical_since(shards::history(), 0).await?;
            Ok(number(&kept.inspect().await?.upper) as u64)
        };
        let upper = wait(&self.runtime, &self.directory, look)?;
        shards.kept = Some(kept.clone());
        Ok(Some((kept, upper)))
    }

    /// Looks again at what is announced and appended.
    pub(crate) fn refresh(&mut self) -> Result<(), Problem> {
        let Some(shards) = &mut self.shards else { return Ok(()) };
        let known = self.announced.len();
        // In this order: what is in `files` was announced before.
        let read = async {
            let files = number(&shards.files_writer.fetch_upper().await?);
            let commits = number(&shards.commits_writer.fetch_upper().await?);
            let rows = if commits > known { contents(&shards.commits, commits).await? } else { Vec::new() };
            Ok((files, commits, rows))
        };
        let (files, commits, rows) = wait(&self.runtime, &self.directory, read)?;
        for ((number, id), _, diff) in rows.into_iter().skip(known) {
            if number != self.announced.len() as u64 || diff != 1 {
                let what = format!("commit {number} is announced out of turn");
                return Err(Problem::inconsistent(self.directory.path(), what));
            }
            self.announced.push(id);
        }
        if self.announced.len() != commits || files > commits {
            let counted = self.announced.len();
            let what = format!("{counted} of {commits} commits are announced and {files} counted");
            return Err(Problem::inconsistent(self.directory.path(), what));
        }
        self.upper = files;
        Ok(())
    }

    /// The collection after its newest commit.
    pub(crate) fn line_counts(&self) -> Result<HashMap<String, u64>, Problem> {
        let (Some(shards), upper) = (&self.shards, self.upper) else { return Ok(HashMap::new()) };
        let rows = wait(&self.runtime, &self.directory, contents(&shards.files, upper))?;
        let count = rows.len();
        let counts: HashMap<String, u64> = rows.into_iter().map(|(row, _, _)| row).collect();
        if counts.len() == count {
            return Ok(counts);
        }
        Err(Problem::inconsistent(self.directory.path(), "a path has two counts"))
    }

    /// Appends commits, the first of which is number [`Store::upper`].
    pub(crate) fn append(&mut self, batch: Vec<Commit>) -> Result<Append, Problem> {
        let Some(shards) = &mut self.shards else { return Ok(Append::Overtaken) };
        let (from, announced) = (self.upper, self.announced.len());
        let to = from + batch.len();
        let ids: Vec<String> = batch.iter().skip(announced - from).map(|commit| commit.id.clone()).collect();
        let announcements = (announced as u64..).zip(ids.iter().cloned());
        let announcements: Vec<_> = announcements.map(|(number, id)| ((number, id), number, 1)).collect();
        let rows: Vec<_> = batch
            .into_iter()
            .flat_map(|Commit { number, changes, .. }| changes.into_iter().map(move |change| (change, number)))
            .map(|(change, number)| ((change.path, change.lines), number, change.diff))
            .collect();
        let count = rows.len() as u64;
        let write = async {
            if !announcements.is_empty() {
                let written = shards.commits_writer.compare_and_append(announcements, at(announced), at(to)).await?;
                if written != Appended::Committed {
                    return Ok(false);
                }
            }
            Ok(shards.files_writer.compare_and_append(rows, at(from), at(to)).await? == Appended::Committed)
        };
        if !wait(&self.runtime, &self.directory, write)? {
            return Ok(Append::Overtaken);
        }
        self.announced.extend(ids);
        self.upper = to;
        Ok(Append::Done { rows: count })
    }

    /// What there is to read as of a commit, of the table if it is kept; a problem if its history is not kept.
    pub(crate) fn extent(&self, commit: u64) -> Result<Extent, Problem> {
        let Some(shards) = &self.shards else { return Ok(Extent::default()) };
        match &shards.kept {
            Some(kept) => wait(&self.runtime, &self.directory, extent(kept, commit)),
            None => wait(&self.runtime, &self.directory, extent(&shards.files, commit)),
        }
    }

    /// Finishes the upkeep that this run's writes left, unless the user wants to end, and leaves nothing of this run behind.
    pub(crate) fn close(mut self, interrupt: &Interrupt) -> Result<(), Problem> {
        let Some(shards) = self.shards.take() else { return Ok(()) };
        wait(&self.runtime, &self.directory, async {
            let Shards { client, files, commits, kept, files_writer, commits_writer } = shards;
            files_writer.expire().await?;
            commits_writer.expire().await?;
            if !interrupt.is_heard() {
                files.settle().await?;
                commits.settle().await?;
                if let Some(kept) = &kept {
                    kept.settle().await?;
                }
            }
            drop((files, commits, kept));
            client.shutdown().await
        })
    }

    fn connect(&mut self) -> Result<(), Problem> {
        let url = self.directory.store_url()?;
        let open = async {
            let client = Client::open(&url).await?;
            let (files, commits) = (shards::files(&client), shards::commits(&client));
            // Before there is any other reader.
            files.open_critical_since(shards::history(), 0).await?;
            commits.open_critical_since(shards::history(), 0).await?;
            let files_writer = files.open_writer("git_history").await?;
            let commits_writer = commits.open_writer("git_history").await?;
            Ok(Shards { client, files, commits, kept: None, files_writer, commits_writer })
        };
        self.shards = Some(wait(&self.runtime, &self.directory, open)?);
        Ok(())
    }
}

/// Runs storage work to its end.
fn wait<T>(
    runtime: &Runtime,
    directory: &DataDirectory,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Problem> {
    runtime.block_on(work).map_err(|error| Problem::of_storage(directory.path(), &error))
}

/// What a shard holds before `upper`, in order.
async fn contents<K: timely_persist::Data, V: timely_persist::Data>(
    shard: &timely_persist::Shard<K, V, u64, i64>,
    upper: usize,
) -> Result<Vec<((K, V), u64, i64)>, Error> {
    let Some(as_of) = upper.checked_sub(1).map(at) else { return Ok(Vec::new()) };
    let reader: ReadHandle<K, V, u64, i64> = shard.open_reader_at("what is there", as_of.clone()).await?;
    let rows = reader.snapshot_and_fetch(as_of).await;
    reader.expire().await?;
    rows
}

/// What there is to read of a shard as of a commit.
async fn extent<K: timely_persist::Data, V: timely_persist::Data>(
    shard: &timely_persist::Shard<K, V, u64, i64>,
    commit: u64,
) -> Result<Extent, Error> {
    let as_of = Antichain::from_elem(commit);
    let reader = shard.open_reader_at("what there is to read", as_of.clone()).await?;
    let stats = reader.snapshot_parts_stats(as_of).await;
    reader.expire().await?;
    stats.map(|stats| Extent { parts: stats.parts as u64, bytes: stats.bytes, rows: stats.rows })
}

fn at(number: usize) -> Antichain<u64> {
    Antichain::from_elem(number as u64)
}

/// The number of commits before an upper. The empty one, of a shard that will never change again, is as far as one can.
fn number(upper: &Antichain<u64>) -> usize {
    upper.as_option().and_then(|time| usize::try_from(*time).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use timely_persist::SinceDowngrade;

    use super::*;
    use crate::history::Change;

    /// A commit that adds a file of as many lines as its number.
    fn commit(number: usize) -> Commit {
        let change = Change { path: format!("file {number}"), lines: number as u64, diff: 1 };
        Commit { number: number as u64, id: format!("id {number}"), changes: vec![change] }
    }

    fn open(path: &Path) -> Store {
        Store::open(DataDirectory::inspect(path).unwrap()).unwrap()
    }

    fn append(store: &mut Store, from: usize, to: usize) -> Option<u64> {
        match store.append((from..to).map(commit).collect()).unwrap() {
            Append::Done { rows } => Some(rows),
            Append::Overtaken => None,
        }
    }

    fn paths(store: &Store) -> Vec<String> {
        let mut paths: Vec<String> = store.line_counts().unwrap().into_keys().collect();
        paths.sort();
        paths
    }

    #[test]
    fn what_was_appended_is_there_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data");
        let mut store = open(&path);
        assert!(!path.exists(), "opening writes nothing");
        store.create().unwrap();
        assert_eq!(append(&mut store, 0, 2), Some(2));
        assert_eq!(append(&mut store, 2, 3), Some(1));
        store.close(&Interrupt::none(false)).unwrap();
        let store = open(&path);
        assert_eq!((store.announced().len(), store.upper()), (3, 3));
        assert_eq!(store.announced()[2], "id 2");
        assert_eq!(store.line_counts().unwrap()["file 2"], 2);
        assert_eq!(paths(&store).len(), 3);
        assert!(store.extent(0).is_ok(), "the beginning is kept");
    }

    #[test]
    fn what_was_announced_only_is_counted_by_the_next_run() {
        let place = tempfile::tempdir().unwrap();
        let mut store = open(place.path());
        store.create().unwrap();
        append(&mut store, 0, 1);
        // A run that is killed between the two appends.
        let shards = store.shards.as_mut().unwrap();
        let rows = [((1, "id 1".to_owned()), 1, 1), ((2, "id 2".to_owned()), 2, 1)];
        let announced = store.runtime.block_on(shards.commits_writer.compare_and_append(rows, at(1), at(3)));
        assert_eq!(announced.unwrap(), Appended::Committed);
        store.close(&Interrupt::none(false)).unwrap();

        let mut store = open(place.path());
        assert_eq!((store.announced().len(), store.upper()), (3, 1));
        assert_eq!(append(&mut store, 1, 2), Some(1), "fewer than were announced");
        assert_eq!(append(&mut store, 2, 5), Some(3), "more than were announced");
        assert_eq!((store.announced().len(), store.upper()), (5, 5));
    }

    #[test]
    fn of_two_runs_one_wins_and_the_other_goes_on_behind_it() {
        let place = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (open(place.path()), open(place.path()));
        one.create().unwrap();
        other.create().unwrap();
        assert_eq!(append(&mut one, 0, 2), Some(2));
        assert_eq!(append(&mut other, 0, 3), None);
        other.refresh().unwrap();
        assert_eq!((other.announced().len(), other.upper()), (2, 2));
        assert_eq!(append(&mut other, 2, 4), Some(2));
        one.refresh().unwrap();
        assert_eq!((one.announced().len(), one.upper()), (4, 4));
        assert_eq!(paths(&one), paths(&other));
    }

    #[test]
    fn history_that_is_not_kept_is_a_problem_that_names_the_earliest_commit() {
        let place = tempfile::tempdir().unwrap();
        let mut store = open(place.path());
        store.create().unwrap();
        append(&mut store, 0, 5);
        let shards = store.shards.as_ref().unwrap();
        let let_go = async {
            let mut keeper = shards.files.open_critical_since(shards::history(), 0).await?;
            keeper.compare_and_downgrade_since(0, (0, &at(3))).await
        };
        assert_eq!(store.runtime.block_on(let_go).unwrap(), SinceDowngrade::Downgraded { since: at(3) });
        let problem = store.extent(2).unwrap_err().to_string();
        assert!(problem.contains("earliest possible one is 3: --as-of 3"), "{problem}");
        assert!(store.extent(3).is_ok());
    }

    #[test]
    fn a_collection_that_was_never_announced_is_a_problem() {
        let place = tempfile::tempdir().unwrap();
        let mut store = open(place.path());
        store.create().unwrap();
        let shards = store.shards.as_mut().unwrap();
        let advanced = store.runtime.block_on(shards.files_writer.advance_upper(&at(3)));
        advanced.unwrap();
        store.close(&Interrupt::none(false)).unwrap();
        let problem = Store::open(DataDirectory::inspect(place.path()).unwrap()).err().unwrap().to_string();
        assert!(problem.contains("0 of 0 commits are announced and 3 counted"), "{problem}");
    }
}
