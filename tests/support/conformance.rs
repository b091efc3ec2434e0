//! What every log promises, as functions over any of them.
//!
//! Each asserts one paragraph of the contract of [`Consensus`], on a shard of its own. `conformance_suite!` makes tests
//! of all of them for one implementation. None waits for real time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use futures::FutureExt;
use timely_persist::store::{CompareAndSet, Consensus, LogEntry};
use timely_persist::{SeqNo, ShardId};

pub type Log = Arc<dyn Consensus>;

/// Tests of the whole suite for the log that `$make` opens: an async block that gives the log and what it stands on.
#[macro_export]
macro_rules! conformance_suite {
    ($name:ident, $make:expr) => {
        $crate::conformance_suite!(@cases tests $name, $make, many_writers_make_one_history);
    };
    // One test of all, one after the other on the same log, with smaller crowds: for a slow server, of which one is enough.
    // What it prints tells which case failed.
    (on_one_log $name:ident, $make:expr) => {
        $crate::conformance_suite!(@cases test $name, $make, some_writers_make_one_history);
    };
    (@cases $kind:ident $name:ident, $make:expr, $crowd:ident) => {
        $crate::conformance_suite!(@$kind $name, $make,
            an_empty_log, entries_are_dense, a_stale_expectation_conflicts, gaps_are_refused,
            the_same_attempt_again_is_committed, scans_keep_to_their_limit, truncation_removes_the_oldest,
            truncation_keeps_the_head, a_truncated_position_is_not_won_again, one_winner_per_position,
            $crowd, readers_follow_writers_and_truncations, shards_are_apart,
            entries_of_any_size, a_commit_wakes_watches, a_cancelled_commit_can_be_settled);
    };
    (@tests $name:ident, $make:expr, $($case:ident),*) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let (log, _stands_on) = $make.await;
                    conformance::$case(&log).await;
                }
            )*
        }
    };
    (@test $name:ident, $make:expr, $($case:ident),*) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() {
            let (log, _stands_on) = $make.await;
            $(
                let begun = tokio::time::Instant::now();
                eprint!("{} ... ", stringify!($case));
                conformance::$case(&log).await;
                eprintln!("{:.1?}", begun.elapsed());
            )*
        }
    };
}

pub fn entry(text: impl ToString) -> Bytes {
    Bytes::from(text.to_string())
}

pub async fn commit(log: &Log, shard: ShardId, expected: u64, data: Bytes) -> CompareAndSet {
    log.compare_and_set(shard, SeqNo(expected), data).await.unwrap()
}

/// Commits `entry(1)`, `entry(2)`, … at those positions.
pub async fn fill(log: &Log, shard: ShardId, count: u64) {
    for seqno in 1..=count {
        assert_eq!(commit(log, shard, seqno - 1, entry(seqno)).await, CompareAndSet::Committed, "{seqno}");
    }
}

/// Everything from `from` on, page by page.
pub async fn scan(log: &Log, shard: ShardId, from: u64) -> Vec<LogEntry> {
    const PAGE: usize = 20;
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut next = SeqNo(from);
    loop {
        let page = log.scan(shard, next, PAGE).await.unwrap();
        let full = page.len() == PAGE;
        entries.extend(page);
        match entries.last() {
            Some(last) if full => next = last.seqno.next(),
            _ => return entries,
        }
    }
}

/// Checks that these are the entries of [`fill`] at those positions.
pub fn assert_filled(entries: &[LogEntry], positions: std::ops::RangeInclusive<u64>) {
    let expected: Vec<_> = positions.map(|seqno| LogEntry { seqno: SeqNo(seqno), data: entry(seqno) }).collect();
    assert_eq!(entries, expected);
}

pub async fn an_empty_log(log: &Log) {
    let shard = ShardId::new();
    assert_eq!(log.head(shard).await.unwrap(), None);
    for from in [0, 1, 2, 1_000_000, u64::MAX] {
        assert_eq!(scan(log, shard, from).await, []);
    }
    assert_eq!(log.truncate(shard, SeqNo(10)).await.unwrap(), 0);
    fill(log, shard, 1).await;
    assert_filled(&scan(log, shard, 0).await, 1..=1);
}

