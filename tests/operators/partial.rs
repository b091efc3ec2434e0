//! Times that are only partially ordered, and scopes with finer times.

use std::sync::{Arc, Mutex};

use differential_dataflow::operators::Iterate;
use timely::dataflow::operators::{Inspect, Probe};
use timely::order::Product;
use timely::progress::Antichain;
use timely_persist::{Shard, ShardId};
use timely_persist_operators::{PersistSource, persist_source};

use crate::support::*;

type Time = Product<u32, u32>;
type Update = ((String, u64), Time, i64);

fn time(outer: u32, inner: u32) -> Time {
    Product::new(outer, inner)
}

/// Rows at these times, all of them before `[(4, 4)]`, in two parts.
fn filled_partially(shard: &Shard<String, u64, Time, i64>) -> Vec<Update> {
    let times = [(0, 0), (0, 3), (3, 0), (1, 1), (2, 2), (3, 3), (0, 1), (1, 0)];
    let rows: Vec<Update> =
        times.iter().zip(0..).map(|((a, b), n)| ((format!("row {n}"), n), time(*a, *b), 1)).collect();
    let middle = Antichain::from(vec![time(0, 2), time(2, 0)]);
    let boundary = middle.clone();
    let is_early = |row: &&Update| !boundary.less_equal(&row.1);
    wait(async {
        let mut writer = shard.open_writer("fill").await.unwrap();
        let early: Vec<_> = rows.iter().filter(is_early).cloned().collect();
        let late: Vec<_> = rows.iter().filter(|row| !is_early(row)).cloned().collect();
        assert!(!early.is_empty() && !late.is_empty());
        let start = Antichain::from_elem(time(0, 0));
        let _ = writer.compare_and_append(early, start, middle.clone()).await.unwrap();
        let end = Antichain::from(vec![time(0, 4), time(4, 0)]);
        let _ = writer.compare_and_append(late, middle, end.clone()).await.unwrap();
        let _ = writer.compare_and_append(vec![], end, Antichain::new()).await.unwrap();
    });
    rows
}

#[test]
fn partially_ordered_times_are_exact() {
    use differential_dataflow::lattice::Lattice;
    let client = memory(config());
    let shard = client.shard::<String, u64, Time, i64>(ShardId::new());
    let rows = filled_partially(&shard);
    let as_ofs = [vec![time(0, 0)], vec![time(1, 1)], vec![time(0, 2), time(2, 0)], vec![time(1, 3), time(2, 1)]];
    let untils = [vec![], vec![time(2, 2)], vec![time(0, 3), time(3, 0)]];
    for (as_of, until) in as_ofs.iter().flat_map(|as_of| untils.iter().map(move |until| (as_of, until))) {
        for workers in [1, 2] {
            let (as_of, until) = (Antichain::from(as_of.clone()), Antichain::from(until.clone()));
            let (reading, from, to) = (shard.clone(), as_of.clone(), until.clone());
            let seen: Arc<Mutex<Vec<Update>>> = Arc::default();
            let shared = Arc::clone(&seen);
            let guards = timely::execute(timely::Config::process(workers), move |worker| {
                let shared = Arc::clone(&shared);
                let _button = worker.dataflow::<u32, _, _>(|scope| {
                    scope.iterative::<u32, _, _>(|scope| {
                        let source = PersistSource::new(&reading).as_of(from.clone()).until(to.clone()).build(scope);
                        let (probe, updates) = source.updates.inner.probe();
                        // No row is at a time that the frontier has passed.
                        updates.inspect(move |row| {
                            assert!(probe.less_equal(&row.1), "{row:?} is late");
                            shared.lock().unwrap().push(row.clone());
                        });
                        source.button
                    })
                });
                while worker.has_dataflows() {
                    worker.step_or_park(None);
                }
            });
            drop(guards.unwrap());
            let mut expected: Vec<Update> = rows.clone();
            expected.iter_mut().for_each(|row| row.1.advance_by(as_of.borrow()));
            expected.retain(|row| !until.less_equal(&row.1));
            expected.sort();
            let mut seen = seen.lock().unwrap().clone();
            seen.sort();
            assert_eq!(seen, expected, "as of {as_of:?} until {until:?}");
        }
    }
}

/// The collection goes into nested scopes and loops as any other does.
#[test]
fn nested_scopes_and_loops() {
    let client = memory(config());
    let shard = filled(&client, 6, 3);
    let seen: Arc<Mutex<Vec<(u64, u64, i64)>>> = Arc::default();
    let shared = Arc::clone(&seen);
    let reading = shard.clone();
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let shared = Arc::clone(&shared);
        let (probe, _button) = worker.dataflow::<u64, _, _>(|scope| {
            let source = persist_source(scope, &reading, at(2));
            let numbers = source.updates.map(|(_, number)| number);
            let halved = numbers.iterate(|_, inner| inner.map(|number: u64| number.saturating_sub(1)).consolidate());
            let counted = halved.count();
            let result = counted.inner.inspect(move |((number, count), time, diff)| {
                shared.lock().unwrap().push((*number * 1000 + *count as u64, *time, i64::from(*diff as i32)));
            });
            (result.probe().0, source.button)
        });
        while probe.less_than(&6) {
            worker.step_or_park(None);
        }
    });
    drop(guards.unwrap());
    // All numbers come down to 0: nine rows as of 2, three more at each later time.
    let mut count = 0;
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_by_key(|(_, time, diff)| (*time, *diff));
    for (expected, (number, time, diff)) in
        seen.iter().enumerate().map(|(n, update)| ((n as u64).div_ceil(2) + 2, update))
    {
        assert_eq!(*time, expected);
        if *diff > 0 {
            count = *number;
            assert_eq!(count, 3 * (time + 1));
        } else {
            assert_eq!(*number, count);
        }
    }
    assert_eq!(count, 18);
}
