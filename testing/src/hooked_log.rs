//! A log with a hook: what is asked of it goes through one function, which says what becomes of it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use timely_persist_io::store::{CompareAndSet, Consensus, LogEntry, LogError, LogWatch};
use timely_persist_types::ids::{SeqNo, ShardId};

/// What is asked of a log: each variant is the method of [`Consensus`] that it names, with its arguments.
#[derive(Clone, Debug)]
pub enum LogRequest {
    /// `head`, answered by [`LogAnswer::Head`].
    Head,
    /// `scan`, answered by [`LogAnswer::Entries`].
    Scan(SeqNo, usize),
    /// `compare_and_set`, answered by [`LogAnswer::Set`].
    CompareAndSet(SeqNo, Bytes),
    /// `truncate`, answered by [`LogAnswer::Truncated`].
    Truncate(SeqNo),
}

/// What a log answers.
#[derive(Clone, Debug)]
pub enum LogAnswer {
    /// The newest entry.
    Head(Option<LogEntry>),
    /// Entries.
    Entries(Vec<LogEntry>),
    /// What became of a compare-and-set.
    Set(CompareAndSet),
    /// How many entries a truncation found.
    Truncated(usize),
}

impl LogRequest {
    /// Asks `log`.
    pub async fn send(self, log: &dyn Consensus, shard: ShardId) -> Result<LogAnswer, LogError> {
        Ok(match self {
            Self::Head => LogAnswer::Head(log.head(shard).await?),
            Self::Scan(from, limit) => LogAnswer::Entries(log.scan(shard, from, limit).await?),
            Self::CompareAndSet(expected, data) => LogAnswer::Set(log.compare_and_set(shard, expected, data).await?),
            Self::Truncate(below) => LogAnswer::Truncated(log.truncate(shard, below).await?),
        })
    }
}

/// What becomes of the requests to a [`HookedLog`].
#[async_trait]
pub trait LogHook: fmt::Debug + Send + Sync {
    /// Answers `request`: asks `log` before, after or instead of what it does itself. An answer to something else is an
    /// error to whoever asked. Cancelling is the caller's, at any await.
    async fn ask(&self, log: &Arc<dyn Consensus>, shard: ShardId, request: LogRequest) -> Result<LogAnswer, LogError>;

    /// Hears that a watch begins. Watches are those of the log below.
    fn watched(&self) {}
}

/// A log whose hook decides what becomes of each request.
#[derive(Clone, Debug)]
pub struct HookedLog<H> {
    log: Arc<dyn Consensus>,
    pub(crate) hook: H,
}

impl<H: LogHook> HookedLog<H> {
    /// `log` with this hook.
    pub fn with_hook(log: Arc<dyn Consensus>, hook: H) -> Self {
        Self { log, hook }
    }
}

macro_rules! answer {
    ($hooked:ident, $shard:ident, $request:expr, $kind:path) => {
        match $hooked.hook.ask(&$hooked.log, $shard, $request).await? {
            $kind(answer) => Ok(answer),
            _ => Err(LogError::unknown("the hook answers something else")),
        }
    };
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<H: LogHook> Consensus for HookedLog<H> {
    async fn head(&self, shard: ShardId) -> Result<Option<LogEntry>, LogError> {
        answer!(self, shard, LogRequest::Head, LogAnswer::Head)
    }

    async fn scan(&self, shard: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        answer!(self, shard, LogRequest::Scan(from, limit), LogAnswer::Entries)
    }

    async fn compare_and_set(&self, shard: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        answer!(self, shard, LogRequest::CompareAndSet(expected, data), LogAnswer::Set)
    }

    async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<usize, LogError> {
        answer!(self, shard, LogRequest::Truncate(below), LogAnswer::Truncated)
    }

    fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        self.hook.watched();
        self.log.watch(shard)
    }

    fn late(&self) -> Option<String> {
        self.log.late()
    }
}
