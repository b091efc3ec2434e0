//! Closures and types that panic: an error that names them, a frontier that is held, and workers that live on.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Exchange, Inspect, Probe};
use timely::dataflow::{Scope, StreamVec};
use timely::worker::Worker;
use timely_persist::{ErrorKind, Serde, Shard, ShardId};
use timely_persist_operators::{ArrangedSource, Button, MappedSource, PersistSource, Source, SourceError};

use crate::support::*;

/// What a test looks at of a source on one worker.
struct Watched<'scope> {
    rows: StreamVec<'scope, u64, u64>,
    errors: StreamVec<'scope, u64, SourceError>,
    button: Button,
}

/// The numbers of the rows of a source without `map`.
fn plain<'scope>(kind: Kind, source: Numbered, scope: Scope<'scope, u64>) -> Watched<'scope> {
    let (numbers, errors, button) = match kind {
        Kind::Rows => {
            let Source { updates, errors, button, .. } = source.build(scope);
            (updates.map(|(_, number)| number), errors, button)
        }
        Kind::ByKey => {
            let ArrangedSource { arranged, errors, button, .. } = source.arrange_by_key(scope);
            (arranged.as_collection(|_, number| *number), errors, button)
        }
        Kind::Flat => {
            let ArrangedSource { arranged, errors, button, .. } = source.arrange_flat(scope);
            (arranged.as_collection(|_, number| number), errors, button)
        }
    };
    Watched { rows: numbers.inner.flat_map(|(number, ..)| Some(number)), errors, button }
}

/// The numbers that a closure gives.
fn mapped<'scope>(
    source: Numbered,
    scope: Scope<'scope, u64>,
    mut number: impl FnMut(u64, u64) -> u64 + 'static,
) -> Watched<'scope> {
    let MappedSource { stream, errors, button, .. } =
        source.map(move |_, value, time, _| Some(number(value, time))).build(scope);
    Watched { rows: stream, errors, button }
}

