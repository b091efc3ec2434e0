//! What a source arranges is what `arrange_by_key` makes of its rows, at every time, for any history and any workers.

use std::sync::{Arc, Mutex};

use differential_dataflow::trace::{Cursor, Navigable};
use timely::dataflow::operators::{Inspect, Probe};
use timely_persist::ShardId;
use timely_persist_operators::PersistSource;

use crate::random::Random;
use crate::support::*;

type Rows = Arc<Mutex<Vec<Row>>>;

/// Notes the rows of each batch, which are at its times.
macro_rules! noted {
    ($rows:expr) => {{
        let rows: Rows = Arc::clone(&$rows);
        move |span| {
            let Some(batch) = &span.inner else { return };
            let (mut cursor, mut last) = (batch.cursor(), None);
            while let Some(key) = cursor.get_key(batch) {
                while let Some(value) = cursor.get_val(batch) {
                    let pair = (key.to_string(), u64::clone(&value.to_owned()));
                    assert!(last.as_ref().is_none_or(|last| *last < pair), "{pair:?} is out of order");
                    last = Some(pair);
                    cursor.map_times(batch, |time, diff| {
                        assert!(
                            span.lower().less_equal(time) && !span.upper().less_equal(time),
                            "{time} in a wrong batch"
                        );
                        rows.lock().unwrap().push(((key.to_string(), u64::clone(&value.to_owned())), *time, *diff));
                    });
                    cursor.step_val(batch);
                }
                cursor.step_key(batch);
            }
        }
    }};
}

const TIMES: u64 = 12;

/// Rows of few keys and values at each time, some of them taken back later; of one key alone, or none, at times.
fn history(random: &mut Random) -> Vec<Vec<Row>> {
    let (keys, values, rows) = (1 + random.below(20), 1 + random.below(5), 1 + random.below(60));
    let row = |random: &mut Random, time| {
        let key = if random.percent(50) { 0 } else { random.below(keys) };
        ((format!("key {key}"), random.below(values) as u64), time, if random.percent(33) { -1 } else { 1 })
    };
    (0..TIMES).map(|time| (0..random.below(rows)).map(|_| row(random, time)).collect()).collect()
}

fn append(shard: &Numbers, history: &[Vec<Row>], times: std::ops::Range<u64>) {
    wait(async {
        let mut writer = shard.open_writer("history").await.unwrap();
        for time in times {
            let rows = history[time as usize].clone();
            let _ = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
        }
    });
}

#[test]
fn what_a_source_arranges_is_what_its_rows_come_to() {
    for seed in 0..24 {
        let mut random = Random::new(seed);
        let mut config = config();
        config.write.part_bytes_max = 1 << random.below(12);
        config.upkeep.compact = random.percent(50);
        config.write.inline_part_bytes_max = if random.percent(50) { 0 } else { 4 << 10 };
        let client = memory(config);
        let (shard, history) = (client.shard(ShardId::new()), history(&mut random));
        let (begun, as_of, workers) =
            (1 + random.below(TIMES as usize) as u64, random.below(TIMES as usize) as u64, 1 + seed as usize % 4);
        append(&shard, &history, 0..begun);
        let [plain, by_key, flat] = [Rows::default(), Rows::default(), Rows::default()];
        let writing = std::thread::spawn({
            let (shard, history) = (shard.clone(), history.clone());
            move || append(&shard, &history, begun..TIMES)
        });
        let seen = [Arc::clone(&plain), Arc::clone(&by_key), Arc::clone(&flat)];
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let (probes, buttons) = worker.dataflow::<u64, _, _>(|scope| {
                let source = || PersistSource::new(&shard).as_of(at(as_of)).until(at(TIMES));
                let (rows, by_key, flat) =
                    (source().build(scope), source().arrange_by_key(scope), source().arrange_flat(scope));
                let [seen_rows, seen_by_key, seen_flat] = &seen;
                let noting = Arc::clone(seen_rows);
                let plain = rows.updates.inspect(move |row| noting.lock().unwrap().push(row.clone())).probe().0;
                let by_key_probe = by_key.arranged.stream.inspect(noted!(seen_by_key)).probe().0;
                let flat_probe = flat.arranged.stream.inspect(noted!(seen_flat)).probe().0;
                ([plain, by_key_probe, flat_probe], [rows.button, by_key.button, flat.button])
            });
            while !probes.iter().all(|probe| probe.done()) {
                worker.step_or_park(None);
            }
            drop(buttons);
        });
        guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
        writing.join().unwrap();
        let rows = history.concat().into_iter().map(|(data, time, diff)| (data, time.max(as_of), diff));
        let expected = consolidated(rows);
        let all = |rows: &Rows| std::mem::take(&mut *rows.lock().unwrap());
        assert_eq!(consolidated(all(&plain)), expected, "seed {seed}");
        for arranged in [by_key, flat] {
            let mut rows = all(&arranged);
            rows.sort();
            assert_eq!(rows, expected, "seed {seed}: {workers} workers"); // consolidated already
        }
    }
}

/// Partitioned alike, so that they meet without another exchange.
#[test]
fn what_a_source_arranges_is_joined_with_ordinary_arrangements() {
    let client = memory(config());
    let shard = filled(&client, 3, 40);
    for workers in [1, 2, 3] {
        let [by_key, flat] = [Rows::default(), Rows::default()];
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
                    .inspect(move |row| seen_by_key.lock().unwrap().push(row.clone()))
                    .probe()
                    .0;
                let flat_probe = flat
                    .arranged
                    .join_core(other.arranged, |key, one, two| Some((key.to_owned(), one * 1_000 + two + 1)))
                    .inspect(move |row| seen_flat.lock().unwrap().push(row.clone()))
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
            assert_eq!(consolidated(std::mem::take(&mut *rows.lock().unwrap())), joined, "{workers} workers");
        }
    }
}
