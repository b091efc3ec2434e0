//! Removing what a kill leaves under a temporary name.
//!
//! A file is written as `<name>#<number>` first, and no listing shows such a name: what stays of one that was not
//! finished is seen by this sweep alone. It runs beside a write, over the folders around the one that is written to, at
//! most every [`STAGED_SWEEP_INTERVAL`] in each process.
//!
//! What always holds: only files are removed, of names that this library makes, in folders of the data directory itself
//! (no link is followed), that were not written to for [`STAGED_AGE_MIN`]. The age is measured by the file system's own
//! clock: against the file that was written just now. If a clock jumps all the same and the file has a writer, the writer
//! cannot publish it: that is an error, which is tried again, and no loss.

use std::collections::HashMap;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::marker::MARKER_NAME;
use crate::life::lock;
use crate::store::keys;

/// How long a temporary file must not have been written to before it is taken for left behind. One day: a writer needs
/// seconds for it, or minutes on a disk that is dying, and whoever sleeps longer with its machine writes it again.
pub const STAGED_AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a process looks for such files around one folder. Six hours, as for objects that nobody refers to: it reads
/// the names of a shard's files.
pub const STAGED_SWEEP_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// Folders, one per shard, of which is remembered when they were swept. Forgetting them costs sweeping them once more.
pub const SWEPT_FOLDERS_MAX: usize = 65_536;

/// When this process swept which folders.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    swept: Mutex<HashMap<PathBuf, Instant>>,
}

impl Sweeps {
    /// Whether what is around `folder` is to be swept now. Says so once: the caller does it.
    pub(super) fn is_due(&self, folder: &Path) -> bool {
        let Some(around) = folder.parent() else { return false };
        let mut swept = lock(&self.swept);
        if swept.get(around).is_some_and(|last| last.elapsed() < STAGED_SWEEP_INTERVAL) {
            return false;
        }
        if swept.len() >= SWEPT_FOLDERS_MAX {
            swept.clear();
        }
        swept.insert(around.to_owned(), Instant::now());
        true
    }
}

/// Removes what was left long before `now` in the root, in `folder` and in the folders beside it; how many files. What
/// cannot be looked at is left alone. Blocks.
pub(super) fn sweep(root: &Path, folder: &Path, now: SystemTime) -> usize {
    let around = folder.parent().filter(|around| around.starts_with(root) && is_without_links(around));
    let beside = around.into_iter().flat_map(entries).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let folders = std::iter::once(root.to_owned()).chain(beside.map(|entry| entry.path()));
    let count = folders.map(|folder| entries(&folder).filter(|entry| remove_if_left(entry, now)).count()).sum();
    if count > 0 {
        tracing::info!(folder = %folder.display(), count, "removed temporary files that a killed process left");
    }
    count
}

