//! Flat arrangements, of sources and of ordinary collections, and ordinary arrangements that are seen as flat: whatever reads
//! them gets what ordinary arrangements give.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use differential_dataflow::VecCollection;
use differential_dataflow::input::{Input, InputSession};
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::cursor::cursor_list;
use differential_dataflow::trace::{Cursor, Navigable, TraceReader};
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::{Inspect, Probe};
use timely_persist::ShardId;
use timely_persist_operators::{Flat, FlatBuilder, FlatSpine, PersistSource, arrange_flat, as_flat};

use crate::random::Random;
use crate::support::*;

const TIMES: u64 = 10;

/// Rows of many keys at the first time and of few at the others, in which some are taken back; some times have none.
fn history(random: &mut Random) -> Vec<Vec<Row>> {
    let keys = 1 + random.below(120);
    let mut all: Vec<Row> = Vec::new();
    let mut at_time = |time: u64| {
        let count = if time == 0 { 150 } else { random.below(12) };
        let mut rows = Vec::new();
        for _ in 0..count {
            let taken_back = random.percent(40) && !all.is_empty();
            let (data, diff) = match taken_back {
                true => (all.swap_remove(random.below(all.len())).0, -1),
                false => ((format!("key {}", random.below(keys)), random.below(4) as u64), 1),
            };
            if !taken_back {
                all.push((data.clone(), time, diff));
            }
            rows.push((data, time, diff));
        }
        rows
    };
    (0..TIMES).map(&mut at_time).collect()
}

fn shard_of(history: &[Vec<Row>]) -> Numbers {
    let shard: Numbers = memory(config()).shard(ShardId::new());
    wait(async {
        let mut writer = shard.open_writer("history").await.unwrap();
        for (time, rows) in (0..).zip(history) {
            let _ = writer.compare_and_append(rows.clone(), at(time), at(time + 1)).await.unwrap();
        }
    });
    shard
}

/// What each part of a dataflow gives, by its name.
#[derive(Clone, Default)]
struct Given(Arc<Mutex<BTreeMap<&'static str, Vec<Row>>>>);

impl Given {
    /// Notes what comes of this collection.
    fn note<'scope>(&self, name: &'static str, rows: VecCollection<'scope, u64, (String, u64), i64>) -> Handle<u64> {
        let given = self.clone();
        given.0.lock().unwrap().entry(name).or_default();
        let note = move |row: &Row| given.0.lock().unwrap().get_mut(name).unwrap().push(row.clone());
        rows.inner.inspect(note).probe().0
    }

    /// All gave the same for a reader at `since`, and what it is.
    fn same(&self, since: u64, case: &str) -> Vec<Row> {
        let given = std::mem::take(&mut *self.0.lock().unwrap());
        let advanced = |(data, time, diff): Row| (data, time.max(since), diff);
        let mut given = given.into_iter().map(|(name, rows)| (name, consolidated(rows.into_iter().map(advanced))));
        let (ordinary, expected) = given.next().unwrap();
        given.for_each(|(name, rows)| assert_eq!(rows, expected, "{case}: {name} is not as {ordinary}"));
        expected
    }
}

/// The pairs of values of each key, as one number.
macro_rules! joined {
    ($one:expr, $other:expr) => {
        $one.join_core($other, |key, one, other| Some((String::from(&*key), one.to_owned() * 1_000 + other.to_owned())))
    };
}

type FlatArranged<'scope> = Arranged<'scope, TraceAgent<FlatSpine<String, u64, u64, i64>>>;

/// How many rows each key has.
macro_rules! counted {
    ($arranged:expr) => {{
        let counts: FlatArranged<'_> = $arranged
            .reduce_abelian::<_, FlatBuilder<String, u64, u64, i64>, FlatSpine<String, u64, u64, i64>, Flat<String>, _>(
                "count",
                |_, values, output| output.push((values.iter().map(|(_, diff)| *diff).sum::<i64>() as u64, 1)),
                |rows, key, updates| {
                    rows.clear();
                    rows.extend(updates.drain(..).map(|(value, time, diff)| ((key.to_owned(), value), time, diff)));
                },
            );
        counts
    }};
}

