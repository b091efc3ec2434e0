//! `Remap` and `IngestPartitions`: each offset of each partition once, at the tick that it was bound to first.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use timely_persist::ingest::{
    IngestPartitions, IngestPartitionsError, IngestedPartitions, Offsets, PartitionedSource, Remap,
};
use timely_persist::{Appended, ErrorKind, ShardId};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use super::ingest::history;
use super::poll_times;
use super::random::{Random, Story, seeds};
use super::stage::{Process, Stage, Strings, at, quiet, row, within};

type Rows = Vec<((String, u64), i64)>;
type Failed = IngestPartitionsError<String, String>;

pub(super) fn offsets(of: &[(&str, u64)]) -> Offsets<String> {
    of.iter().map(|(partition, offset)| ((*partition).to_owned(), *offset)).collect()
}

/// The rows at an offset: none, one or two.
fn rows_at(partition: &str, offset: u64) -> Rows {
    (0..offset % 3).map(|n| ((format!("{partition} {offset:04}"), n), 1)).collect()
}

/// The source that all copies read.
#[derive(Debug, Default)]
struct World {
    ends: Offsets<String>,
    total: Offsets<String>,
    acknowledged: Offsets<String>,
}

impl World {
    fn of(total: &[(&str, u64)]) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { total: offsets(total), ..Self::default() }))
    }

    /// Some more of each partition.
    fn grow(&mut self) -> Offsets<String> {
        for (index, (partition, total)) in self.total.iter().enumerate() {
            let end = self.ends.entry(partition.clone()).or_default();
            *end = (*end + 2 + 3 * index as u64).min(*total);
        }
        self.ends.clone()
    }

    /// All of the next partition.
    fn tell_one(&mut self) -> Offsets<String> {
        let mut untold = self.total.iter().filter(|(partition, _)| !self.ends.contains_key(*partition));
        let told = untold.next().map(|(partition, end)| (partition.clone(), *end));
        self.ends.extend(told.clone());
        told.into_iter().collect()
    }

    fn acknowledged(&self, partition: &str) -> u64 {
        self.acknowledged.get(partition).copied().unwrap_or(0)
    }
}

/// One copy's view of it. It forgets what is acknowledged, and skips what it has forgotten without a word.
#[derive(Debug)]
struct View {
    world: Arc<Mutex<World>>,
    /// Sees what is durable, from another process.
    observer: Strings,
    answered_all: bool,
    /// Whether it looks what is durable before it forgets.
    is_checked: bool,
    /// Whether it tells the end of one partition at a time, and never again.
    tells_one: bool,
}

impl View {
    fn new(world: &Arc<Mutex<World>>, observer: &Process) -> Self {
        Self {
            world: world.clone(),
            observer: observer.shard.clone(),
            answered_all: false,
            is_checked: true,
            tells_one: false,
        }
    }
}

impl PartitionedSource<String, u64, i64> for View {
    type Partition = String;
    type Rows = Rows;
    type Error = String;

    async fn ends(&mut self) -> Result<Option<Offsets<String>>, String> {
        tokio::task::yield_now().await;
        let mut world = self.world.lock().unwrap();
        if self.answered_all {
            return Ok(None);
        }
        let told = if self.tells_one { world.tell_one() } else { world.grow() };
        self.answered_all = world.ends == world.total;
        Ok(Some(told))
    }

    fn read(
        &mut self,
        partition: &String,
        offsets: Range<u64>,
    ) -> impl Stream<Item = Result<(u64, Rows), String>> + Send {
        let (world, partition) = (self.world.clone(), partition.clone());
        stream::iter(offsets).filter_map(move |offset| {
            let (world, partition) = (world.clone(), partition.clone());
            async move {
                tokio::task::yield_now().await;
                let is_kept = world.lock().unwrap().acknowledged(&partition) <= offset;
                is_kept.then(|| Ok((offset, rows_at(&partition, offset))))
            }
        })
    }

    async fn earliest(&mut self, partition: &String) -> Result<u64, String> {
        Ok(self.world.lock().unwrap().acknowledged(partition))
    }

