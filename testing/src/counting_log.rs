//! A log that counts what is asked of it: for tests, benchmarks and whoever wants to know what a shard costs.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use timely_persist_io::life::lock;
use timely_persist_io::store::{CompareAndSet, Consensus, LogEntry, LogError, LogWatch};
use timely_persist_types::ids::{SeqNo, ShardId};

/// How often each operation was asked for, since the log was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogCounts {
    /// Heads read.
    pub heads: u64,
    /// Scans.
    pub scans: u64,
    /// Entries that heads and scans returned.
    pub entries_read: u64,
    /// Bytes of those entries.
    pub bytes_read: u64,
    /// Compare-and-sets, whatever their outcome.
    pub compare_and_sets: u64,
    /// Those that were committed.
    pub committed: u64,
    /// Those that met a conflict.
    pub conflicts: u64,
    /// Bytes of the entries committed.
    pub bytes_committed: u64,
    /// Truncations.
    pub truncates: u64,
    /// Entries that truncations removed.
    pub entries_truncated: u64,
    /// Watches begun.
    pub watches: u64,
    /// Operations that ended in an error.
    pub errors: u64,
}

/// The decorator. Clones count together.
#[derive(Clone, Debug)]
pub struct CountingLog {
    log: Arc<dyn Consensus>,
    counts: Arc<Mutex<LogCounts>>,
}

impl CountingLog {
    /// Counts what is asked of `log` from here on.
    pub fn new(log: Arc<dyn Consensus>) -> Self {
        Self { log, counts: Arc::default() }
    }

    /// What was counted so far.
    pub fn counts(&self) -> LogCounts {
        *lock(&self.counts)
    }

    fn count(&self, count: impl FnOnce(&mut LogCounts)) {
        count(&mut lock(&self.counts));
    }

    fn settle<R>(&self, result: Result<R, LogError>, count: impl FnOnce(&mut LogCounts, &R)) -> Result<R, LogError> {
        self.count(|counts| match &result {
            Ok(answer) => count(counts, answer),
            Err(_) => counts.errors += 1,
        });
        result
    }
}

#[async_trait]
impl Consensus for CountingLog {
    async fn head(&self, shard: ShardId) -> Result<Option<LogEntry>, LogError> {
        self.count(|counts| counts.heads += 1);
        self.settle(self.log.head(shard).await, |counts, head| counts.add_read(head.as_slice()))
    }

    async fn scan(&self, shard: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        self.count(|counts| counts.scans += 1);
        self.settle(self.log.scan(shard, from, limit).await, |counts, entries| counts.add_read(entries))
    }

    async fn compare_and_set(&self, shard: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        self.count(|counts| counts.compare_and_sets += 1);
        let bytes = data.len() as u64;
        self.settle(self.log.compare_and_set(shard, expected, data).await, |counts, outcome| match outcome {
            CompareAndSet::Committed => {
                counts.committed += 1;
                counts.bytes_committed += bytes;
            }
            CompareAndSet::Conflict => counts.conflicts += 1,
        })
    }

    async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<usize, LogError> {
        self.count(|counts| counts.truncates += 1);
        self.settle(self.log.truncate(shard, below).await, |counts, found| counts.entries_truncated += *found as u64)
    }

    fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        self.count(|counts| counts.watches += 1);
        self.log.watch(shard)
    }

    fn late(&self) -> Option<String> {
        self.log.late()
    }
}

impl LogCounts {
    fn add_read(&mut self, entries: &[LogEntry]) {
        self.entries_read += entries.len() as u64;
        self.bytes_read += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
    }
}
