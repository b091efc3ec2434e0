//! Wake-ups from the file system: another process has written to the directory.
//!
//! One watcher, with its one thread, serves all shards of a log. It exists while a shard is watched. The system has only
//! so many watchers for each user, and so many watches: where it gives none that is said once, those who wait look by
//! themselves (see `wake_ups.rs`), and it is asked again each time.
//!
//! The lock here is never taken on the watcher's thread, because asking the watcher for something waits for that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::time::Instant;

use super::poll_interval::POLL_INTERVAL_MAX;
use super::seen::Seen;
use crate::life::lock;
use crate::store::directory::MARKER_NAME;
use crate::store::keys;
use crate::store::signals::Signals;
use timely_persist_types::ids::{SeqNo, ShardId};

/// Listens to the log folders of the shards that somebody watches.
pub(super) struct DirectoryWatch {
    root: PathBuf,
    signals: Arc<Signals>,
    seen: Arc<Seen>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    watcher: Option<RecommendedWatcher>,
    shards: HashMap<ShardId, Watched>,
    /// Why the file system does not tell of some shard.
    trouble: Option<String>,
    /// When no watcher was to be had.
    refused: Option<Instant>,
}

#[derive(Default)]
struct Watched {
    /// How many watch it.
    watches: usize,
    /// Whether the file system tells of it.
    is_heard: bool,
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

    /// Begins to listen to a shard's log folder, if nobody does yet.
    pub(super) fn watch(&self, shard: ShardId) {
        let mut running = self.running();
        running.shards.entry(shard).or_default().watches += 1;
        self.listen(&mut running, shard);
    }

    /// Whether the file system tells of the shard, which somebody watches.
    pub(super) fn hears(&self, shard: ShardId) -> bool {
        self.running().shards.get(&shard).is_some_and(|watched| watched.is_heard)
    }

    /// Asks the file system again to tell of the shard, if it does not.
    pub(super) fn ask_again(&self, shard: ShardId) {
        self.listen(&mut self.running(), shard);
    }

    /// Why the file system does not tell of some shard that is watched; `None` where it tells of all.
    pub(super) fn trouble(&self) -> Option<String> {
        self.running().trouble.clone()
    }

    fn listen(&self, running: &mut Running, shard: ShardId) {
        if running.shards.get(&shard).is_none_or(|watched| watched.is_heard) {
            return;
        }
        match self.try_listen(running, shard) {
            Ok(()) => {
                running.shards.entry(shard).and_modify(|watched| watched.is_heard = true);
                running.settle_trouble();
            }
            Err(error) => {
                let trouble = error.to_string();
                if running.trouble.is_none() {
                    tracing::warn!(
                        %shard,
                        error = trouble,
                        "the file system cannot tell of new log entries: this process looks for them every second, and \
                         asks it again (on Linux, raise fs.inotify.max_user_instances or max_user_watches)"
                    );
                }
                running.trouble = Some(trouble);
            }
        }
    }

    fn try_listen(&self, running: &mut Running, shard: ShardId) -> notify::Result<()> {
        let folder = self.folder(shard);
        self.make(&folder, shard)?;
        let watcher = match running.living_watcher() {
            Some(watcher) => watcher,
            None if running.refused.is_some_and(|refused| refused.elapsed() < POLL_INTERVAL_MAX) => {
                return Err(notify::Error::generic(running.trouble.as_deref().unwrap_or(NO_WATCHER)));
            }
            None => self.start().inspect_err(|_| running.refused = Some(Instant::now()))?,
        };
        running.watcher.insert(watcher).watch(&folder, RecursiveMode::NonRecursive)
    }

