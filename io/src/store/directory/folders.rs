//! Which folders of a directory this process has seen, which are known to be on disk, and which are in doubt.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::identity::{Gone, Identity};
use super::publish::sync_folder;
use crate::life::lock;

/// Folders known to be durable that are remembered: three per shard. Forgetting them costs syncing them once more.
pub const SYNCED_FOLDERS_MAX: usize = 65_536;

/// Folders that are remembered to be the same ones when they are looked at again. Of one that is forgotten it is not
/// noticed that it alone was removed; that the directory was, is.
pub const SEEN_FOLDERS_MAX: usize = 65_536;

/// The folders below a root.
#[derive(Debug)]
pub(super) struct Folders {
    root: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What stood there when it was looked at first. Nobody removes a folder of a data directory.
    seen: HashMap<PathBuf, Identity>,
    /// On disk, with all names that lead to them.
    synced: HashSet<PathBuf>,
    /// A sync failed: what was published there may vanish, so nothing is read from there until one succeeds.
    doubtful: HashSet<PathBuf>,
}

impl Folders {
    pub(super) fn below(root: PathBuf) -> Self {
        Self { root, known: Mutex::default() }
    }

    pub(super) fn is_synced(&self, folder: &Path) -> bool {
        self.known().synced.contains(folder)
    }

    pub(super) fn is_doubtful(&self, folder: &Path) -> bool {
        self.known().doubtful.contains(folder)
    }

    pub(super) fn any_doubtful(&self) -> bool {
        !self.known().doubtful.is_empty()
    }

    /// Fails where a folder that was seen is gone, or is another one. One that was never there is fine.
    pub(super) fn look(&self, folder: &Path) -> Result<(), Gone> {
        // Before the system is asked: an answer from before somebody made the folder says nothing of what was seen since.
        let was_seen = self.was_seen(folder);
        let found = match std::fs::metadata(folder) {
            Ok(metadata) => Identity::of(&metadata),
            Err(error) if was_seen => return Err(Gone::refused(folder, error)),
            Err(_) => return Ok(()), // whoever goes on to use it hears of it
        };
        let mut known = self.known();
        match known.seen.get(folder) {
            Some(seen) if seen.is(&found) => Ok(()),
            Some(_) => Err(Gone::replaced(folder)),
            None => {
                if known.seen.len() >= SEEN_FOLDERS_MAX {
                    known.seen.clear();
                }
                known.seen.insert(folder.to_owned(), found);
                Ok(())
            }
        }
    }

    /// Makes a folder that was never there, and those above it that were not, but not the root; one after the other, so
    /// that nothing is made where something is gone. [`Folders::sync_up_from`] makes their names durable.
    pub(super) fn make(&self, folder: &Path) -> object_store::Result<()> {
        let mut missing: Vec<&Path> =
            folder.ancestors().take_while(|above| *above != self.root && !self.was_seen(above)).collect();
        while let Some(folder) = missing.pop() {
            match std::fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    let error = std::io::Error::new(error.kind(), format!("making {}: {error}", folder.display()));
                    return Err(object_store::Error::Generic { store: "Directory", source: error.into() });
                }
                _ => self.look(folder)?,
            }
        }
        Ok(())
    }

    fn was_seen(&self, folder: &Path) -> bool {
        self.known().seen.contains_key(folder)
    }

    /// Syncs a folder and those above it that are not known to be on disk, up to the root.
    pub(super) fn sync_up_from(&self, folder: &Path) -> object_store::Result<()> {
        let levels = if self.is_synced(folder) { 1 } else { usize::MAX };
        let mut above = folder.ancestors().take_while(|above| above.starts_with(&self.root)).take(levels);
        let mut is_there = true;
        let synced = above.try_for_each(|above| match sync_folder(above) {
            // A put that failed before it made its folder; or all is gone, and may come back.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                is_there = false;
                Ok(())
            }
            synced => synced,
        });
        let mut known = self.known();
        match synced {
            Ok(()) => {
                if known.synced.len() >= SYNCED_FOLDERS_MAX {
                    known.synced.clear();
                }
                if is_there {
                    known.synced.insert(folder.to_owned());
                }
                known.doubtful.remove(folder);
                Ok(())
            }
            Err(error) => {
                known.synced.remove(folder);
                known.doubtful.insert(folder.to_owned());
                Err(object_store::Error::Generic { store: "Directory", source: error.into() })
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Folders that are made while others look: enough that an answer from before crosses one from behind.
    const FOLDERS: usize = 3_000;

    // Hazard 44: what one thread found before another made the folder was taken for its end.
    #[test]
    fn a_folder_that_is_made_while_others_look_is_not_gone() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let folders = Folders::below(temporary.path().to_owned());
        let start = std::sync::Barrier::new(3);
        let each = |does: &(dyn Fn(&Path) + Sync)| {
            for number in 0..FOLDERS {
                start.wait();
                does(&temporary.path().join(number.to_string()));
            }
        };
        let gone = AtomicUsize::new(0);
        let look = |folder: &Path| {
            let failed = (0..8).filter(|_| folders.look(folder).is_err()).count();
            gone.fetch_add(failed, Ordering::Relaxed); // and no panic, for which the others would wait
        };
        std::thread::scope(|scope| {
            scope.spawn(|| each(&|folder| folders.make(folder).expect("made")));
            scope.spawn(|| each(&look));
            scope.spawn(|| each(&look));
        });
        assert_eq!(gone.into_inner(), 0);
    }
}
