//! Shards to read, and dataflows that read them.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use differential_dataflow::difference::IsZero;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::Span;
use differential_dataflow::trace::implementations::ord_neu::OrdValBatch;
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::implementations::{BatchContainer, Layout, layout};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use timely::dataflow::operators::{Inspect, Probe};
use timely::progress::Antichain;
use timely::worker::Worker;
use timely_persist::{Appended, Client, Config, ErrorKind, Shard, ShardId};
use timely_persist_operators::{ArrangedSource, PersistSource, Source, SourceError};

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

pub fn consolidated<A: Ord>(rows: impl IntoIterator<Item = (A, u64, i64)>) -> Vec<(A, u64, i64)> {
    let mut sums: BTreeMap<(A, u64), i64> = BTreeMap::new();
    for (data, time, diff) in rows {
        *sums.entry((data, time)).or_default() += diff;
    }
    sums.into_iter().filter(|(_, diff)| *diff != 0).map(|((data, time), diff)| (data, time, diff)).collect()
}

/// Rows that all workers note.
pub type Noted<R> = Arc<Mutex<Vec<R>>>;

pub fn note<R>(noted: &Noted<R>, rows: impl IntoIterator<Item = R>) {
    noted.lock().unwrap().extend(rows);
}

pub fn taken<R>(noted: &Noted<R>) -> Vec<R> {
    std::mem::take(&mut *noted.lock().unwrap())
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
    looked_at: Arc<AtomicUsize>,
}

impl Seen {
    pub fn rows(&self) -> Vec<Row> {
        consolidated(self.rows.lock().unwrap().clone())
    }

    /// Rows that have come so far: what an arrangement still keeps counts if the source is one of [`Kind::counted`].
    pub fn came(&self) -> usize {
        self.looked_at.load(Ordering::SeqCst).max(self.rows().len())
    }

    pub fn errors(&self) -> Vec<SourceError> {
        self.errors.lock().unwrap().clone()
    }

    /// What the source failed with. It said nothing else.
    pub fn failures(&self) -> Vec<ErrorKind> {
        self.errors().iter().map(failure).collect()
    }
}

/// A source of this type of rows.
pub type Numbered = PersistSource<String, u64, u64, i64>;

/// What is built of a source: all kinds have the same life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rows,
    ByKey,
    Flat,
}

/// Each kind on one worker and on several: the arrangements differ only in how their batches lie.
pub fn kinds(several: usize) -> [(usize, Kind); 4] {
    [(1, Kind::Rows), (several, Kind::Rows), (1, Kind::ByKey), (several, Kind::Flat)]
}

impl Kind {
    /// The source, so that [`Seen::came`] knows of rows that have not come out of the dataflow.
    pub fn counted(self, source: Numbered, seen: &Seen) -> Numbered {
        let looked_at = Arc::clone(&seen.looked_at);
        match self {
            Self::Rows => source,
            Self::ByKey | Self::Flat => source.filter_rows(move |_, _| {
                looked_at.fetch_add(1, Ordering::SeqCst);
                true
            }),
        }
    }
}

/// A source on one worker, with probes.
pub struct Running {
    /// Behind the rows, or the batches.
    pub probe: timely::dataflow::operators::probe::Handle<u64>,
    /// The same, as the source says it.
    pub progress: timely::dataflow::operators::probe::Handle<u64>,
    pub button: timely_persist_operators::Button,
    /// Whoever holds the trace has it maintained.
    _trace: Option<Box<dyn Any>>,
}

/// Adds a dataflow with the source.
pub fn install(worker: &mut Worker, source: Numbered, seen: &Seen) -> Running {
    install_as(Kind::Rows, worker, source, seen)
}

pub fn install_as(kind: Kind, worker: &mut Worker, source: Numbered, seen: &Seen) -> Running {
    worker.dataflow::<u64, _, _>(|scope| match kind {
        Kind::Rows => watch_rows(source.build(scope), seen),
        Kind::ByKey => watch_batches(source.arrange_by_key(scope), seen),
        Kind::Flat => watch_batches(source.arrange_flat(scope), seen),
    })
}

