//! A pipeline that crashes anywhere, again and again: at an await of its own, or between what it asks of a log and the
//! answer, which may come true much later.
//!
//! Its inputs have one row at each time, so that what its output must hold is known without them.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_trait::async_trait;
use futures::future::{Either, poll_fn, select};
use timely::progress::Antichain;
use timely_persist::store::{LogError, ObjectLog};
use timely_persist::{Appended, Consensus, Error, Shard, ShardId};
use timely_persist_operators::{Resume, Retention};
use timely_persist_testing::{Fault, Gate, HookedLog, LogAnswer, LogHook, LogRequest, Operation, Rule};

use super::{Shards, assert_fenced, begin_at};
use crate::random::{Random, Story, seeds};
use crate::stage::{Process, Row, Stage, at, quiet, within};

/// How a process ends.
enum Crash {
    /// When it was polled so often.
    Polled(usize),
    /// While the log has this request. The gate is opened later, or never.
    Asking(Gate),
}

/// A log that answers at once leaves no await to crash at: this one takes its time, twice.
#[derive(Debug)]
struct Slow;

#[async_trait]
impl LogHook for Slow {
    async fn ask(&self, log: &Arc<dyn Consensus>, shard: ShardId, request: LogRequest) -> Result<LogAnswer, LogError> {
        tokio::task::yield_now().await;
        let answer = request.send(log, shard).await;
        tokio::task::yield_now().await;
        answer
    }
}

async fn process(stage: &Stage) -> Process {
    let log = HookedLog::with_hook(Arc::new(ObjectLog::new(stage.store.clone())), Slow);
    stage.process_on(Arc::new(log), quiet()).await
}

/// What is known of a run, beside its storage.
struct Run {
    random: Random,
    story: Story,
    /// The since of the inputs before anything was held.
    origin: u64,
    /// What was tried to be committed.
    attempts: Arc<Mutex<Vec<(u64, u64)>>>,
    /// Of a process that crashed: it may go on.
    zombie: Arc<Mutex<Option<Resume<u64>>>>,
    gates: Vec<Gate>,
}

/// What one start is to do.
struct Start<'a> {
    retention: Retention,
    /// Its incarnation, and another process that has it too.
    cluster: Option<(u64, &'a Shards)>,
    /// The lengths of its commits.
    steps: Vec<u64>,
}

/// A start that does not crash is polled more often, sometimes.
const POLLS: usize = 120;

/// Commits to all logs, by a start that does not crash: at most about so many.
const COMMITS: u64 = 16;

fn time(frontier: &Antichain<u64>) -> u64 {
    frontier.elements()[0]
}

/// The rows of `[lower, upper)` that a dataflow has whose sources started at `as_of`.
fn rows(as_of: u64, lower: u64, upper: u64) -> impl Iterator<Item = Row> {
    let rows = (0..upper).map(move |time| ((format!("at {time}"), time), time.max(as_of), 1));
    rows.filter(move |(_, time, _)| (lower..upper).contains(time))
}

impl Run {
    /// A process of the pipeline, until it has crashed or is told to end. Mostly it is alone, else `other` is of its cluster.
    async fn start(&mut self, number: u64, process: &Process, other: &Shards) -> Option<Result<(), Error>> {
        let crash = self.crash(process);
        let shards = Shards::of(process);
        let start = Start {
            retention: *self.random.pick(&[Retention::All, Retention::Latest, Retention::Behind(1)]),
            // Beyond those that starts take by themselves.
            cluster: self.random.percent(30).then_some((1_000 * number, other)),
            steps: (0..1 + self.random.below(3)).map(|_| 1 + self.random.word() % 4).collect(),
        };
        let (attempts, zombie) = (Arc::clone(&self.attempts), Arc::clone(&self.zombie));
        let pipeline = pin!(pipeline(&shards, &start, &attempts, &zombie));
        match crash {
            Crash::Polled(times) => polled(pipeline, times).await,
            Crash::Asking(gate) => match select(pipeline, pin!(gate.arrived(1))).await {
                Either::Left((ended, _)) => Some(ended),
                Either::Right(_) => None,
            },
        }
    }

    fn crash(&mut self, process: &Process) -> Crash {
        if self.random.percent(50) {
            return Crash::Polled(self.random.below(POLLS));
        }
        let gate = Gate::closed();
        let fault = match self.random.percent(50) {
            true => Fault::HoldBefore(gate.clone()),
            false => Fault::HoldAfter(gate.clone()),
        };
        let skip = self.random.word() % COMMITS;
        process.log_faults.add(Rule::next(Operation::LogCompareAndSet, fault).after(skip));
        self.gates.push(gate.clone());
        Crash::Asking(gate)
    }

    /// What always holds, as somebody sees who has nothing to do with it.
    async fn judge(&self, shards: &Shards) {
        let upper = time(&shards.revenue.inspect().await.unwrap().upper);
        let attempts = self.attempts.lock().unwrap().clone();
        // An attempt begins at the upper that it saw: of those that end here, only the last can have come true.
        let last = attempts.iter().filter(|(_, end)| *end == upper).map(|(lower, _)| *lower).max();
        assert_eq!(last.is_some(), upper > 0);
        let held: Vec<u64> = shards.held().await.into_iter().flatten().collect();
        for hold in &held {
            let furthest = last.unwrap_or(0).max(self.origin);
            assert!(*hold <= furthest, "a hold at {hold} passes {furthest}, the upper is {upper}");
        }
        // A hold that is not made yet would be made at the since of its shard.
        let as_of = held.into_iter().fold(self.origin, u64::max);
        assert!(as_of < upper || upper == 0, "a restart begins at {as_of}, the upper is {upper}");
        let since = time(&shards.revenue.inspect().await.unwrap().since);
        assert!(since < upper || upper == 0, "the output's since is {since}, its upper {upper}");
        readable(&shards.orders, as_of).await;
        readable(&shards.items, as_of).await;
    }

