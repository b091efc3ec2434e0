//! The log as the machines see it: [`Consensus`] with a deadline for each request, and for each question as a whole.
//!
//! Always: a question is asked until it is answered or its time is over, and twice does no harm; a log that is damaged is
//! not asked again. Only a machine writes, and truncates.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use timely_persist_io::life::{Life, Retry, deadline_after};
use timely_persist_io::store::{CompareAndSet, Consensus, Damage, LogEntry, LogError, LogWatch};
use timely_persist_types::config::LogConfig;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::{SeqNo, ShardId};
use timely_persist_types::record::{LogOperation, LogOutcome, LogRequest};

/// The logs of a client's shards.
#[derive(Debug)]
pub(crate) struct Log {
    consensus: Arc<dyn Consensus>,
    life: Arc<Life>,
    pub(super) config: LogConfig,
    /// For a truncation, which may be many requests.
    truncation_deadline: Duration,
}

/// Nobody need do anything while the store answers again before long.
const BY_ITSELF: &str = "upkeep tries it again by itself";

impl Log {
    /// The logs that lie there.
    pub(crate) fn new(
        consensus: Arc<dyn Consensus>,
        life: Arc<Life>,
        config: LogConfig,
        truncation_deadline: Duration,
    ) -> Self {
        Self { consensus, life, config, truncation_deadline }
    }

    /// Why what others write is heard of later than usual, if it is.
    pub(super) fn late(&self) -> Option<String> {
        self.consensus.late()
    }

