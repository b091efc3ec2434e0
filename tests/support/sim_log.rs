//! A log as a database keeps it: a table whose rows are written under a lock, and which does not read back for anybody.
//! What is lost on the way to it and back is for the machine to settle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use timely_persist::store::{CompareAndSet, Consensus, LogEntry, LogError, LogWatch};
use timely_persist::{SeqNo, ShardId};

use crate::sim_store::Way;

/// The rows of one shard's log, and how many were ever truncated.
#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<SeqNo, Bytes>,
}

/// Who hears what happens in the table.
pub trait Watcher: std::fmt::Debug + Send + Sync {
    fn entry(&self, seqno: SeqNo, data: &Bytes);
    fn truncated(&self, below: SeqNo);
}

/// One process's way to the table.
#[derive(Clone, Debug)]
pub struct SimLog {
    table: Arc<Mutex<Table>>,
    watcher: Arc<dyn Watcher>,
    way: Way,
}

impl SimLog {
    pub fn new(table: Arc<Mutex<Table>>, watcher: Arc<dyn Watcher>, way: Way) -> Self {
        Self { table, watcher, way }
    }

    async fn ask<R: Send + 'static>(
        &self,
        writes: bool,
        effect: impl FnOnce(&mut Table, &dyn Watcher) -> Result<R, LogError> + Send + 'static,
    ) -> Result<R, LogError> {
        let (table, watcher) = (Arc::clone(&self.table), Arc::clone(&self.watcher));
        let failure = |when: &str| match writes {
            true => LogError::unknown(format!("simulated failure {when}")),
            false => LogError::failed(format!("simulated failure {when}")),
        };
        self.way.run(async move { effect(&mut table.lock().unwrap(), &*watcher) }, failure).await
    }
}

impl Table {
    fn head(&self) -> SeqNo {
        self.rows.keys().next_back().copied().unwrap_or(SeqNo::ZERO)
    }

    fn compare_and_set(&mut self, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        let seqno = expected.next();
        if self.head() == expected {
            self.rows.insert(seqno, data);
            return Ok(CompareAndSet::Committed);
        }
        match self.rows.get(&seqno) {
            Some(standing) if *standing == data => Ok(CompareAndSet::Committed),
            Some(_) => Ok(CompareAndSet::Conflict),
            None if seqno > self.head() => Ok(CompareAndSet::Conflict),
            None => Err(LogError::unknown("the position is truncated, nobody knows who won it")),
        }
    }
}

#[async_trait]
impl Consensus for SimLog {
    async fn head(&self, _: ShardId) -> Result<Option<LogEntry>, LogError> {
        let newest = |table: &mut Table, _: &dyn Watcher| {
            Ok(table.rows.last_key_value().map(|(seqno, data)| LogEntry { seqno: *seqno, data: data.clone() }))
        };
        self.ask(false, newest).await
    }

    async fn scan(&self, _: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        let scan = move |table: &mut Table, _: &dyn Watcher| {
            let rows = table.rows.range(from..).take(limit.max(1));
            Ok(rows.map(|(seqno, data)| LogEntry { seqno: *seqno, data: data.clone() }).collect())
        };
        self.ask(false, scan).await
    }

    async fn compare_and_set(&self, _: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        let write = move |table: &mut Table, watcher: &dyn Watcher| {
            let created = table.head() == expected;
            let outcome = table.compare_and_set(expected, data.clone());
            if created {
                watcher.entry(expected.next(), &data);
            }
            outcome
        };
        self.ask(true, write).await
    }

    async fn truncate(&self, _: ShardId, below: SeqNo) -> Result<usize, LogError> {
        let truncate = move |table: &mut Table, watcher: &dyn Watcher| {
            let below = below.min(table.head());
            watcher.truncated(below);
            let kept = table.rows.split_off(&below);
            Ok(std::mem::replace(&mut table.rows, kept).len())
        };
        self.ask(true, truncate).await
    }

    fn watch(&self, _: ShardId) -> Box<dyn LogWatch> {
        Box::new(Silent)
    }
}

/// A watch whose wake-ups are all lost.
struct Silent;

impl LogWatch for Silent {
    fn changed(&mut self) -> BoxFuture<'_, Option<SeqNo>> {
        Box::pin(std::future::pending())
    }
}
