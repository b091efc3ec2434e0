//! What a sink asks for: for a small step, while nothing happens, and while another copy writes.
//!
//! The dataflow runs on the thread of the test, as do the tasks of its client, so a step asks for all that it asks for before the
//! clock goes on.

use std::sync::Arc;
use std::time::Duration;

use differential_dataflow::input::{Input, InputSession};
use object_store::memory::InMemory;
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::communication::allocator::thread::Thread;
use timely::dataflow::Scope;
use timely::dataflow::operators::{Inspect, Probe, probe};
use timely::worker::Worker;
use timely_persist::store::ObjectLog;
use timely_persist::{ClientBuilder, Config, Consensus, ShardId, WriteHandle};
use timely_persist_operators::{Button, PersistSink, PersistSource, Resume, Retention};
use timely_persist_testing::{CountingStore, Fault, Faults, FaultyLog, FaultyStore, Operation, OperationCounts, Rule};
use tokio::time::{Instant, sleep, timeout};

use crate::idle::{LOOKS, RENEWALS, SPAN, even};
use crate::{Cost, Process, Rows, append, at, writing};

pub(crate) type Sink = PersistSink<String, u64, u64, i64>;

/// What a test waits for comes long before.
const LIMIT: Duration = Duration::from_secs(3_600);

/// How often an idle dataflow is looked after.
const RESTING: Duration = Duration::from_secs(1);

/// A worker with one dataflow, which has a sink.
pub(crate) struct Dataflow {
    worker: Worker,
    pub(crate) probe: probe::Handle<u64>,
    _buttons: Vec<Button>,
}

