//! A log in which things go wrong as [`Faults`] say: for tests of what is built upon logs.

use std::sync::Arc;

use async_trait::async_trait;

use timely_persist_io::store::{Consensus, LogError};
use timely_persist_types::ids::ShardId;

use crate::faults::{Faults, Operation};
use crate::hooked_log::{HookedLog, LogAnswer, LogHook, LogRequest};

/// A log with faults. Operations that a gate holds run in tasks of the current tokio runtime; they end with it, or when
/// the gate opens. Failed writes may have happened, says the error, whether they did or not. Watches are not tampered
/// with.
pub type FaultyLog = HookedLog<LogFaults>;

#[derive(Clone, Debug)]
pub struct LogFaults(Faults);

impl FaultyLog {
    /// `log` with these faults.
    pub fn new(log: Arc<dyn Consensus>, faults: Faults) -> Self {
        Self::with_hook(log, LogFaults(faults))
    }
}

#[async_trait]
impl LogHook for LogFaults {
    async fn ask(&self, log: &Arc<dyn Consensus>, shard: ShardId, request: LogRequest) -> Result<LogAnswer, LogError> {
        let (operation, failed): (_, fn(String) -> LogError) = match &request {
            LogRequest::Head => (Operation::LogHead, LogError::failed),
            LogRequest::Scan(..) => (Operation::LogScan, LogError::failed),
            LogRequest::CompareAndSet(..) => (Operation::LogCompareAndSet, LogError::unknown),
            LogRequest::Truncate(_) => (Operation::LogTruncate, LogError::unknown),
        };
        let Some(fault) = self.0.befall(operation, &shard.to_string()) else { return request.send(log, shard).await };
        let log = Arc::clone(log);
        let effect = async move { request.send(&log, shard).await };
        fault.befall(effect, |when| failed(format!("injected failure {when}"))).await
    }
}
