//! Shards to read, and dataflows that read them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use timely::dataflow::operators::{Inspect, Probe};
use timely::progress::Antichain;
use timely::worker::Worker;
use timely_persist::{Appended, Client, Config, ErrorKind, Shard, ShardId};
use timely_persist_operators::{PersistSource, SourceError};

pub type Numbers = Shard<String, u64, u64, i64>;
pub type Row = ((String, u64), u64, i64);

pub fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

pub fn none() -> Antichain<u64> {
    Antichain::new()
}

/// Runs a future to its end, on a runtime of its own.
pub fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Limits for tests: every part is an object, and nothing is merged unless a test asks for it.
pub fn config() -> Config {
    let mut config = Config::default();
    config.write.inline_part_bytes_max = 0;
    config.upkeep.compact = false;
    config
}

pub fn memory(config: Config) -> Client {
    wait(Client::builder(Arc::new(object_store::memory::InMemory::new())).config(config).open()).unwrap()
}

/// A row of the part at `time`.
pub fn row(time: u64, index: u64) -> Row {
    ((format!("row {index:03} of {time}"), index), time, 1)
}

/// Appends one part of `rows` rows at each of these times, and moves the upper behind them.
pub fn fill(shard: &Numbers, times: std::ops::Range<u64>, rows: u64) {
    wait(async {
        let mut writer = shard.open_writer("fill").await.unwrap();
        for time in times {
            let part = (0..rows).map(|index| row(time, index));
            let appended = writer.compare_and_append(part, at(time), at(time + 1)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
        }
    });
}

pub fn advance(shard: &Numbers, to: Antichain<u64>) {
    wait(async { shard.open_writer("advance").await.unwrap().advance_upper(&to).await.unwrap() });
}

/// A shard of `parts` parts of `rows` rows each, at times 0, 1, ...
pub fn filled(client: &Client, parts: u64, rows: u64) -> Numbers {
    let shard = client.shard(ShardId::new());
    fill(&shard, 0..parts, rows);
    shard
}

/// What `fill` wrote, as a reader at `as_of` sees it.
pub fn expected(times: std::ops::Range<u64>, rows: u64, as_of: u64) -> Vec<Row> {
    let all = times.flat_map(|time| (0..rows).map(move |index| row(time, index)));
    consolidated(all.map(|(data, time, diff)| (data, time.max(as_of), diff)))
}

pub fn consolidated(rows: impl IntoIterator<Item = Row>) -> Vec<Row> {
    let mut sums: BTreeMap<((String, u64), u64), i64> = BTreeMap::new();
    for (data, time, diff) in rows {
        *sums.entry((data, time)).or_default() += diff;
    }
    sums.into_iter().filter(|(_, diff)| *diff != 0).map(|((data, time), diff)| (data, time, diff)).collect()
}

/// The parts of a shard that are objects of the store.
pub async fn parts_of(store: &dyn ObjectStore, shard: ShardId) -> Vec<Path> {
    let all: Vec<_> = store.list(None).map(|object| object.unwrap().location).collect().await;
    let is_part = |path: &Path| path.as_ref().contains(&shard.to_string()) && path.as_ref().contains("/part-");
    all.into_iter().filter(is_part).collect()
}

/// The kind of an error that a source has stopped with.
pub fn failure(error: &SourceError) -> ErrorKind {
    let SourceError::Failed(error) = error else { panic!("a notice: {error}") };
    error.kind()
}

/// What the workers of a dataflow saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    rows: Arc<Mutex<Vec<Row>>>,
    errors: Arc<Mutex<Vec<SourceError>>>,
}

impl Seen {
    pub fn rows(&self) -> Vec<Row> {
        consolidated(self.rows.lock().unwrap().clone())
    }

    pub fn errors(&self) -> Vec<SourceError> {
        self.errors.lock().unwrap().clone()
    }

    /// What the source failed with. It said nothing else.
    pub fn failures(&self) -> Vec<ErrorKind> {
        self.errors().iter().map(failure).collect()
    }
}

/// A source on one worker, with a probe.
pub struct Running {
    pub probe: timely::dataflow::operators::probe::Handle<u64>,
    pub button: timely_persist_operators::Button,
}

/// Adds a dataflow with the source.
pub fn install(worker: &mut Worker, source: PersistSource<String, u64, u64, i64>, seen: &Seen) -> Running {
    let seen = seen.clone();
    worker.dataflow::<u64, _, _>(|scope| {
        let source = source.build(scope);
        let rows = Arc::clone(&seen.rows);
        let (probe, updates) = source.updates.inner.probe();
        let early = probe.clone();
        let updates = updates.inspect(move |row| {
            // Hazard 33: whatever completes first, no row is at a time that the frontier has passed.
            assert!(early.less_equal(&row.1), "{row:?} is late");
            rows.lock().unwrap().push(row.clone());
        });
        let errors = Arc::clone(&seen.errors);
        source.errors.inspect(move |error| errors.lock().unwrap().push(error.clone()));
        Running { probe: updates.probe().0, button: source.button }
    })
}

/// Runs a dataflow with this source on so many workers until its frontier has reached `to`, then drops the buttons and
/// waits for the end of the dataflow.
pub fn run(
    workers: usize,
    shard: &Numbers,
    options: impl Fn(PersistSource<String, u64, u64, i64>) -> PersistSource<String, u64, u64, i64> + Send + Sync + 'static,
    to: Antichain<u64>,
) -> Seen {
    let (shard, seen) = (shard.clone(), Seen::default());
    let shared = seen.clone();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let running = install(worker, options(PersistSource::new(&shard)), &shared);
        let reached = |running: &Running| running.probe.with_frontier(|frontier| frontier_reached(frontier, &to));
        while !reached(&running) {
            worker.step_or_park(None);
        }
        drop(running.button);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    drop(guards.unwrap());
    seen
}

pub fn frontier_reached(frontier: timely::progress::frontier::AntichainRef<'_, u64>, to: &Antichain<u64>) -> bool {
    timely::PartialOrder::less_equal(&to.borrow(), &frontier)
}

/// Turns a test that would hang into one that fails, also on a machine that has other things to do.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Waits until the shard has no reader any more.
pub fn without_readers(shard: &Numbers) {
    wait(async {
        let gone = async {
            while shard.inspect().await.unwrap().readers != 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.expect("a reader stays registered");
    });
}
