//! The bytes that all sources of one client may have in memory at once.
//!
//! Always: what the pool has given out is at most `config.read.inflight_bytes_max`, rounded up to a unit, and each share may
//! have one part more. So a pool that others have used up, or a part that is larger than the pool, stops nobody for ever.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What the pool counts in: a semaphore counts with 32 bits, and parts are megabytes.
const UNIT_BYTES: u64 = 1 << 10;

/// The pool of one client.
#[derive(Debug)]
pub(crate) struct InflightPool {
    units: Arc<Semaphore>,
    units_max: u32,
    /// How many hold it back.
    held_back: watch::Sender<usize>,
}

impl InflightPool {
    /// A pool of so many bytes.
    pub(crate) fn new(inflight_bytes_max: usize) -> Self {
        let units_max = units(inflight_bytes_max as u64);
        Self { units: Arc::new(Semaphore::new(units_max as usize)), units_max, held_back: watch::Sender::new(0) }
    }

    /// Gives out nothing while this lives.
    pub(crate) fn hold_back(&self) -> InflightHold {
        self.held_back.send_modify(|holds| *holds += 1);
        InflightHold { held_back: self.held_back.clone() }
    }

    /// The right of one more source to take from the pool.
    pub(crate) fn share(&self) -> InflightShare {
        let (units, held_back) = (Arc::clone(&self.units), self.held_back.subscribe());
        InflightShare { units, units_max: self.units_max, own: Arc::new(Semaphore::new(1)), held_back }
    }
}

/// The right of one source to have fetched parts in memory: one always, more where the client's pool has room.
///
/// Cloning it shares the same right.
#[derive(Clone, Debug)]
pub struct InflightShare {
    units: Arc<Semaphore>,
    units_max: u32,
    own: Arc<Semaphore>,
    held_back: watch::Receiver<usize>,
}

/// Holds back the sources of one client: while one of these lives, they fetch nothing more, and of what they have fetched
/// only what is on its way to them already comes. For an operator that stores what sources give, and is behind with it:
/// timely has no way to say so. It must not wait for what they would give next.
#[derive(Debug)]
#[must_use = "dropping it lets the sources go on"]
pub struct InflightHold {
    held_back: watch::Sender<usize>,
}

impl Drop for InflightHold {
    fn drop(&mut self) {
        self.held_back.send_modify(|holds| *holds = holds.saturating_sub(1));
    }
}

/// Bytes taken from the pool, or a share's own one part. Dropping it gives them back.
#[derive(Debug)]
pub struct InflightPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl InflightShare {
    /// Waits until nobody holds the sources back. For between the pieces of a part that is fetched already.
    pub async fn not_held_back(&self) {
        let _ = self.held_back.clone().wait_for(|holds| *holds == 0).await; // the pool is gone: nobody holds back
    }

    /// Waits until there is room for a part of so many bytes, and nobody holds the sources back. A part that is larger than
    /// the pool takes all of it.
    ///
    /// Requests are served in the order they came. Cancelling gives up the place.
    pub async fn acquire(&self, bytes: u64) -> InflightPermit {
        self.not_held_back().await;
        let wanted = units(bytes).min(self.units_max);
        let (pool, own) = (Arc::clone(&self.units), Arc::clone(&self.own));
        let permit = tokio::select! {
            biased;
            permit = pool.acquire_many_owned(wanted) => permit,
            permit = own.acquire_owned() => permit,
        };
        InflightPermit { _permit: permit.ok() } // neither is ever closed
    }
}

fn units(bytes: u64) -> u32 {
    let units = bytes.div_ceil(UNIT_BYTES).max(1);
    let units_max = Semaphore::MAX_PERMITS as u64;
    u32::try_from(units.min(units_max)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_share_has_one_part_when_the_pool_is_empty_and_even_if_it_is_too_small() {
        let pool = InflightPool::new(10 << 10);
        let (one, two) = (pool.share(), pool.share());
        let first = one.acquire(10 << 10).now_or_never();
        assert!(first.is_some());
        let second = two.acquire(1 << 30).now_or_never();
        assert!(second.is_some());
        assert!(two.acquire(1).now_or_never().is_none());
        drop(second);
        assert!(two.acquire(1).now_or_never().is_some());
        drop(first);
        let all: Vec<_> = (0..10).map(|_| two.acquire(1 << 10).now_or_never()).collect();
        assert!(all.iter().all(Option::is_some));
        let own = two.acquire(1).now_or_never();
        assert!(own.is_some() && two.acquire(1).now_or_never().is_none());
    }

    #[tokio::test]
    async fn while_somebody_holds_back_nobody_gets_anything() {
        let pool = InflightPool::new(10 << 10);
        let share = pool.share();
        let (one, other) = (pool.hold_back(), pool.hold_back());
        let waiting = tokio::spawn({
            let share = share.clone();
            async move { share.acquire(1).await }
        });
        drop(one);
        tokio::task::yield_now().await;
        assert!(share.not_held_back().now_or_never().is_none());
        assert!(share.acquire(1).now_or_never().is_none() && !waiting.is_finished());
        drop(other);
        drop(waiting.await.unwrap());
        assert!(share.acquire(1).now_or_never().is_some());
    }
}
