//! One dataflow over several processes that share a store: count and sum by key, maintained, and kept if wanted.
//!
//! ```text
//! cargo run --release --example cluster -- PLACE fill 60 5000             # 60 appends of 5,000 rows each
//! cargo run --release --example cluster -- PLACE fill 60 5000 20          # the same, one each 20 ms
//! cargo run --release --example cluster -- PLACE sum -w 2                 # one process, two workers
//! cargo run --release --example cluster -- PLACE sum by-key -w 2          # the same of an arrangement; or `flat`
//! cargo run --release --example cluster -- PLACE sum -n 2 -p 0 -w 2 -h hosts   # two processes: this is the first,
//! cargo run --release --example cluster -- PLACE sum -n 2 -p 1 -w 2 -h hosts   # and this the second
//! cargo run --release --example cluster -- PLACE follow 120 -w 2          # from the since on, until the upper is 120
//! cargo run --release --example cluster -- PLACE keep 120 sums 1 -w 2     # the same, into a shard: the first start of `sums`
//! ```
//!
//! `PLACE` is a directory or a store's URL, such as `s3://bucket/prefix`; what a bucket needs beside that comes from the
//! environment (`AWS_ENDPOINT`, `AWS_ACCESS_KEY_ID`, …). If there is `CLUSTER_DATABASE` in the environment, the logs are in
//! the PostgreSQL database of that URL: it has a password in it, which a command line would show to everybody.
//!
//! `-n`, `-p`, `-w` and `-h` are timely's: processes, the number of this one, workers of each, and a file with a line
//! `host:port` for each process. Each process prints `key count sum` for the keys that it owns, for `sum` as of the shard's
//! upper when it started, when the frontier of each of its workers moved, and how many rows each fetched. `fill` prints when
//! each append was begun and done. Moments are microseconds of the Unix epoch. All processes must be started for the same:
//! nobody should append while `sum` starts, else each process finds another upper, and the source says so and shows
//! nothing. A process that is killed takes the others with it, as always in timely; start all of them again, and they begin
//! where the shard is.
//!
//! `keep` writes the sums into a second shard, and goes on with it. All processes of one start are given one number, a
//! larger one than those of the start before. A standby beside them has another name.
#![allow(clippy::disallowed_methods)] // a program, which paces itself and tells the time

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use differential_dataflow::VecCollection;
use differential_dataflow::operators::CountTotal;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Error, Shard, ShardId};
use timely_persist_operators::{ArrangedSource, Button, PersistSink, PersistSource, Resume, Source, SourceError};

type Amounts = Shard<String, u64, u64, i64>;

/// Keys with their counts and sums.
type Kept = Shard<String, (i64, i64), u64, i64>;

/// Keys with their counts and sums, and how often each is in the collection.
type Sums = BTreeMap<(String, (i64, i64)), isize>;

/// Keys that the rows are spread over.
const KEYS: u64 = 100;

/// How often a worker that has nothing to do looks whether another one has failed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        [place, "fill", appends, rows] => fill(place, appends, rows, "0"),
        [place, "fill", appends, rows, pause] => fill(place, appends, rows, pause),
        [place, "sum", "by-key", ..] => sum(place, Reading::ByKey, &arguments[3..]),
        [place, "sum", "flat", ..] => sum(place, Reading::Flat, &arguments[3..]),
        [place, "sum", ..] => sum(place, Reading::Rows, &arguments[2..]),
        [place, "follow", upper, ..] => follow(place, upper, &arguments[3..]),
        [place, "keep", upper, name, start, ..] => keep(place, upper, (name, start), &arguments[5..]),
        _ => Err(
            "usage: cluster PLACE fill APPENDS ROWS [MILLISECONDS] | cluster PLACE sum [by-key|flat] [-n -p -w -h] | cluster PLACE \
                  follow UPPER [-n -p -w -h] | cluster PLACE keep UPPER NAME START [-n -p -w -h]"
                .to_owned(),
        ),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            note(message);
            ExitCode::FAILURE
        }
    }
}

