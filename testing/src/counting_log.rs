//! A log that counts what is asked of it: for tests, benchmarks and whoever wants to know what a shard costs.

use std::sync::Arc;

use async_trait::async_trait;

use timely_persist_io::store::{CompareAndSet, Consensus, LogEntry, LogError};
use timely_persist_types::ids::ShardId;

use crate::counts::{Counter, counts};
use crate::hooked_log::{HookedLog, LogAnswer, LogHook, LogRequest};

counts! {
    /// How often each operation was asked for, since the log was made.
    LogCounts {
        /// Heads read.
        heads,
        /// Scans.
        scans,
        /// Entries that heads and scans returned.
        entries_read,
        /// Bytes of those entries.
        bytes_read,
        /// Compare-and-sets, whatever their outcome.
        compare_and_sets,
        /// Those that were committed.
        committed,
        /// Those that met a conflict.
        conflicts,
        /// Bytes of the entries committed.
        bytes_committed,
        /// Truncations.
        truncates,
        /// Entries that truncations removed.
        entries_truncated,
        /// Watches begun.
        watches,
        /// Operations that ended in an error.
        errors,
    }
}

/// A log that counts. Clones count together.
pub type CountingLog = HookedLog<Counter<LogCounts>>;

impl CountingLog {
    /// Counts what is asked of `log` from here on.
    pub fn new(log: Arc<dyn Consensus>) -> Self {
        Self::with_hook(log, Counter::default())
    }

    /// What was counted so far.
    pub fn counts(&self) -> LogCounts {
        self.hook.counts()
    }
}

#[async_trait]
impl LogHook for Counter<LogCounts> {
    async fn ask(&self, log: &Arc<dyn Consensus>, shard: ShardId, request: LogRequest) -> Result<LogAnswer, LogError> {
        let bytes = self.count(|counts| counts.add_asked(&request));
        let answer = request.send(log, shard).await;
        self.count(|counts| counts.add_answer(&answer, bytes));
        answer
    }

    fn watched(&self) {
        self.count(|counts| counts.watches += 1);
    }
}

impl LogCounts {
    /// Returns the bytes that the request writes.
    fn add_asked(&mut self, request: &LogRequest) -> u64 {
        let (kind, bytes) = match request {
            LogRequest::Head => (&mut self.heads, 0),
            LogRequest::Scan(..) => (&mut self.scans, 0),
            LogRequest::CompareAndSet(_, data) => (&mut self.compare_and_sets, data.len()),
            LogRequest::Truncate(_) => (&mut self.truncates, 0),
        };
        *kind += 1;
        bytes as u64
    }

    fn add_answer(&mut self, answer: &Result<LogAnswer, LogError>, bytes: u64) {
        match answer {
            Ok(LogAnswer::Head(head)) => self.add_read(head.as_slice()),
            Ok(LogAnswer::Entries(entries)) => self.add_read(entries),
            Ok(LogAnswer::Set(CompareAndSet::Committed)) => {
                self.committed += 1;
                self.bytes_committed += bytes;
            }
            Ok(LogAnswer::Set(CompareAndSet::Conflict)) => self.conflicts += 1,
            Ok(LogAnswer::Truncated(found)) => self.entries_truncated += *found as u64,
            Err(_) => self.errors += 1,
        }
    }

    fn add_read(&mut self, entries: &[LogEntry]) {
        self.entries_read += entries.len() as u64;
        self.bytes_read += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
    }
}
