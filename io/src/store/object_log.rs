//! A log in an object store: one immutable object per entry, made by create-if-absent.
//!
//! Serves memory, a local directory and a bucket alone: no database. Numbered objects rather than one head object that
//! is overwritten, because some buckets allow one write per second and name, and a local directory has no conditional
//! update.
//!
//! What always holds:
//! * The entries from the boundary (see `boundary.rs`) to the head all exist. What stands below the boundary is not in
//!   the log, whoever wrote it and whenever. One that is found to be missing was lost, and nothing is written behind it
//!   or deleted.
//! * The boundary is raised durably *before* an entry is deleted, and looked at *after* an entry was created or read.
//! * An entry that was created at or above the boundary is committed, for ever.
//!
//! What it costs, in operations of the store, where nobody interferes:
//!
//! | call | operations |
//! |---|---|
//! | `compare_and_set`, committed | 1 create, 1 list of the boundary folder; before that 1 get (head) if this process never saw `expected` |
//! | `compare_and_set`, conflict | 1 create, 1 get, 1 list of the boundary folder; without the create if this process knows of the conflict |
//! | `compare_and_set`, where it would make a gap | 2 gets (one of them head), 1 list of the boundary folder |
//! | `scan`, nothing new | 1 get, 1 list of the boundary folder |
//! | `scan`, n entries | n gets, up to [`SCAN_FETCHES_MAX`] gets that find nothing (1 where this process saw the head), 1 list of the boundary folder |
//! | `head` | 1 list of the log folder, 1 get, 1 list of the boundary folder |
//! | `truncate` of n entries | 1 list of each folder, n + 1 gets, 1 create, n deletes and one per older boundary marker |
//! | `truncate` of nothing | 1 list of each folder |
//!
//! What it does not do: it sets no deadline on an operation of the store, and it does not check what an entry says.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;

use crate::store::consensus::{CompareAndSet, Consensus, LogEntry, LogError, LogWatch};
use crate::store::keys;
use timely_persist_types::ids::{SeqNo, ShardId};

mod boundary;
mod commit;
mod directory_watch;
mod poll_interval;
mod read;
mod seen;
mod truncation;
mod wake_ups;

pub use boundary::BOUNDARY_DIGESTS_MAX;
pub use commit::{CREATE_ATTEMPTS_MAX, CREATE_BACKOFF};
pub use poll_interval::{POLL_INTERVAL_MAX, POLL_INTERVAL_MIN};
pub use read::{READ_ATTEMPTS_MAX, SCAN_FETCHES_MAX, SCAN_KNOWN_FETCHES_MAX};
pub use seen::SEEN_SHARDS_MAX;

use seen::Seen;
use wake_ups::WakeUps;

/// A [`Consensus`] over an [`ObjectStore`] that creates objects only if absent, and at once visible to all.
///
/// Any number of processes may share the store. One per process is best: it remembers what it has seen, and its watches
/// wake for its own commits.
pub struct ObjectLog {
    store: Arc<dyn ObjectStore>,
    /// Where the store keeps its objects, if that is a local directory.
    root: Option<PathBuf>,
    seen: Arc<Seen>,
    wake_ups: Arc<WakeUps>,
}

impl ObjectLog {
    /// A log in `store`. Its watches wake for commits of this process only.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        let seen = Arc::<Seen>::default();
        Self { store, root: None, wake_ups: Arc::new(WakeUps::in_process(Arc::clone(&seen))), seen }
    }

    /// The same log, whose watches also wake when another process writes to the local directory that the store keeps
    /// its objects in.
    ///
    /// While a watch exists the file system is asked to tell of new files (one thread for all watches); afterwards
    /// nothing stays. Where it cannot tell, an event is logged, watches wake by themselves as those of
    /// [`ObjectLog::polling`] do, and it is asked again each time; [`Consensus::late`] says why.
    pub fn watching_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        self.root = Some(directory.clone());
        self.wake_ups = Arc::new(WakeUps::of_directory(directory, Arc::clone(&self.seen)));
        self
    }

    /// The same log, whose watches also wake by themselves, at first after [`POLL_INTERVAL_MIN`], then after twice as
    /// long each time, up to [`POLL_INTERVAL_MAX`], until this process sees something new: for a bucket, which cannot
    /// tell that another process has written.
    pub fn polling(mut self) -> Self {
        self.wake_ups = Arc::new(WakeUps::polling(Arc::clone(&self.seen)));
        self
    }
}