fn watch_rows(source: Source<'_, String, u64, u64, i64>, seen: &Seen) -> Running {
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
    Running { probe: updates.probe().0, progress: source.progress.probe().0, button: source.button, _trace: None }
}

fn watch_batches<L>(source: ArrangedSource<'_, u64, TraceAgent<Spine<Batch<L>>>>, seen: &Seen) -> Running
where
    L: Layout<
            KeyContainer: BatchContainer<Owned = String>,
            ValContainer: BatchContainer<Owned = u64>,
            TimeContainer: BatchContainer<Owned = u64>,
            DiffContainer: BatchContainer<Owned = i64>,
        > + 'static,
{
    let rows = Arc::clone(&seen.rows);
    let (probe, batches) = source.arranged.stream.probe();
    let early = probe.clone();
    let batches = batches.inspect(move |span| {
        let batch = rows_of(span);
        assert!(batch.iter().all(|row| early.less_equal(&row.1)), "{batch:?} is late");
        rows.lock().unwrap().extend(batch);
    });
    let errors = Arc::clone(&seen.errors);
    source.errors.inspect(move |error| errors.lock().unwrap().push(error.clone()));
    Running {
        probe: batches.probe().0,
        progress: source.progress.probe().0,
        button: source.button,
        _trace: Some(Box::new(source.arranged.trace)),
    }
}

pub type Batch<L> = Rc<OrdValBatch<L>>;
pub type Update<L> = ((layout::Key<L>, layout::Val<L>), layout::Time<L>, layout::Diff<L>);

/// The rows of a batch. It is one: in order, consolidated, nothing empty, all at its times.
pub fn rows_of<L>(span: &Span<layout::Time<L>, Batch<L>>) -> Vec<Update<L>>
where
    L: Layout<KeyContainer: BatchContainer<Owned: Debug>, ValContainer: BatchContainer<Owned: Debug + Ord>>,
    layout::Key<L>: Ord,
{
    let Some(batch) = &span.inner else { return Vec::new() };
    let storage = &batch.storage;
    let mut rows: Vec<Update<L>> = Vec::new();
    for key in 0..storage.keys.len() {
        let (first, end) = storage.vals.bounds(key);
        assert!(first < end, "a key without values");
        for value in first..end {
            let (first, end) = storage.upds.bounds(value);
            assert!(first < end, "a value without times");
            for update in first..end {
                let (time, diff) = storage.upds.get_abs(update);
                let key = L::KeyContainer::into_owned(storage.keys.index(key));
                let value = L::ValContainer::into_owned(storage.vals.get_abs(value));
                let (time, diff) = (L::TimeContainer::into_owned(time), L::DiffContainer::into_owned(diff));
                assert!(!diff.is_zero(), "{key:?} is there for nothing");
                let is_here = span.lower().less_equal(&time) && !span.upper().less_equal(&time);
                assert!(is_here, "{time:?} is not in {:?}", span.desc);
                rows.push(((key, value), time, diff));
            }
        }
    }
    assert!(!rows.is_empty() && rows.len() == batch.updates, "{} rows are told as {}", rows.len(), batch.updates);
    for pair in rows.windows(2) {
        let [one, two] = [&pair[0], &pair[1]].map(|(data, time, _)| (data, time));
        assert!(one < two, "{one:?} before {two:?}");
    }
    rows
}

/// Runs a dataflow with this source on so many workers until its frontier has reached `to`, then drops the buttons and
/// waits for the end of the dataflow.
pub fn run(
    workers: usize,
    shard: &Numbers,
    options: impl Fn(Numbered) -> Numbered + Send + Sync + 'static,
    to: Antichain<u64>,
) -> Seen {
    run_as(Kind::Rows, workers, shard, options, to)
}

pub fn run_as(
    kind: Kind,
    workers: usize,
    shard: &Numbers,
    options: impl Fn(Numbered) -> Numbered + Send + Sync + 'static,
    to: Antichain<u64>,
) -> Seen {
    let (shard, seen) = (shard.clone(), Seen::default());
    let shared = seen.clone();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let running = install_as(kind, worker, options(PersistSource::new(&shard)), &shared);
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
