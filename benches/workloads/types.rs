//! `types`: the same rows of eight fields as a derived struct, a tuple and `Serde`, and as a struct that got a field since.

mod rows;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value, json};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::ProbeHandle;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Inspect, Probe};
use timely::worker::Worker;
use timely_persist::{Client, Serde, Shard, ShardId};
use timely_persist_operators::PersistSource;
use tokio::runtime::Runtime;

use crate::args::Args;
use crate::data::{BATCHES, at, range_of};
use crate::place::{Counted, fill_with, folder};
use crate::process::Meter;
use crate::report::{median, spread};
use rows::{Fields, Noted, Order, Plain, Stored, order};

type Rows<V> = Shard<u64, V, u64, i64>;

/// What is read, and as what.
const READINGS: [&str; 5] = ["derived", "tuple", "serde", "added", "identity"];

/// What becomes of the rows: as in `hydrate`.
const MODES: [&str; 2] = ["owned", "borrowed"];

/// What is compared: the rows per second of the one, as a ratio to those of the other.
const RATIOS: [[&str; 2]; 4] =
    [["derived", "tuple"], ["derived", "serde"], ["added", "identity"], ["added", "derived"]];

/// What one reading took.
struct Reading {
    wall_s: f64,
    cpu_s: f64,
}

/// What a reading comes to: rows, their diffs, and the ids in their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    rows: u64,
    diffs: i64,
    ids: u64,
}

impl Sums {
    #[inline]
    fn add(&mut self, key: u64, id: u64, diff: i64) {
        self.rows += 1;
        self.diffs += diff;
        self.ids ^= key.rotate_left(32) ^ id;
    }
}

/// All readings in turn, as often as asked for, of shards that are made first.
pub fn run(args: &Args, runtime: &Runtime) -> Value {
    let folder = folder(args);
    let ids: [ShardId; 4] = std::array::from_fn(|_| ShardId::new());
    let bytes = runtime.block_on(async {
        let filled = Counted::open(&args.at_rest(), folder.path()).await;
        let bytes = [
            fill::<Order>(args, &filled.client, ids[0]).await,
            fill::<Fields>(args, &filled.client, ids[1]).await,
            fill::<Serde<Plain>>(args, &filled.client, ids[2]).await,
            fill::<Noted>(args, &filled.client, ids[3]).await,
        ];
        filled.client.shutdown().await.unwrap();
        bytes
    });
    let mut expected = Sums::default();
    (0..args.rows).for_each(|i| expected.add(rows::key(i), order(i).id, 1));
    let mut readings: BTreeMap<(&str, &str), Vec<Reading>> = BTreeMap::new();
    for round in 0..args.runs {
        for mode in MODES {
            let mut names = READINGS;
            names.rotate_left(round % READINGS.len());
            for name in names {
                let read = match name {
                    "derived" => read::<Order>,
                    "tuple" => read::<Fields>,
                    "serde" => read::<Serde<Plain>>,
                    _ => read::<Noted>,
                };
                // What was added is read from where it is not.
                let id = ids[match name {
                    "derived" | "added" => 0,
                    "tuple" => 1,
                    "serde" => 2,
                    _ => 3,
                }];
                let reading = read(args, runtime, folder.path(), id, mode == "borrowed", expected);
                readings.entry((mode, name)).or_default().push(reading);
            }
        }
    }
    report(args, &readings, bytes)
}

/// The shard: all rows, settled.
async fn fill<V: Stored>(args: &Args, client: &Client, id: ShardId) -> u64 {
    let shard: Rows<V> = client.shard(id);
    let row = |i, batch| ((rows::key(i), V::of(order(i))), batch, 1);
    fill_with(&shard, |batch| range_of(args.rows, batch).map(|i| row(i, batch)).collect()).await;
    shard.inspect().await.unwrap().bytes
}

