//! What a source arranges is what `arrange_by_key` makes of its rows, at every time, for any history and any workers.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::trace::TraceReader;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use timely::communication::Config as Communication;
use timely::dataflow::operators::{Inspect, Probe};
use timely::order::Product;
use timely::progress::Antichain;
use timely::progress::timestamp::{Refines, Timestamp};
use timely_persist::{Data, Serde, Shard, ShardId, Time};
use timely_persist_operators::PersistSource;

use crate::random::{Random, Story, seeds};
use crate::support::*;

/// Values of a type, by number. Several numbers may be one value.
trait Value: Data + Debug {
    fn value(number: usize) -> Self;
}

impl Value for u64 {
    fn value(number: usize) -> Self {
        number as u64 * 77 % 50
    }
}

impl Value for i64 {
    fn value(number: usize) -> Self {
        number as i64 * 77 % 50 - 25
    }
}

impl Value for () {
    fn value(_: usize) -> Self {}
}

impl Value for String {
    fn value(number: usize) -> Self {
        if number == 0 { Self::new() } else { format!("a text whose end alone differs: {number}") }
    }
}

impl<V: Value> Value for Option<V> {
    fn value(number: usize) -> Self {
        (!number.is_multiple_of(4)).then(|| V::value(number))
    }
}

impl<V: Value, W: Value> Value for (V, W) {
    fn value(number: usize) -> Self {
        (V::value(number % 3), W::value(number))
    }
}

/// A type that only serde knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
enum Stop {
    Depot,
    Station { line: u8, name: String },
}

impl Value for Serde<Stop> {
    fn value(number: usize) -> Self {
        match number % 5 {
            0 => Self(Stop::Depot),
            line => Self(Stop::Station { line: line as u8, name: format!("station {number}") }),
        }
    }
}

/// Times that rows may have, and those right behind one.
trait Moment: Time + Refines<Self::Outer> {
    type Outer: Timestamp + Refines<()>;

    fn all() -> Vec<Self>;

    fn behind(&self) -> Vec<Self>;
}

impl Moment for u64 {
    type Outer = u64;

    fn all() -> Vec<Self> {
        (0..40).collect()
    }

    fn behind(&self) -> Vec<Self> {
        vec![self + 1]
    }
}

impl Moment for Product<u32, u32> {
    type Outer = u32;

    fn all() -> Vec<Self> {
        (0..6).flat_map(|outer| (0..6).map(move |inner| Self::new(outer, inner))).collect()
    }

    fn behind(&self) -> Vec<Self> {
        vec![Self::new(self.outer + 1, self.inner), Self::new(self.outer, self.inner + 1)]
    }
}

type Updates<K, V, T> = Vec<((K, V), T, i64)>;

/// What is appended, one step after another, and how it is read.
#[derive(Clone, Debug)]
struct History<K, V, T: Time> {
    steps: Vec<(Updates<K, V, T>, Antichain<T>)>,
    /// So many of them come before the source.
    begun: usize,
    as_of: Antichain<T>,
    until: Antichain<T>,
    /// What is imported later is right from here on.
    imported: Antichain<T>,
}