impl Dataflow {
    /// What `build` builds: what to look at, and what stops it.
    fn new(build: impl FnOnce(Scope<'_, u64>) -> (probe::Handle<u64>, Vec<Button>)) -> Self {
        let alone = Allocator::Thread(Thread::default());
        let mut worker = Worker::new(WorkerConfig::default(), alone, Some(Instant::now().into_std()));
        let (probe, _buttons) = worker.dataflow::<u64, _, _>(build);
        Self { worker, probe, _buttons }
    }

    /// A shard that is kept in another, which is read again.
    fn pipeline(input: &Rows, output: &Rows, sink: Sink) -> Self {
        Self::new(|scope| {
            let source = PersistSource::new(input).as_of(at(0)).build(scope);
            let sink = sink.as_of(at(0)).build(source.updates);
            sink.errors.inspect(|error| assert!(!error.is_final(), "{error}"));
            let chained = PersistSource::new(output).as_of(at(0)).build(scope);
            (chained.updates.inner.probe().0, vec![sink.button, source.button, chained.button])
        })
    }

    /// What the test makes is kept in a shard.
    pub(crate) fn kept(sink: Sink) -> (Self, InputSession<u64, (String, u64), i64>) {
        let mut session = None;
        let kept = Self::new(|scope| {
            let (input, rows) = scope.new_collection();
            session = Some(input);
            let sink = sink.build(rows);
            sink.errors.inspect(|error| assert!(!error.is_final(), "{error}"));
            (sink.progress.probe().0, vec![sink.button])
        });
        (kept, session.unwrap())
    }

    pub(crate) fn step(&mut self) {
        self.worker.step();
    }

    /// Runs until the probe is there, and a little longer: what a step leaves behind belongs to it.
    pub(crate) async fn reach(&mut self, time: u64) {
        let reached = async {
            while self.probe.less_than(&time) {
                self.step();
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, reached).await.unwrap();
        self.run(Duration::from_millis(5), Duration::from_millis(1)).await;
    }

    /// Runs for so long, once in so long.
    pub(crate) async fn run(&mut self, span: Duration, each: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.step();
            sleep(each).await;
        }
    }
}

/// So many commits, each an entry and a look at the boundary, and so many objects written and read.
fn commits_of(commits: u64, puts: u64, gets: u64) -> Cost {
    let requests = OperationCounts { creates: commits, lists: commits, puts, gets, ..OperationCounts::default() };
    Cost { commits, requests, ..Cost::default() }
}

/// So many looks for what others wrote, each a request for the next entry, and one for the boundary.
fn looks_of(looks: u64) -> Cost {
    let requests = OperationCounts { gets: looks, lists: looks, ..OperationCounts::default() };
    Cost { scans: looks, requests, ..Cost::default() }
}

pub(crate) fn output(process: &Process) -> Rows {
    process.client.shard(ShardId::from_u128(2))
}

/// Over any log one compare-and-set; where that lies in a store, one create and one listing; and a put where the rows are too
/// many for the entry.
#[tokio::test(start_paused = true)]
async fn a_small_step_of_a_sink_costs_one_commit() {
    for (rows, puts) in [(0, 0), (1, 0), (1_000, 1)] {
        let process = Process::new(&Arc::new(InMemory::new()), writing()).await;
        let (mut kept, mut input) = Dataflow::kept(PersistSink::new(&output(&process)));
        input.advance_to(1);
        input.flush();
        kept.reach(1).await;
        for time in 1..50 {
            (0..rows).for_each(|row| input.update((format!("{row:0100}"), row), 1));
            input.advance_to(time + 1);
            input.flush();
            let ((), cost) = process.cost(kept.reach(time + 1)).await;
            assert_eq!(cost.requests_only(), commits_of(1, puts, 0), "{rows} rows");
        }
    }
}

/// One is the append's, and one the sink's: neither source adds to that, but for the objects that it reads.
#[tokio::test(start_paused = true)]
async fn a_step_of_a_pipeline_costs_two_commits() {
    for (rows, objects) in [(1, 0), (1_000, 1)] {
        let process = Process::new(&Arc::new(InMemory::new()), writing()).await;
        let mut writer = process.shard.open_writer("test").await.unwrap();
        append(&mut writer, 0, rows).await;
        let output = output(&process);
        let mut pipeline = Dataflow::pipeline(&process.shard, &output, PersistSink::new(&output));
        pipeline.reach(1).await;
        for time in 1..50 {
            let step = async {
                append(&mut writer, time, rows).await;
                pipeline.reach(time + 1).await;
            };
            let ((), cost) = process.cost(step).await;
            assert_eq!(cost.requests_only(), commits_of(2, 2 * objects, 2 * objects), "{rows} rows");
        }
    }
}

/// A client that maintains the shards adds to each a commit for a rollup, after 128 appends; compaction, which is off here, adds
/// one for some 256 appends that are inline.
#[tokio::test(start_paused = true)]
async fn upkeep_adds_a_commit_for_128_steps_of_each_shard() {
    let mut config = Config::default();
    config.upkeep.compact = false;
    let interval = config.upkeep.rollup_interval;
    let process = Process::new(&Arc::new(InMemory::new()), config).await;
    let mut writer = process.shard.open_writer("test").await.unwrap();
    append(&mut writer, 0, 0).await;
    let output = output(&process);
    let mut pipeline = Dataflow::pipeline(&process.shard, &output, PersistSink::new(&output));
    let mut steps = async |from: u64, to: u64| {
        for time in from..to {
            append(&mut writer, time, 0).await;
            pipeline.reach(time + 1).await;
        }
        process.shard.settle().await.unwrap();
        output.settle().await.unwrap();
    };
    steps(1, interval).await;
    for round in 1..4 {
        let ((), cost) = process.cost(steps(interval * round, interval * (round + 1))).await;
        assert_eq!(cost.commits, 2 * (interval + 1), "round {round}");
    }
}

/// What is held of the inputs, and kept of the output, is moved by a commit to each of them in `hold_interval`, and by none to an
/// output of which all is kept.
#[tokio::test(start_paused = true)]
async fn a_resume_adds_a_commit_to_each_input_and_the_output_in_each_hold_interval() {
    const STEP: Duration = Duration::from_millis(100);
    for (keep, moves) in [(Retention::All, 1), (Retention::Latest, 2)] {
        let process = Process::new(&Arc::new(InMemory::new()), writing()).await;
        let mut writer = process.shard.open_writer("test").await.unwrap();
        append(&mut writer, 0, 1).await;
        let output = output(&process);
        let resume = Resume::of("test", &output).input(&process.shard).keep(keep);
        let resume = resume.hold_interval(STEP * 19 / 2).open().await.unwrap();
        let mut pipeline = Dataflow::pipeline(&process.shard, &output, PersistSink::new(&output).resume(&resume));
        pipeline.reach(1).await; // the first commit moves them, too
        let begin = Instant::now();
        for time in 1..50 {
            tokio::time::sleep_until(begin + STEP * time as u32).await;
            let step = async {
                append(&mut writer, time, 1).await;
                pipeline.reach(time + 1).await;
            };
            let ((), cost) = process.cost(step).await;
            let commits = if time % 10 == 0 { 2 + moves } else { 2 };
            assert_eq!(cost.requests_only(), commits_of(commits, 0, 0), "step {time}, keeping {keep:?}");
        }
    }
}

/// Where a frontier ticks more often than that.
#[tokio::test(start_paused = true)]
async fn an_input_that_ticks_costs_a_commit_for_each_interval() {
    const TICK: Duration = Duration::from_millis(100);
    let process = Process::new(&Arc::new(InMemory::new()), writing()).await;
    let sink = PersistSink::new(&output(&process)).commit_interval(TICK * 19 / 2);
    let (mut kept, mut input) = Dataflow::kept(sink);
    input.advance_to(1);
    input.flush();
    kept.reach(1).await;
    let ticks = async {
        for time in 2..=102 {
            input.advance_to(time);
            input.flush();
            kept.run(TICK, TICK / 10).await;
        }
    };
    let ((), cost) = process.cost(ticks).await;
    assert_eq!(cost.requests_only(), commits_of(10, 0, 0));
}

/// A sink commits nothing where its input rests. It follows its shard, as other copies may write it: with the looks of anyone
/// who waits for updates, and with no lease to renew.
#[tokio::test(start_paused = true)]
async fn an_idle_sink_only_looks_whether_others_write() {
    let process = even(writing()).await;
    let (mut kept, mut input) = Dataflow::kept(PersistSink::new(&output(&process)));
    input.advance_to(1);
    input.flush();
    kept.reach(1).await;
    let ((), cost) = process.cost(kept.run(SPAN, RESTING)).await;
    assert_eq!(cost.requests_only(), looks_of(LOOKS));
}

/// What its sources cost without it: whoever waits for a shard in one process looks for all of them.
#[tokio::test(start_paused = true)]
async fn an_idle_pipeline_costs_what_its_two_sources_do() {
    let process = even(writing()).await;
    let mut writer = process.shard.open_writer("test").await.unwrap();
    append(&mut writer, 0, 1).await;
    let output = output(&process);
    let mut pipeline = Dataflow::pipeline(&process.shard, &output, PersistSink::new(&output));
    pipeline.reach(1).await;
    let ((), cost) = process.cost(pipeline.run(SPAN, RESTING)).await;
    assert_eq!((cost.commits, cost.scans), (2 * RENEWALS, 2 * LOOKS));
    assert_eq!(cost.requests.operations(), 2 * (2 * RENEWALS + 2 * LOOKS));
}

/// The same dataflow in a second process that is further from the store, so that the first one always comes first.
struct Copies {
    first: Dataflow,
    second: Dataflow,
    process: Process,
    writer: WriteHandle<String, u64, u64, i64>,
    _first: Process,
}

impl Copies {
    /// Processes with a log each of this kind.
    async fn new(log: impl Fn(&Arc<InMemory>) -> Arc<dyn Consensus>) -> Self {
        let (store, far) = (Arc::new(InMemory::new()), Faults::scripted());
        for operation in [Operation::Put, Operation::LogCompareAndSet] {
            far.add(Rule::every(operation, Fault::Delay(Duration::from_millis(5))));
        }
        let delayed = FaultyStore::new(store.clone(), far.clone());
        let delayed_log = Arc::new(FaultyLog::new(log(&store), far));
        let ask = |builder: ClientBuilder| builder.config(writing());
        let _first = Process::with(CountingStore::new(store.clone()), Some(log(&store)), ask).await;
        let process = Process::with(CountingStore::new(Arc::new(delayed)), Some(delayed_log), ask).await;
        let mut writer = _first.shard.open_writer("test").await.unwrap();
        append(&mut writer, 0, 1).await;
        let flow = |process: &Process| {
            let output = output(process);
            Dataflow::pipeline(&process.shard, &output, PersistSink::new(&output))
        };
        let mut first = flow(&_first);
        first.reach(1).await;
        let mut second = flow(&process);
        second.reach(1).await;
        Self { first, second, process, writer, _first }
    }

