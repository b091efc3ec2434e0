//! The contract of a shard's log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;

use timely_persist_types::ids::{SeqNo, ShardId};

/// An entry of a log with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands.
    pub seqno: SeqNo,
    /// What was written there, byte for byte.
    pub data: Bytes,
}

/// What became of a compare-and-set, where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareAndSet {
    /// The entry stands in the log, for ever or until it is truncated, and this call (or an earlier one with the same
    /// bytes) put it there.
    Committed,
    /// The entry is not in the log and will not be: another entry stands at its position, or the position is truncated.
    Conflict,
}

/// How a log is not what was written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// An entry is gone, or the log went back.
    Missing,
    /// Something else stands in its place.
    Corrupt,
}

/// Why a log did not answer.
#[derive(Debug)]
pub struct LogError {
    /// Whether the operation may have taken effect, or may still do so. `false` promises that it did not and will not.
    pub may_have_happened: bool,
    /// How the log is not what was written there, if it is not. Asking again is no use, and nothing may be written behind it
    /// or deleted because of what it says.
    pub damaged: Option<Damage>,
    /// What was being done, to which object, and what to do about it. No credentials.
    pub message: String,
    /// What caused it.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl LogError {
    /// The operation had no effect and will have none.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { may_have_happened: false, damaged: None, message: message.into(), source: None }
    }

    /// The operation may have taken effect, or may still do so.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { may_have_happened: true, ..Self::failed(message) }
    }

    /// The operation had no effect, because the log is not what was written there.
    pub fn damaged(message: impl Into<String>) -> Self {
        Self { damaged: Some(Damage::Corrupt), ..Self::failed(message) }
    }

    /// The entry at `missing` is not there, although the log is known to reach to `known`, or once did.
    pub fn missing(missing: SeqNo, known: SeqNo) -> Self {
        let message = match known > missing {
            true => format!("log entry {} is missing, although the log goes on to {}", missing.0, known.0),
            false => format!("log entry {} is missing, although it was written", missing.0),
        };
        Self { damaged: Some(Damage::Missing), ..Self::failed(message) }
    }

    /// The same error, keeping what caused it.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.may_have_happened { f.write_str(" (it may have happened)") } else { Ok(()) }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// A durable log per shard, extended by compare-and-set.
///
/// # Contract
///
/// *Dense.* The entries of a shard stand at consecutive positions. The first is [`SeqNo`] 1; a log that was never
/// written to has its head at [`SeqNo::ZERO`] and no entry.
///
/// *One winner.* At most one entry is ever committed at a position, also when the position has been truncated since:
/// a caller that stalls between reading the head and writing behind it is never told `Committed`, however long it
/// stalls. It is told `Conflict`, or, where the log has forgotten who won there, that it may have happened.
///
/// *Linearizable.* A commit that was acknowledged is seen by every later `head` and `scan`, from any process. An entry
/// once seen is seen again, with the same bytes, until it is truncated.
///
/// *The head stays.* Truncation never removes the newest entry, so `head` always answers.
///
/// *Unknown is not no.* [`LogError::may_have_happened`] tells a failed write that may still land from one that cannot.
/// The caller settles the first by reading the position back; entries are unique (each carries a token), so equal bytes
/// mean the same attempt. Where the position is truncated meanwhile, the state that follows from the log tells, if it
/// keeps the tokens of recent commands.
///
/// *Cancelling* any of these futures leaves the operation done, not done, or still to happen: as a lost answer would.
///
/// *What is lost is said.* Where an implementation knows of a position that was written and not truncated, and finds
/// nothing there, it answers [`LogError::missing`], and neither that the log ends there nor that it is free.
///
/// *Deadlines and retries* are the caller's; an implementation retries only what cannot double an effect.
#[async_trait]
pub trait Consensus: fmt::Debug + Send + Sync {
    /// The newest entry; `None` for a log that was never written to.
    async fn head(&self, shard: ShardId) -> Result<Option<LogEntry>, LogError>;

    /// The entries at `from` and behind it, in order and without a gap, at most `limit` (0 counts as 1).
    ///
    /// Fewer than `limit` entries, or none, say that the log ended there at some moment of the call. If `from` was
    /// truncated, the answer begins at a later position: the caller compares the first position with `from`, and reads
    /// a rollup if they differ. A `from` of [`SeqNo::ZERO`] stands for the first position.
    async fn scan(&self, shard: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError>;

    /// Writes `data` at the position after `expected` if the head stands at `expected`; a head before it or behind it
    /// is a `Conflict`. Where the entry after `expected` already equals `data`, the answer is `Committed`: an earlier
    /// attempt, or a retry below this layer, put it there.
    async fn compare_and_set(&self, shard: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError>;

    /// Removes the entries below `below`, the head excepted, and returns how many it found. Repeating it, or lowering
    /// `below`, does no harm. Interrupted, it has removed none, some or all of them, nobody reads what it left, and the
    /// next truncation removes the rest.
    async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<usize, LogError>;

    /// A wake-up for changes of the shard's log. It may come for nothing and may be lost: whoever waits also looks by
    /// itself from time to time. It costs nothing while nobody waits.
    fn watch(&self, shard: ShardId) -> Box<dyn LogWatch>;

    /// Why watches wake later now than they would if all was well: something that the system is short of. `None` where
    /// they do as well as this log can.
    fn late(&self) -> Option<String> {
        None
    }
}

/// Tells that a log may have grown.
pub trait LogWatch: Send {
    /// Resolves when the log may have grown since the last call returned (or since `watch`), with a position that is
    /// known to be in the log if one is: a waiter that is there already need not look. Cancelling loses nothing. May
    /// never resolve where the implementation has no means to know.
    fn changed(&mut self) -> BoxFuture<'_, Option<SeqNo>>;

    /// From now on, positions up to the one in `known` need not wake the waiter: it writes them itself, and knows what
    /// became of them. An implementation may leave it at that, and wake too often.
    fn ignore(&mut self, known: Arc<AtomicU64>) {
        drop(known);
    }
}

#[async_trait]
impl<C: Consensus + ?Sized> Consensus for Arc<C> {
    async fn head(&self, shard: ShardId) -> Result<Option<LogEntry>, LogError> {
        (**self).head(shard).await
    }

    async fn scan(&self, shard: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        (**self).scan(shard, from, limit).await
    }

    async fn compare_and_set(&self, shard: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        (**self).compare_and_set(shard, expected, data).await
    }

    async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<usize, LogError> {
        (**self).truncate(shard, below).await
    }

    fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        (**self).watch(shard)
    }

    fn late(&self) -> Option<String> {
        (**self).late()
    }
}