    /// The one before goes on, after another has taken over: it moves nothing, whatever it thinks that it committed.
    async fn wake_the_zombie(&mut self, shards: &Shards) {
        let Some(mut zombie) = self.zombie.lock().unwrap().take() else { return };
        let resume = shards.pipeline().open().await.unwrap();
        let upper = time(&shards.revenue.inspect().await.unwrap().upper).max(time(&resume.as_of()) + 1);
        assert_fenced(&zombie.committed(&at(upper), &at(upper + 1)).await.unwrap_err());
    }
}

async fn readable<K, V>(input: &Shard<K, V, u64, i64>, as_of: u64)
where
    K: timely_persist::Data,
    V: timely_persist::Data,
{
    input.open_reader_at("judge", at(as_of)).await.unwrap().expire().await.unwrap();
}

async fn polled<F: Future>(mut future: std::pin::Pin<&mut F>, mut times: usize) -> Option<F::Output> {
    poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(None);
        }
        times -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// What a sink does, by hand.
async fn pipeline(
    shards: &Shards,
    start: &Start<'_>,
    attempts: &Mutex<Vec<(u64, u64)>>,
    zombie: &Mutex<Option<Resume<u64>>>,
) -> Result<(), Error> {
    let mut resume = match start.cluster {
        None => shards.pipeline().keep(start.retention).open().await?,
        Some((incarnation, other)) => {
            let here = shards.pipeline().keep(start.retention).incarnation(incarnation).open();
            let (here, there) = tokio::try_join!(here, other.pipeline().incarnation(incarnation).open())?;
            assert_eq!((here.as_of(), here.first_run()), (there.as_of(), there.first_run()));
            here
        }
    };
    *zombie.lock().unwrap() = Some(resume.clone());
    let as_of = time(&resume.as_of());
    shards.orders.open_reader_at("orders", at(as_of)).await?.expire().await?;
    shards.items.open_reader_at("items", at(as_of)).await?.expire().await?;
    let mut writer = shards.revenue.open_writer("sink").await?;
    let mut lower = time(&writer.fetch_upper().await?);
    assert!(as_of < lower || (lower == 0 && resume.first_run()), "it begins at {as_of}, the upper is {lower}");
    for step in &start.steps {
        let upper = lower.max(as_of) + step;
        attempts.lock().unwrap().push((lower, upper));
        let appended = writer.compare_and_append(rows(as_of, lower, upper), at(lower), at(upper)).await?;
        let Appended::Committed = appended else { return Ok(()) }; // what another asked for came true
        resume.committed(&at(lower), &at(upper)).await?;
        lower = upper;
    }
    Ok(())
}

/// Starts of one run.
const STARTS: u64 = 12;

async fn run(seed: u64) {
    let story = Story::new(format!("RESUME_SEED={seed} cargo test --test operators resume::crashes"));
    let mut random = Random::new(seed);
    let origin = random.word() % 4;
    let mut run = Run { random, story, origin, attempts: Arc::default(), zombie: Arc::default(), gates: Vec::new() };
    let stage = Stage::new();
    let observer = Shards::of(&stage.process(quiet()).await);
    begin_at(&observer.items, origin).await;
    for number in 1..=STARTS {
        let process = process(&stage).await;
        let ended = within(run.start(number, &process, &observer)).await;
        let attempts = run.attempts.lock().unwrap().clone();
        run.story.tell(format_args!("start {number}: {ended:?}, the last attempt is {:?}", attempts.last()));
        if let Some(Err(error)) = &ended {
            panic!("start {number}: {error:?}");
        }
        drop(process);
        if run.random.percent(30) {
            run.gates.iter().for_each(Gate::open);
            crate::stage::quiesce().await;
        }
        run.judge(&observer).await;
        if run.random.percent(30) {
            run.wake_the_zombie(&observer).await;
            run.judge(&observer).await;
        }
    }
    run.gates.iter().for_each(Gate::open);
    crate::stage::quiesce().await;
    check_the_output(&observer).await;
}

/// Each row is in the output once.
async fn check_the_output(shards: &Shards) {
    let info = shards.revenue.inspect().await.unwrap();
    let (since, upper) = (time(&info.since), time(&info.upper));
    if upper == 0 {
        return;
    }
    for as_of in [since, upper - 1] {
        let reader = shards.revenue.open_reader_at("judge", at(as_of)).await.unwrap();
        let mut contents = reader.snapshot_and_fetch(at(as_of)).await.unwrap();
        contents.sort();
        let mut expected: Vec<Row> = (0..=as_of).map(|time| ((format!("at {time}"), time), as_of, 1)).collect();
        expected.sort();
        assert_eq!(contents, expected, "at {as_of}, the upper is {upper}");
        reader.expire().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_crashes_anywhere_goes_on_where_it_was() {
    for seed in seeds("RESUME", 8) {
        run(seed).await;
    }
}
