//! What wakes those who wait for a log in an object store to grow.
//!
//! Commits of this process always do. Those of other processes do where the directory tells of them, or where a timer
//! stands in for what a bucket cannot tell, or a directory does not: then it is asked again each time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::directory_watch::DirectoryWatch;
use super::poll_interval::{POLL_INTERVAL_MAX, POLL_INTERVAL_MIN};
use super::seen::Seen;
use crate::store::consensus::LogWatch;
use crate::store::signals::{Signals, Subscription};
use timely_persist_types::ids::{SeqNo, ShardId};

/// The wake-ups of one log.
#[derive(Debug)]
pub(super) struct WakeUps {
    signals: Arc<Signals>,
    seen: Arc<Seen>,
    directory: Option<DirectoryWatch>,
    polls: bool,
}

impl WakeUps {
    pub(super) fn in_process(seen: Arc<Seen>) -> Self {
        Self { signals: Arc::default(), seen, directory: None, polls: false }
    }

    pub(super) fn of_directory(root: PathBuf, seen: Arc<Seen>) -> Self {
        let signals = Arc::<Signals>::default();
        let directory = DirectoryWatch::new(root, Arc::clone(&signals), Arc::clone(&seen));
        Self { signals, seen, directory: Some(directory), polls: false }
    }

    pub(super) fn polling(seen: Arc<Seen>) -> Self {
        Self { polls: true, ..Self::in_process(seen) }
    }

    /// Why watches hear late of what other processes write, where they need not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.directory.as_ref().and_then(DirectoryWatch::trouble)
    }

    /// The directory, where it does not tell of a shard as it should.
    fn deaf_to(&self, shard: ShardId) -> Option<&DirectoryWatch> {
        self.directory.as_ref().filter(|directory| !directory.hears(shard))
    }

    /// Wakes the watches of a shard: this process has committed `seqno`.
    pub(super) fn wake(&self, shard: ShardId, seqno: SeqNo) {
        self.signals.wake(shard, seqno);
    }
}

/// A new watch of a shard.
pub(super) fn watch(wake_ups: &Arc<WakeUps>, shard: ShardId) -> Box<dyn LogWatch> {
    let subscription = wake_ups.signals.subscribe(shard);
    if let Some(directory) = &wake_ups.directory {
        directory.watch(shard);
    }
    Box::new(ShardWatch {
        shard,
        subscription,
        poll_interval: POLL_INTERVAL_MIN,
        newest_seen: wake_ups.seen.newest(shard),
        wake_ups: Arc::clone(wake_ups),
    })
}

struct ShardWatch {
    shard: ShardId,
    subscription: Subscription,
    poll_interval: Duration,
    /// What the process had seen when this last began to wait.
    newest_seen: SeqNo,
    wake_ups: Arc<WakeUps>,
}

impl LogWatch for ShardWatch {
    fn changed(&mut self) -> BoxFuture<'_, Option<SeqNo>> {
        async {
            let deaf = self.wake_ups.deaf_to(self.shard);
            if !self.wake_ups.polls && deaf.is_none() {
                return self.subscription.changed().await;
            }
            let newest_seen = self.wake_ups.seen.newest(self.shard);
            if newest_seen != self.newest_seen {
                (self.newest_seen, self.poll_interval) = (newest_seen, POLL_INTERVAL_MIN);
            }
            let told = tokio::time::timeout(self.poll_interval, self.subscription.changed()).await;
            told.unwrap_or_else(|_elapsed| {
                if let Some(directory) = deaf {
                    directory.ask_again(self.shard);
                }
                self.poll_interval = (self.poll_interval * 2).min(POLL_INTERVAL_MAX);
                None
            })
        }
        .boxed()
    }

    fn ignore(&mut self, known: Arc<AtomicU64>) {
        self.subscription.ignore(known);
    }
}

impl Drop for ShardWatch {
    fn drop(&mut self) {
        if let Some(directory) = &self.wake_ups.directory {
            directory.unwatch(self.shard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn polling_backs_off_and_starts_over_when_something_happens() {
        let wake_ups = Arc::new(WakeUps::polling(Arc::default()));
        let shard = ShardId::from_u128(1);
        let mut watch = watch(&wake_ups, shard);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let start = tokio::time::Instant::now();
            assert_eq!(watch.changed().await, None);
            waits.push(start.elapsed().as_millis());
        }
        assert_eq!(waits, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        wake_ups.wake(shard, SeqNo(1));
        wake_ups.seen.saw(shard, SeqNo(1));
        let start = tokio::time::Instant::now();
        assert_eq!(watch.changed().await, Some(SeqNo(1)));
        assert_eq!(start.elapsed().as_millis(), 0);
        watch.changed().await;
        assert_eq!(start.elapsed().as_millis(), 20);
    }
}
