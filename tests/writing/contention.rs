//! A commit that loses to other writers every time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use timely_persist::store::{CompareAndSet, LogError, ObjectLog};
use timely_persist::{Appended, Config, Consensus, CriticalReaderId, ErrorKind, ShardId};
use timely_persist_testing::{Fault, HookedLog, LogAnswer, LogHook, LogRequest, Operation, Rule};
use tokio::time::Instant;

use crate::stage::{Process, Stage, Writer, at, quiet, row, within};
use crate::upkeep::{append_each, compacting};

/// What each compare-and-set takes here.
const TRY: Duration = Duration::from_secs(1);

/// Somebody else commits just before every compare-and-set.
#[derive(Debug)]
struct Overtaken {
    rival: Process,
    writer: tokio::sync::Mutex<(Writer, u64)>,
    luck: Luck,
    /// Whether there was a first try.
    spent: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Luck {
    /// Every try meets the rival's entry.
    Overtaken,
    /// The rival also truncates what it overtook with, and the log says only that it may have happened.
    Forgotten,
    /// The first try lands, the rival truncates it, and the log says only that it may have happened. No other is overtaken.
    LandedAndForgotten,
}

impl Overtaken {
    async fn overtake(&self) {
        let mut writer = self.writer.lock().await;
        let (writer, upper) = &mut *writer;
        for _ in 0..if self.luck == Luck::Overtaken { 1 } else { 4 } {
            let appended = writer.compare_and_append(vec![], at(*upper), at(*upper + 1)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
            *upper += 1;
        }
        if self.luck != Luck::Overtaken {
            self.rival.shard.settle().await.unwrap();
        }
        tokio::time::sleep(TRY).await;
    }
}

#[async_trait]
impl LogHook for Overtaken {
    async fn ask(&self, log: &Arc<dyn Consensus>, shard: ShardId, request: LogRequest) -> Result<LogAnswer, LogError> {
        if !matches!(request, LogRequest::CompareAndSet(..)) {
            return request.send(log, shard).await;
        }
        match self.luck {
            Luck::Overtaken => {
                self.overtake().await;
                request.send(log, shard).await
            }
            Luck::Forgotten => {
                self.overtake().await;
                Err(LogError::unknown("no answer"))
            }
            Luck::LandedAndForgotten if self.spent.swap(true, Ordering::Relaxed) => request.send(log, shard).await,
            Luck::LandedAndForgotten => {
                let landed = request.send(log, shard).await?;
                assert!(matches!(landed, LogAnswer::Set(CompareAndSet::Committed)), "{landed:?}");
                self.overtake().await;
                Err(LogError::unknown("no answer"))
            }
        }
    }
}

/// A process of this luck, and of these limits.
async fn unlucky(stage: &Stage, luck: Luck, config: Config) -> Process {
    let mut rivals = quiet();
    rivals.upkeep.rollup_interval = 3;
    rivals.upkeep.maintain = luck != Luck::Overtaken;
    let rival = stage.process(rivals).await;
    let mut writer = rival.writer().await;
    let upper = *writer.fetch_upper().await.unwrap().elements().first().unwrap();
    let (writer, log) = (tokio::sync::Mutex::new((writer, upper)), Arc::new(ObjectLog::new(stage.store.clone())));
    let overtaken = Overtaken { rival, writer, luck, spent: AtomicBool::new(false) };
    stage.process_on(Arc::new(HookedLog::with_hook(log, overtaken)), config).await
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_always_loses_ends_at_its_deadline() {
    let stage = Stage::new();
    let process = unlucky(&stage, Luck::Overtaken, quiet()).await;
    let begun = Instant::now();
    let open = process.shard.open_critical_since(CriticalReaderId::from_u128(1), 0);
    let deadline = process.client.config().log.commit_deadline;
    let error = tokio::time::timeout(2 * deadline, open).await.unwrap().unwrap_err();
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
    let process = unlucky(&stage, Luck::Forgotten, quiet()).await;
    let open = process.shard.open_critical_since(CriticalReaderId::from_u128(1), 0);
    let deadline = process.client.config().log.commit_deadline;
    let error = tokio::time::timeout(2 * deadline, open).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("it may have happened"), "{error}");
}

/// A compaction lands, its entry is truncated before anybody looks, and offering it again is refused, because its inputs
/// do not stand any more. Its objects are in use all the same.
#[tokio::test(start_paused = true)]
async fn a_compaction_refused_after_it_landed_unseen_keeps_its_objects() {
    let stage = Stage::new();
    append_each(&stage.process(quiet()).await, 0, 4).await;
    let process = unlucky(&stage, Luck::LandedAndForgotten, compacting()).await;
    process.shard.inspect().await.unwrap();
    within(process.shard.settle()).await.unwrap();
    let info = process.shard.inspect().await.unwrap();
    assert_eq!((info.rows, stage.parts().await.len() as u64), (4, info.parts));
    let expected: Vec<_> = (0..4).map(|time| row("a", time, 3, 1)).collect();
    assert_eq!(stage.process(quiet()).await.contents(3).await, expected);
}

/// Hazard 54: of those who waited for one entry, only the first was told by what it failed.
#[tokio::test(start_paused = true)]
async fn all_of_a_group_are_told_the_cause() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    process.log_faults.add(Rule::every(Operation::LogCompareAndSet, Fault::FailBefore));
    let open = |id| process.shard.open_critical_since(CriticalReaderId::from_u128(id), 0);
    // The first leads alone, and the others queue meanwhile.
    let (alone, one, other) = tokio::join!(open(1), open(2), open(3));
    let [alone, one, other] = [alone, one, other].map(|opened| opened.err().unwrap());
    for error in [&alone, &one, &other] {
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Unavailable, Some(stage.shard)), "{error:?}");
        assert!(std::error::Error::source(error).is_some(), "{error:?}");
    }
    assert_eq!(one, other);
}
