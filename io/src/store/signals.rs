//! Who waits for which shard's log to grow, and who has told them.
//!
//! Nothing is kept for a shard nobody watches: the last subscription of a shard takes its entry along.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::life::lock;
use timely_persist_types::ids::{SeqNo, ShardId};

/// What a watch was told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// The newest position that anybody told of.
    newest: SeqNo,
    /// That something may have happened, and not what.
    vague: bool,
    /// What the watch has answered with.
    answered: SeqNo,
}

/// What one watch is told, and whom that wakes.
#[derive(Debug, Default)]
struct Slot {
    told: Mutex<Told>,
    /// Up to where the watcher needs no waking: see [`crate::store::LogWatch::ignore`].
    ignored: Mutex<Arc<AtomicU64>>,
    news: Notify,
}

impl Slot {
    fn tell(&self, tell: impl FnOnce(&mut Told) -> bool) {
        if tell(&mut lock(&self.told)) {
            self.news.notify_one();
        }
    }

    fn tell_of(&self, seqno: SeqNo) {
        let ignored = seqno.0 <= lock(&self.ignored).load(Ordering::Acquire);
        self.tell(|told| {
            let news = seqno > told.newest && !ignored;
            told.newest = seqno.max(told.newest);
            news
        });
    }

    /// What there is to answer, once.
    fn take(&self) -> Option<Option<SeqNo>> {
        let mut told = lock(&self.told);
        let known = told.newest.0 <= lock(&self.ignored).load(Ordering::Acquire);
        let vague = std::mem::take(&mut told.vague);
        let news = told.newest > told.answered && !known;
        told.answered = told.newest;
        (vague || news).then_some((!vague).then_some(told.newest))
    }
}

/// The watched shards. Whoever hears of a commit, its own or another's, tells them.
#[derive(Debug, Default)]
pub(super) struct Signals {
    shards: Mutex<HashMap<ShardId, Vec<Arc<Slot>>>>,
}

impl Signals {
    /// Wakes the watches of a shard: `seqno` is in its log. Telling it again wakes nobody.
    pub(super) fn wake(&self, shard: ShardId, seqno: SeqNo) {
        if let Some(slots) = lock(&self.shards).get(&shard) {
            slots.iter().for_each(|slot| slot.tell_of(seqno));
        }
    }

    /// Wakes all watches: something was missed.
    pub(super) fn wake_all(&self) {
        for slot in lock(&self.shards).values().flatten() {
            slot.tell(|told| {
                told.vague = true;
                true
            });
        }
    }

    /// Begins to watch a shard.
    pub(super) fn subscribe(self: &Arc<Self>, shard: ShardId) -> Subscription {
        let slot = Arc::<Slot>::default();
        lock(&self.shards).entry(shard).or_default().push(Arc::clone(&slot));
        Subscription { shard, slot, signals: Arc::clone(self) }
    }

    #[cfg(test)]
    pub(super) fn shards_watched(&self) -> usize {
        lock(&self.shards).len()
    }
}

/// One watch of a shard.
#[derive(Debug)]
pub(super) struct Subscription {
    shard: ShardId,
    slot: Arc<Slot>,
    signals: Arc<Signals>,
}

impl Subscription {
    /// See [`crate::store::LogWatch::changed`].
    pub(super) async fn changed(&mut self) -> Option<SeqNo> {
        loop {
            if let Some(news) = self.slot.take() {
                return news;
            }
            self.slot.news.notified().await;
        }
    }

    /// See [`crate::store::LogWatch::ignore`].
    pub(super) fn ignore(&mut self, known: Arc<AtomicU64>) {
        *lock(&self.slot.ignored) = known;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut shards = lock(&self.signals.shards);
        if let Some(slots) = shards.get_mut(&self.shard) {
            slots.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
            if slots.is_empty() {
                shards.remove(&self.shard);
            }
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

    #[tokio::test]
    async fn what_the_watcher_does_itself_does_not_wake_it() {
        let signals = Arc::<Signals>::default();
        let shard = ShardId::from_u128(1);
        let (mut own, mut other) = (signals.subscribe(shard), signals.subscribe(shard));
        let position = Arc::new(AtomicU64::new(7));
        own.ignore(Arc::clone(&position));
        signals.wake(shard, SeqNo(7));
        assert_eq!(own.changed().now_or_never(), None);
        assert_eq!(other.changed().await, Some(SeqNo(7)));
        signals.wake(shard, SeqNo(8));
        assert_eq!(own.changed().await, Some(SeqNo(8)));
        position.store(9, Ordering::Release);
        signals.wake_all();
        assert_eq!(own.changed().await, None, "nobody knows what this was");
    }
}