#[test]
fn flat_arrangements_give_what_ordinary_ones_give() {
    let mut rows_seen = 0;
    for seed in 0..9 {
        let mut random = Random::new(seed);
        let history = history(&mut random);
        let (workers, as_of) = (1 + seed as usize % 3, random.below(TIMES as usize) as u64);
        let (shard, joins, counts, both) = (shard_of(&history), Given::default(), Given::default(), Given::default());
        let given = [joins.clone(), counts.clone(), both.clone()];
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let (probes, buttons) = worker.dataflow::<u64, _, _>(|scope| {
                let [joins, counts, both] = &given;
                let source = || PersistSource::new(&shard).as_of(at(as_of)).until(at(TIMES));
                let (rows, flat, by_key) =
                    (source().build(scope), source().arrange_flat(scope), source().arrange_by_key(scope));
                let other = rows.updates.clone().filter(|(_, value)| *value > 0).map(|(key, value)| (key, value + 100));
                let ordinary = rows.updates.clone().arrange_by_key();
                let other_ordinary = other.clone().arrange_by_key();
                let entered = scope.scoped::<u64, _, _>("inner", |inner| {
                    let flat = arrange_flat(other.clone().enter(inner));
                    joined!(as_flat(ordinary.clone().enter(inner)), flat).leave(scope)
                });
                let entered_flat = scope.iterative::<u64, _, _>(|inner| {
                    let flat = arrange_flat(other.clone().enter(inner));
                    joined!(as_flat(ordinary.clone()).enter(inner), flat).leave(scope)
                });
                let key_flat = as_flat(rows.updates.clone().map(|(key, _)| key).arrange_by_self());
                let key_ordinary = rows.updates.clone().map(|(key, _)| key).arrange_by_self();
                let key_joined =
                    key_ordinary.join_core(other_ordinary.clone(), |key, (), value| Some((key.clone(), *value)));
                let count = rows.updates.clone().map(|(key, _)| key).count_core::<i64>();
                let count = count.map(|(key, count)| (key, count as u64));
                let probes = [
                    joins.note("a join of ordinary ones", joined!(ordinary.clone(), other_ordinary.clone())),
                    joins.note("flat, flat collection", joined!(flat.arranged.clone(), arrange_flat(other.clone()))),
                    joins.note("flat, as flat", joined!(flat.arranged.clone(), as_flat(other_ordinary.clone()))),
                    joins.note(
                        "as flat, flat collection",
                        joined!(as_flat(by_key.arranged.clone()), arrange_flat(other.clone())),
                    ),
                    joins.note("as flat, as flat", joined!(as_flat(by_key.arranged.clone()), as_flat(other_ordinary))),
                    joins.note("entered, then as flat", entered),
                    joins.note("as flat, then entered", entered_flat),
                    both.note("a join with keys", key_joined),
                    both.note(
                        "keys as flat, flat collection",
                        key_flat.join_core(arrange_flat(other), |key, (), value| Some((key.to_owned(), value))),
                    ),
                    counts.note("a count", count),
                    counts.note("flat", counted!(flat.arranged).as_collection(|key, count| (key.to_owned(), count))),
                    counts.note(
                        "flat collection",
                        counted!(arrange_flat(rows.updates)).as_collection(|key, count| (key.to_owned(), count)),
                    ),
                    counts.note(
                        "as flat",
                        counted!(as_flat(ordinary)).as_collection(|key, count| (key.to_owned(), count)),
                    ),
                ];
                (probes, [rows.button, flat.button, by_key.button])
            });
            while !probes.iter().all(|probe| probe.done()) {
                worker.step_or_park(None);
            }
            drop(buttons);
        });
        guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
        let case = format!("seed {seed}, {workers} workers");
        rows_seen += [joins, counts, both].map(|given| given.same(as_of, &case).len()).into_iter().min().unwrap();
    }
    assert!(rows_seen > 100, "{rows_seen} rows");
}

