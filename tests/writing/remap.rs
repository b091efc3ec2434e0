//! `Remap`: what others have bound is read, whatever comes in between.

use std::convert::Infallible;
use std::ops::Range;
use std::time::Duration;

use futures::stream::{self, Stream};
use timely_persist::ingest::{Offsets, PartitionedSource};
use timely_persist::{Appended, ErrorKind};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use super::ingest_partitions::{Pair, offsets};
use super::poll_times;
use super::stage::{Stage, at, within};

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_cancelled_or_fails_loses_nothing() {
    let stage = Stage::new();
    let (here, there) = (Pair::new(&stage).await, Pair::new(&stage).await);
    let (mut one, mut two) = (here.open().await, there.open().await);
    let faults = &here.process.object_faults;
    let mut cancelled = 0;
    for polls in 0..24 {
        for step in 0..3 {
            two.bind(&offsets(&[("a", 3 * polls + step + 1), ("b", 1 + polls / 2)])).await.unwrap();
        }
        faults.add(Rule::every(Operation::Get, Fault::Delay(Duration::from_millis(1))));
        cancelled += usize::from(poll_times(one.refresh(), polls as usize % 12).await.is_none());
        faults.clear();
        if polls % 2 == 0 {
            faults.add(Rule::every(Operation::Get, Fault::FailBefore));
            let failed = within(one.refresh()).await;
            assert!(failed.is_ok() || failed.unwrap_err().kind() == ErrorKind::Unavailable);
            faults.clear();
        }
        within(one.refresh()).await.unwrap();
        assert_eq!((one.offsets(), one.upper()), (two.offsets(), two.upper()), "after {polls} polls");
        assert!(one.bindings(0).eq(two.bindings(0)), "after {polls} polls");
    }
    assert!((1..24).contains(&cancelled), "some were cancelled and some were not: {cancelled}");
}

/// A source that has heard of nothing new, and has all that is asked for.
struct Silent;

impl PartitionedSource<String, u64, i64> for Silent {
    type Partition = String;
    type Rows = [((String, u64), i64); 1];
    type Error = Infallible;

    async fn ends(&mut self) -> Result<Option<Offsets<String>>, Infallible> {
        Ok(Some(Offsets::new()))
    }

    fn read(
        &mut self,
        partition: &String,
        offsets: Range<u64>,
    ) -> impl Stream<Item = Result<(u64, Self::Rows), Infallible>> + Send {
        let partition = partition.clone();
        stream::iter(offsets.map(move |offset| Ok((offset, [((partition.clone(), offset), 1)]))))
    }

    async fn earliest(&mut self, _: &String) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn acknowledge(&mut self, _: &Offsets<String>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Whoever bound it died, and nothing new comes that would have to be bound behind it.
#[tokio::test(start_paused = true)]
async fn what_another_copy_has_bound_is_written_without_anything_new() {
    let stage = Stage::new();
    let (here, there) = (Pair::new(&stage).await, Pair::new(&stage).await);
    let mut silent = Silent;
    let run = tokio::time::timeout(Duration::from_secs(5), here.ingest().run(&mut silent));
    let (_, tick) = tokio::join!(run, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        there.open().await.bind(&offsets(&[("a", 3)])).await.unwrap()
    });
    assert_eq!(there.upper().await, tick + 1);
    assert_eq!(there.process.contents(tick).await.len(), 3);
}

/// Between the two shards that a run opens, another copy binds a tick and writes it.
#[tokio::test(start_paused = true)]
async fn what_another_copy_writes_while_a_run_opens_its_shards_is_no_mismatch() {
    let stage = Stage::new();
    let (here, there) = (Pair::new(&stage).await, Pair::new(&stage).await);
    let (gate, mut silent) = (Gate::closed(), Silent);
    let opening = Rule::next(Operation::LogHead, Fault::HoldBefore(gate.clone()));
    here.process.log_faults.add(opening.named(stage.shard.to_string()));
    let run = tokio::time::timeout(Duration::from_secs(5), here.ingest().run(&mut silent));
    let (ran, ()) = tokio::join!(run, async {
        gate.arrived(1).await;
        let tick = there.open().await.bind(&offsets(&[("a", 1)])).await.unwrap();
        let row = [(("a".to_owned(), 0), tick, 1)];
        let appended = there.process.writer().await.compare_and_append(row, at(0), at(tick + 1)).await;
        assert_eq!(appended.unwrap(), Appended::Committed);
        gate.open();
    });
    assert!(ran.is_err(), "it does not go on: {ran:?}");
}
