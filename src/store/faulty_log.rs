//! A log in which things go wrong as [`Faults`] say: for tests of what is built upon logs.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::faults::{Fault, Faults, Operation};
use crate::ids::{SeqNo, ShardId};
use crate::store::consensus::{CompareAndSet, Consensus, LogEntry, LogError, LogWatch};

/// The decorator. Operations that a gate holds run in tasks of the current tokio runtime; they end with it, or when the
/// gate opens. Failed writes may have happened, says the error, whether they did or not. Watches are not tampered with.
#[derive(Clone, Debug)]
pub struct FaultyLog {
    log: Arc<dyn Consensus>,
    faults: Faults,
}

impl FaultyLog {
    /// `log` with these faults.
    pub fn new(log: Arc<dyn Consensus>, faults: Faults) -> Self {
        Self { log, faults }
    }

    async fn run<R: Send + 'static>(
        &self,
        operation: Operation,
        shard: ShardId,
        effect: impl Future<Output = Result<R, LogError>> + Send + 'static,
    ) -> Result<R, LogError> {
        let injected = |when: &str| LogError {
            may_have_happened: matches!(operation, Operation::LogCompareAndSet | Operation::LogTruncate),
            damaged: None,
            message: format!("injected failure {when}"),
            source: None,
        };
        match self.faults.befall(operation, &shard.to_string()) {
            None => effect.await,
            Some(Fault::FailBefore | Fault::ClaimExists) => Err(injected("before its effect")),
            Some(Fault::FailAfter) => {
                effect.await?;
                Err(injected("after its effect"))
            }
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                effect.await
            }
            Some(Fault::HoldBefore(gate)) => {
                // A task of its own: what was sent to a log is not called back by whoever sent it.
                let held = tokio::spawn(async move {
                    gate.pass().await;
                    effect.await
                });
                held.await.unwrap_or_else(|gone| Err(LogError::unknown("a held operation was lost").because(gone)))
            }
            Some(Fault::HoldAfter(gate)) => {
                let result = effect.await;
                gate.pass().await;
                result
            }
        }
    }
}

#[async_trait]
impl Consensus for FaultyLog {
    async fn head(&self, shard: ShardId) -> Result<Option<LogEntry>, LogError> {
        let log = Arc::clone(&self.log);
        self.run(Operation::LogHead, shard, async move { log.head(shard).await }).await
    }

    async fn scan(&self, shard: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        let log = Arc::clone(&self.log);
        self.run(Operation::LogScan, shard, async move { log.scan(shard, from, limit).await }).await
    }

    async fn compare_and_set(&self, shard: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        let log = Arc::clone(&self.log);
        let effect = async move { log.compare_and_set(shard, expected, data).await };
        self.run(Operation::LogCompareAndSet, shard, effect).await
    }

    async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<usize, LogError> {
        let log = Arc::clone(&self.log);
        self.run(Operation::LogTruncate, shard, async move { log.truncate(shard, below).await }).await
    }

    fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        self.log.watch(shard)
    }

    fn late(&self) -> Option<String> {
        self.log.late()
    }
}