    /// A wake-up for changes of a log.
    pub(super) fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        self.consensus.watch(shard)
    }

    /// The tries of one commit, or of one reading to the head.
    pub(super) fn retry(&self) -> Retry<'_> {
        self.life.retry(self.config.commit_deadline)
    }

    /// The newest entry; `None` for a log that was never written to.
    pub(super) async fn head(&self, shard: ShardId, retry: &mut Retry<'_>) -> Result<Option<LogEntry>, Error> {
        let count = |head: &Option<LogEntry>| Counted::read(head.as_slice());
        self.ask(shard, LogOperation::Head, retry, || self.consensus.head(shard), count).await
    }

    /// Entries behind a position, and whether there may be more.
    pub(super) async fn scan(
        &self,
        shard: ShardId,
        behind: SeqNo,
        retry: &mut Retry<'_>,
    ) -> Result<(Vec<LogEntry>, bool), Error> {
        let limit = self.config.scan_entries_max;
        let entries = self.scan_from(shard, behind.next(), limit, retry).await?;
        let full = entries.len() >= limit;
        Ok((entries, full))
    }

    /// The entry at a position or, if that was truncated, the first behind it.
    pub(super) async fn entry(
        &self,
        shard: ShardId,
        seqno: SeqNo,
        retry: &mut Retry<'_>,
    ) -> Result<Option<LogEntry>, Error> {
        let entries = self.scan_from(shard, seqno, 1, retry).await?;
        Ok(entries.into_iter().next())
    }

    async fn scan_from(
        &self,
        shard: ShardId,
        from: SeqNo,
        limit: usize,
        retry: &mut Retry<'_>,
    ) -> Result<Vec<LogEntry>, Error> {
        let scan = || self.consensus.scan(shard, from, limit);
        self.ask(shard, LogOperation::Scan, retry, scan, |entries| Counted::read(entries)).await
    }

    /// The same, asked once.
    pub(super) async fn entry_now(
        &self,
        shard: ShardId,
        seqno: SeqNo,
        retry: &Retry<'_>,
    ) -> Result<Option<LogEntry>, LogError> {
        let (deadline, scan) =
            (retry.request_deadline(self.config.request_deadline), self.consensus.scan(shard, seqno, 1));
        let answered = self.request(shard, LogOperation::Scan, deadline, scan, |entries| Counted::read(entries)).await;
        let silent = |_elapsed| LogError::failed(format!("the log did not answer a read of {seqno}"));
        Ok(answered.map_err(silent)??.into_iter().next())
    }

    /// Writes an entry, tried once. Without an answer in time it may have happened.
    pub(super) async fn compare_and_set(
        &self,
        shard: ShardId,
        expected: SeqNo,
        bytes: Bytes,
        retry: &Retry<'_>,
    ) -> Result<Result<CompareAndSet, LogError>, Elapsed> {
        let (deadline, length) = (retry.request_deadline(self.config.request_deadline), bytes.len() as u64);
        let write = self.consensus.compare_and_set(shard, expected, bytes);
        let count = |outcome: &CompareAndSet| match outcome {
            CompareAndSet::Committed => Counted { entries: 1, bytes: length, outcome: LogOutcome::Answered },
            CompareAndSet::Conflict => Counted { entries: 0, bytes: length, outcome: LogOutcome::Conflict },
        };
        self.request(shard, LogOperation::CompareAndSet, deadline, write, count).await
    }

    /// Removes the entries below a position. Cancelling, and an error, leave some or all of them there.
    pub(super) async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<(), Error> {
        let (deadline, truncate) = (deadline_after(self.truncation_deadline), self.consensus.truncate(shard, below));
        let count = |removed: &usize| Counted { entries: *removed as u64, bytes: 0, outcome: LogOutcome::Answered };
        let truncated = self.request(shard, LogOperation::Truncate, deadline, truncate, count).await;
        let failed = |what| Error::unavailable(what).advise(BY_ITSELF);
        match truncated {
            Ok(Ok(_removed)) => Ok(()),
            Ok(Err(error)) if error.damaged.is_some() => Err(damaged(error)),
            Ok(Err(error)) => Err(failed("the log could not be truncated").because(error)),
            Err(_elapsed) => Err(failed("truncating the log took too long")),
        }
    }

    /// Asks the log until it answers or the deadline has passed. Only for questions: asking twice does no harm.
    async fn ask<R, F>(
        &self,
        shard: ShardId,
        operation: LogOperation,
        retry: &mut Retry<'_>,
        mut question: impl FnMut() -> F,
        count: impl Fn(&R) -> Counted,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<R, LogError>>,
    {
        let mut error = None; // the last that was told: a request that the deadline cuts off says nothing
        loop {
            let deadline = retry.request_deadline(self.config.request_deadline);
            match self.request(shard, operation, deadline, question(), &count).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(told)) if told.damaged.is_some() => return Err(damaged(told)),
                Ok(Err(told)) => error = Some(told),
                Err(_elapsed) => {}
            }
            if !retry.pause().await {
                let unavailable = Error::unavailable("the log could not be read");
                return Err(match error {
                    Some(error) => unavailable.because(error),
                    None => unavailable,
                });
            }
        }
    }

    /// Waits for the answer to one request, and tells of it. All that is asked of the log comes through here.
    async fn request<R>(
        &self,
        shard: ShardId,
        operation: LogOperation,
        deadline: Instant,
        request: impl Future<Output = Result<R, LogError>>,
        count: impl FnOnce(&R) -> Counted,
    ) -> Result<Result<R, LogError>, Elapsed> {
        let begun = self.life.stopwatch();
        let answered = timeout_at(deadline, request).await;
        self.life.tell(|to| {
            let Counted { entries, bytes, outcome } = match &answered {
                Ok(Ok(answer)) => count(answer),
                Ok(Err(_)) => Counted::nothing(LogOutcome::Failed),
                Err(_) => Counted::nothing(LogOutcome::Silent),
            };
            to.log_request(shard, &LogRequest { operation, outcome, entries, bytes, elapsed: begun.elapsed() });
        });
        answered
    }
}

/// What an answer of the log came to.
struct Counted {
    entries: u64,
    bytes: u64,
    outcome: LogOutcome,
}

impl Counted {
    fn read(entries: &[LogEntry]) -> Self {
        let bytes = entries.iter().map(|entry| entry.data.len() as u64).sum();
        Self { entries: entries.len() as u64, bytes, outcome: LogOutcome::Answered }
    }

    fn nothing(outcome: LogOutcome) -> Self {
        Self { entries: 0, bytes: 0, outcome }
    }
}

/// The error of an entry that is not there, although the log goes on to `known`.
pub(super) fn missing(missing: SeqNo, known: SeqNo) -> Error {
    damaged(LogError::missing(missing, known))
}

/// The error of a log that is not what was written there.
pub(super) fn damaged(error: LogError) -> Error {
    let kind = if error.damaged == Some(Damage::Missing) { ErrorKind::Missing } else { ErrorKind::Corrupt };
    Error::new(kind, error.to_string()).advise("put back what was lost; nothing is written or deleted before")
}