/// Prints a line to standard output; `false` if nobody reads it any more (`cluster … | head -1`): then the program ends as
/// soon as it can.
fn print(line: impl Display) -> bool {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
        Err(error) => {
            note(format_args!("cannot write to standard output: {error}"));
            std::process::exit(1)
        }
    }
}

/// Says something to the user, if anybody hears it.
fn note(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn wait<F: Future>(future: F) -> F::Output {
    futures::executor::block_on(future)
}

fn number<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

/// Microseconds of the Unix epoch.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()
}

fn open(place: &str) -> Result<Amounts, String> {
    let client = match place.contains("://") {
        true => Client::at(place),
        false => {
            Client::in_directory(std::path::absolute(place).map_err(|error| format!("cannot find {place:?}: {error}"))?)
        }
    };
    let client = match std::env::var("CLUSTER_DATABASE") {
        Ok(database) => client.database(database),
        Err(_) => client,
    };
    let client = wait(client.open()).map_err(|error| error.to_string())?;
    Ok(client.shard(ShardId::from_u128(1)))
}

fn fill(place: &str, appends: &str, rows: &str, pause_ms: &str) -> Result<(), String> {
    let (appends, rows, pause) = (number(appends)?, number(rows)?, Duration::from_millis(number(pause_ms)?));
    wait(append(&open(place)?, appends, rows, pause)).map_err(|error| error.to_string())
}