    async fn acknowledge(&mut self, durable: &Offsets<String>) -> Result<(), String> {
        if self.is_checked {
            check_durable(&self.observer, durable).await;
        }
        let mut world = self.world.lock().unwrap();
        for (partition, end) in durable {
            let known = world.acknowledged.entry(partition.clone()).or_default();
            *known = (*known).max(*end);
        }
        Ok(())
    }
}

/// Another process finds all rows before these offsets.
async fn check_durable(observer: &Strings, durable: &Offsets<String>) {
    let upper = observer.inspect().await.unwrap().upper.elements()[0];
    let there: BTreeSet<_> = history(observer, upper).await.into_iter().map(|(row, _, _)| row).collect();
    for (partition, end) in durable {
        for (row, _) in (0..*end).flat_map(|offset| rows_at(partition, offset)) {
            assert!(there.contains(&row), "{row:?} is acknowledged, and the upper is {upper}");
        }
    }
}

/// A process, with the remap shard beside the data shard.
pub(super) struct Pair {
    pub(super) process: Process,
    pub(super) remap: Strings,
}

impl Pair {
    pub(super) async fn new(stage: &Stage) -> Self {
        let process = stage.process(quiet()).await;
        let remap = process.client.shard(ShardId::from_u128(2));
        Self { process, remap }
    }

    pub(super) fn ingest(&self) -> IngestPartitions<String, String, u64, i64> {
        IngestPartitions::new(&self.remap, &self.process.shard).tick_interval(Duration::from_millis(1))
    }

    async fn run(&self, source: &mut View) -> Result<IngestedPartitions, Failed> {
        within(self.ingest().run(source)).await
    }

    pub(super) async fn open(&self) -> Remap<String> {
        Remap::open(&self.remap).await.unwrap()
    }

    /// So often readers tell the shard where they are.
    async fn beat(&self) {
        tokio::time::sleep(self.process.client.config().lease.duration / 2).await;
    }

    pub(super) async fn upper(&self) -> u64 {
        self.process.shard.inspect().await.unwrap().upper.elements()[0]
    }
}

/// Every row of the source is there once, at the tick whose binding has its offset.
async fn check(observer: &Pair, world: &Mutex<World>) {
    let remap = observer.open().await;
    let total = world.lock().unwrap().total.clone();
    assert_eq!(remap.offsets(), &total);
    let mut expected = Vec::new();
    for binding in remap.bindings(0) {
        for (partition, range) in &binding.ranges {
            let rows = range.clone().flat_map(|offset| rows_at(partition, offset));
            expected.extend(rows.map(|(row, diff)| (row, binding.tick, diff)));
        }
    }
    expected.sort();
    let mut rows: BTreeMap<_, i64> = BTreeMap::new();
    for (partition, end) in &total {
        rows.extend((0..*end).flat_map(|offset| rows_at(partition, offset)));
    }
    let bound: BTreeMap<_, i64> = expected.iter().map(|(row, _, diff)| (row.clone(), *diff)).collect();
    assert_eq!((bound, expected.len()), (rows.clone(), rows.len()), "each offset is bound once");
    assert_eq!(history(&observer.process.shard, observer.upper().await).await, expected);
}

#[tokio::test(start_paused = true)]
async fn each_offset_is_there_once_wherever_a_run_is_cancelled() {
    let mut cancelled = 0;
    for polls in (1..).step_by(2) {
        let stage = Stage::new();
        let (here, observer) = (Pair::new(&stage).await, Pair::new(&stage).await);
        let slow = Fault::Delay(Duration::from_micros(400));
        here.process.log_faults.add(Rule::every(Operation::LogCompareAndSet, slow.clone()));
        here.process.object_faults.add(Rule::every(Operation::Create, slow.clone()).named("/part-"));
        here.process.object_faults.add(Rule::every(Operation::Put, slow).named("/part-"));
        let world = World::of(&[("a", 5), ("b", 9)]);
        let mut view = View::new(&world, &observer.process);
        let first = poll_times(here.ingest().run(&mut view), polls).await;
        here.process.log_faults.clear();
        // Another process goes on, whose clock is behind, and the source has more by now.
        here.process.clock.set(7);
        world.lock().unwrap().grow();
        here.run(&mut View::new(&world, &observer.process)).await.unwrap();
        check(&observer, &world).await;
        if first.is_some() {
            break;
        }
        cancelled += 1;
    }
    assert!(cancelled > 20, "it was cancelled at {cancelled} places");
}

