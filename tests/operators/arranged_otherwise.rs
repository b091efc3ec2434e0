//! Sources that are arranged after a map, and without values.

use differential_dataflow::trace::implementations::ord_neu::OrdKeyBatch;
use differential_dataflow::trace::implementations::{BatchContainer, Layout, layout};
use timely::dataflow::Scope;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::{Inspect, Probe};
use timely_persist::{Shard, ShardId};
use timely_persist_operators::{Button, PersistSource, arrange_flat};

use crate::random::Random;
use crate::support::*;

/// Rows over three times, some of which cancel.
fn history(random: &mut Random, rows: usize) -> Vec<Row> {
    let row = |random: &mut Random, time| {
        let diff = if random.percent(30) { -1 } else { 1 };
        ((format!("key {}", random.below(40)), random.below(6) as u64), time, diff)
    };
    (0..3).flat_map(|time| (0..rows).map(move |_| time)).map(|time| row(random, time)).collect()
}

fn append<V: timely_persist::Data>(shard: &Shard<String, V, u64, i64>, rows: &[((String, V), u64, i64)]) {
    wait(async {
        let mut writer = shard.open_writer("history").await.unwrap();
        for time in 0..3 {
            let rows: Vec<_> = rows.iter().filter(|row| row.1 == time).cloned().collect();
            let _ = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
        }
    });
}

/// In another order than they lie in, fewer than there are, and several that become one.
fn other(key: &str, value: u64) -> Option<(u64, String)> {
    let number: u64 = key.rsplit(' ').next().unwrap().parse().unwrap();
    (value != 2).then(|| (number * 7_919 % 31 % 10, format!("{}", value / 2)))
}

/// Runs a dataflow until all is there.
fn on_workers(
    workers: usize,
    build: impl for<'scope> Fn(Scope<'scope, u64>) -> (Vec<Handle<u64>>, Vec<Button>) + Send + Sync + 'static,
) {
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (probes, buttons) = worker.dataflow(&build);
        while !probes.iter().all(|probe| probe.done()) {
            worker.step_or_park(None);
        }
        drop(buttons);
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
}

#[test]
fn rows_are_arranged_as_a_map_makes_them() {
    for (seed, rows) in [(1, 50), (2, 2_000), (3, 0), (4, 700)] {
        let mut random = Random::new(seed);
        let mut config = config();
        config.write.part_bytes_max = 1 << (6 + random.below(12));
        let shard: Numbers = memory(config).shard(ShardId::new());
        let history = history(&mut random, rows);
        append(&shard, &history);
        let mapped = history.iter().filter_map(|((key, value), time, diff)| Some((other(key, *value)?, *time, *diff)));
        let expected = consolidated(mapped);
        for workers in [1, 3] {
            let [by_key, flat] = [Noted::default(), Noted::default()];
            let seen = [by_key.clone(), flat.clone()];
            let shard = shard.clone();
            on_workers(workers, move |scope| {
                let [by_key, flat] = seen.clone();
                let source = || PersistSource::new(&shard).until(at(3)).as_of(at(0));
                let source_by_key = source().map_arrange(other, scope);
                let source_flat = source().map_arrange_flat(other, scope);
                let probes = [
                    source_by_key.arranged.stream.inspect(move |span| note(&by_key, rows_of(span))).probe().0,
                    source_flat.arranged.stream.inspect(move |span| note(&flat, rows_of(span))).probe().0,
                ];
                (probes.into(), vec![source_by_key.button, source_flat.button])
            });
            for noted in [by_key, flat] {
                let mut rows = taken(&noted);
                rows.sort();
                assert_eq!(rows, expected, "seed {seed}, {workers} workers"); // consolidated already
            }
        }
    }
}

/// The rows of a batch without values.
fn keys_of<L>(batch: &OrdKeyBatch<L>) -> Vec<(layout::Key<L>, layout::Time<L>, layout::Diff<L>)>
where
    L: Layout<ValContainer: BatchContainer<Owned = ()>>,
{
    let storage = &batch.storage;
    let rows = (0..storage.keys.len()).flat_map(|key| {
        let (first, end) = storage.upds.bounds(key);
        (first..end).map(move |update| {
            let (time, diff) = storage.upds.get_abs(update);
            let key = L::KeyContainer::into_owned(storage.keys.index(key));
            (key, L::TimeContainer::into_owned(time), L::DiffContainer::into_owned(diff))
        })
    });
    let rows: Vec<_> = rows.collect();
    assert_eq!((rows.len(), rows.is_empty()), (batch.updates, false));
    rows
}

#[test]
fn keys_are_arranged_by_themselves_and_joined() {
    let mut random = Random::new(5);
    let client = memory(config());
    let (keys, rows): (Shard<String, (), u64, i64>, Numbers) =
        (client.shard(ShardId::new()), client.shard(ShardId::new()));
    let (history, others) = (history(&mut random, 60), history(&mut random, 60));
    let of_keys: Vec<_> = history.iter().map(|((key, _), time, diff)| ((key.clone(), ()), *time, *diff)).collect();
    append(&keys, &of_keys);
    append(&rows, &others);
    let expected = consolidated(of_keys.iter().map(|((key, ()), time, diff)| (key.clone(), *time, *diff)));
    let joined = of_keys.iter().flat_map(|((key, ()), time, diff)| {
        let same = others.iter().filter(move |((other, _), ..)| other == key);
        same.map(move |(data, other_time, other_diff)| (data.clone(), *time.max(other_time), diff * other_diff))
    });
    let joined = consolidated(joined);
    for workers in [1, 2] {
        let noted = [Noted::default(), Noted::default()];
        let noted_joins = [Noted::default(), Noted::default()];
        let (keys, rows, seen, seen_joins) = (keys.clone(), rows.clone(), noted.clone(), noted_joins.clone());
        on_workers(workers, move |scope| {
            let source = || PersistSource::new(&keys).as_of(at(0)).until(at(3));
            let (by_self, flat) = (source().arrange_by_self(scope), source().arrange_flat_by_self(scope));
            let others = PersistSource::new(&rows).as_of(at(0)).until(at(3)).build(scope);
            let [seen, seen_flat] = seen.clone();
            let [seen_join, seen_flat_join] = seen_joins.clone();
            let join = by_self
                .arranged
                .clone()
                .join_core(others.updates.clone().arrange_by_key(), |key, (), value| Some((key.clone(), *value)));
            let flat_join = flat
                .arranged
                .clone()
                .join_core(arrange_flat(others.updates), |key, (), value| Some((key.to_owned(), value)));
            let batches = by_self.arranged.stream.inspect(move |span| {
                note(&seen, span.inner.as_deref().into_iter().flat_map(keys_of));
            });
            let flat_batches = flat.arranged.stream.inspect(move |span| {
                note(&seen_flat, span.inner.as_deref().into_iter().flat_map(keys_of));
            });
            let probes = vec![
                batches.probe().0,
                flat_batches.probe().0,
                join.inspect(move |row| note(&seen_join, [row.clone()])).inner.probe().0,
                flat_join.inspect(move |row| note(&seen_flat_join, [row.clone()])).inner.probe().0,
            ];
            (probes, vec![by_self.button, flat.button, others.button])
        });
        for noted in noted {
            let mut rows = taken(&noted);
            rows.sort();
            assert_eq!(rows, expected, "{workers} workers"); // consolidated already
        }
        for noted in noted_joins {
            assert_eq!(consolidated(taken(&noted)), joined, "{workers} workers");
        }
    }
}