/// Appends behind what is there, one each `pause`.
async fn append(shard: &Amounts, appends: u64, rows: u64, pause: Duration) -> Result<(), Error> {
    let mut writer = shard.open_writer("fill").await?;
    for _ in 0..appends {
        let next = Instant::now() + pause;
        let upper = writer.upper().clone();
        let Some(time) = upper.first().copied() else {
            return Err(Error::invalid("the shard is closed"));
        };
        let row = |number: u64| ((format!("key {:03}", number * 7919 % KEYS), number), time, 1);
        let appended = (time * rows..(time + 1) * rows).map(row);
        let begun = now();
        let Appended::Committed = writer.compare_and_append(appended, upper, Antichain::from_elem(time + 1)).await?
        else {
            return Err(Error::invalid("somebody else appends"));
        };
        if !print(format_args!("appended {rows} rows at {time}, {begun} to {}", now())) {
            break;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    writer.expire().await?;
    print(format_args!("the upper is {}", shard.inspect().await?.upper.first().unwrap_or(&u64::MAX)));
    shard.client().shutdown().await
}

/// The sums as of the shard's present end.
fn sum(place: &str, reading: Reading, timely_arguments: &[String]) -> Result<(), String> {
    let shard = open(place)?;
    let upper = wait(shard.inspect()).map_err(|error| error.to_string())?.upper;
    let Some(last) = upper.first().and_then(|time| time.checked_sub(1)) else {
        return Err("the shard is empty: fill it first".to_owned());
    };
    maintain(&shard, reading, Some(last), last + 1, timely_arguments)
}

/// The sums from where the shard can still be read until it has been filled up to there.
fn follow(place: &str, upper: &str, timely_arguments: &[String]) -> Result<(), String> {
    maintain(&open(place)?, Reading::Rows, None, number(upper)?, timely_arguments)
}

/// Maintains the sums until then, and prints them. The source's reader is removed before the process ends, if there is time
/// for it: else it holds the shard's history until its lease is over.
fn maintain(
    shard: &Amounts,
    reading: Reading,
    as_of: Option<u64>,
    upper: u64,
    timely_arguments: &[String],
) -> Result<(), String> {
    with_others(shard.client(), || run(shard, reading, as_of, upper, timely_arguments))
}

/// Runs a dataflow on a thread of its own, because timely panics when it has lost another process.
fn with_others(client: &Client, run: impl FnOnce() -> Result<(), String> + Send) -> Result<(), String> {
    let ran = std::thread::scope(|scope| scope.spawn(run).join());
    wait(client.shutdown()).map_err(|error| error.to_string())?;
    ran.unwrap_or_else(|_panic| Err("another process of the cluster has ended".to_owned()))
}

/// Keeps the sums in a shard until it has all before `upper`, as this start of the pipeline of this name.
fn keep(place: &str, upper: &str, (name, start): (&str, &str), timely_arguments: &[String]) -> Result<(), String> {
    let (amounts, upper) = (open(place)?, number(upper)?);
    let kept: Kept = amounts.client().shard(ShardId::from_u128(2));
    // What it holds moves with each commit: the shard of amounts keeps no history that a restart does not need.
    let resume = Resume::of(name, &kept).input(&amounts).incarnation(number(start)?).hold_interval(Duration::ZERO);
    let resume = wait(resume.open()).map_err(|error| error.to_string())?;
    with_others(amounts.client(), || run_kept(&amounts, &kept, &resume, upper, timely_arguments))
}

fn run_kept(
    amounts: &Amounts,
    kept: &Kept,
    resume: &Resume<u64>,
    upper: u64,
    timely_arguments: &[String],
) -> Result<(), String> {
    let config = timely::Config::from_args(timely_arguments.iter().cloned())?;
    let (amounts, kept, resume) = (amounts.clone(), kept.clone(), resume.clone());
    let failed = Arc::new(AtomicU64::new(0));
    let of_all = Arc::clone(&failed);
    let guards = timely::execute(config, move |worker| {
        let (index, of_source, of_sink) = (worker.index(), Arc::clone(&of_all), Arc::clone(&of_all));
        let (progress, buttons) = worker.dataflow::<u64, _, _>(|scope| {
            let source = PersistSource::new(&amounts).as_of(resume.as_of()).build(scope);
            source.errors.inspect(move |error| {
                note(format_args!("worker {index}: {error}"));
                of_source.fetch_add(u64::from(error.is_final()), Ordering::Relaxed);
            });
            let sums = counted(source.updates).count_total_core::<i64>();
            let sink = PersistSink::new(&kept).resume(&resume).until(Antichain::from_elem(upper)).build(sums);
            sink.errors.inspect(move |error| {
                note(format_args!("worker {index}: {error}"));
                of_sink.fetch_add(u64::from(error.is_final()), Ordering::Relaxed);
            });
            (sink.progress.probe().0, [sink.button, source.button])
        });
        let mut told = Some(0);
        while !progress.done() && of_all.load(Ordering::Relaxed) == 0 {
            worker.step_or_park(Some(LOOK_EVERY));
            let moved = progress.with_frontier(|frontier| frontier.first().copied());
            if moved != told {
                print(format_args!("worker {index}: {} at {}", moved.unwrap_or(upper), now()));
                told = moved;
            }
        }
        drop(buttons); // the sink's first
    })?;
    for worker in guards.join() {
        worker?;
    }
    match failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err("a worker failed".to_owned()),
    }
}

/// Each key, as often and with as much as its diff says: what is counted is the sum of the diffs.
fn counted<'scope>(
    amounts: VecCollection<'scope, u64, (String, u64), i64>,
) -> VecCollection<'scope, u64, String, (i64, i64)> {
    amounts.explode(|(key, amount)| Some((key, (1, i64::try_from(amount).unwrap_or(i64::MAX)))))
}

/// How the shard's rows come into the dataflow.
#[derive(Clone, Copy)]
enum Reading {
    /// One by one.
    Rows,
    /// Arranged by key, as they are stored.
    ByKey,
    /// The same in flat columns.
    Flat,
}