pub async fn entries_are_dense(log: &Log) {
    let shard = ShardId::new();
    for count in 1..=40 {
        assert_eq!(commit(log, shard, count - 1, entry(count)).await, CompareAndSet::Committed);
        let head = log.head(shard).await.unwrap();
        assert_filled(head.as_slice(), count..=count);
        assert_eq!(scan(log, shard, count + 1).await, []);
    }
    assert_filled(&scan(log, shard, 0).await, 1..=40);
    assert_filled(&scan(log, shard, 1).await, 1..=40);
    assert_filled(&scan(log, shard, 23).await, 23..=40);
    assert_filled(&scan(log, shard, 40).await, 40..=40);
    assert_eq!(scan(log, shard, u64::MAX).await, []);
}

pub async fn a_stale_expectation_conflicts(log: &Log) {
    let shard = ShardId::new();
    fill(log, shard, 5).await;
    for expected in 0..5 {
        assert_eq!(commit(log, shard, expected, entry("late")).await, CompareAndSet::Conflict);
    }
    assert_filled(&scan(log, shard, 1).await, 1..=5);
}

pub async fn gaps_are_refused(log: &Log) {
    let shard = ShardId::new();
    for expected in [1, 2, 100, u64::MAX - 1, u64::MAX] {
        assert_eq!(commit(log, shard, expected, entry("beyond")).await, CompareAndSet::Conflict, "{expected}");
        assert_eq!(log.head(shard).await.unwrap(), None);
    }
    fill(log, shard, 3).await;
    for expected in [4, 5, 100, u64::MAX - 1, u64::MAX] {
        assert_eq!(commit(log, shard, expected, entry("beyond")).await, CompareAndSet::Conflict, "{expected}");
    }
    assert_filled(&scan(log, shard, 1).await, 1..=3);
    assert_filled(log.head(shard).await.unwrap().as_slice(), 3..=3);
    assert_eq!(scan(log, shard, 5).await, []);
}

pub async fn the_same_attempt_again_is_committed(log: &Log) {
    let shard = ShardId::new();
    fill(log, shard, 5).await;
    for seqno in 1..=5 {
        assert_eq!(commit(log, shard, seqno - 1, entry(seqno)).await, CompareAndSet::Committed);
    }
    assert_filled(&scan(log, shard, 1).await, 1..=5);
    // Truncated meanwhile, it may be unknown; but it is not "no".
    log.truncate(shard, SeqNo(5)).await.unwrap();
    for seqno in 1..=4 {
        match log.compare_and_set(shard, SeqNo(seqno - 1), entry(seqno)).await {
            Ok(outcome) => assert_eq!(outcome, CompareAndSet::Committed),
            Err(error) => assert!(error.may_have_happened, "{error}"),
        }
    }
    assert_filled(&scan(log, shard, 1).await, 5..=5);
}

pub async fn scans_keep_to_their_limit(log: &Log) {
    let shard = ShardId::new();
    fill(log, shard, 40).await;
    for (limit, from, last) in
        [(0, 1, 1), (1, 1, 1), (7, 1, 7), (39, 1, 39), (40, 1, 40), (41, 1, 40), (usize::MAX, 30, 40), (3, 39, 40)]
    {
        assert_filled(&log.scan(shard, SeqNo(from), limit).await.unwrap(), from..=last);
    }
    log.truncate(shard, SeqNo(31)).await.unwrap();
    assert_filled(&log.scan(shard, SeqNo(1), 4).await.unwrap(), 31..=34);
    assert_filled(&log.scan(shard, SeqNo(29), 4).await.unwrap(), 31..=34);
}

pub async fn truncation_removes_the_oldest(log: &Log) {
    let shard = ShardId::new();
    fill(log, shard, 20).await;
    for (below, found, first) in [(0, 0, 1), (1, 0, 1), (4, 3, 4), (4, 0, 4), (2, 0, 4), (0, 0, 4), (15, 11, 15)] {
        assert_eq!(log.truncate(shard, SeqNo(below)).await.unwrap(), found, "below {below}");
        for from in [0, 1, first - 1, first] {
            assert_filled(&scan(log, shard, from).await, first..=20);
        }
        assert_filled(log.head(shard).await.unwrap().as_slice(), 20..=20);
    }
    assert_eq!(commit(log, shard, 20, entry(21)).await, CompareAndSet::Committed);
    assert_filled(&scan(log, shard, 1).await, 15..=21);
}

