//! Wake-ups from the file system: another process has written to the directory.
//!
//! One watcher, with its one thread, serves all shards of a log. It exists while a shard is watched. The two locks are
//! never held together, because asking the watcher for something waits for its thread, which may be signalling.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::seen::Seen;
use crate::ids::{SeqNo, ShardId};
use crate::store::keys;
use crate::store::signals::Signals;

/// Listens to the log folders of the shards that somebody watches.
pub(super) struct DirectoryWatch {
    root: PathBuf,
    signals: Arc<Signals>,
    seen: Arc<Seen>,
    running: Mutex<Running>,
}

/// The watcher, and how many watch each shard.
#[derive(Default)]
struct Running {
    watcher: Option<RecommendedWatcher>,
    shards: HashMap<ShardId, usize>,
}

impl fmt::Debug for DirectoryWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryWatch").field("root", &self.root).finish_non_exhaustive()
    }
}

impl DirectoryWatch {
    pub(super) fn new(root: PathBuf, signals: Arc<Signals>, seen: Arc<Seen>) -> Self {
        Self { root, signals, seen, running: Mutex::default() }
    }

    /// Begins to listen to a shard's log folder, if nobody does yet. Failing that, says so and leaves it at that.
    pub(super) fn watch(&self, shard: ShardId) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running.shards.entry(shard).or_default() += 1;
        if running.shards.get(&shard) == Some(&1)
            && let Err(error) = self.listen(&mut running.watcher, shard)
        {
            tracing::warn!(%shard, %error, "the file system cannot tell of new log entries; only polling will find them");
        }
    }

    fn listen(&self, watcher: &mut Option<RecommendedWatcher>, shard: ShardId) -> notify::Result<()> {
        let folder = self.folder(shard);
        // A shard that was never written to has no folder yet, and only what exists can be listened to.
        std::fs::create_dir_all(&folder)?;
        if watcher.is_none() {
            let (signals, seen) = (Arc::clone(&self.signals), Arc::clone(&self.seen));
            *watcher = Some(notify::recommended_watcher(move |event| on_event(&signals, &seen, event))?);
        }
        match watcher {
            Some(watcher) => watcher.watch(&folder, RecursiveMode::NonRecursive),
            None => Ok(()),
        }
    }

    /// Takes back one [`DirectoryWatch::watch`].
    pub(super) fn unwatch(&self, shard: ShardId) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut watches) = running.shards.entry(shard) else { return };
        *watches.get_mut() -= 1;
        if *watches.get() > 0 {
            return;
        }
        watches.remove();
        if running.shards.is_empty() {
            running.watcher = None;
        } else if let Some(watcher) = &mut running.watcher {
            // It fails where the folder is gone, or was never listened to: either way it is not listened to now.
            let _ = watcher.unwatch(&self.folder(shard));
        }
    }

    fn folder(&self, shard: ShardId) -> PathBuf {
        self.root.join(keys::log_folder(shard).as_ref())
    }
}

/// Called on the watcher's thread.
fn on_event(signals: &Signals, seen: &Seen, event: notify::Result<notify::Event>) {
    match event {
        Ok(event) if event.need_rescan() => signals.wake_all(),
        Ok(event) if event.kind.is_create() || event.kind.is_modify() => {
            let entries = event.paths.iter().filter_map(|path| entry_of_path(path));
            // What this process wrote or read itself is no news.
            let news = entries.filter(|(shard, seqno)| *seqno > seen.newest(*shard));
            news.for_each(|(shard, seqno)| signals.wake(shard, seqno));
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(%error, "the file system lost track of new log entries");
            signals.wake_all();
        }
    }
}

/// The log entry that a file is; `None` for temporary files and anything else.
fn entry_of_path(path: &Path) -> Option<(ShardId, SeqNo)> {
    let seqno = keys::parse_seqno(path.file_name()?.to_str()?)?;
    let shard = path.parent()?.parent()?.file_name()?.to_str()?.parse().ok()?;
    Some((shard, seqno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_log_entries_wake() {
        let shard = ShardId::from_u128(7);
        let entry = Path::new("/data").join(keys::log_entry(shard, SeqNo(3)).as_ref());
        assert_eq!(entry_of_path(&entry), Some((shard, SeqNo(3))));
        assert_eq!(entry_of_path(&entry.with_extension("tmp")), None);
        assert_eq!(entry_of_path(Path::new(&format!("{}#1", entry.display()))), None);
        assert_eq!(entry_of_path(Path::new("/00000000000000000003")), None);
    }

    #[test]
    fn the_watcher_goes_with_the_last_watch() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let watch = DirectoryWatch::new(directory.path().to_owned(), Arc::default(), Arc::default());
        let running = || watch.running.lock().expect("no test panics with it").watcher.is_some();
        let (one, two) = (ShardId::from_u128(1), ShardId::from_u128(2));
        assert!(!running());
        watch.watch(one);
        watch.watch(one);
        watch.watch(two);
        assert!(running());
        watch.unwatch(one);
        watch.unwatch(two);
        assert!(running());
        watch.unwatch(one);
        assert!(!running());
        watch.unwatch(one);
    }

    #[test]
    fn a_directory_that_cannot_be_watched_does_no_harm() {
        let watch = DirectoryWatch::new("/proc/none".into(), Arc::default(), Arc::default());
        watch.watch(ShardId::from_u128(1));
        watch.unwatch(ShardId::from_u128(1));
    }
}
