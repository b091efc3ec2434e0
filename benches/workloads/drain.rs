//! A dataflow that reads a shard from one time to another, and what it read.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::ProbeHandle;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Inspect, Probe};
use timely::worker::Worker;
use timely_persist_operators::PersistSource;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::data::{Row, at};
use crate::place::Strings;

/// Updates, as a collection: two reads that differ only in what consolidates away are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub diffs: i64,
    /// The sum of the rows' hashes, each times its diff.
    pub hash: u64,
}

impl Contents {
    #[inline]
    pub fn add(&mut self, key: &str, value: &str, diff: i64) {
        self.diffs += diff;
        let hash = xxh3_64_with_seed(value.as_bytes(), xxh3_64(key.as_bytes()));
        self.hash = self.hash.wrapping_add(hash.wrapping_mul(diff as u64));
    }
}

/// What a read came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drained {
    pub wall_s: f64,
    pub updates: u64,
    pub contents: Contents,
}

/// Reads the shard as of `as_of`, and all that is before `until`, on `workers` threads.
pub fn drain(shard: &Strings, workers: usize, as_of: u64, until: u64) -> Drained {
    let start = Instant::now();
    let shard = shard.clone();
    let guards = timely::execute(timely::Config::process(workers), move |worker| read(worker, &shard, as_of, until));
    let mut all = Drained::default();
    for part in guards.unwrap().join().into_iter().map(Result::unwrap) {
        all.updates += part.updates;
        all.contents.diffs += part.contents.diffs;
        all.contents.hash = all.contents.hash.wrapping_add(part.contents.hash);
    }
    Drained { wall_s: start.elapsed().as_secs_f64(), ..all }
}

fn read(worker: &mut Worker, shard: &Strings, as_of: u64, until: u64) -> Drained {
    let drained = Rc::new(RefCell::new(Drained::default()));
    let probe = ProbeHandle::new();
    let button = worker.dataflow::<u64, _, _>(|scope| {
        let source = PersistSource::new(shard).as_of(at(as_of)).until(at(until)).build(scope);
        // It would hold its frontier for ever.
        source.errors.inspect(|error| assert!(!error.is_final(), "the source says: {error}"));
        let drained = Rc::clone(&drained);
        let updates =
            source.updates.inner.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "drain", |_, _| {
                move |input, _output| {
                    input.for_each(|_time, rows: &mut Vec<Row>| {
                        let mut drained = drained.borrow_mut();
                        drained.updates += rows.len() as u64;
                        rows.drain(..).for_each(|((key, value), _time, diff)| drained.contents.add(&key, &value, diff));
                    })
                }
            });
        updates.probe_with(&probe);
        source.button
    });
    while !probe.done() {
        worker.step_or_park(None);
    }
    drop(button);
    drained.take()
}
