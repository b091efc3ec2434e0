//! Who waits for which shard's log to grow, and what wakes them.
//!
//! Nothing is kept for a shard nobody watches: the last watch of a shard takes its entry along, and the last watch of
//! all takes the file-system watcher along.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::directory_watch::DirectoryWatch;
use super::seen::Seen;
use crate::ids::{SeqNo, ShardId};
use crate::store::consensus::LogWatch;

/// How long a polling watch first waits. A few times the latency of a bucket's request, so that polling a busy shard
/// adds little to it.
pub const POLL_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// How long a polling watch waits at most: what an idle reader costs per hour (3600 looks) against how late it may
/// notice.
pub const POLL_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// What a shard's watches are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signal {
    /// The newest position that anybody told of.
    newest: SeqNo,
    /// How often it was told that something may have happened, and not what.
    vague: u64,
}

/// The watched shards. A commit sends on its shard's channel; so does whatever else hears of one.
#[derive(Debug, Default)]
pub(super) struct Signals {
    shards: Mutex<HashMap<ShardId, watch::Sender<Signal>>>,
}

impl Signals {
    /// Wakes the watches of a shard: `seqno` is in its log.
    pub(super) fn wake(&self, shard: ShardId, seqno: SeqNo) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = shards.get(&shard) {
            sender.send_modify(|signal| signal.newest = seqno.max(signal.newest));
        }
    }

    /// Wakes all watches: something was missed.
    pub(super) fn wake_all(&self) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in shards.values() {
            sender.send_modify(|signal| signal.vague += 1);
        }
    }

    fn subscribe(&self, shard: ShardId) -> watch::Receiver<Signal> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.entry(shard).or_insert_with(|| watch::Sender::new(Signal::default())).subscribe()
    }

    fn unsubscribe(&self, shard: ShardId, receiver: watch::Receiver<Signal>) {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        drop(receiver);
        if shards.get(&shard).is_some_and(|sender| sender.receiver_count() == 0) {
            shards.remove(&shard);
        }
    }
}

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

    /// Wakes the watches of a shard: this process has committed `seqno`.
    pub(super) fn wake(&self, shard: ShardId, seqno: SeqNo) {
        self.signals.wake(shard, seqno);
    }
}

/// A new watch of a shard.
pub(super) fn watch(wake_ups: &Arc<WakeUps>, shard: ShardId) -> Box<dyn LogWatch> {
    let receiver = wake_ups.signals.subscribe(shard);
    if let Some(directory) = &wake_ups.directory {
        directory.watch(shard);
    }
    let wake_ups = Arc::clone(wake_ups);
    let vague = receiver.borrow().vague;
    let newest_seen = wake_ups.seen.newest(shard);
    Box::new(ShardWatch {
        shard,
        vague,
        receiver: Some(receiver),
        poll_interval: POLL_INTERVAL_MIN,
        newest_seen,
        wake_ups,
    })
}

struct ShardWatch {
    shard: ShardId,
    /// `None` only while being dropped.
    receiver: Option<watch::Receiver<Signal>>,
    /// The vague signals that were answered.
    vague: u64,
    poll_interval: Duration,
    /// What the process had seen when this last woke.
    newest_seen: SeqNo,
    wake_ups: Arc<WakeUps>,
}

impl LogWatch for ShardWatch {
    fn changed(&mut self) -> BoxFuture<'_, Option<SeqNo>> {
        async {
            let Some(receiver) = &mut self.receiver else { return futures::future::pending().await };
            let newest_seen = self.wake_ups.seen.newest(self.shard);
            if newest_seen != self.newest_seen {
                (self.newest_seen, self.poll_interval) = (newest_seen, POLL_INTERVAL_MIN);
            }
            // The sender lives as long as a receiver is subscribed, so waiting for it does not fail.
            if !self.wake_ups.polls {
                let _ = receiver.changed().await;
            } else if tokio::time::timeout(self.poll_interval, receiver.changed()).await.is_err() {
                self.poll_interval = (self.poll_interval * 2).min(POLL_INTERVAL_MAX);
                return None;
            }
            let signal = *receiver.borrow_and_update();
            let named = signal.vague == self.vague;
            self.vague = signal.vague;
            named.then_some(signal.newest)
        }
        .boxed()
    }
}

impl Drop for ShardWatch {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            self.wake_ups.signals.unsubscribe(self.shard, receiver);
        }
        if let Some(directory) = &self.wake_ups.directory {
            directory.unwatch(self.shard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_for_a_shard_nobody_watches() {
        let wake_ups = Arc::new(WakeUps::in_process(Arc::default()));
        let shard = ShardId::from_u128(1);
        wake_ups.wake(shard, SeqNo(1));
        let kept = || wake_ups.signals.shards.lock().expect("no test panics with it").len();
        assert_eq!(kept(), 0);
        let watches = [watch(&wake_ups, shard), watch(&wake_ups, shard), watch(&wake_ups, ShardId::from_u128(2))];
        assert_eq!(kept(), 2);
        drop(watches);
        assert_eq!(kept(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn polling_backs_off_and_starts_over_when_something_happens() {
        let wake_ups = Arc::new(WakeUps::polling(Arc::default()));
        let shard = ShardId::from_u128(1);
        let mut watch = watch(&wake_ups, shard);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let start = tokio::time::Instant::now();
            watch.changed().await;
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

    #[tokio::test]
    async fn a_vague_signal_is_not_hidden_by_a_later_clear_one() {
        let wake_ups = Arc::new(WakeUps::in_process(Arc::default()));
        let shard = ShardId::from_u128(1);
        let mut watch = watch(&wake_ups, shard);
        wake_ups.wake(shard, SeqNo(7));
        wake_ups.wake(shard, SeqNo(6));
        assert_eq!(watch.changed().await, Some(SeqNo(7)));
        wake_ups.signals.wake_all();
        wake_ups.wake(shard, SeqNo(7));
        assert_eq!(watch.changed().await, None);
        assert_eq!(watch.changed().now_or_never(), None);
    }
}
