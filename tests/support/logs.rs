//! Logs to run tests on, besides those of the library.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use timely_persist::ShardId;
use timely_persist::clock::Entropy;
use timely_persist::store::{Consensus, LogError};
use timely_persist_testing::{HookedLog, LogAnswer, LogHook, LogRequest};

/// Asks the one log, then the other, in turn: as two processes would that share storage.
#[derive(Debug)]
pub struct InTurn {
    other: Arc<dyn Consensus>,
    asked: AtomicUsize,
}

impl InTurn {
    pub fn logs([log, other]: [Arc<dyn Consensus>; 2]) -> HookedLog<Self> {
        HookedLog::with_hook(log, Self { other, asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl LogHook for InTurn {
    async fn ask(&self, log: &Arc<dyn Consensus>, shard: ShardId, request: LogRequest) -> Result<LogAnswer, LogError> {
        let is_turn = self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        request.send(if is_turn { log } else { &self.other }, shard).await
    }
}

/// Asks again after every error, with the same bytes: as a machine above an unreliable log does.
#[derive(Debug)]
pub struct Insistent;

/// Errors that an [`Insistent`] log bears in a row.
const ERRORS_MAX: u32 = 100;

#[async_trait]
impl LogHook for Insistent {
    async fn ask(&self, log: &Arc<dyn Consensus>, shard: ShardId, request: LogRequest) -> Result<LogAnswer, LogError> {
        for _ in 0..ERRORS_MAX {
            if let Ok(answer) = request.clone().send(log, shard).await {
                return Ok(answer);
            }
        }
        request.send(log, shard).await
    }
}

/// Bits that follow from a seed (SplitMix64).
#[derive(Debug)]
pub struct Seeded(AtomicU64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn word(&self) -> u64 {
        let mut word = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

impl Entropy for Seeded {
    fn bits(&self) -> u128 {
        u128::from(self.word()) << 64 | u128::from(self.word())
    }
}
