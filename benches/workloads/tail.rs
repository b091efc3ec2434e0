//! `tail` and `tail-process`: small appends at a steady pace, and a dataflow that follows them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use timely::dataflow::operators::Probe;
use timely_persist::{Appended, ShardId};
use timely_persist_operators::{PersistSink, PersistSource};

use crate::append::rows;
use crate::args::{Args, Mode, Workload};
use crate::data::at;
use crate::place::{Counted, Strings, folder};
use crate::process::Meter;
use crate::report::{Sample, percentile};

/// The pause between the starts of two appends.
const PACE: Duration = Duration::from_millis(5);

/// How long nothing is done at the end.
const IDLE: Duration = Duration::from_secs(10);

/// The first appends do not count: threads and allocations come to be.
const WARM_UP: usize = 20;

/// What is told of latencies.
const PERCENTS: [(&str, f64); 7] =
    [("p50", 50.0), ("p75", 75.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// Nanoseconds of a clock that all processes share.
fn now_ns() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64
}

/// When each append began and returned.
type Times = Vec<(u64, u64)>;

pub fn run(args: &Args, appends: u64) -> Sample {
    let folder = folder(args);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counted = runtime.block_on(Counted::open(args, folder.path()));
    let id = ShardId::new();
    let shard: Strings = counted.client.shard(id);
    // The types and the first row are there before the dataflow looks.
    runtime.block_on(write_one(&shard));
    let stop = Arc::new(AtomicBool::new(false));
    let kept = (args.workload == Workload::Pipeline).then(|| counted.client.shard(ShardId::new()));
    let follower = follow(args, &shard, kept, appends, &stop);
    let meter = Meter::start();
    let before = counted.counts();
    let times = match args.workload {
        Workload::TailProcess => write_in_child(args, folder.path(), id),
        _ => runtime.block_on(write(&shard, appends)),
    };
    let (wall_s, cpu_s) = (meter.wall_s(), meter.cpu_s());
    std::thread::sleep(Duration::from_millis(200));
    let ops = counted.since(before, appends as f64);
    let idle = counted.counts();
    std::thread::sleep(IDLE);
    let idle = counted.since(idle, 1.0);
    stop.store(true, Ordering::Release);
    let passed = follower.join().unwrap();
    let mut sample = Sample { wall_s, cpu_s, ops, ..meter.sample() };
    let us = |from: fn(&(u64, u64)) -> u64| -> Vec<f64> {
        let pairs = times.iter().zip(&passed).skip(WARM_UP);
        pairs.map(|(time, passed)| passed.saturating_sub(from(time)) as f64 / 1e3).collect()
    };
    assert_eq!(times.len(), passed.len(), "the dataflow missed appends");
    let append = times.iter().skip(WARM_UP).map(|time| (time.1 - time.0) as f64 / 1e3).collect();
    for (from, latencies) in [("append", append), ("from_return", us(|time| time.1)), ("from_start", us(|time| time.0))]
    {
        for (name, percent) in PERCENTS {
            sample.more.insert(format!("{from}_{name}_us"), percentile(&latencies, percent).into());
        }
    }
    sample.more.insert("idle_ops".to_owned(), idle.into());
    drop(shard);
    runtime.block_on(counted.client.shutdown()).unwrap();
    sample
}

async fn write_one(shard: &Strings) {
    let mut writer = shard.open_writer("bench").await.unwrap();
    assert_eq!(writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
    writer.expire().await.unwrap();
}

/// A dataflow on threads of its own: when the probe passed each time from 1 on.
///
/// With a shard `kept`, that of what was kept there and read again.
fn follow(
    args: &Args,
    shard: &Strings,
    kept: Option<Strings>,
    appends: u64,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<Vec<u64>> {
    let (shard, stop) = (shard.clone(), Arc::clone(stop));
    let (workers, mode) = (args.workers, args.mode);
    let (ready, is_ready) = std::sync::mpsc::sync_channel(workers);
    let follower = std::thread::spawn(move || {
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let (probe, mut button) = worker.dataflow::<u64, _, _>(|scope| {
                let source = PersistSource::new(&shard).as_of(at(0));
                match mode {
                    Mode::Sorted => {
                        let source = source.arrange_by_key(scope);
                        return (source.arranged.stream.probe().0, Some(vec![source.button]));
                    }
                    Mode::Flat => {
                        let source = source.arrange_flat(scope);
                        return (source.arranged.stream.probe().0, Some(vec![source.button]));
                    }
                    _ => {}
                }
                let source = source.build(scope);
                let Some(kept) = &kept else {
                    return (source.updates.inner.probe().0, Some(vec![source.button]));
                };
                let sink = PersistSink::new(kept).as_of(at(0)).build(source.updates);
                let chained = PersistSource::new(kept).as_of(at(0)).build(scope);
                let buttons = vec![sink.button, source.button, chained.button];
                (chained.updates.inner.probe().0, Some(buttons))
            });
            let mut passed = Vec::with_capacity(appends as usize);
            let mut next = 1;
            while !probe.done() {
                // Woken by the source alone, while there is something to come.
                let limit = if passed.len() < appends as usize { None } else { Some(Duration::from_millis(50)) };
                worker.step_or_park(limit);
                while next <= appends && !probe.less_equal(&next) {
                    passed.push(now_ns());
                    next += 1;
                }
                if next == 1 && !probe.less_equal(&0) {
                    let _ = ready.try_send(());
                }
                if stop.load(Ordering::Acquire) {
                    button = None;
                    break;
                }
            }
            drop(button);
            passed
        });
        guards.unwrap().join().into_iter().map(Result::unwrap).next().unwrap()
    });
    is_ready.recv().unwrap();
    follower
}

/// Appends at the pace, from time 1 on.
async fn write(shard: &Strings, appends: u64) -> Times {
    let mut writer = shard.open_writer("bench").await.unwrap();
    let mut times = Times::with_capacity(appends as usize);
    let begin = std::time::Instant::now();
    for time in 1..=appends {
        let rows = rows(time);
        std::thread::sleep((begin + PACE * time as u32).saturating_duration_since(std::time::Instant::now()));
        let start = now_ns();
        let appended = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
        times.push((start, now_ns()));
        assert_eq!(appended, Appended::Committed);
    }
    times
}

fn write_in_child(args: &Args, folder: &Path, shard: ShardId) -> Times {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["tail-process", "--child", &shard.to_string()]).arg("--dir").arg(folder);
    command.args(args.for_child());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let times = lines.map(|line| {
        let line = line.unwrap();
        let (start, end) = line.split_once(' ').unwrap();
        (start.parse().unwrap(), end.parse().unwrap())
    });
    let times = times.collect();
    assert!(child.wait().unwrap().success());
    times
}

/// The writing process.
pub fn write_here(args: &Args, child: &str, appends: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counted = runtime.block_on(Counted::open(args, args.dir.as_deref().unwrap()));
    let shard: Strings = counted.client.shard(child.parse().unwrap());
    let times = runtime.block_on(write(&shard, appends));
    let mut output = std::io::stdout().lock();
    for (start, end) in times {
        writeln!(output, "{start} {end}").unwrap();
    }
}