/// By a fresh client, from opening it until the source has given the snapshot.
fn read<V: Stored>(
    args: &Args,
    runtime: &Runtime,
    folder: &Path,
    id: ShardId,
    borrowed: bool,
    expected: Sums,
) -> Reading {
    let meter = Meter::start();
    let counted = runtime.block_on(Counted::open(args, folder));
    let shard: Rows<V> = counted.client.shard(id);
    let guards =
        timely::execute(timely::Config::process(args.workers), move |worker| hydrate(worker, &shard, borrowed));
    let mut sums = Sums::default();
    for of_worker in guards.unwrap().join().into_iter().map(Result::unwrap) {
        sums.rows += of_worker.rows;
        sums.diffs += of_worker.diffs;
        sums.ids ^= of_worker.ids;
    }
    let reading = Reading { wall_s: meter.wall_s(), cpu_s: meter.cpu_s() };
    assert_eq!(sums, expected, "a read gave other rows than were written");
    runtime.block_on(counted.client.shutdown()).unwrap();
    reading
}

/// Rows that a second operator counts and drops, or that are looked at where they lie.
fn hydrate<V: Stored>(worker: &mut Worker, shard: &Rows<V>, borrowed: bool) -> Sums {
    let sums = Rc::new(RefCell::new(Sums::default()));
    let probe = ProbeHandle::new();
    let button = worker.dataflow::<u64, _, _>(|scope| {
        let source = PersistSource::new(shard).as_of(at(BATCHES - 1)).until(at(BATCHES));
        let sums = Rc::clone(&sums);
        if borrowed {
            let source = source.map(move |key, value, _time, diff| {
                sums.borrow_mut().add(key, V::id(*std::hint::black_box(&value)), diff);
                None::<()>
            });
            let source = source.build(scope);
            source.errors.inspect(|error| panic!("the source says: {error}"));
            source.stream.probe_with(&probe);
            return source.button;
        }
        let source = source.build(scope);
        source.errors.inspect(|error| panic!("the source says: {error}"));
        let counted = source.updates.inner.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
            Pipeline,
            "count",
            |_capability, _info| {
                move |input, _output| {
                    input.for_each(|_time, rows: &mut Vec<((u64, V), u64, i64)>| {
                        let mut sums = sums.borrow_mut();
                        rows.drain(..)
                            .for_each(|((key, value), _time, diff)| sums.add(key, V::id(value.as_ref()), diff));
                    })
                }
            },
        );
        counted.probe_with(&probe);
        source.button
    });
    while !probe.done() {
        worker.step_or_park(None);
    }
    drop(button);
    *sums.borrow()
}

fn report(args: &Args, readings: &BTreeMap<(&str, &str), Vec<Reading>>, bytes: [u64; 4]) -> Value {
    let of = |mode, name, get: fn(&Reading) -> f64| readings[&(mode, name)].iter().map(get).collect::<Vec<_>>();
    let mut result = json!({
        "workload": args.workload.name(),
        "rows": args.rows,
        "workers": args.workers,
        "store": args.store.name(),
        "compaction": args.compaction.is_on(),
        "runs": args.runs,
        "bytes": { "derived": bytes[0], "tuple": bytes[1], "serde": bytes[2], "identity": bytes[3] },
    });
    let mut more = Map::new();
    for mode in MODES {
        for name in READINGS {
            let wall_s = of(mode, name, |reading| reading.wall_s);
            more.insert(format!("{mode}_{name}_wall_s"), spread(&wall_s));
            more.insert(format!("{mode}_{name}_cpu_s"), spread(&of(mode, name, |reading| reading.cpu_s)));
            more.insert(format!("{mode}_{name}_rows_per_s"), (args.rows as f64 / median(&wall_s)).into());
        }
        for [name, other] in RATIOS {
            let ratio = |get| median(&of(mode, other, get)) / median(&of(mode, name, get));
            let ratios = json!({ "wall": ratio(|reading| reading.wall_s), "cpu": ratio(|reading| reading.cpu_s) });
            more.insert(format!("{mode}_{name}_to_{other}"), ratios);
        }
    }
    if let Some(object) = result.as_object_mut() {
        object.extend(more);
    }
    result
}
