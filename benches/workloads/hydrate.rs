//! `hydrate`, `arrange` and `sink`: a source in a fresh process and client, until it has given the snapshot, or a sink has
//! kept it.

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::ProbeHandle;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Inspect, Probe};
use timely::worker::Worker;
use timely_persist::ShardId;
use timely_persist_operators::{PersistSink, PersistSource};

use crate::args::{Args, Mode, Place, Workload};
use crate::arrange;
use crate::data::{BATCHES, Columns, Row, Sums, at};
use crate::place::{Counted, Strings, fill};
use crate::process::Meter;
use crate::report::{Sample, percentile};

/// Runs the workload in fresh processes: on the shard in `folder`, or on one that each makes in its own memory.
pub fn run(args: &Args, folder: &Path, shard: ShardId) -> Vec<Sample> {
    (0..args.runs).map(|_| child(args, folder, &shard.to_string())).collect()
}

/// The name of the child that arranges rows from memory instead of a shard.
pub const FROM_MEMORY: &str = "from-memory";

pub fn child(args: &Args, folder: &Path, child: &str) -> Sample {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(args.workload.name()).args(["--child", child]).arg("--dir").arg(folder);
    command.args(args.for_child());
    let output = command.stderr(std::process::Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "a run failed: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One run, in this process.
pub fn run_here(args: &Args, child: &str) -> Sample {
    let folder = args.dir.clone().unwrap_or_default();
    if child == FROM_MEMORY {
        return arrange::from_memory(args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // What it fills itself is its own: the log of another run may still be there.
    let id = if args.store == Place::Memory { ShardId::new() } else { child.parse().unwrap() };
    let filled = (args.store == Place::Memory).then(|| {
        let counted = runtime.block_on(Counted::open(&args.at_rest(), &folder));
        let columns = Columns::new(args.rows);
        runtime.block_on(fill(&counted.client, id, &columns));
        counted
    });
    let meter = Meter::start();
    let counted = match &filled {
        Some(filled) => runtime.block_on(filled.again(args)),
        None => runtime.block_on(Counted::open(args, &folder)),
    };
    let open_s = meter.wall_s();
    let before = counted.counts();
    let shard: Strings = counted.client.shard(id);
    let (workload, mode) = (args.workload, args.mode);
    let kept: Strings = counted.client.shard(ShardId::new());
    let output = kept.clone();
    let longest = Arc::new(Mutex::new(Vec::new()));
    let activations = Arc::clone(&longest);
    let guards = timely::execute(timely::Config::process(args.workers), move |worker| match workload {
        Workload::Arrange | Workload::Join => arrange::run(worker, &shard, workload, mode, &longest),
        Workload::Sink => keep(worker, &shard, &output),
        _ => hydrate(worker, &shard, mode),
    });
    let mut sums = Sums::default();
    for guard in guards.unwrap().join() {
        sums.merge(guard.unwrap());
    }
    let mut sample = Sample { ops: counted.since(before, 1.0), ..meter.sample() };
    sample.more.insert("rss_above_start_mb".to_owned(), (sample.peak_rss_mb - sample.rss_before_mb).into());
    sample.more.insert("open_s".to_owned(), open_s.into());
    let activations = std::mem::take(&mut *activations.lock().unwrap());
    if !activations.is_empty() {
        for (name, percent) in [("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)] {
            sample.more.insert(format!("activation_{name}_ms"), percentile(&activations, percent).into());
        }
    }
    if args.latency_ms > 0 {
        sample.more.extend(rounds(args, &sample, open_s));
    }
    sums.check(Sums::expected(args.rows));
    if args.workload == Workload::Sink {
        let info = runtime.block_on(kept.inspect()).unwrap();
        assert_eq!((info.rows, info.upper), (args.rows, at(BATCHES)), "the sink lost or doubled something");
        sample.more.insert("parts".to_owned(), info.parts.into());
    }
    sample
}

/// Until what the source gives is durable in another shard.
fn keep(worker: &mut Worker, shard: &Strings, output: &Strings) -> Sums {
    let sums = Rc::new(RefCell::new(Sums::default()));
    let (probe, buttons) = worker.dataflow::<u64, _, _>(|scope| {
        let source = PersistSource::new(shard).as_of(at(BATCHES - 1)).build(scope);
        let sums = Rc::clone(&sums);
        let rows = source.updates.inspect(move |((key, _), _, diff)| sums.borrow_mut().add(key, *diff));
        let sink = PersistSink::new(output).as_of(at(BATCHES - 1)).until(at(BATCHES)).build(rows);
        sink.errors.inspect(|error| panic!("{error}"));
        (sink.progress.probe().0, (sink.button, source.button))
    });
    while !probe.done() {
        worker.step_or_park(None);
    }
    drop(buttons);
    *sums.borrow()
}

/// What a hydration made of the store's delay: how many delays it took, and what was under way during one on average.
fn rounds(args: &Args, sample: &Sample, open_s: f64) -> serde_json::Map<String, serde_json::Value> {
    let delay_s = args.latency_ms as f64 / 1e3;
    let of = |name: &str| sample.ops.get(name).and_then(|count| count.as_f64()).unwrap_or(0.0);
    let waits = delay_s / (sample.wall_s - open_s);
    let figures = serde_json::json!({
        "rounds": sample.wall_s / delay_s,
        "open_rounds": open_s / delay_s,
        "gets_in_flight": of("blob_gets") * waits,
        "bytes_in_flight": of("blob_bytes_read") * waits,
    });
    figures.as_object().cloned().unwrap_or_default()
}

fn hydrate(worker: &mut Worker, shard: &Strings, mode: Mode) -> Sums {
    let sums = Rc::new(RefCell::new(Sums::default()));
    let probe = ProbeHandle::new();
    let button = worker.dataflow::<u64, _, _>(|scope| {
        let source = PersistSource::new(shard).as_of(at(BATCHES - 1)).until(at(BATCHES));
        let sums = Rc::clone(&sums);
        match mode {
            Mode::Owned | Mode::Sorted | Mode::Flat => {
                let source = source.build(scope);
                let count = count(source.updates.inner, sums);
                count.probe_with(&probe);
                source.button
            }
            Mode::Fold => {
                let source = source.map(move |key, value, _time, diff| {
                    let row = std::hint::black_box((key.to_owned(), value.to_owned()));
                    sums.borrow_mut().add(&row.0, diff);
                    None::<()>
                });
                let source = source.build(scope);
                source.stream.probe_with(&probe);
                source.button
            }
            Mode::Borrowed => {
                let source = source.map(move |key, value, _time, diff| {
                    std::hint::black_box(value);
                    sums.borrow_mut().add(key, diff);
                    None::<()>
                });
                let source = source.build(scope);
                source.stream.probe_with(&probe);
                source.button
            }
        }
    });
    while !probe.done() {
        worker.step_or_park(None);
    }
    drop(button);

    *sums.borrow()
}

fn count<'scope>(
    rows: timely::dataflow::StreamVec<'scope, u64, Row>,
    sums: Rc<RefCell<Sums>>,
) -> timely::dataflow::StreamVec<'scope, u64, ()> {
    rows.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "count", |_capability, _info| {
        move |input, _output| {
            input.for_each(|_time, rows: &mut Vec<Row>| {
                let mut sums = sums.borrow_mut();
                rows.drain(..).for_each(|((key, _value), _time, diff)| sums.add(&key, diff));
            })
        }
    })
}
