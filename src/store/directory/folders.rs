//! Which folders of a directory are known to be on disk, and which are in doubt.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Folders known to be durable that are remembered: three per shard. Forgetting them costs syncing them once more.
pub const SYNCED_FOLDERS_MAX: usize = 65_536;

/// The folders below a root.
#[derive(Debug)]
pub(super) struct Folders {
    root: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
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

    /// Syncs a folder and those above it that are not known to be on disk, up to the root.
    pub(super) fn sync_up_from(&self, folder: &Path) -> object_store::Result<()> {
        let levels = if self.is_synced(folder) { 1 } else { usize::MAX };
        let mut above = folder.ancestors().take_while(|above| above.starts_with(&self.root)).take(levels);
        let synced = above.try_for_each(|above| match sync_folder(above) {
            // A put that failed before it created its folder.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        });
        let mut known = self.known();
        match synced {
            Ok(()) => {
                if known.synced.len() >= SYNCED_FOLDERS_MAX {
                    known.synced.clear();
                }
                known.synced.insert(folder.to_owned());
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
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a folder's names durable. Where folders cannot be opened as files there is nothing to do.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { std::fs::File::open(folder)?.sync_all() } else { Ok(()) }
}
