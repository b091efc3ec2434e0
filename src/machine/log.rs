//! The log as the machines see it: [`Consensus`] with a deadline for each request, and for each question as a whole.
//!
//! Always: a question is asked until it is answered or its time is over, and twice does no harm; a log that is damaged is
//! not asked again. Only a machine writes, and truncates.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::error::Elapsed;
use tokio::time::{timeout, timeout_at};

use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::ids::{SeqNo, ShardId};
use crate::life::Retry;
use crate::store::{CompareAndSet, Consensus, Damage, LogEntry, LogError, LogWatch};

/// The logs of a client's shards.
#[derive(Debug)]
pub struct Log {
    consensus: Arc<dyn Consensus>,
    /// For one request.
    request_limit: Duration,
    /// For a truncation, which may be many.
    truncation_limit: Duration,
    scan_entries_max: usize,
}

/// Nobody need do anything while the store answers again before long.
const BY_ITSELF: &str = "upkeep tries it again by itself";

impl Log {
    /// The logs that lie there.
    pub fn new(consensus: Arc<dyn Consensus>, config: &Config) -> Self {
        let (request_limit, truncation_limit) = (config.log_request_deadline, config.store_deadline);
        Self { consensus, request_limit, truncation_limit, scan_entries_max: config.scan_entries_max }
    }

    /// Why what others write is heard of later than usual, if it is.
    pub(super) fn late(&self) -> Option<String> {
        self.consensus.late()
    }

    /// A wake-up for changes of a log.
    pub(super) fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        self.consensus.watch(shard)
    }

    /// The newest entry; `None` for a log that was never written to.
    pub(super) async fn head(&self, shard: ShardId, retry: &mut Retry<'_>) -> Result<Option<LogEntry>, Error> {
        self.ask(retry, || self.consensus.head(shard)).await
    }

    /// Entries behind a position, and whether there may be more.
    pub(super) async fn scan(
        &self,
        shard: ShardId,
        behind: SeqNo,
        retry: &mut Retry<'_>,
    ) -> Result<(Vec<LogEntry>, bool), Error> {
        let limit = self.scan_entries_max;
        let entries = self.ask(retry, || self.consensus.scan(shard, behind.next(), limit)).await?;
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
        let entries = self.ask(retry, || self.consensus.scan(shard, seqno, 1)).await?;
        Ok(entries.into_iter().next())
    }

    /// The same, asked once.
    pub(super) async fn entry_now(
        &self,
        shard: ShardId,
        seqno: SeqNo,
        retry: &Retry<'_>,
    ) -> Result<Option<LogEntry>, LogError> {
        let request = self.consensus.scan(shard, seqno, 1);
        let answered = timeout_at(retry.request_deadline(self.request_limit), request).await;
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
        let request = self.consensus.compare_and_set(shard, expected, bytes);
        timeout_at(retry.request_deadline(self.request_limit), request).await
    }

    /// Removes the entries below a position. Cancelling, and an error, leave some or all of them there.
    pub(super) async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<(), Error> {
        let truncated = timeout(self.truncation_limit, self.consensus.truncate(shard, below)).await;
        let failed = |what| Error::unavailable(what).advise(BY_ITSELF);
        match truncated {
            Ok(Ok(_count)) => Ok(()),
            Ok(Err(error)) if error.damaged.is_some() => Err(damaged(error)),
            Ok(Err(error)) => Err(failed("the log could not be truncated").because(error)),
            Err(_elapsed) => Err(failed("truncating the log took too long")),
        }
    }

    /// Asks the log until it answers or the deadline has passed. Only for questions: asking twice does no harm.
    async fn ask<R, F>(&self, retry: &mut Retry<'_>, mut question: impl FnMut() -> F) -> Result<R, Error>
    where
        F: Future<Output = Result<R, LogError>>,
    {
        let mut error = None; // the last that was told: a request that the deadline cuts off says nothing
        loop {
            match timeout_at(retry.request_deadline(self.request_limit), question()).await {
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