impl<K: Value, V: Value, T: Moment> History<K, V, T> {
    /// Rows of few keys and values at several times of each step, some of them taken back later; all of one key, or half of
    /// them, or of many; none at all.
    fn of(random: &mut Random) -> Self {
        let keys = *random.pick(&[1, 3, 20]);
        let (values, skew, rows_max) = (1 + random.below(5), random.below(100), 1 + random.below(60));
        let mut frontiers = vec![Antichain::from_elem(T::minimum())];
        let mut steps = Vec::new();
        let mut all = Vec::new();
        for _ in 0..random.below(10) {
            let lower = &frontiers[frontiers.len() - 1];
            let mut upper = lower.clone();
            for _ in 0..1 + random.below(4) {
                let passed = random.pick(upper.elements()).clone();
                upper = upper.into_iter().filter(|time| *time != passed).collect();
                upper.extend(passed.behind());
            }
            let moments: Vec<T> =
                T::all().into_iter().filter(|time| lower.less_equal(time) && !upper.less_equal(time)).collect();
            let mut rows: Updates<K, V, T> = Vec::new();
            for _ in 0..random.below(rows_max) * moments.len().min(1) {
                let time = random.pick(&moments).clone();
                if !all.is_empty() && random.percent(30) {
                    let (data, _, diff): &((K, V), T, i64) = random.pick(&all);
                    rows.push((data.clone(), time, -diff));
                    continue;
                }
                let key = if random.percent(skew) { 0 } else { random.below(keys) };
                rows.push(((K::value(key), V::value(random.below(values))), time, 1 + random.below(2) as i64));
            }
            all.extend(rows.iter().cloned());
            steps.push((rows, upper.clone()));
            frontiers.push(upper);
        }
        let begun = random.below(steps.len() + 1);
        let until = frontiers[frontiers.len() - 1].clone();
        steps.push((Vec::new(), Antichain::new())); // there may be several elements of `as_of`, and none is ever passed else
        let moments: Vec<T> = T::all().into_iter().filter(|time| !until.less_equal(time)).collect();
        let as_of = match random.percent(50) || moments.is_empty() {
            true => random.pick(&frontiers).clone(),
            false => Antichain::from_elem(random.pick(&moments).clone()),
        };
        let imported = random.pick(&frontiers).clone();
        Self { steps, begun, as_of, until, imported }
    }

    fn append(&self, shard: &Shard<K, V, T, i64>, steps: std::ops::Range<usize>) {
        wait(async {
            let mut writer = shard.open_writer("history").await.unwrap();
            for (rows, upper) in &self.steps[steps] {
                let lower = writer.upper().clone();
                let _ = writer.compare_and_append(rows.clone(), lower, upper.clone()).await.unwrap();
            }
        });
    }

    /// What a source shows of it.
    fn shown(&self) -> Updates<K, V, T> {
        let mut rows: Updates<K, V, T> = self.steps.iter().flat_map(|(rows, _)| rows.iter().cloned()).collect();
        rows.iter_mut().for_each(|(_, time, _)| time.advance_by(self.as_of.borrow()));
        rows.retain(|(_, time, _)| !self.until.less_equal(time));
        sorted(rows)
    }
}

/// The same, each sum of a row and a time once.
fn sorted<D: Ord + Clone + 'static, T: Time>(mut rows: Vec<(D, T, i64)>) -> Vec<(D, T, i64)> {
    consolidate_updates(&mut rows);
    rows
}

/// As seen by who looks only at times from there on.
fn from<D: Ord + Clone + 'static, T: Time>(mut rows: Vec<(D, T, i64)>, since: &Antichain<T>) -> Vec<(D, T, i64)> {
    rows.iter_mut().for_each(|(_, time, _)| time.advance_by(since.borrow()));
    sorted(rows)
}

/// Keys as they print, how many values each has, and what their diffs come to.
type Counts<T> = Noted<((String, (usize, i64)), T, i64)>;

/// All that is seen of one shard.
#[derive(Clone)]
struct Views<K, V, T> {
    rows: Noted<((K, V), T, i64)>,
    by_key: Noted<((K, V), T, i64)>,
    flat: Noted<((K, V), T, i64)>,
    /// Of the rows, and of the arrangement.
    counted: [Counts<T>; 2],
    /// Of both arrangements, in another dataflow that begins later.
    imported: [Noted<((K, V), T, i64)>; 2],
}

impl<K, V, T> Views<K, V, T> {
    fn new() -> Self {
        Self {
            rows: Noted::default(),
            by_key: Noted::default(),
            flat: Noted::default(),
            counted: Default::default(),
            imported: Default::default(),
        }
    }
}

/// Values with their diffs, counted.
fn count<V>(values: &[(V, i64)]) -> (usize, i64) {
    (values.len(), values.iter().map(|(_, diff)| diff).sum())
}

