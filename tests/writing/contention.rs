//! A commit that loses to other writers every time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use timely_persist::store::{CompareAndSet, LogEntry, LogError, LogWatch, ObjectLog};
use timely_persist::{Appended, Consensus, CriticalReaderId, ErrorKind, SeqNo, ShardId};
use tokio::time::Instant;

use crate::stage::{Process, Stage, Writer, at, quiet, row, within};

/// What each compare-and-set takes here.
const TRY: Duration = Duration::from_secs(1);

/// A log in which somebody else commits just before every compare-and-set.
#[derive(Debug)]
struct Overtaken {
    log: Arc<dyn Consensus>,
    rival: Process,
    writer: tokio::sync::Mutex<(Writer, u64)>,
    /// Whether the rival also truncates what it overtook, and this log says only that it may have happened.
    forgets: bool,
}

impl Overtaken {
    async fn overtake(&self) {
        let mut writer = self.writer.lock().await;
        let (writer, upper) = &mut *writer;
        for _ in 0..if self.forgets { 4 } else { 1 } {
            let appended = writer.compare_and_append(vec![], at(*upper), at(*upper + 1)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
            *upper += 1;
        }
        if self.forgets {
            self.rival.shard.settle().await.unwrap();
        }
        tokio::time::sleep(TRY).await;
    }
}

#[async_trait]
impl Consensus for Overtaken {
    async fn head(&self, shard: ShardId) -> Result<Option<LogEntry>, LogError> {
        self.log.head(shard).await
    }

    async fn scan(&self, shard: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        self.log.scan(shard, from, limit).await
    }

    async fn compare_and_set(&self, shard: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        self.overtake().await;
        match self.forgets {
            true => Err(LogError::unknown("no answer")),
            false => self.log.compare_and_set(shard, expected, data).await,
        }
    }

    async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<usize, LogError> {
        self.log.truncate(shard, below).await
    }

    fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        self.log.watch(shard)
    }
}

/// A process that is always overtaken.
async fn unlucky(stage: &Stage, forgets: bool) -> Process {
    let mut config = quiet();
    config.rollup_interval = 3;
    config.maintain = forgets;
    let rival = stage.process(config).await;
    let writer = tokio::sync::Mutex::new((rival.writer().await, 0));
    let log = Arc::new(ObjectLog::new(stage.store.clone()));
    stage.process_on(Arc::new(Overtaken { log, rival, writer, forgets }), quiet()).await
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_always_loses_ends_at_its_deadline() {
    let stage = Stage::new();
    let process = unlucky(&stage, false).await;
    let begun = Instant::now();
    let open = process.shard.open_critical_since(CriticalReaderId::from_u128(1), 0);
    let error = within(open).await.unwrap_err();
    let deadline = process.client.config().commit_deadline;
    assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::Unavailable, deadline));
    assert!(error.to_string().contains("it did not happen"), "{error}");
    let counts = process.log.counts();
    let tries = deadline.as_secs() / TRY.as_secs();
    assert_eq!((counts.compare_and_sets, counts.conflicts, counts.scans), (tries, tries, tries - 1));

    // An append is told so too, and left nothing.
    let mut writer = process.writer().await;
    let upper = *writer.fetch_upper().await.unwrap().elements().first().unwrap();
    let rows = vec![row("a", 0, upper + 1_000, 1)];
    let lost = within(writer.append(rows, at(0), at(upper + 2_000))).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Unavailable);
    let quiet = stage.process(quiet()).await;
    assert_eq!(quiet.shard.inspect().await.unwrap().critical_readers, 0);
    assert_eq!(quiet.contents(upper).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_loses_unseen_may_have_happened() {
    let stage = Stage::new();
    let process = unlucky(&stage, true).await;
    let open = process.shard.open_critical_since(CriticalReaderId::from_u128(1), 0);
    let error = within(open).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("it may have happened"), "{error}");
}