/// Two copies that crash and begin again, on clocks that jump, and storage that fails and loses answers.
#[tokio::test(start_paused = true)]
async fn copies_agree_although_they_crash_and_their_clocks_jump() {
    for seed in seeds("INGEST", 12) {
        let command = format!("INGEST_SEED={seed} cargo nextest run --test writing copies_agree");
        let mut story = Story::new(command);
        let mut random = Random::new(seed);
        let stage = Stage::new();
        let observer = Pair::new(&stage).await;
        let world = World::of(&[("a", 11), ("b", 3), ("c", 16)]);
        let copies = [Pair::new(&stage).await, Pair::new(&stage).await];
        let lives: Vec<_> = copies.iter().map(|copy| (copy, random.word())).collect();
        let runs = lives.iter().map(|(copy, seed)| live(copy, &world, &observer.process, Random::new(*seed)));
        for (index, told) in futures::future::join_all(runs).await.into_iter().enumerate() {
            told.into_iter().for_each(|line| story.tell(format!("copy {index}: {line}")));
        }
        check(&observer, &world).await;
    }
}

/// A copy until it is done, in several lives.
async fn live(copy: &Pair, world: &Arc<Mutex<World>>, observer: &Process, mut random: Random) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let clock = *random.pick(&[0, 5, 1_000_000, 1_000_007, 2_000_000]);
        copy.process.clock.set(clock);
        copy.process.log_faults.clear();
        copy.process.object_faults.clear();
        for _ in 0..random.below(4) {
            let faults = [Fault::FailBefore, Fault::FailAfter, Fault::Delay(Duration::from_millis(2))];
            let fault = random.pick(&faults);
            let (skip, times) = (random.below(12) as u64, 1 + random.below(3) as u64);
            let rule = Rule::every(Operation::LogCompareAndSet, fault.clone()).after(skip).times(times);
            copy.process.log_faults.add(rule);
            let lost = Rule::every(Operation::Create, Fault::Delay(Duration::from_secs(100))).named("/part-");
            copy.process.object_faults.add(lost.after(skip).times(1));
        }
        let polls = if random.percent(30) { 100_000_000 } else { 1 + random.below(60) };
        let mut view = View::new(world, observer);
        let ended = match polls {
            100_000_000 => Some(copy.run(&mut view).await),
            polls => poll_times(copy.ingest().run(&mut view), polls).await,
        };
        told.push(format!("clock {clock}, {polls} polls: {ended:?}"));
        if let Some(ended) = ended {
            ended.unwrap();
            return told;
        }
    }
}

/// As after a crash between the two steps: the tick has what was bound to it, whatever the source has by now.
#[tokio::test(start_paused = true)]
async fn a_tick_that_was_bound_is_written_as_it_was_bound() {
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let mut remap = pair.open().await;
    let first = remap.bind(&offsets(&[("a", 2)])).await.unwrap();
    let second = remap.bind(&offsets(&[("a", 4), ("b", 1)])).await.unwrap();
    let world = World::of(&[("a", 9), ("b", 9)]);
    world.lock().unwrap().ends = offsets(&[("a", 7), ("b", 8)]);
    pair.run(&mut View::new(&world, &pair.process)).await.unwrap();
    check(&pair, &world).await;
    let bound: Vec<_> = pair.open().await.bindings(0).map(|binding| binding.ranges.clone()).take(2).collect();
    let (a, b) = ("a".to_owned(), "b".to_owned());
    assert_eq!(bound, [vec![(a.clone(), 0..2)], vec![(a, 2..4), (b, 0..1)]]);
    assert!(pair.open().await.bindings(second + 1).next().is_some() && first < second);
}