/// Reads a shard while the history goes on, on workers that talk to each other in this way.
fn view<K: Value, V: Value, T: Moment>(
    communication: Communication,
    shard: &Shard<K, V, T, i64>,
    history: &History<K, V, T>,
    seed: u64,
) -> Views<K, V, T>
where
    for<'a> K::Ref<'a>: Hash,
{
    let views = Views::new();
    let (noting, reading, read) = (views.clone(), shard.clone(), history.clone());
    let config = timely::Config { communication, worker: timely::WorkerConfig::default() };
    let guards = timely::execute(config, move |worker| {
        let Views { rows: noted, by_key: noted_by_key, flat: noted_flat, counted, imported } = noting.clone();
        let [counted, counted_by_key] = counted;
        let mut random = Random::new(seed);
        let early = random.percent(50);
        let (mut probes, mut traces, buttons) = worker.dataflow::<T::Outer, _, _>(|scope| {
            scope.scoped::<T, _, _>("times", |scope| {
                let source = || PersistSource::new(&reading).as_of(read.as_of.clone()).until(read.until.clone());
                let rows = source().build(scope);
                let (by_key, flat) = (source().arrange_by_key(scope), source().arrange_flat(scope));
                let errors = [&rows.errors, &by_key.errors, &flat.errors];
                let _ = errors.map(|errors| errors.clone().inspect(|error| panic!("{error}")));

                let printed = rows.updates.clone().map(|(key, value)| (format!("{key:?}"), format!("{value:?}")));
                let reduced = printed.reduce(|_, values, out| out.push((count(values), 1i64)));
                let reduced_by_key =
                    by_key.arranged.clone().reduce_abelian::<_, ValBuilder<_, _, _, _>, ValSpine<_, _, _, _>, _, _>(
                        "Reduce",
                        |_, values, out| out.push((count(values), 1i64)),
                        |batch, key, updates| {
                            batch.clear();
                            batch.extend(
                                updates.drain(..).map(|(value, time, diff)| ((K::clone(key), value), time, diff)),
                            );
                        },
                    );
                let reduced_by_key = reduced_by_key.as_collection(|key, counted| (format!("{key:?}"), *counted));
                let probes = [
                    rows.updates.inspect(move |row| note(&noted, [row.clone()])).inner.probe().0,
                    by_key.arranged.stream.inspect(move |span| note(&noted_by_key, rows_of(span))).probe().0,
                    flat.arranged.stream.inspect(move |span| note(&noted_flat, rows_of(span))).probe().0,
                    reduced.inspect(move |row| note(&counted, [row.clone()])).inner.probe().0,
                    reduced_by_key.inspect(move |row| note(&counted_by_key, [row.clone()])).inner.probe().0,
                ];
                let traces = (by_key.arranged.trace, flat.arranged.trace);
                (probes.to_vec(), traces, [rows.button, by_key.button, flat.button])
            })
        });
        let mut compact = || {
            traces.0.set_logical_compaction(read.imported.borrow());
            traces.1.set_logical_compaction(read.imported.borrow());
            traces.0.set_physical_compaction(read.imported.borrow());
            traces.1.set_physical_compaction(read.imported.borrow());
        };
        if early {
            compact();
        }
        for _ in 0..random.below(60) {
            worker.step_or_park(Some(std::time::Duration::from_micros(100)));
        }
        if !early {
            compact();
        }
        let [noted_by_key, noted_flat] = imported;
        let imported = worker.dataflow::<T::Outer, _, _>(|scope| {
            scope.scoped::<T, _, _>("times", |scope| {
                let by_key = traces.0.import(scope).as_collection(|key, value| (K::clone(key), V::clone(value)));
                let flat = traces.1.import(scope).as_collection(|key, value| (K::from_ref(key), V::from_ref(value)));
                [
                    by_key.inspect(move |row| note(&noted_by_key, [row.clone()])).inner.probe().0,
                    flat.inspect(move |row| note(&noted_flat, [row.clone()])).inner.probe().0,
                ]
            })
        });
        drop(traces);
        probes.extend(imported);
        while !probes.iter().all(|probe| probe.done()) {
            worker.step_or_park(None);
        }
        drop(buttons);
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
    views
}

/// Draws a history, and looks at it in every way.
fn agrees<K: Value, V: Value, T: Moment>(seed: u64)
where
    for<'a> K::Ref<'a>: Hash,
{
    let mut random = Random::new(seed);
    let mut config = config();
    config.write.part_bytes_max = 1 << random.below(12);
    config.upkeep.compact = random.percent(50);
    config.write.inline_part_bytes_max = if random.percent(50) { 0 } else { 4 << 10 };
    let history = History::<K, V, T>::of(&mut random);
    let workers = 1 + random.below(4);
    // `ProcessBinary`: what another worker gets goes there as bytes, as to another process.
    let communication = match random.percent(50) {
        true => Communication::ProcessBinary(workers),
        false => Communication::Process(workers),
    };
    let mut story = Story::new(format!("ARRANGED_SEED={seed} cargo test --test operators arranged"));
    story.tell(format_args!("{communication:?}: {history:#?}"));
    let shard: Shard<K, V, T, i64> = memory(config).shard(ShardId::new());
    history.append(&shard, 0..history.begun);
    let views = std::thread::scope(|scope| {
        scope.spawn(|| history.append(&shard, history.begun..history.steps.len()));
        view(communication, &shard, &history, seed)
    });
    let expected = history.shown();
    assert_eq!(sorted(taken(&views.rows)), expected, "the rows");
    for (name, arranged) in [("by key", &views.by_key), ("flat", &views.flat)] {
        let mut rows = taken(arranged);
        rows.sort();
        assert_eq!(rows, expected, "{name}"); // consolidated already
    }
    let [counted, counted_by_key] = views.counted.each_ref().map(|counts| sorted(taken(counts)));
    assert_eq!(counted_by_key, counted, "counted");
    let expected = from(expected, &history.imported);
    for (name, imported) in ["by key", "flat"].into_iter().zip(&views.imported) {
        assert_eq!(from(taken(imported), &history.imported), expected, "imported {name}");
    }
}

#[test]
fn what_a_source_arranges_is_what_its_rows_come_to() {
    type Pair = Product<u32, u32>;
    for seed in seeds("ARRANGED", 60) {
        match seed % 5 {
            0 => agrees::<u64, String, u64>(seed),
            1 => agrees::<String, u64, Pair>(seed),
            2 => agrees::<(u64, String), (), u64>(seed),
            3 => agrees::<Option<String>, i64, Pair>(seed),
            _ => agrees::<Serde<Stop>, Option<u64>, u64>(seed),
        }
    }
}

/// Partitioned alike, so that they meet without another exchange.
#[test]
fn what_a_source_arranges_is_joined_with_ordinary_arrangements() {
    let client = memory(config());
    let shard = filled(&client, 3, 40);
    for workers in [1, 2, 3] {
        let [by_key, flat] = [Noted::<Row>::default(), Noted::default()];
        let (shard, seen) = (shard.clone(), [Arc::clone(&by_key), Arc::clone(&flat)]);
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let (probes, buttons) = worker.dataflow::<u64, _, _>(|scope| {
                let source = || PersistSource::new(&shard).as_of(at(2)).until(at(3));
                let (rows, by_key) = (source().build(scope), source().arrange_by_key(scope));
                let (flat, other) = (source().arrange_flat(scope), source().arrange_flat(scope));
                let [seen_by_key, seen_flat] = seen.clone();
                let ordinary = rows.updates.map(|(key, value)| (key, value + 1)).arrange_by_key();
                let by_key_probe = by_key
                    .arranged
                    .join_core(ordinary, |key, one, two| Some((key.clone(), one * 1_000 + two)))
                    .inspect(move |row| note(&seen_by_key, [row.clone()]))
                    .probe()
                    .0;
                let flat_probe = flat
                    .arranged
                    .join_core(other.arranged, |key, one, two| Some((key.to_owned(), one * 1_000 + two + 1)))
                    .inspect(move |row| note(&seen_flat, [row.clone()]))
                    .probe()
                    .0;
                ([by_key_probe, flat_probe], [rows.button, by_key.button, flat.button, other.button])
            });
            while !probes.iter().all(|probe| probe.done()) {
                worker.step_or_park(None);
            }
            drop(buttons);
        });
        guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
        let joined = (0..3).flat_map(|time| (0..40).map(move |index| row(time, index)));
        let joined = consolidated(joined.map(|((key, value), _, _)| ((key, value * 1_001 + 1), 2, 1)));
        for rows in [by_key, flat] {
            assert_eq!(consolidated(taken(&rows)), joined, "{workers} workers");
        }
    }
}
