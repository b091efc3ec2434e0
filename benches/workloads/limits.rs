//! What this machine can do at all, measured in the same run as the results that stand beside it.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::core::input::Handle as InputHandle;
use timely::dataflow::operators::generic::Operator;
use timely::worker::Worker;
use xxhash_rust::xxh3::xxh3_64;

use crate::data::{BATCHES, Columns, Row};
use crate::report::median;

/// Tries of each; the median counts.
const TRIES: usize = 3;

/// What a message holds, in timely's own choice for rows of this size.
pub const BUFFER_ROWS: usize = 1_024;

/// The machine's limits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Copying 256 MiB within memory.
    pub memcpy_gb_per_s: f64,
    /// Reading all part files from the page cache into one buffer that is used again.
    pub read_reused_gb_per_s: f64,
    /// The same into memory that is fresh for each file.
    pub read_fresh_gb_per_s: f64,
    /// Building owned rows from columns in memory, on one thread, no dataflow: a message's worth at a time.
    pub owned_rows_per_s: f64,
    /// Handing rows that are built already through a timely exchange between `exchange_workers` workers.
    pub exchange_rows_per_s: f64,
    pub exchange_workers: usize,
}

fn time(mut work: impl FnMut()) -> f64 {
    let seconds = (0..TRIES).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    median(&seconds.collect::<Vec<_>>())
}

pub fn measure(columns: &Arc<Columns>, workers: usize, folder: Option<&Path>) -> Limits {
    let rows = columns.rows;
    let read = |reuse| read_gb_per_s(&files(folder, rows), reuse);
    Limits {
        memcpy_gb_per_s: memcpy_gb_per_s(),
        read_reused_gb_per_s: read(true),
        read_fresh_gb_per_s: read(false),
        owned_rows_per_s: rows as f64 / time(|| build(columns)),
        exchange_rows_per_s: exchange_rows_per_s(columns, workers),
        exchange_workers: workers,
    }
}

fn memcpy_gb_per_s() -> f64 {
    let from = vec![1u8; 256 << 20];
    let mut to = vec![0u8; from.len()];
    let seconds = time(|| {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    });
    from.len() as f64 / seconds / 1e9
}

/// The part files below a folder; where there are none, files of the same size made for this.
fn files(folder: Option<&Path>, rows: u64) -> (Vec<PathBuf>, Option<tempfile::TempDir>) {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folder.map(Path::to_owned).into_iter().collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")) {
                found.push(path);
            }
        }
    }
    if !found.is_empty() {
        return (found, None);
    }
    let made = tempfile::tempdir().unwrap();
    let bytes = vec![1u8; rows as usize * 137 / 20];
    let paths = (0..20).map(|i| made.path().join(format!("part-{i}")));
    (paths.inspect(|path| std::fs::write(path, &bytes).unwrap()).collect(), Some(made))
}

fn read_gb_per_s((paths, _made): &(Vec<PathBuf>, Option<tempfile::TempDir>), reuse: bool) -> f64 {
    use std::io::Read;
    let mut kept = Vec::new();
    let mut total = 0;
    let mut read = || {
        total = 0;
        for path in paths {
            let mut file = std::fs::File::open(path).unwrap();
            let len = file.metadata().unwrap().len() as usize;
            let mut fresh = Vec::new();
            let buffer = if reuse { &mut kept } else { &mut fresh };
            buffer.clear();
            buffer.reserve_exact(len);
            // The length is known: no growing, no further copy.
            total += file.by_ref().take(len as u64).read_to_end(buffer).unwrap();
            black_box(&buffer[..]);
        }
    };
    read();
    let seconds = time(read);
    total as f64 / seconds / 1e9
}

fn build(columns: &Columns) {
    let mut buffer: Vec<Row> = Vec::with_capacity(BUFFER_ROWS);
    for i in 0..columns.rows {
        let (key, value) = columns.get(i);
        buffer.push(((key.to_owned(), value.to_owned()), 0, 1));
        if buffer.len() == BUFFER_ROWS {
            black_box(&buffer);
            buffer.clear();
        }
    }
    black_box(&buffer);
}

/// All rows, built before, through an exchange by key; from the first message to the last row counted.
fn exchange_rows_per_s(columns: &Arc<Columns>, workers: usize) -> f64 {
    let rows = columns.rows;
    let tries = (0..TRIES).map(|_| {
        let columns = Arc::clone(columns);
        let guards = timely::execute(timely::Config::process(workers), move |worker| exchange(worker, &columns));
        let guards = guards.unwrap();
        guards.join().into_iter().map(Result::unwrap).fold(0.0, f64::max)
    });
    rows as f64 / median(&tries.collect::<Vec<_>>())
}

fn exchange(worker: &mut Worker, columns: &Columns) -> f64 {
    let (index, peers) = (worker.index() as u64, worker.peers() as u64);
    let mut messages: Vec<Vec<Row>> = Vec::new();
    for batch in (0..BATCHES).filter(|batch| batch % peers == index) {
        let mut rows = columns.batch(batch).into_iter();
        while rows.len() > 0 {
            messages.push(rows.by_ref().take(BUFFER_ROWS).collect());
        }
    }
    let mut input = InputHandle::<u64, CapacityContainerBuilder<Vec<Row>>>::new_with_builder();
    let probe = worker.dataflow(|scope| {
        let hash = |row: &Row| xxh3_64(row.0.0.as_bytes());
        let stream = input.to_stream(scope);
        let counted = stream.unary::<CapacityContainerBuilder<Vec<u64>>, _, _, _>(
            Exchange::new(hash),
            "count",
            |_capability, _info| {
                move |input, _output| {
                    input.for_each(|_time, rows: &mut Vec<Row>| {
                        black_box(&rows);
                        rows.clear();
                    })
                }
            },
        );
        counted.probe().0
    });
    let start = Instant::now();
    for (sent, mut message) in messages.into_iter().enumerate() {
        input.send_batch(&mut message);
        if sent % 4 == 3 {
            worker.step();
        }
    }
    input.close();
    while !probe.done() {
        worker.step();
    }
    start.elapsed().as_secs_f64()
}