/// A worker with the arrangements of a history, until it has come so far.
macro_rules! arranged_until {
    ($worker:expr, $history:expr, $to:expr) => {{
        let (mut input, flat, ordinary, by_self, probe) = $worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<(String, u64), i64>();
            let by_self = rows.clone().map(|(key, _)| key).arrange_by_self();
            let (flat, ordinary) = (arrange_flat(rows.clone()), rows.arrange_by_key());
            let probe = ordinary.stream.clone().probe().0;
            (input, flat.trace, ordinary.trace, by_self.trace, probe)
        });
        for time in 0..$to {
            feed(&mut input, &$history, time..time + 1);
            $worker.step_while(|| probe.less_than(&(time + 1))); // a batch for each time
        }
        (input, flat, ordinary, by_self)
    }};
}

fn feed(input: &mut InputSession<u64, (String, u64), i64>, history: &[Vec<Row>], times: std::ops::Range<u64>) {
    for time in times {
        history[time as usize].iter().for_each(|(data, time, diff)| input.update_at(data.clone(), *time, *diff));
        input.advance_to(time + 1);
        input.flush();
    }
}

#[test]
fn traces_are_imported_and_then_seen_as_flat() {
    for seed in 0..4 {
        let given = Given::default();
        let seen = given.clone();
        timely::execute_directly(move |worker| {
            let history = history(&mut Random::new(seed));
            let (mut input, mut flat, mut ordinary, _) = arranged_until!(worker, history, 5);
            flat.set_logical_compaction(at(seed).borrow());
            ordinary.set_logical_compaction(at(seed).borrow());
            worker.dataflow::<u64, _, _>(|scope| {
                let (flat, at_frontier) = (flat.import(scope), ordinary.import_frontier(scope, "frontier").0);
                let ordinary = ordinary.import(scope);
                given.note("ordinary ones", joined!(ordinary.clone(), ordinary.clone()));
                given.note("flat", joined!(flat.clone(), flat.clone()));
                given.note("flat, as flat", joined!(flat.clone(), as_flat(ordinary)));
                given.note("flat, as flat at a frontier", joined!(flat, as_flat(at_frontier)));
            });
            drop((flat, ordinary));
            feed(&mut input, &history, 5..TIMES);
        });
        assert!(!seen.same(seed, &format!("seed {seed}")).is_empty());
    }
}

/// Whoever holds the adapted trace holds the arrangement, and lets it forget.
#[test]
fn an_arrangement_is_compacted_through_its_flat_view() {
    timely::execute_directly(|worker| {
        let (mut input, mut held, mut compacted) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<(String, u64), i64>();
            (input, as_flat(rows.clone().arrange_by_key()).trace, as_flat(rows.arrange_by_key()).trace)
        });
        macro_rules! updates {
            ($trace:expr) => {{
                let (mut cursor, storage) = cursor_list($trace.batches_through(none().borrow()).unwrap());
                cursor.to_vec(&storage, str::to_owned, |value| *value)
            }};
        }
        for time in 0..200 {
            input.update(("row".to_owned(), time), 1);
            if let Some(before) = time.checked_sub(1) {
                input.update(("row".to_owned(), before), -1);
            }
            input.advance_to(time + 1);
            input.flush();
            compacted.set_logical_compaction(at(time).borrow());
            compacted.set_physical_compaction(at(time).borrow());
            held.set_physical_compaction(at(time).borrow());
            for _ in 0..3 {
                worker.step();
            }
        }
        assert_eq!(compacted.get_logical_compaction().to_owned(), at(199));
        assert_eq!(compacted.get_physical_compaction().to_owned(), at(199));
        let mut upper = none();
        compacted.read_upper(&mut upper);
        assert_eq!(upper, at(200));
        input.advance_to(210); // without rows
        input.flush();
        for _ in 0..3 {
            worker.step();
        }
        compacted.advance_upper(&mut upper);
        assert_eq!(upper, at(210));
        let (all, few) = (updates!(held), updates!(compacted));
        assert_eq!(all.iter().map(|(_, updates)| updates.len()).sum::<usize>(), 399);
        assert!(few.len() < 100, "{} values of 200", few.len());
        let sums = |rows: Vec<((String, u64), Vec<(u64, i64)>)>| {
            let rows =
                rows.into_iter().flat_map(|(data, updates)| updates.into_iter().map(move |u| (data.clone(), 199, u.1)));
            consolidated(rows)
        };
        assert_eq!(sums(few), sums(all));
    });
}

