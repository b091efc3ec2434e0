//! Logs to run tests on, besides those of the library.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use timely_persist::clock::Entropy;
use timely_persist::store::{CompareAndSet, Consensus, LogEntry, LogError, LogWatch};
use timely_persist::{SeqNo, ShardId};

/// Asks the one log, then the other, in turn: as two processes would that share storage.
#[derive(Debug)]
pub struct InTurn {
    logs: [Arc<dyn Consensus>; 2],
    asked: AtomicUsize,
}

impl InTurn {
    pub fn new(logs: [Arc<dyn Consensus>; 2]) -> Self {
        Self { logs, asked: AtomicUsize::new(0) }
    }

    fn next(&self) -> &dyn Consensus {
        &*self.logs[self.asked.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

#[async_trait]
impl Consensus for InTurn {
    async fn head(&self, shard: ShardId) -> Result<Option<LogEntry>, LogError> {
        self.next().head(shard).await
    }

    async fn scan(&self, shard: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        self.next().scan(shard, from, limit).await
    }

    async fn compare_and_set(&self, shard: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        self.next().compare_and_set(shard, expected, data).await
    }

    async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<usize, LogError> {
        self.next().truncate(shard, below).await
    }

    fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        self.next().watch(shard)
    }
}

/// Asks again after every error, with the same bytes: as a machine above an unreliable log does.
#[derive(Debug)]
pub struct Insistent(pub Arc<dyn Consensus>);

/// Errors that an [`Insistent`] log bears in a row.
const ERRORS_MAX: u32 = 100;

macro_rules! insist {
    ($question:expr) => {{
        let mut errors = 0;
        loop {
            match $question.await {
                Err(_) if errors < ERRORS_MAX => errors += 1,
                answer => break answer,
            }
        }
    }};
}

#[async_trait]
impl Consensus for Insistent {
    async fn head(&self, shard: ShardId) -> Result<Option<LogEntry>, LogError> {
        insist!(self.0.head(shard))
    }

    async fn scan(&self, shard: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        insist!(self.0.scan(shard, from, limit))
    }

    async fn compare_and_set(&self, shard: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        insist!(self.0.compare_and_set(shard, expected, data.clone()))
    }

    async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<usize, LogError> {
        insist!(self.0.truncate(shard, below))
    }

    fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        self.0.watch(shard)
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
