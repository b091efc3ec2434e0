//! A recorder that keeps everything it is told, and what that adds up to.

use std::sync::Mutex;

use timely_persist::record::{
    BatchAppended, Committed, Deleted, Fetched, LeaksSwept, Listed, LogOperation, LogOutcome, LogRequest, MergeOutcome,
    Merged, ReaderExpired, ReaderOpened, Recorder, Renewed, RollupWritten, Stalled, Stored, Swept, Uncommitted,
};
use timely_persist::{ShardId, ShardInfo};
use timely_persist_testing::{LogCounts, OperationCounts};

/// What was told, in order, by kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    pub appended: Vec<BatchAppended>,
    pub committed: Vec<Committed>,
    pub refused: Vec<Uncommitted>,
    pub gave_up: Vec<Uncommitted>,
    pub log_requests: Vec<LogRequest>,
    pub fetched: Vec<Fetched>,
    pub stored: Vec<Stored>,
    pub deleted: Vec<Deleted>,
    pub listed: Vec<Listed>,
    pub merged: Vec<Merged>,
    pub swept: Vec<Swept>,
    pub leaks_swept: Vec<LeaksSwept>,
    pub rollups_written: Vec<RollupWritten>,
    pub readers_opened: Vec<ReaderOpened>,
    pub readers_expired: Vec<ReaderExpired>,
    pub renewed: Vec<Renewed>,
    pub stalled: Vec<Stalled>,
}

/// Keeps what it is told of one shard.
#[derive(Debug, Default)]
pub struct Told(Mutex<Facts>);

impl Told {
    pub fn facts(&self) -> Facts {
        self.0.lock().unwrap().clone()
    }

    /// What was told since this was asked last.
    pub fn take(&self) -> Facts {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn keep(&self, shard: ShardId, keep: impl FnOnce(&mut Facts)) {
        assert_eq!(shard, ShardId::from_u128(1), "the shard that the tests are about");
        keep(&mut self.0.lock().unwrap());
    }
}

impl Recorder for Told {
    fn appended(&self, shard: ShardId, fact: &BatchAppended) {
        self.keep(shard, |facts| facts.appended.push(*fact));
    }

    fn committed(&self, shard: ShardId, fact: &Committed) {
        self.keep(shard, |facts| facts.committed.push(fact.clone()));
    }

    fn refused(&self, shard: ShardId, fact: &Uncommitted) {
        self.keep(shard, |facts| facts.refused.push(fact.clone()));
    }

    fn gave_up(&self, shard: ShardId, fact: &Uncommitted) {
        self.keep(shard, |facts| facts.gave_up.push(fact.clone()));
    }

    fn log_request(&self, shard: ShardId, fact: &LogRequest) {
        self.keep(shard, |facts| facts.log_requests.push(*fact));
    }

    fn fetched(&self, shard: ShardId, fact: &Fetched) {
        self.keep(shard, |facts| facts.fetched.push(*fact));
    }

    fn stored(&self, shard: ShardId, fact: &Stored) {
        self.keep(shard, |facts| facts.stored.push(*fact));
    }

    fn deleted(&self, shard: ShardId, fact: &Deleted) {
        self.keep(shard, |facts| facts.deleted.push(*fact));
    }

    fn listed(&self, shard: ShardId, fact: &Listed) {
        self.keep(shard, |facts| facts.listed.push(*fact));
    }

    fn merged(&self, shard: ShardId, fact: &Merged) {
        self.keep(shard, |facts| facts.merged.push(*fact));
    }

    fn swept(&self, shard: ShardId, fact: &Swept) {
        self.keep(shard, |facts| facts.swept.push(*fact));
    }

    fn leaks_swept(&self, shard: ShardId, fact: &LeaksSwept) {
        self.keep(shard, |facts| facts.leaks_swept.push(*fact));
    }

    fn rollup_written(&self, shard: ShardId, fact: &RollupWritten) {
        self.keep(shard, |facts| facts.rollups_written.push(*fact));
    }