/// Where a cursor over owned keys and one over borrowed keys of the same rows are after the same steps.
macro_rules! assert_steps_alike {
    ($random:expr, $flat:expr, $ordinary:expr) => {{
        let ((mut flat, rows), (mut ordinary, ordinary_rows)) = ($flat, $ordinary);
        let (rows, ordinary_rows) = (&rows, &ordinary_rows);
        for _ in 0..400 {
            match $random.below(12) {
                0 => (flat.rewind_keys(rows), ordinary.rewind_keys(ordinary_rows)),
                1..8 => (flat.step_key(rows), ordinary.step_key(ordinary_rows)),
                _ => {
                    let key = format!("key {}", $random.below(130));
                    (flat.seek_key(rows, key.as_str()), ordinary.seek_key(ordinary_rows, &key))
                }
            };
            assert_eq!(flat.key_valid(rows), ordinary.key_valid(ordinary_rows));
            assert_eq!(flat.get_key(rows), ordinary.get_key(ordinary_rows).map(String::as_str));
            if flat.key_valid(rows) {
                assert_eq!(flat.key(rows), ordinary.key(ordinary_rows));
                while let Some(value) = flat.get_val(rows) {
                    let [mut updates, mut ordinary_updates] = [Vec::new(), Vec::new()];
                    flat.map_times(rows, |time, diff| updates.push((*time, *diff)));
                    ordinary.map_times(ordinary_rows, |time, diff| ordinary_updates.push((*time, *diff)));
                    assert_eq!((value, updates), (ordinary.val(ordinary_rows), ordinary_updates));
                    flat.step_val(rows);
                    ordinary.step_val(ordinary_rows);
                }
                assert!(!ordinary.val_valid(ordinary_rows));
                flat.rewind_vals(rows);
                ordinary.rewind_vals(ordinary_rows);
            }
        }
    }};
}

#[test]
fn cursors_seek_borrowed_keys_as_they_do_owned_ones() {
    timely::execute_directly(|worker| {
        let mut random = Random::new(0);
        let history = history(&mut random);
        let (_input, _, mut ordinary, mut by_self) = arranged_until!(worker, history, TIMES);
        worker.dataflow::<u64, _, _>(|scope| {
            let at_frontier = ordinary.import_frontier(scope, "frontier").0;
            let (keys, rows) = (by_self.import(scope), ordinary.import(scope));
            macro_rules! assert_alike {
                ($arranged:expr) => {{
                    let mut trace = $arranged.trace.clone();
                    let mut flat = as_flat($arranged).trace;
                    let batches = trace.batches_through(none().borrow()).unwrap();
                    let flat_batches = flat.batches_through(none().borrow()).unwrap();
                    assert!(batches.len() > 1);
                    for (batch, flat) in batches.iter().zip(&flat_batches) {
                        assert_steps_alike!(random, (flat.cursor(), flat.clone()), (batch.cursor(), batch.clone()));
                    }
                    assert_steps_alike!(random, cursor_list(flat_batches), cursor_list(batches));
                }};
            }
            assert_alike!(rows);
            assert_alike!(keys);
            assert_alike!(at_frontier);
        });
    });
}