pub async fn truncation_keeps_the_head(log: &Log) {
    let shard = ShardId::new();
    fill(log, shard, 1).await;
    assert_eq!(log.truncate(shard, SeqNo(u64::MAX)).await.unwrap(), 0);
    assert_filled(&scan(log, shard, 1).await, 1..=1);
    for seqno in 2..=10 {
        assert_eq!(commit(log, shard, seqno - 1, entry(seqno)).await, CompareAndSet::Committed);
        assert_eq!(log.truncate(shard, SeqNo(seqno + 1)).await.unwrap(), 1);
        assert_filled(log.head(shard).await.unwrap().as_slice(), seqno..=seqno);
        assert_filled(&scan(log, shard, 1).await, seqno..=seqno);
        assert_eq!(scan(log, shard, seqno + 1).await, []);
    }
}

pub async fn a_truncated_position_is_not_won_again(log: &Log) {
    let shard = ShardId::new();
    fill(log, shard, 20).await;
    log.truncate(shard, SeqNo(18)).await.unwrap();
    for expected in 0..20 {
        match log.compare_and_set(shard, SeqNo(expected), entry("late")).await {
            Ok(outcome) => assert_eq!(outcome, CompareAndSet::Conflict, "{expected}"),
            Err(error) => assert!(error.may_have_happened && expected < 17, "{expected}: {error}"),
        }
    }
    assert_filled(&scan(log, shard, 1).await, 18..=20);
    assert_eq!(log.truncate(shard, SeqNo(18)).await.unwrap(), 0);
}

pub async fn one_winner_per_position(log: &Log) {
    const CONTENDERS: usize = 32;
    let shard = ShardId::new();
    for expected in 0..10 {
        let attempts = (0..CONTENDERS).map(|contender| {
            let log = Arc::clone(log);
            tokio::spawn(
                async move { commit(&log, shard, expected, entry(format!("{expected} by {contender}"))).await },
            )
        });
        let outcomes = futures::future::try_join_all(attempts).await.unwrap();
        let winners: Vec<_> =
            (0..CONTENDERS).filter(|contender| outcomes[*contender] == CompareAndSet::Committed).collect();
        assert_eq!(winners.len(), 1, "{winners:?} all won {expected}");
        let head = log.head(shard).await.unwrap().unwrap();
        assert_eq!(head, LogEntry { seqno: SeqNo(expected + 1), data: entry(format!("{expected} by {}", winners[0])) });
    }
}

/// Commits `count` entries of its own wherever the log stands, and returns what was acknowledged.
async fn write(log: Log, shard: ShardId, writer: usize, count: usize) -> Vec<LogEntry> {
    let mut acknowledged = Vec::new();
    let mut head = SeqNo::ZERO;
    while acknowledged.len() < count {
        let data = entry(format!("{writer}: {}", acknowledged.len()));
        match log.compare_and_set(shard, head, data.clone()).await.unwrap() {
            CompareAndSet::Committed => {
                head = head.next();
                acknowledged.push(LogEntry { seqno: head, data });
            }
            CompareAndSet::Conflict => {
                let newer = log.scan(shard, head.next(), 20).await.unwrap();
                head = newer.last().expect("a conflict means that something stands there").seqno;
            }
        }
    }
    acknowledged
}

pub async fn many_writers_make_one_history(log: &Log) {
    writers_make_one_history(log, 32, 8).await;
}

#[allow(dead_code)] // for logs on servers
pub async fn some_writers_make_one_history(log: &Log) {
    writers_make_one_history(log, 6, 6).await;
}

async fn writers_make_one_history(log: &Log, writers: usize, commits: usize) {
    let shard = ShardId::new();
    let writing = (0..writers).map(|writer| tokio::spawn(write(Arc::clone(log), shard, writer, commits)));
    let acknowledged = futures::future::try_join_all(writing).await.unwrap().concat();
    let history = scan(log, shard, 1).await;
    assert_eq!(history.len(), writers * commits);
    assert!(history.iter().zip(1..).all(|(entry, seqno)| entry.seqno == SeqNo(seqno)));
    let mut sorted = acknowledged;
    sorted.sort_by_key(|entry| entry.seqno);
    assert_eq!(sorted, history, "what was acknowledged is what is there");
}