#[tokio::test(start_paused = true)]
async fn a_tick_never_goes_back_with_the_clock() {
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let mut remap = pair.open().await;
    let mut ticks = Vec::new();
    for (end, clock) in [(1, 50), (2, 50), (3, 20), (4, 0), (5, 60), (6, 0)] {
        pair.process.clock.set(clock);
        ticks.push(remap.bind(&offsets(&[("a", end)])).await.unwrap());
        assert_eq!(remap.bind(&offsets(&[("a", end)])).await.unwrap(), ticks[ticks.len() - 1], "it is bound");
    }
    assert_eq!(ticks, [50, 51, 52, 53, 60, 61]);
    assert_eq!(remap.offsets_at(59).await.unwrap(), Some(offsets(&[("a", 4)])));
    assert_eq!(remap.offsets_at(0).await.unwrap(), Some(Offsets::new()));
    assert_eq!(remap.offsets_at(62).await.unwrap(), None);
    pair.process.clock.set(u64::MAX);
    let error = remap.bind(&offsets(&[("a", 7)])).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("correct the clock"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_binds_first_decides_for_all() {
    let stage = Stage::new();
    let (here, there) = (Pair::new(&stage).await, Pair::new(&stage).await);
    let (mut one, mut two) = (here.open().await, there.open().await);
    here.process.clock.set(100);
    there.process.clock.set(40);
    let first = one.bind(&offsets(&[("a", 5), ("b", 2)])).await.unwrap();
    // It has not heard of that. What is bound already stays where it is, what is not comes at the next tick.
    assert_eq!(two.bind(&offsets(&[("a", 3)])).await.unwrap(), first);
    let second = two.bind(&offsets(&[("a", 4), ("b", 6)])).await.unwrap();
    let third = one.bind(&offsets(&[("b", 3), ("c", 1)])).await.unwrap();
    assert_eq!((first, second, third), (100, 101, 102));
    two.refresh().await.unwrap();
    for remap in [&one, &two] {
        let bound: Vec<_> = remap.bindings(0).map(|binding| (binding.tick, binding.ranges.clone())).collect();
        let [a, b, c] = ["a", "b", "c"].map(str::to_owned);
        let expected = [(100, vec![(a, 0..5), (b.clone(), 0..2)]), (101, vec![(b, 2..6)]), (102, vec![(c, 0..1)])];
        assert_eq!(bound, expected);
    }
    // A source of one copy that goes back is told apart from one that lags behind another copy's.
    let error = two.bind(&offsets(&[("b", 5)])).await.unwrap_err();
    assert!(error.to_string().contains("went back from 6 to 5"), "{error}");
}

/// The data shard's commit hangs, with its rows bound.
#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_it_is_durable() {
    let stage = Stage::new();
    let (pair, observer) = (Pair::new(&stage).await, Pair::new(&stage).await);
    let world = World::of(&[("a", 2)]);
    let gate = Gate::closed();
    let held = Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone()));
    pair.process.log_faults.add(held.named(stage.shard.to_string()));
    let mut view = View::new(&world, &observer.process);
    let (ended, ()) = tokio::join!(pair.run(&mut view), async {
        gate.arrived(1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(observer.open().await.offsets(), &offsets(&[("a", 2)]), "it is bound");
        assert_eq!(world.lock().unwrap().acknowledged, Offsets::new());
        gate.open();
    });
    ended.unwrap();
    assert_eq!(world.lock().unwrap().acknowledged, offsets(&[("a", 2)]));
    check(&observer, &world).await;

    // What a run before could not acknowledge any more, the next one does.
    world.lock().unwrap().acknowledged.clear();
    pair.run(&mut View::new(&world, &observer.process)).await.unwrap();
    assert_eq!(world.lock().unwrap().acknowledged, offsets(&[("a", 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_lost_what_was_bound_is_refused() {
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let world = World::of(&[("a", 6), ("b", 3)]);
    world.lock().unwrap().acknowledged = offsets(&[("b", 2)]);
    let error = pair.run(&mut View::new(&world, &pair.process)).await.unwrap_err();
    let (shard, partition) = (stage.shard, "b".to_owned());
    assert_eq!(error, IngestPartitionsError::Gone { shard, partition, offsets: 0..3, earliest: 2 });
    assert_eq!(pair.upper().await, 0, "nothing of the tick is written");

    // Once it is there again, the tick is written.
    world.lock().unwrap().acknowledged.clear();
    pair.run(&mut View::new(&world, &pair.process)).await.unwrap();
    check(&pair, &world).await;

    // The source begins anew: its new offsets would be taken for old ones.
    let anew = World::of(&[("a", 4), ("b", 3)]);
    anew.lock().unwrap().ends = offsets(&[("a", 4), ("b", 3)]);
    let error = pair.run(&mut View::new(&anew, &pair.process)).await.unwrap_err();
    assert_eq!(error, IngestPartitionsError::Back { shard, partition: "a".to_owned(), bound: 6, end: 4 });
}

/// Gives other offsets than it was asked for.
struct Astray(Vec<u64>);

impl PartitionedSource<String, u64, i64> for Astray {
    type Partition = String;
    type Rows = Rows;
    type Error = String;

    async fn ends(&mut self) -> Result<Option<Offsets<String>>, String> {
        Ok(Some(offsets(&[("a", 4)])))
    }

    fn read(&mut self, _: &String, _: Range<u64>) -> impl Stream<Item = Result<(u64, Rows), String>> + Send {
        stream::iter(self.0.clone()).map(|offset| Ok((offset, rows_at("a", offset))))
    }

    async fn acknowledge(&mut self, _: &Offsets<String>) -> Result<(), String> {
        Err("it was acknowledged".to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_gives_what_was_not_asked_for_is_refused() {
    for (given, wanted, offset) in [(vec![4], 0..4, 4), (vec![1, 2, 2], 3..4, 2), (vec![3, 0], 4..4, 0)] {
        let stage = Stage::new();
        let pair = Pair::new(&stage).await;
        let error = within(pair.ingest().run(&mut Astray(given))).await.unwrap_err();
        let (shard, partition) = (stage.shard, "a".to_owned());
        assert_eq!(error, IngestPartitionsError::Offset { shard, partition, wanted, offset });
        assert_eq!(pair.upper().await, 0);
    }
}

/// The source has told its ends, one by one, and says no more, and they could not be bound.
#[tokio::test(start_paused = true)]
async fn ends_that_were_told_once_are_not_forgotten_in_an_outage() {
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let world = World::of(&[("a", 2), ("b", 2)]);
    let refused = Rule::every(Operation::LogCompareAndSet, Fault::FailBefore);
    pair.process.log_faults.add(refused.named(pair.remap.id().to_string()).after(2)); // two for readers
    let mut view = View { tells_one: true, ..View::new(&world, &pair.process) };
    let (ended, ()) = tokio::join!(pair.run(&mut view), async {
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(world.lock().unwrap().ends, offsets(&[("a", 2)]));
        pair.process.log_faults.clear();
    });
    let ended = ended.unwrap();
    assert!(ended.restarted > 0 && ended.rows == 2, "{ended:?}");
    check(&pair, &world).await;
}

/// The rows of a tick were staged so long ago, in the shard's time, that a sweep may have taken them.
#[tokio::test(start_paused = true)]
async fn a_tick_that_waited_too_long_for_its_commit_is_read_again() {
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let world = World::of(&[("a", 6)]);
    let refused = Rule::every(Operation::LogCompareAndSet, Fault::FailBefore);
    pair.process.log_faults.add(refused.named(stage.shard.to_string()));
    let mut view = View::new(&world, &pair.process);
    let (ended, ()) = tokio::join!(pair.run(&mut view), async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        pair.process.clock.advance(pair.process.client.config().limits.orphan_age_min);
        tokio::time::sleep(Duration::from_secs(200)).await; // what was decided before would still be right
        pair.process.log_faults.clear();
    });
    assert_eq!(ended.unwrap().restarted, 1);
    check(&pair, &world).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_past_is_bound_in_steps() {
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let world = World::of(&[("a", 50), ("b", 3)]);
    world.lock().unwrap().ends = offsets(&[("a", 48), ("b", 3)]);
    let begun = tokio::time::Instant::now();
    let run = pair.ingest().tick_interval(Duration::from_secs(10)).tick_offsets_max(7);
    let ended = within(run.run(&mut View::new(&world, &pair.process))).await.unwrap();
    assert_eq!(ended.ticks, 8);
    assert!(begun.elapsed() < Duration::from_secs(15), "no tick waits for the next where there is more");
    check(&pair, &world).await;
}

/// The remap shard merges what the data shard has, and nothing else, whoever else reads it.
#[tokio::test(start_paused = true)]
async fn the_remap_shard_does_not_grow() {
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let world = World::of(&[("a", 160)]);
    let run = || pair.ingest().tick_interval(Duration::from_secs(60));
    let trusting = || View { is_checked: false, ..View::new(&world, &pair.process) };
    let ended = within(run().run(&mut trusting())).await.unwrap();
    assert_eq!((ended.ticks, ended.upper), (80, pair.upper().await));
    let since = pair.remap.inspect().await.unwrap().since.elements()[0];
    let mut remap = pair.open().await;
    let kept = remap.bindings(0).count();
    assert!(since + 20 > ended.upper && since < ended.upper && kept < 20, "{kept} kept, the since is {since}");
    assert_eq!(remap.offsets(), &offsets(&[("a", 160)]));
    assert!(matches!(remap.offsets_at(since - 1).await.unwrap_err().kind(), ErrorKind::Since { .. }));
    assert!(remap.offsets_at(since).await.unwrap().is_some());

    // Bound and not written; and a reader that has gone far.
    remap.bind(&offsets(&[("a", 163)])).await.unwrap();
    remap.bind(&offsets(&[("a", 164)])).await.unwrap();
    let mut reader = pair.remap.open_reader("curious").await.unwrap();
    reader.downgrade_since(&at(remap.upper() - 1)).await.unwrap();
    drop(remap);
    pair.beat().await;
    reader.downgrade_since(&at(u64::MAX)).await.unwrap();
    world.lock().unwrap().ends = offsets(&[("a", 164)]);
    world.lock().unwrap().total = offsets(&[("a", 164)]);
    let ended = within(run().run(&mut trusting())).await.unwrap();
    assert_eq!(ended.ticks, 2);
    let rows: usize = (0..164).map(|offset| rows_at("a", offset).len()).sum();
    assert_eq!(history(&pair.process.shard, ended.upper).await.len(), rows);
}

#[tokio::test(start_paused = true)]
async fn shards_that_do_not_belong_together_are_refused() {
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let world = World::of(&[("a", 6)]);
    // The data shard has what no tick of the remap shard explains: an older one was restored, or it is another's.
    let mut writer = pair.process.writer().await;
    let appended = writer.compare_and_append([row("x", 0, 0, 1)], at(0), at(5)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    let error = pair.run(&mut View::new(&world, &pair.process)).await.unwrap_err();
    assert!(error.to_string().contains("has ticks up to 5, and the remap shard"), "{error}");
    assert_eq!(pair.open().await.upper(), 0, "nothing is bound");

    // The remap shard has merged what the data shard does not have.
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let mut remap = pair.open().await;
    for end in 1..5 {
        remap.bind(&offsets(&[("a", end)])).await.unwrap();
    }
    let upper = remap.upper();
    remap.compact(upper).await.unwrap();
    pair.beat().await;
    drop(remap);
    let error = pair.run(&mut View::new(&world, &pair.process)).await.unwrap_err();
    assert!(error.to_string().contains("apart any more"), "{error}");
    assert_eq!(pair.upper().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_remap_shard_with_other_rows_is_refused_again_and_again() {
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let mut remap = pair.open().await;
    remap.bind(&offsets(&[("a", 4)])).await.unwrap();
    let mut writer = pair.remap.open_writer("mischief").await.unwrap();
    let upper = writer.fetch_upper().await.unwrap().elements()[0];
    let rows = [row("a", 9, upper, 1)];
    assert_eq!(writer.compare_and_append(rows, at(upper), at(upper + 1)).await.unwrap(), Appended::Committed);
    for _ in 0..3 {
        let error = remap.bind(&offsets(&[("a", 5)])).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt && error.shard() == Some(pair.remap.id()), "{error}");
        assert_eq!(remap.refresh().await.unwrap_err(), error);
    }
    assert_eq!(Remap::open(&pair.remap).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// It may run in a task of its own.
#[tokio::test(start_paused = true)]
async fn it_runs_in_a_task() {
    let stage = Stage::new();
    let pair = Pair::new(&stage).await;
    let world = World::of(&[("a", 6)]);
    let (run, mut view) = (pair.ingest(), View::new(&world, &pair.process));
    let ended = within(tokio::spawn(async move { run.run(&mut view).await })).await.unwrap().unwrap();
    assert_eq!(ended.rows, 6);
    check(&pair, &world).await;
}