impl Reading {
    /// The rows, whichever way they come.
    fn build<'scope>(self, source: PersistSource<String, u64, u64, i64>, scope: Scope<'scope, u64>) -> Read<'scope> {
        match self {
            Self::Rows => {
                let Source { updates, errors, button, .. } = source.build(scope);
                Read { updates, errors, button }
            }
            Self::ByKey => {
                let ArrangedSource { arranged, errors, button, .. } = source.arrange_by_key(scope);
                Read { updates: arranged.as_collection(|key, amount| (key.clone(), *amount)), errors, button }
            }
            Self::Flat => {
                let ArrangedSource { arranged, errors, button, .. } = source.arrange_flat(scope);
                Read { updates: arranged.as_collection(|key, amount| (key.to_owned(), amount)), errors, button }
            }
        }
    }
}

/// What is read.
struct Read<'scope> {
    updates: VecCollection<'scope, u64, (String, u64), i64>,
    errors: StreamVec<'scope, u64, SourceError>,
    button: Button,
}

fn run(
    shard: &Amounts,
    reading: Reading,
    as_of: Option<u64>,
    upper: u64,
    timely_arguments: &[String],
) -> Result<(), String> {
    let config = timely::Config::from_args(timely_arguments.iter().cloned())?;
    let results: Arc<Mutex<Sums>> = Arc::default();
    let (shared, failed) = (Arc::clone(&results), Arc::new(AtomicU64::new(0)));
    let (of_workers, of_all) = (shard.clone(), Arc::clone(&failed));
    let nobody_reads = Arc::new(AtomicBool::new(false));
    let unread = Arc::clone(&nobody_reads);
    let guards = timely::execute(config, move |worker| {
        let (shared, failed, failures) = (Arc::clone(&shared), Arc::clone(&of_all), Arc::clone(&of_all));
        let (index, fetched) = (worker.index(), Arc::new(AtomicU64::new(0)));
        let rows = Arc::clone(&fetched);
        let (probe, button) = worker.dataflow::<u64, _, _>(|scope| {
            let source = PersistSource::new(&of_workers).until(Antichain::from_elem(upper));
            let source = match as_of {
                Some(as_of) => source.as_of(Antichain::from_elem(as_of)),
                None => source,
            };
            let source = source.filter_rows(move |_, _| {
                if rows.fetch_add(1, Ordering::Relaxed) == 0 {
                    note(format_args!("worker {index}: hydrating"));
                }
                true
            });
            let Read { updates, errors, button } = reading.build(source, scope);
            errors.inspect(move |error| {
                note(format_args!("worker {index}: {error}"));
                failures.fetch_add(u64::from(error.is_final()), Ordering::Relaxed);
            });
            let sums = counted(updates).count().inner.inspect(move |(sums, _, diff)| {
                if let Ok(mut results) = shared.lock() {
                    *results.entry(sums.clone()).or_default() += diff;
                }
            });
            (sums.probe().0, button)
        });
        let mut frontier = Some(0);
        while probe.less_than(&upper) && failed.load(Ordering::Relaxed) == 0 && !unread.load(Ordering::Relaxed) {
            worker.step_or_park(None);
            let moved = probe.with_frontier(|frontier| frontier.first().copied());
            if moved != frontier {
                if !print(format_args!("worker {index}: {} at {}", moved.unwrap_or(upper), now())) {
                    unread.store(true, Ordering::Relaxed);
                }
                frontier = moved;
            }
        }
        drop(button);
        note(format_args!("worker {index}: {} rows fetched", fetched.load(Ordering::Relaxed)));
    })?;
    for worker in guards.join() {
        worker?;
    }
    if nobody_reads.load(Ordering::Relaxed) {
        return Ok(());
    }
    let results = match (results.lock(), failed.load(Ordering::Relaxed)) {
        (Ok(results), 0) => results,
        _ => return Err("a worker failed".to_owned()),
    };
    for ((key, (count, sum)), _) in results.iter().filter(|(_, diff)| **diff != 0) {
        if !print(format_args!("{key} {count} {sum}")) {
            break;
        }
    }
    Ok(())
}