pub async fn readers_follow_writers_and_truncations(log: &Log) {
    const WRITERS: usize = 4;
    const COMMITS: usize = 40;
    let shard = ShardId::new();
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(log), shard, writer, COMMITS))).collect();
    let reader = |truncates: bool| {
        let log = Arc::clone(log);
        tokio::spawn(async move {
            let mut seen = BTreeMap::new();
            let mut next = SeqNo(1);
            while next.0 <= (WRITERS * COMMITS) as u64 {
                let entries = log.scan(shard, next, 7).await.unwrap();
                let Some(first) = entries.first() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                assert!(first.seqno >= next && entries.len() <= 7);
                assert!(entries.windows(2).all(|pair| pair[0].seqno.next() == pair[1].seqno));
                next = entries.last().map_or(next, |entry| entry.seqno.next());
                seen.extend(entries.into_iter().map(|entry| (entry.seqno, entry.data)));
                let head = log.head(shard).await.unwrap().expect("entries have a head");
                assert!(head.seqno >= next.previous());
                seen.insert(head.seqno, head.data);
                if truncates {
                    log.truncate(shard, SeqNo(next.0.saturating_sub(3))).await.unwrap();
                }
            }
            seen
        })
    };
    let readers = [reader(true), reader(true), reader(false)];
    let acknowledged = futures::future::try_join_all(writers).await.unwrap().concat();
    let truth: BTreeMap<_, _> = acknowledged.into_iter().map(|entry| (entry.seqno, entry.data)).collect();
    assert_eq!(truth.len(), WRITERS * COMMITS, "no position was won twice");
    for seen in futures::future::try_join_all(readers).await.unwrap() {
        for (seqno, data) in seen {
            assert_eq!(truth.get(&seqno), Some(&data), "{seqno}");
        }
    }
}

pub async fn shards_are_apart(log: &Log) {
    let [one, two] = [ShardId::new(), ShardId::new()];
    fill(log, one, 3).await;
    assert_eq!(log.head(two).await.unwrap(), None);
    fill(log, two, 5).await;
    log.truncate(two, SeqNo(4)).await.unwrap();
    assert_filled(&scan(log, one, 1).await, 1..=3);
    assert_filled(&scan(log, two, 1).await, 4..=5);
}

pub async fn entries_of_any_size(log: &Log) {
    let shard = ShardId::new();
    let sizes = [0, 1, 1_000_000, 3_000_001];
    for (expected, size) in sizes.into_iter().enumerate() {
        let data = Bytes::from(vec![b'x'; size]);
        assert_eq!(commit(log, shard, expected as u64, data).await, CompareAndSet::Committed);
    }
    let found = scan(log, shard, 1).await;
    assert_eq!(found.iter().map(|entry| entry.data.len()).collect::<Vec<_>>(), sizes);
    assert!(found.iter().all(|entry| entry.data.iter().all(|byte| *byte == b'x')));
    assert_eq!(commit(log, shard, 0, entry("not empty")).await, CompareAndSet::Conflict);
    assert_eq!(log.truncate(shard, SeqNo(4)).await.unwrap(), 3);
}

/// A wake-up that must come. The time only turns a test that would hang into one that fails.
pub async fn woken(changed: impl Future<Output = Option<SeqNo>>) -> Option<SeqNo> {
    tokio::time::timeout(std::time::Duration::from_secs(120), changed).await.expect("a wake-up")
}

pub async fn a_commit_wakes_watches(log: &Log) {
    let shard = ShardId::new();
    fill(log, shard, 1).await;
    let mut watches = [log.watch(shard), log.watch(shard)];
    let waiting = watches.iter_mut().map(|watch| watch.changed()).collect::<Vec<_>>();
    assert_eq!(commit(log, shard, 1, entry(2)).await, CompareAndSet::Committed);
    for changed in waiting {
        // Whether it names a position is up to the log; it names none that is not there.
        assert!(woken(changed).await.is_none_or(|seqno| seqno <= SeqNo(2)));
    }
    // Between two waits, and with a wait given up, nothing is lost.
    assert_eq!(commit(log, shard, 2, entry(3)).await, CompareAndSet::Committed);
    let _ = watches[0].changed().now_or_never();
    assert_eq!(commit(log, shard, 3, entry(4)).await, CompareAndSet::Committed);
    for watch in &mut watches {
        woken(watch.changed()).await;
    }
}

pub async fn a_cancelled_commit_can_be_settled(log: &Log) {
    let shard = ShardId::new();
    for seqno in 1..=16 {
        let data = entry(seqno);
        let mut attempt = log.compare_and_set(shard, SeqNo(seqno - 1), data.clone());
        let mut done = false;
        for _ in 0..seqno / 2 {
            // Polled at random moments of its progress, then given up.
            done = done || attempt.poll_unpin(&mut Context::from_waker(Waker::noop())).is_ready();
            tokio::task::yield_now().await;
        }
        drop(attempt);
        assert_eq!(commit(log, shard, seqno - 1, data).await, CompareAndSet::Committed, "{seqno}");
    }
    assert_filled(&scan(log, shard, 1).await, 1..=16);
}