    /// What a step of both costs the second one.
    async fn step(&mut self, time: u64, rows: u64) -> Cost {
        let step = async {
            append(&mut self.writer, time, rows).await;
            for _ in 0..30 {
                self.first.step();
                self.second.step();
                sleep(Duration::from_millis(1)).await;
            }
            self.first.reach(time + 1).await;
        };
        self.process.cost(step).await.1.requests_only()
    }
}

/// A copy that came second three times stands by: it reads, and writes nothing at all.
#[tokio::test(start_paused = true)]
async fn a_standby_puts_nothing_and_commits_nothing() {
    for (rows, objects) in [(1, 0), (1_000, 1)] {
        // One log that tells both of each entry.
        let log = std::sync::OnceLock::new();
        let mut copies = Copies::new(|store| {
            let log = log.get_or_init(|| Arc::new(ObjectLog::new(store.clone())));
            Arc::clone(log) as Arc<dyn Consensus>
        })
        .await;
        let requests = OperationCounts { gets: 2 * objects, ..OperationCounts::default() };
        let reads = Cost { scans: 2, entries_read: 2, requests, ..Cost::default() };
        for time in 1..50 {
            let cost = copies.step(time, rows).await;
            if time > 3 {
                assert_eq!(cost, reads, "step {time} of {rows} rows");
            } else {
                assert_eq!(cost.requests.puts, objects, "step {time} of {rows} rows");
            }
        }
        copies.second.reach(50).await;
    }
}

/// As in a bucket, which tells nobody: a copy may learn of rows before it learns that another one has written them.
#[tokio::test(start_paused = true)]
async fn a_standby_that_has_to_look_puts_nothing_and_commits_nothing() {
    let mut copies = Copies::new(|store| Arc::new(ObjectLog::new(store.clone()).polling())).await;
    let mut wrote = 0;
    for time in 1..60 {
        let cost = copies.step(time, 1_000).await;
        let writes = cost.requests.puts + cost.requests.creates;
        assert_eq!(cost.commits, writes, "step {time}: an interval that was covered");
        wrote += writes;
    }
    assert_eq!(wrote, 3);
    copies.second.reach(60).await;
}
