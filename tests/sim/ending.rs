//! The end of a run: everybody has left, and nothing is left behind.

use std::time::Duration;

use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{Appended, CriticalReaderId, ErrorKind};

use crate::actors::{Program, ShardOf, SimTime, plain};
use crate::times::is_in_snapshot;
use crate::world::{ORPHAN_AGES, World};

/// Leak sweeps until every object is gone that a crash has left: each comes with a rollup, after its interval.
const LEAK_SWEEPS_MAX: usize = 40;

/// Deadlines that may pass until a log that nobody truncated for long is truncated.
const SETTLES_MAX: usize = 8;

impl<T: SimTime, P: Program> World<T, P> {
    /// Everybody leaves; then what was written is compared with what was read.
    pub async fn account(&self, observer: &ShardOf<P, T>) {
        self.wait_for_all_to_lapse(observer).await;
        settle_all::<T, P>(observer).await; // it knows the whole log, and may go on: not meanwhile
        self.lose_an_entry(observer).await;
        let number = self.record.lock().unwrap().next_critical;
        for id in 1..=number {
            let id = CriticalReaderId::from_u128(id.into());
            observer.open_critical_since(id, 0).await.unwrap().expire().await.unwrap();
        }
        observer.open_writer("end").await.unwrap().fetch_upper().await.unwrap();
        let appended = self.judge.appended();
        let reader = observer.open_reader("end").await.unwrap();
        let as_of = reader.since().clone();
        let upper = observer.inspect().await.unwrap().upper;
        assert_eq!(appended.last().map_or(Antichain::from_elem(T::minimum()), |append| append.upper.clone()), upper);
        let passed = as_of.elements().iter().all(|time| !upper.less_equal(time));
        let rows = match passed {
            true => Some(plain::<P, T>(reader.snapshot_and_fetch(as_of.clone()).await.unwrap())),
            false => None,
        };
        reader.expire().await.unwrap();
        let mut record = self.record.lock().unwrap();
        record.snapshots.extend(rows.map(|rows| (as_of.clone(), rows)));
        let contents = match &self.input {
            Some(input) => input.expected(&upper),
            None => record.contents(&appended),
        };
        record.check_evolutions();
        record.check_identical(&contents, &appended);
        record.check_reads(&contents);
        let snapshot = contents.iter().filter(|(_, time, _)| is_in_snapshot(time, &as_of)).count();
        record.story.tell(format_args!("{} rows, {snapshot} of them at {:?}", contents.len(), as_of.elements()));
    }

    /// No reader, no garbage, no object that nobody knows; then the shard is finalized, and that leaves a rollup at most.
    pub async fn clean_up(&self, observer: &ShardOf<P, T>) {
        settle_all::<T, P>(observer).await;
        let info = observer.inspect().await.unwrap();
        let holds = observer.holds().await.unwrap();
        assert_eq!((info.readers, info.critical_readers, info.garbage), (0, 0, 0), "{info:?} {holds:?}");
        self.sweep_leaks(observer).await;
        let lost = self.judge.lost();
        assert!(lost.is_empty(), "objects are left that nothing refers to: {lost:?}");

        let mut writer = observer.open_writer("end").await.unwrap();
        writer.advance_upper(&Antichain::new()).await.unwrap();
        let mut reader = observer.open_reader("end").await.unwrap();
        reader.downgrade_since(&Antichain::new()).await.unwrap();
        reader.expire().await.unwrap();
        observer.finalize().await.unwrap();
        settle_all::<T, P>(observer).await;
        let state = self.judge.state();
        assert!(state.finalized && state.blobs().count() == usize::from(state.rollup.is_some()), "{state:?}");
        let refused = observer.open_reader("late").await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Finalized);
        let lost = self.judge.lost();
        assert!(lost.is_empty(), "objects are left of a finalized shard: {lost:?}");
    }

    async fn sweep_leaks(&self, observer: &ShardOf<P, T>) {
        tokio::time::sleep(ORPHAN_AGES[ORPHAN_AGES.len() - 1] + Duration::from_secs(120)).await;
        let mut writer = observer.open_writer("end").await.unwrap();
        let mut random = self.stream("end");
        for _ in 0..LEAK_SWEEPS_MAX {
            for _ in 0..2 * self.config.upkeep.rollup_interval {
                let lower = writer.upper().clone();
                let upper = T::step(&mut random, &lower);
                let appended = writer.compare_and_append(Vec::new(), lower.clone(), upper.clone()).await.unwrap();
                assert_eq!(appended, Appended::Committed);
                assert!(PartialOrder::less_than(&lower, writer.upper()));
            }
            settle::<T, P>(observer).await;
            if self.judge.lost().is_empty() {
                break;
            }
            tokio::time::sleep(self.config.upkeep.leak_sweep_interval).await;
        }
        writer.expire().await.unwrap();
        settle::<T, P>(observer).await;
    }
}

/// The same, until nothing is left: what a step's own rollup leaves is for the next step, which nobody waits for.
async fn settle_all<T: SimTime, P: Program>(observer: &ShardOf<P, T>) {
    for _ in 0..SETTLES_MAX {
        settle::<T, P>(observer).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if observer.inspect().await.unwrap().garbage == 0 {
            return;
        }
    }
}

/// Has all upkeep done. A step that has too much to do within its deadline says so, and the next goes on where it stopped.
async fn settle<T: SimTime, P: Program>(observer: &ShardOf<P, T>) {
    for _ in 0..SETTLES_MAX {
        match observer.settle().await {
            Ok(()) => return,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
    panic!("the upkeep does not come to an end");
}
