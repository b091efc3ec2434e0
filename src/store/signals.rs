//! Who waits for which shard's log to grow, and who has told them.
//!
//! Nothing is kept for a shard nobody watches: the last subscription of a shard takes its entry along.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::ids::{SeqNo, ShardId};

/// What the watches of a shard are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signal {
    /// The newest position that anybody told of.
    newest: SeqNo,
    /// How often it was told that something may have happened, and not what.
    vague: u64,
}

/// The watched shards. Whoever hears of a commit, its own or another's, tells them.
#[derive(Debug, Default)]
pub(super) struct Signals {
    shards: Mutex<HashMap<ShardId, watch::Sender<Signal>>>,
}

impl Signals {
    /// Wakes the watches of a shard: `seqno` is in its log. Telling it again wakes nobody.
    pub(super) fn wake(&self, shard: ShardId, seqno: SeqNo) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = shards.get(&shard) {
            sender.send_if_modified(|signal| {
                let news = seqno > signal.newest;
                signal.newest = seqno.max(signal.newest);
                news
            });
        }
    }

    /// Wakes all watches: something was missed.
    pub(super) fn wake_all(&self) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in shards.values() {
            sender.send_modify(|signal| signal.vague += 1);
        }
    }

    /// Begins to watch a shard.
    pub(super) fn subscribe(self: &Arc<Self>, shard: ShardId) -> Subscription {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = shards.entry(shard).or_insert_with(|| watch::Sender::new(Signal::default()));
        let receiver = sender.subscribe();
        let vague = receiver.borrow().vague;
        Subscription { shard, vague, receiver: Some(receiver), signals: Arc::clone(self) }
    }

    #[cfg(test)]
    pub(super) fn shards_watched(&self) -> usize {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// One watch of a shard.
#[derive(Debug)]
pub(super) struct Subscription {
    shard: ShardId,
    /// The vague signals that were answered.
    vague: u64,
    /// `None` only while being dropped.
    receiver: Option<watch::Receiver<Signal>>,
    signals: Arc<Signals>,
}

impl Subscription {
    /// See [`crate::store::LogWatch::changed`].
    pub(super) async fn changed(&mut self) -> Option<SeqNo> {
        let receiver = self.receiver.as_mut()?;
        // The sender lives as long as a receiver is subscribed, so this does not fail.
        let _ = receiver.changed().await;
        let signal = *receiver.borrow_and_update();
        let named = signal.vague == self.vague;
        self.vague = signal.vague;
        named.then_some(signal.newest)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut shards = self.signals.shards.lock().unwrap_or_else(PoisonError::into_inner);
        self.receiver = None;
        if shards.get(&self.shard).is_some_and(|sender| sender.receiver_count() == 0) {
            shards.remove(&self.shard);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn nothing_is_kept_for_a_shard_nobody_watches() {
        let signals = Arc::<Signals>::default();
        let shard = ShardId::from_u128(1);
        signals.wake(shard, SeqNo(1));
        assert_eq!(signals.shards_watched(), 0);
        let watches = [signals.subscribe(shard), signals.subscribe(shard), signals.subscribe(ShardId::from_u128(2))];
        assert_eq!(signals.shards_watched(), 2);
        drop(watches);
        assert_eq!(signals.shards_watched(), 0);
    }

    #[tokio::test]
    async fn what_was_told_is_not_told_again_and_a_vague_signal_is_not_hidden() {
        let signals = Arc::<Signals>::default();
        let shard = ShardId::from_u128(1);
        let mut watch = signals.subscribe(shard);
        signals.wake(shard, SeqNo(7));
        signals.wake(shard, SeqNo(6));
        assert_eq!(watch.changed().await, Some(SeqNo(7)));
        signals.wake(shard, SeqNo(7));
        assert_eq!(watch.changed().now_or_never(), None);
        signals.wake_all();
        signals.wake(shard, SeqNo(8));
        assert_eq!(watch.changed().await, None);
        assert_eq!(watch.changed().now_or_never(), None);
    }
}