/// Appends to a shard while a source reads it that panics at or behind time `held`, beside one that does not. Gives what
/// the first one said.
///
/// Checks that it holds its frontier, that the second goes on to its end, and that all ends when the buttons are released.
fn panics_at(
    held: u64,
    workers: usize,
    shard: &Numbers,
    build: impl for<'scope> Fn(Numbered, Scope<'scope, u64>) -> Watched<'scope> + Send + Sync + 'static,
) -> Vec<SourceError> {
    const BEGIN: u64 = 3;
    const END: u64 = 8;
    fill(shard, 0..BEGIN, 10);
    let (bad, good) = (Arc::<Mutex<Vec<SourceError>>>::default(), Seen::default());
    let (said, seen, reading) = (Arc::clone(&bad), good.clone(), shard.clone());
    let together = Barrier::new(workers);
    let guards = timely::execute(timely::Config::process(workers), move |worker: &mut Worker| {
        let all = Arc::clone(&said);
        let (probe, button) = worker.dataflow::<u64, _, _>(|scope| {
            let source = PersistSource::new(&reading).as_of(at(BEGIN - 1)).name("bad");
            let watched = build(source, scope);
            watched.errors.inspect(move |error| all.lock().unwrap().push(error.clone()));
            (watched.rows.probe().0, watched.button)
        });
        let going = install(worker, PersistSource::new(&reading).as_of(at(BEGIN - 1)).name("good"), &seen);
        for upper in BEGIN..=END {
            while going.probe.less_than(&upper) {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
            // Each append is a step of its own.
            while probe.less_than(&upper) && said.lock().unwrap().is_empty() {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
            together.wait();
            if upper < END && worker.index() == 0 {
                fill(&reading, upper..upper + 1, 10);
            }
        }
        assert!(probe.less_equal(&held) && !probe.less_than(&held), "the frontier is not held at {held}");
        together.wait();
        drop((button, going));
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    for worker in guards.unwrap().join() {
        worker.unwrap();
    }
    assert_eq!(good.rows(), expected(0..END, 10, BEGIN - 1));
    assert_eq!(good.errors(), vec![]);
    without_readers(shard);
    let bad = bad.lock().unwrap().clone();
    assert!(!bad.is_empty(), "nobody said anything");
    bad
}

/// Each error says that this panicked, and what it said.
fn are_of(errors: &[SourceError], code: &str) {
    for error in errors {
        assert_eq!(failure(error), ErrorKind::Invalid, "{error}");
        let text = error.to_string();
        assert!(text.contains(code) && text.contains("panicked: on purpose"), "{error}");
        assert!(error.is_final() && error.shard().is_some());
    }
}

fn unwritten() -> Numbers {
    memory(config()).shard(ShardId::new())
}

/// The first step holds time 2, the as_of; a later one is that of time 5.
const STEPS: [u64; 2] = [2, 5];

#[test]
fn a_filter_that_panics_is_an_error_in_every_step() {
    for (held, (workers, kind)) in STEPS.into_iter().flat_map(|held| kinds(3).map(|which| (held, which))) {
        let errors = panics_at(held, workers, &unwritten(), move |source, scope| {
            let calls = AtomicU64::new(0);
            // The first step has three parts, each later one has one.
            let filter = move |_: &_| match calls.fetch_add(1, Ordering::SeqCst) {
                call if call >= held => panic!("on purpose"),
                _ => true,
            };
            plain(kind, source.filter(filter), scope)
        });
        are_of(&errors, "the source's `filter` panicked");
        assert_eq!(errors.len(), 1);
    }
}

#[test]
fn a_row_filter_that_panics_is_an_error_in_every_step() {
    for (held, (workers, kind)) in STEPS.into_iter().flat_map(|held| kinds(3).map(|which| (held, which))) {
        let errors = panics_at(held, workers, &unwritten(), move |source, scope| {
            let keep = move |key: &str, value| match (key.ends_with(&format!(" of {held}")), value) {
                (true, 5) => panic!("on purpose"),
                _ => true,
            };
            plain(kind, source.filter_rows(keep), scope)
        });
        are_of(&errors, "the source's `filter_rows` panicked");
        assert_eq!(errors.len(), 1);
    }
}

#[test]
fn a_map_that_panics_is_an_error_in_every_step() {
    for (held, workers) in STEPS.into_iter().flat_map(|held| [(held, 1), (held, 3)]) {
        for keeps in [true, false] {
            let errors = panics_at(held, workers, &unwritten(), move |source, scope| {
                let source = if keeps { source.filter_rows(|_, _| true) } else { source };
                mapped(source, scope, move |value, time| match (time, value) {
                    (time, 5) if time == held => panic!("on purpose"),
                    _ => value,
                })
            });
            are_of(&errors, "the source's `map` panicked");
        }
    }
}

/// What `map` gives is an iterator, which runs when it is taken from.
#[test]
fn an_iterator_of_a_map_that_panics_is_an_error() {
    let errors = panics_at(4, 2, &unwritten(), |source, scope| {
        let items =
            |value, time| (0..3).map(move |item| if time == 4 && item == 2 { panic!("on purpose") } else { value });
        let MappedSource { stream, errors, button, .. } =
            source.map(move |_, value, time, _| items(value, time)).build(scope);
        Watched { rows: stream, errors, button }
    });
    are_of(&errors, "the source's `map` panicked");
}

/// A part that the filter discarded is looked at all the same.
#[test]
fn a_map_that_panics_in_the_audit_is_an_error() {
    let mut audited = config();
    audited.read.filter_audit_one_in = 1;
    let errors = panics_at(2, 2, &memory(audited).shard(ShardId::new()), |source, scope| {
        mapped(source.filter(|_| false), scope, |_, _| panic!("on purpose"))
    });
    are_of(&errors, "the source's `map` panicked");
}

#[test]
fn a_future_to_start_after_that_panics_is_an_error() {
    for yields in [false, true] {
        for (workers, kind) in [(1, Kind::Rows), (3, Kind::Rows), (2, Kind::Flat)] {
            let errors = panics_at(2, workers, &unwritten(), move |source, scope| {
                let start = async move {
                    if yields {
                        tokio::task::yield_now().await;
                    }
                    panic!("on purpose")
                };
                plain(kind, source.start_after(start), scope)
            });
            are_of(&errors, "the future that the source was to `start_after` panicked");
            assert_eq!(errors.len(), 1);
        }
    }
}

/// Not a source's: an operator behind it that panics takes its worker down, as always in timely.
#[test]
fn a_panic_of_another_operator_is_not_told_as_the_sources() {
    let shard = unwritten();
    fill(&shard, 0..1, 1_000); // so many that some are sent while others are still being looked at
    let guards = timely::execute(timely::Config::process(2), move |worker: &mut Worker| {
        let _button = worker.dataflow::<u64, _, _>(|scope| {
            let source = PersistSource::new(&shard).as_of(at(0));
            let watched = mapped(source, scope, |value, _| value);
            watched.errors.inspect(|error| panic!("told as {error}"));
            watched.rows.exchange(|value| if *value == 300 { panic!("of another") } else { *value });
            watched.button
        });
        for _ in 0..1_000 {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow); // else the other worker would wait for this one
        }
    });
    let ends: Vec<_> = guards.unwrap().join().into_iter().map(|end| end.is_ok()).collect();
    assert!(ends.contains(&false), "nothing panicked");
}

/// A type that cannot be read back while this is set: its test is a process of its own.
static UNREADABLE: AtomicBool = AtomicBool::new(false);

/// A number whose decoder, copying or order panics on purpose.
#[derive(PartialEq, Eq, Hash, serde::Serialize)]
struct Moody(u64);

impl Clone for Moody {
    fn clone(&self) -> Self {
        if self.0 == 55 && UNREADABLE.load(Ordering::SeqCst) { panic!("on purpose") } else { Self(self.0) }
    }
}

impl Ord for Moody {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let panics = [self.0, other.0].contains(&33) && UNREADABLE.load(Ordering::SeqCst);
        if panics { panic!("on purpose") } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for Moody {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Moody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "moody {}", self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Moody {
    fn deserialize<D: serde::Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(decoder)?;
        if number == 77 && UNREADABLE.load(Ordering::SeqCst) { panic!("on purpose") } else { Ok(Self(number)) }
    }
}

/// Where a type's own code panics: in the task that decodes a part, on the worker if the part came along, and where a row
/// is made of it.
#[test]
fn a_type_that_panics_when_it_is_read_is_an_error() {
    let cases = [(0, 77), (1 << 20, 77), (0, 55)];
    let of_all = cases.into_iter().flat_map(|case| kinds(2).map(|which| (case, which)));
    let of_a_merge = ((0, 33), (1, Kind::ByKey));
    for ((inline, number), (workers, kind)) in of_all.chain([of_a_merge]) {
        let mut limits = config();
        limits.write.inline_part_bytes_max = inline;
        let shard: Shard<Serde<Moody>, (), u64, i64> = memory(limits).shard(ShardId::new());
        UNREADABLE.store(false, Ordering::SeqCst);
        wait(async {
            let mut writer = shard.open_writer("moody").await.unwrap();
            let rows = [number, 1].map(|number| ((Serde(Moody(number)), ()), 0, 1));
            let _ = writer.compare_and_append(rows, at(0), at(1)).await.unwrap();
        });
        UNREADABLE.store(true, Ordering::SeqCst);
        let said: Arc<Mutex<Vec<SourceError>>> = Arc::default();
        let (errors, reading, together) = (Arc::clone(&said), shard.clone(), Barrier::new(workers));
        let guards = timely::execute(timely::Config::process(workers), move |worker: &mut Worker| {
            let all = Arc::clone(&errors);
            let (probe, button) = worker.dataflow::<u64, _, _>(|scope| {
                let source = PersistSource::new(&reading).as_of(at(0));
                let (probe, errors, button) = match kind {
                    Kind::Rows => {
                        let Source { updates, errors, button, .. } = source.build(scope);
                        (updates.probe().0, errors, button)
                    }
                    Kind::ByKey => {
                        let ArrangedSource { arranged, errors, button, .. } = source.arrange_by_key(scope);
                        (arranged.stream.probe().0, errors, button)
                    }
                    Kind::Flat => {
                        let ArrangedSource { arranged, errors, button, .. } = source.arrange_flat(scope);
                        (arranged.stream.probe().0, errors, button)
                    }
                };
                errors.inspect(move |error| all.lock().unwrap().push(error.clone()));
                (probe, button)
            });
            while errors.lock().unwrap().is_empty() {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
            for _ in 0..20 {
                worker.step_or_park(Some(Duration::from_millis(1)));
                assert!(probe.less_equal(&0), "the frontier is not held");
            }
            together.wait();
            drop(button);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        for worker in guards.unwrap().join() {
            worker.unwrap();
        }
        let errors = said.lock().unwrap().clone();
        let [error] = &errors[..] else { panic!("{errors:?}") };
        assert_eq!((failure(error), error.shard()), (ErrorKind::Invalid, Some(shard.id())));
        let text = error.to_string();
        assert!(["panicked", "on purpose", "codec"].iter().all(|word| text.contains(word)), "{error}");
    }
}
