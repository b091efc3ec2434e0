//! One dataflow over several processes that share a data directory: count and sum by key, maintained.
//!
//! ```text
//! cargo run --release --example cluster -- DIRECTORY fill 60 5000             # 60 appends of 5,000 rows each
//! cargo run --release --example cluster -- DIRECTORY sum -w 2                 # one process, two workers
//! cargo run --release --example cluster -- DIRECTORY sum -n 2 -p 0 -w 2 -h hosts   # two processes: this is the first,
//! cargo run --release --example cluster -- DIRECTORY sum -n 2 -p 1 -w 2 -h hosts   # and this the second
//! ```
//!
//! `-n`, `-p`, `-w` and `-h` are timely's: processes, the number of this one, workers of each, and a file with a line
//! `host:port` for each process. Each process prints `key count sum` for the keys that it owns, as of the shard's upper
//! when it started, and how many rows each of its workers fetched. A process that is killed takes the others with it, as
//! always in timely; start all of them again, and they begin where the shard is.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use timely::dataflow::operators::{Inspect, Probe};
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Error, Shard, ShardId};
use timely_persist_operators::persist_source;

type Amounts = Shard<String, u64, u64, i64>;

/// Keys that the rows are spread over.
const KEYS: u64 = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        [directory, "fill", appends, rows] => match (appends.parse(), rows.parse()) {
            (Ok(appends), Ok(rows)) => wait(fill(directory, appends, rows)).map_err(|error| error.to_string()),
            _ => Err("fill wants two numbers: appends, and rows of each".to_owned()),
        },
        [directory, "sum", ..] => sum(directory, &arguments[2..]),
        _ => Err("usage: cluster DIRECTORY fill APPENDS ROWS | cluster DIRECTORY sum [-n -p -w -h]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn wait<F: Future>(future: F) -> F::Output {
    futures::executor::block_on(future)
}

async fn open(directory: &str) -> Result<Amounts, Error> {
    let directory =
        std::path::absolute(directory).map_err(|error| Error::invalid("no such directory").because(error))?;
    let client = Client::open(&format!("file://{}", directory.display())).await?;
    Ok(client.shard(ShardId::from_u128(1)))
}

/// Appends behind what is there.
async fn fill(directory: &str, appends: u64, rows: u64) -> Result<(), Error> {
    let shard = open(directory).await?;
    let mut writer = shard.open_writer("fill").await?;
    for _ in 0..appends {
        let upper = writer.fetch_upper().await?;
        let Some(time) = upper.first().copied() else {
            return Err(Error::invalid("the shard is closed"));
        };
        let row = |number: u64| ((format!("key {:03}", number * 7919 % KEYS), number), time, 1);
        let appended = (time * rows..(time + 1) * rows).map(row);
        let Appended::Committed = writer.compare_and_append(appended, upper, Antichain::from_elem(time + 1)).await?
        else {
            return Err(Error::invalid("somebody else appends"));
        };
    }
    println!("upper {:?}", writer.upper().elements());
    Ok(())
}

/// Maintains the sums until the shard's present end, and prints them.
fn sum(directory: &str, timely_arguments: &[String]) -> Result<(), String> {
    let config = timely::Config::from_args(timely_arguments.iter().cloned())?;
    let shard = wait(open(directory)).map_err(|error| error.to_string())?;
    let upper = wait(shard.inspect()).map_err(|error| error.to_string())?.upper;
    let Some(last) = upper.first().and_then(|time| time.checked_sub(1)) else {
        return Err("the shard is empty: fill it first".to_owned());
    };
    let results: Arc<Mutex<BTreeMap<String, (i64, i64)>>> = Arc::default();
    let (shared, failed) = (Arc::clone(&results), Arc::new(AtomicU64::new(0)));
    let failures = Arc::clone(&failed);
    let guards = timely::execute(config, move |worker| {
        let (shared, failures) = (Arc::clone(&shared), Arc::clone(&failures));
        let (index, fetched) = (worker.index(), Arc::new(AtomicU64::new(0)));
        let rows = Arc::clone(&fetched);
        let (probe, button) = worker.dataflow::<u64, _, _>(|scope| {
            let source = persist_source(scope, &shard, Antichain::from_elem(last));
            source.errors.inspect(move |error| {
                eprintln!("worker {index}: {error}");
                failures.fetch_add(u64::from(error.is_final()), Ordering::Relaxed);
            });
            let updates = source.updates.inspect(move |_| {
                if rows.fetch_add(1, Ordering::Relaxed) == 0 {
                    eprintln!("worker {index}: hydrating");
                }
            });
            let amounts = updates.explode(|(key, amount)| Some((key, (1, i64::try_from(amount).unwrap_or(i64::MAX)))));
            let sums = amounts.count().inner.inspect(move |((key, sums), _, diff)| {
                if *diff > 0
                    && let Ok(mut results) = shared.lock()
                {
                    results.insert(key.clone(), *sums);
                }
            });
            (sums.probe().0, source.button)
        });
        while probe.less_equal(&last) && failed.load(Ordering::Relaxed) == 0 {
            worker.step_or_park(None);
        }
        drop(button);
        eprintln!("worker {index}: {} rows fetched", fetched.load(Ordering::Relaxed));
    })?;
    for worker in guards.join() {
        worker?;
    }
    let Ok(results) = results.lock() else {
        return Err("a worker failed".to_owned());
    };
    for (key, (count, sum)) in results.iter() {
        println!("{key} {count} {sum}");
    }
    Ok(())
}