fn is_without_links(folder: &Path) -> bool {
    folder.canonicalize().is_ok_and(|real| real == folder)
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Removes the file if it is a temporary one and nobody has written to it for long.
fn remove_if_left(entry: &DirEntry, now: SystemTime) -> bool {
    let is_ours = entry.file_name().to_str().is_some_and(is_temporary);
    // Of the entry itself: a link is no file.
    let Some(metadata) = is_ours.then(|| entry.metadata().ok()).flatten().filter(|metadata| metadata.is_file()) else {
        return false;
    };
    let age = metadata.modified().ok().and_then(|written| now.duration_since(written).ok());
    let is_left = age.is_some_and(|age| age >= STAGED_AGE_MIN);
    is_left
        && std::fs::remove_file(entry.path())
            .inspect_err(|error| tracing::debug!(%error, path = %entry.path().display(), "could not remove it"))
            .is_ok()
}

/// Whether a file of this name holds the place of one that this library writes.
fn is_temporary(name: &str) -> bool {
    name.split_once('#').is_some_and(|(name, number)| {
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number && (name == MARKER_NAME || keys::is_of_an_object(name))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use timely_persist_types::ids::{SeqNo, ShardId};

    /// A file that was written to so long before `now`.
    fn leave(path: &Path, now: SystemTime, age: Duration) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        let file = File::create(path).expect("a file");
        file.set_modified(now - age).expect("a time");
    }

    fn named(root: &Path, name: &str) -> PathBuf {
        root.join(name)
    }

    #[cfg(unix)]
    #[test]
    fn what_a_kill_left_long_ago_is_removed_and_nothing_else() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let root = temporary.path().canonicalize().expect("a path");
        let (shard, now) = (ShardId::from_u128(1), SystemTime::UNIX_EPOCH + 1000 * STAGED_AGE_MIN);
        let file = |path: object_store::path::Path, behind: &str| named(&root, &format!("{path}{behind}"));
        let entry = keys::log_entry(shard, SeqNo(7));
        let part = keys::blob(shard, &timely_persist_types::ids::blob_name("part", 1, 2));
        let left = [
            file(entry.clone(), "#1"),
            file(entry.clone(), "#23"),
            file(part.clone(), ".arrow#1"),
            file(keys::blob(shard, &timely_persist_types::ids::blob_name("rollup", 1, 2)), "#4"),
            file(keys::boundary(shard, SeqNo(7)), "#1"),
            named(&root, "timely-persist#17"),
        ];
        let stays = [
            file(entry.clone(), ""),
            file(entry.clone(), "#x"),
            file(entry.clone(), "#"),
            file(part.clone(), ".arrow"),
            named(&root, "timely-persist"),
            named(&root, &format!("shards/{shard}/log/notes#1")),
            named(&root, "letters#1"),
            // Not beside the folder that is written to: others sweep there.
            file(keys::log_entry(ShardId::from_u128(2), SeqNo(7)), "#1"),
        ];
        left.iter().chain(&stays).for_each(|path| leave(path, now, STAGED_AGE_MIN));
        let young = [file(entry.clone(), "#2"), file(part, ".arrow#2"), named(&root, "timely-persist#18")];
        young.iter().for_each(|path| leave(path, now, STAGED_AGE_MIN - Duration::from_secs(1)));
        // Written when a clock was ahead.
        let ahead = file(entry.clone(), "#3");
        leave(&ahead, now + 10 * STAGED_AGE_MIN, Duration::ZERO);
        // Where links lead to, something of the same name is somebody else's.
        let elsewhere = tempfile::tempdir().expect("a temporary directory");
        let foreign = elsewhere.path().join("00000000000000000001#1");
        leave(&foreign, now, STAGED_AGE_MIN);
        let shard_folder = named(&root, &format!("shards/{shard}"));
        std::os::unix::fs::symlink(elsewhere.path(), shard_folder.join("linked")).expect("a link");
        std::os::unix::fs::symlink(&foreign, file(entry, "#4")).expect("a link");
        std::os::unix::fs::symlink(elsewhere.path(), root.join("outside")).expect("a link");
        leave(&elsewhere.path().join("log/00000000000000000001#1"), now, STAGED_AGE_MIN);

        assert_eq!(sweep(&root, &shard_folder.join("log"), now), left.len());
        assert_eq!(sweep(&root, &root.join("outside/log"), now), 0);
        left.iter().for_each(|path| assert!(!path.exists(), "{}", path.display()));
        let others = [foreign, elsewhere.path().join("log/00000000000000000001#1"), ahead];
        stays.iter().chain(&young).chain(&others).for_each(|path| assert!(path.exists(), "{}", path.display()));
        assert!(named(&root, &format!("shards/{shard}/log/00000000000000000007#4")).is_symlink());
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_is_swept_once_in_a_while() {
        let sweeps = Sweeps::default();
        assert!(sweeps.is_due(Path::new("/data/shards/1/log")));
        assert!(!sweeps.is_due(Path::new("/data/shards/1/blob")), "swept along");
        assert!(sweeps.is_due(Path::new("/data/shards/2/log")));
        tokio::time::advance(STAGED_SWEEP_INTERVAL).await;
        assert!(sweeps.is_due(Path::new("/data/shards/1/blob")));
    }
}