    fn reader_opened(&self, shard: ShardId, fact: &ReaderOpened) {
        self.keep(shard, |facts| facts.readers_opened.push(*fact));
    }

    fn reader_expired(&self, shard: ShardId, fact: &ReaderExpired) {
        self.keep(shard, |facts| facts.readers_expired.push(*fact));
    }

    fn renewed(&self, shard: ShardId, fact: &Renewed) {
        self.keep(shard, |facts| facts.renewed.push(*fact));
    }

    fn stalled(&self, shard: ShardId, fact: &Stalled) {
        self.keep(shard, |facts| facts.stalled.push(*fact));
    }
}

impl Facts {
    /// The log's requests, as one counts them who stands between the library and the log.
    pub fn log_counts(&self) -> LogCounts {
        let mut counts = LogCounts::default();
        for request in &self.log_requests {
            match request.operation {
                LogOperation::Head => counts.heads += 1,
                LogOperation::Scan => counts.scans += 1,
                LogOperation::CompareAndSet => counts.compare_and_sets += 1,
                LogOperation::Truncate => counts.truncates += 1,
                other => panic!("{other:?} is not counted"),
            }
            match (request.operation, request.outcome) {
                (LogOperation::Head | LogOperation::Scan, LogOutcome::Answered) => {
                    counts.entries_read += request.entries;
                    counts.bytes_read += request.bytes;
                }
                (LogOperation::CompareAndSet, LogOutcome::Answered) => {
                    counts.committed += request.entries;
                    counts.bytes_committed += request.bytes;
                }
                (LogOperation::Truncate, LogOutcome::Answered) => counts.entries_truncated += request.entries,
                (LogOperation::CompareAndSet, LogOutcome::Conflict) => counts.conflicts += 1,
                (_, LogOutcome::Failed) => counts.errors += 1,
                other => panic!("{other:?} is not counted"),
            }
        }
        counts
    }

    /// The compare-and-sets that commits account for.
    pub fn tries(&self) -> u64 {
        let committed = self.committed.iter().map(|fact| fact.tries);
        committed.chain(self.refused.iter().chain(&self.gave_up).map(|fact| fact.tries)).sum()
    }

    /// The store's requests, as one counts them who stands between the library and the store.
    pub fn object_counts(&self) -> OperationCounts {
        OperationCounts {
            puts: self.stored.iter().map(|fact| fact.tries).sum(),
            bytes_written: self.stored.iter().map(|fact| fact.tries * fact.bytes).sum(),
            gets: self.fetched.iter().map(|fact| fact.tries).sum(),
            bytes_read: self.fetched.iter().filter(|fact| !fact.cached).map(|fact| fact.bytes).sum(),
            deletes: self.deleted.iter().map(|fact| fact.tries).sum(),
            lists: self.listed.len() as u64,
            objects_listed: self.listed.iter().map(|fact| fact.objects).sum(),
            ..OperationCounts::default()
        }
    }

    /// The parts, rows and bytes that all this comes to in the shard.
    pub fn contents(&self) -> [u64; 3] {
        let mut sums = [0; 3];
        for BatchAppended { parts, rows, bytes, .. } in &self.appended {
            sums = add(sums, [*parts, *rows, *bytes]);
        }
        for merged in self.merged.iter().filter(|merged| merged.outcome == MergeOutcome::Replaced) {
            sums = add(sums, [merged.parts_out, merged.rows_out, merged.bytes_out]);
            let gone = [merged.parts_in, merged.rows_in, merged.bytes_in];
            sums = std::array::from_fn(|index| sums[index] - gone[index]);
        }
        sums
    }
}

fn add(sums: [u64; 3], more: [u64; 3]) -> [u64; 3] {
    std::array::from_fn(|index| sums[index] + more[index])
}

/// The parts, rows and bytes that a shard says it has.
pub fn contents(info: &ShardInfo<u64>) -> [u64; 3] {
    [info.parts, info.rows, info.bytes]
}