impl ObjectLog {
    /// Whether something that is no file stands in the place of an entry: a store can neither create nor read it.
    fn is_blocked(&self, shard: ShardId, seqno: SeqNo) -> bool {
        let Some(root) = &self.root else { return false };
        let place = root.join(keys::log_entry(shard, seqno).as_ref());
        std::fs::symlink_metadata(&place).is_ok() && !place.is_file()
    }
}

/// Names the store: the `Debug` of a bucket may print its keys.
impl fmt::Debug for ObjectLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectLog({})", self.store)
    }
}

#[async_trait]
impl Consensus for ObjectLog {
    async fn head(&self, shard: ShardId) -> Result<Option<LogEntry>, LogError> {
        let head = read::head(&*self.store, shard, self.seen.newest(shard)).await?;
        if let Some(entry) = &head {
            self.seen.saw(shard, entry.seqno);
        }
        Ok(head)
    }

    async fn scan(&self, shard: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        let entries = read::scan(&*self.store, shard, from, limit, self.seen.newest(shard)).await?;
        if let Some(entry) = entries.last() {
            self.seen.saw(shard, entry.seqno);
        }
        Ok(entries)
    }

    async fn compare_and_set(&self, shard: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        let seqno = expected.next();
        if seqno == expected {
            return Ok(CompareAndSet::Conflict); // no log is that long
        }
        // What this process saw committed is the head or has a head behind it: no gap can come of writing after it, and
        // before it nothing may be created: a position that is free there was lost.
        let seen = self.seen.newest(shard);
        if seqno <= seen || expected > seen && !commit::exists(&*self.store, shard, expected).await? {
            return commit::settle_without_create(&*self.store, shard, seqno, &data, seen).await;
        }
        let outcome = match commit::commit(&*self.store, shard, seqno, &data).await {
            Err(_) if self.is_blocked(shard, seqno) => return Err(commit::blocked(seqno)),
            outcome => outcome?,
        };
        if outcome == CompareAndSet::Committed {
            self.seen.saw(shard, seqno);
            self.wake_ups.wake(shard, seqno);
        }
        Ok(outcome)
    }

    async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<usize, LogError> {
        truncation::truncate(&*self.store, shard, below).await
    }

    fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        wake_ups::watch(&self.wake_ups, shard)
    }

    fn late(&self) -> Option<String> {
        self.wake_ups.trouble()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Directory;

    #[tokio::test]
    async fn a_log_is_written_read_and_truncated() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let directory = Directory::open(temporary.path()).expect("ours");
        let stores: [Arc<dyn ObjectStore>; 2] = [Arc::new(object_store::memory::InMemory::new()), Arc::new(directory)];
        for store in stores {
            let log = ObjectLog::new(store);
            let shard = ShardId::from_u128(1);
            for seqno in 0..5 {
                let outcome = log.compare_and_set(shard, SeqNo(seqno), Bytes::from(vec![seqno as u8])).await;
                assert_eq!(outcome.expect("an answer"), CompareAndSet::Committed);
            }
            assert_eq!(log.truncate(shard, SeqNo(4)).await.expect("an answer"), 3);
            let entries = log.scan(shard, SeqNo(1), 10).await.expect("an answer");
            assert_eq!(entries.iter().map(|entry| entry.seqno.0).collect::<Vec<_>>(), [4, 5]);
            assert_eq!(log.head(shard).await.expect("an answer").as_ref(), entries.last());
        }
    }
}