    /// Only what exists can be listened to, and a shard that was never written to has no folder yet. One that was seen
    /// has: it is not made again where it is gone, and nor is the directory.
    fn make(&self, folder: &Path, shard: ShardId) -> std::io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        if self.seen.newest(shard) > SeqNo::ZERO || !self.root.join(MARKER_NAME).is_file() {
            return Err(std::io::Error::new(ErrorKind::NotFound, format!("{} is gone", folder.display())));
        }
        let mut missing: Vec<&Path> = folder.ancestors().take_while(|above| *above != self.root).collect();
        while let Some(folder) = missing.pop() {
            match std::fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn start(&self) -> notify::Result<RecommendedWatcher> {
        // A watcher whose thread could not be started would panic when it is used: without a thread to be had, none is
        // made. It may be the last one that is had here, hence the look at the watcher behind it.
        let thread = std::thread::Builder::new().name("timely-persist-try".to_owned()).spawn(|| {})?;
        let _ = thread.join(); // it does nothing
        let (signals, seen) = (Arc::clone(&self.signals), Arc::clone(&self.seen));
        let watcher = notify::recommended_watcher(move |event| on_event(&signals, &seen, event))?;
        living(watcher).ok_or_else(|| notify::Error::generic(NO_WATCHER))
    }

    /// Takes back one [`DirectoryWatch::watch`].
    pub(super) fn unwatch(&self, shard: ShardId) {
        let mut running = self.running();
        let Entry::Occupied(mut watched) = running.shards.entry(shard) else { return };
        watched.get_mut().watches -= 1;
        if watched.get().watches > 0 {
            return;
        }
        let was_heard = watched.remove().is_heard;
        running.watcher = running.living_watcher().filter(|_| !running.shards.is_empty());
        if let Some(watcher) = &mut running.watcher
            && was_heard
        {
            // It fails where the folder is gone: either way it is not listened to now.
            let _ = watcher.unwatch(&self.folder(shard));
        }
        running.settle_trouble();
    }

    fn folder(&self, shard: ShardId) -> PathBuf {
        self.root.join(keys::log_folder(shard).as_ref())
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        lock(&self.running)
    }
}

/// What there is to say where the system says nothing.
const NO_WATCHER: &str = "no watcher could be started";

impl Running {
    /// Takes the watcher. Of one whose thread is gone nothing is heard any more.
    fn living_watcher(&mut self) -> Option<RecommendedWatcher> {
        let watcher = self.watcher.take()?;
        let watcher = living(watcher);
        if watcher.is_none() {
            self.shards.values_mut().for_each(|watched| watched.is_heard = false);
        }
        watcher
    }

    fn settle_trouble(&mut self) {
        if self.trouble.is_some() && self.shards.values().all(|watched| watched.is_heard) {
            self.trouble = None;
            tracing::info!("the file system tells of new log entries again");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.watcher.take().and_then(living));
    }
}

/// The watcher, if its thread is there. It panics otherwise, when it is used and also when it is dropped.
fn living(mut watcher: RecommendedWatcher) -> Option<RecommendedWatcher> {
    match watcher.configure(notify::Config::default()) {
        Ok(_) => Some(watcher),
        Err(_) => {
            std::mem::forget(watcher);
            None
        }
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
            news.for_each(|(shard, seqno)| {
                // Committed, or below a boundary, where another was: what is missing before it was lost.
                seen.saw(shard, seqno);
                signals.wake(shard, seqno);
            });
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

    fn watch_of_an_empty_directory() -> (tempfile::TempDir, DirectoryWatch) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join(MARKER_NAME), "").expect("a marker");
        let watch = DirectoryWatch::new(directory.path().to_owned(), Arc::default(), Arc::default());
        (directory, watch)
    }

    #[test]
    fn the_watcher_goes_with_the_last_watch() {
        let (_directory, watch) = watch_of_an_empty_directory();
        let running = || watch.running().watcher.is_some();
        let (one, two) = (ShardId::from_u128(1), ShardId::from_u128(2));
        assert!(!running());
        watch.watch(one);
        watch.watch(one);
        watch.watch(two);
        assert!(running() && watch.hears(one) && watch.hears(two));
        watch.unwatch(one);
        watch.unwatch(two);
        assert!(running() && watch.hears(one) && !watch.hears(two));
        watch.unwatch(one);
        assert!(!running());
        watch.unwatch(one);
    }

    #[test]
    fn a_directory_that_cannot_be_watched_does_no_harm() {
        let watch = DirectoryWatch::new("/proc/none".into(), Arc::default(), Arc::default());
        let shard = ShardId::from_u128(1);
        watch.watch(shard);
        assert!(!watch.hears(shard));
        watch.trouble().expect("no such directory");
        watch.unwatch(shard);
        assert_eq!(watch.trouble(), None);
    }

    #[test]
    fn what_is_gone_is_not_made_again_and_heard_when_it_is_back() {
        let (directory, watch) = watch_of_an_empty_directory();
        let (seen, new) = (ShardId::from_u128(1), ShardId::from_u128(2));
        watch.seen.saw(seen, SeqNo(1));
        let marker = directory.path().join(MARKER_NAME);
        std::fs::remove_file(&marker).expect("the marker");
        for shard in [seen, new] {
            watch.watch(shard);
            assert!(!watch.hears(shard));
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("a folder").count(), 0);
        std::fs::write(&marker, "").expect("a marker");
        [seen, new].iter().for_each(|shard| watch.ask_again(*shard));
        assert!(watch.hears(new) && !watch.hears(seen) && !watch.folder(seen).exists());
        assert!(watch.trouble().expect("one is gone").contains(&seen.to_string()));
        std::fs::create_dir_all(watch.folder(seen)).expect("a folder");
        watch.ask_again(seen);
        assert!(watch.hears(seen));
        assert_eq!(watch.trouble(), None);
    }
}
