//! A source of every type of times and of diffs.

use std::sync::mpsc;
use std::time::Duration;

use timely::dataflow::operators::{Inspect, Probe};
use timely::order::Product;
use timely::progress::Antichain;
use timely::progress::timestamp::{Refines, Timestamp};
use timely_persist::{Diff, ErrorKind, Shard, ShardId, Time};
use timely_persist_operators::{PersistSource, persist_source};

use crate::support::*;

/// What a source shows of two parts, the second beyond `as_of`, in a scope within one of times `S`.
fn shows<S: Timestamp + Refines<()>, T: Time + Refines<S>, D: Diff>(first: (T, D), second: (T, D), as_of: T) {
    let client = memory(config());
    let shard: Shard<String, u64, T, D> = client.shard(ShardId::new());
    let row = |(time, diff): &(T, D)| (("row".to_owned(), 7), time.clone(), diff.clone());
    let rows = [row(&first), row(&second)];
    let start = Antichain::from_elem(T::minimum());
    let middle = Antichain::from_elem(second.0.clone());
    wait(async {
        let mut writer = shard.open_writer("fill").await.unwrap();
        let _ = writer.append([rows[0].clone()], start, middle.clone()).await.unwrap();
        let _ = writer.append([rows[1].clone()], middle, Antichain::new()).await.unwrap();
    });
    let mut expected = vec![(as_of.clone(), first.1), (second.0, second.1)];
    expected.sort();
    for workers in [1, 2] {
        let (shard, as_of) = (shard.clone(), as_of.clone());
        let (tell, told) = mpsc::sync_channel(100);
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let tell = tell.clone();
            let (probe, _button) = worker.dataflow::<S, _, _>(|scope| {
                scope.scoped::<T, _, _>("times", |scope| {
                    let source = persist_source(scope, &shard, Antichain::from_elem(as_of.clone()));
                    source.errors.inspect(|error| panic!("{error}"));
                    let tell = move |(_, time, diff): &(_, T, D)| tell.send((time.clone(), diff.clone())).unwrap();
                    (source.updates.inspect(tell).inner.probe().0, source.button)
                })
            });
            while !probe.done() {
                worker.step_or_park(None);
            }
        });
        drop(guards.unwrap());
        let mut seen: Vec<_> = told.try_iter().collect();
        seen.sort();
        assert_eq!(seen, expected, "{} and {}", T::NAME, D::NAME);
    }
}

#[test]
fn a_source_of_every_type_shows_what_is_there() {
    shows::<u64, _, _>((1u64, 5isize), (9, -5), 3);
    shows::<u32, _, _>((1u32, 5i32), (u32::MAX, -5), 3);
    shows::<i32, _, _>((-5i32, (1i64, 1i64)), (9, (-5, 1 << 29)), 3);
    let second = Duration::from_secs(1);
    shows::<Duration, _, _>((Duration::ZERO, 5i64), (Duration::from_nanos(u64::MAX), i64::MIN), second);
    shows::<u32, _, _>((Product::new(0u32, 1u16), 5u64), (Product::new(9, u16::MAX), 3), Product::new(2, 2));
    shows::<u16, _, _>((Product::new(0u16, 1u32), 5u32), (Product::new(u16::MAX, 9), 3), Product::new(2, 2));
    shows::<u16, _, _>((Product::new(0u16, 1u16), -5isize), (Product::new(2, u16::MAX), 3), Product::new(2, 2));
}

/// What differential makes of a collection is stored, and read back, without a change of its diffs.
#[test]
fn what_differential_counts_has_diffs_of_isize() {
    use differential_dataflow::input::InputSession;
    let counted = timely::execute_directly(|worker| {
        let (tell, told) = mpsc::sync_channel(100);
        let mut input = InputSession::<u64, (u8, u64), isize>::new();
        worker.dataflow(|scope| {
            let counts = input.to_collection(scope).map(|(key, _)| key).count();
            counts.inspect(move |((key, count), time, diff)| tell.send(((*key, *count), *time, *diff)).unwrap());
        });
        (0..5).for_each(|number| input.insert(((number % 2) as u8, number)));
        input.close();
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
        told.try_iter().collect::<Vec<_>>()
    });
    let client = memory(config());
    let shard: Shard<u8, i64, u64, isize> = client.shard(ShardId::new());
    let rows = counted.into_iter().map(|((key, count), time, diff)| ((key, count as i64), time, diff));
    wait(async {
        let _ = shard.open_writer("fill").await.unwrap().compare_and_append(rows, at(0), at(1)).await.unwrap();
        let reader = shard.open_reader("test").await.unwrap();
        assert_eq!(reader.snapshot_and_fetch(at(0)).await.unwrap(), [((0, 3), 0, 1isize), ((1, 2), 0, 1)]);
    });
}

/// As anywhere else, and the frontier is held.
#[test]
fn a_source_with_a_time_that_cannot_be_stored_says_so() {
    type Ages = PersistSource<u8, (), Duration, isize>;
    let client = memory(config());
    let shard: Shard<u8, (), Duration, isize> = client.shard(ShardId::new());
    wait(async { shard.open_writer("end").await.unwrap().advance_upper(&Antichain::new()).await.unwrap() });
    let options: [fn(Ages) -> Ages; 2] = [
        |source| source.as_of(Antichain::from_elem(Duration::MAX)),
        |source| source.as_of(Antichain::from_elem(Duration::ZERO)).until(Antichain::from_elem(Duration::MAX)),
    ];
    for options in options {
        let shard = shard.clone();
        timely::execute_directly(move |worker| {
            let (tell, told) = mpsc::sync_channel(100);
            let (probe, _button) = worker.dataflow::<Duration, _, _>(|scope| {
                let source = options(PersistSource::new(&shard)).build(scope);
                source.errors.inspect(move |error| tell.send(failure(error)).unwrap());
                (source.updates.inner.probe().0, source.button)
            });
            let said = loop {
                worker.step_or_park(Some(Duration::from_millis(10)));
                if let Ok(said) = told.try_recv() {
                    break said;
                }
                assert!(!probe.done(), "it claims to be complete");
            };
            assert_eq!(said, ErrorKind::Invalid);
            worker.step();
            assert!(!probe.done(), "the frontier is not held");
        });
    }
}
