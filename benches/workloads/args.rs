//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures the workloads that BENCHMARKS.md describes.
#[derive(Clone, Debug, Parser)]
#[command(name = "workloads")]
pub struct Args {
    /// What to measure.
    pub workload: Workload,
    /// Rows of the shard, in 20 batches. `churn` has a tenth of them live.
    #[arg(long, default_value_t = 2_000_000)]
    pub rows: u64,
    /// Appends of `append`, of 10 rows each.
    #[arg(long, default_value_t = 5_000)]
    pub appends: u64,
    /// Distinct times of `times`, of 10 rows each.
    #[arg(long, default_value_t = 100_000)]
    pub times: u64,
    /// Shards of `shards`.
    #[arg(long, default_value_t = 1_000)]
    pub shards: u64,
    /// How long `shards` appends to each, once per second.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Workers of the dataflow.
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// What a hydration does with the rows.
    #[arg(long, value_enum, default_value_t = Mode::Owned)]
    pub mode: Mode,
    /// Where parts lie.
    #[arg(long, value_enum, default_value_t = Place::File)]
    pub store: Place,
    /// Where the log lies; where the parts lie, unless given. For `postgres` a server is started, in a directory of its
    /// own.
    #[arg(long, value_enum)]
    log: Option<LogPlace>,
    /// What each request to a store waits for, in milliseconds; the shard that `hydrate`, `times` and `churn` read is made
    /// without it.
    #[arg(long, default_value_t = 0)]
    pub latency_ms: u64,
    /// The bytes in memory at which a part is closed; the library's default unless given.
    #[arg(long)]
    pub part_bytes: Option<usize>,
    /// The bytes of parts that a source may have in flight; the library's default unless given.
    #[arg(long)]
    pub inflight_bytes: Option<usize>,
    /// Whether the shard is compacted.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub compaction: Switch,
    /// How often.
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// At a hundredth, a tenth and the whole of the size, with the cost per row as a ratio to the first.
    #[arg(long)]
    pub growth: bool,
    /// One JSON object on one line.
    #[arg(long)]
    pub json: bool,
    /// Where directories for files are made; the system's temporary folder unless given.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Measures once, in this process, a shard that lies there: the benchmark calls itself with it.
    #[arg(long, hide = true)]
    pub child: Option<String>,
    /// The connection string of the server that the log lies in: the benchmark tells itself.
    #[arg(long, hide = true)]
    pub database: Option<String>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    pub fn log(&self) -> LogPlace {
        self.log.unwrap_or(match self.store {
            Place::Memory => LogPlace::Memory,
            Place::File => LogPlace::File,
        })
    }

    /// What is wrong with the options taken together: no process sees what lies in another's memory.
    pub fn check(&self) -> Result<(), &'static str> {
        let in_memory = (self.store == Place::Memory, self.log() == LogPlace::Memory);
        match self.workload {
            Workload::TailProcess if in_memory.0 || in_memory.1 => {
                Err("tail-process is for two processes: --store file and --log file or postgres")
            }
            Workload::Hydrate | Workload::Arrange | Workload::Join if in_memory == (false, true) => {
                Err("a fresh process does not see a log in the memory of another: --log file or postgres")
            }
            Workload::Types if in_memory.0 || in_memory.1 => {
                Err("types reads each time by a fresh client: --store file and --log file or postgres")
            }
            Workload::Arrange | Workload::Join | Workload::Tail | Workload::TailProcess => Ok(()),
            _ if matches!(self.mode, Mode::Sorted | Mode::Flat) => {
                Err("--mode sorted and flat are for arrange, join and tail")
            }
            _ => Ok(()),
        }
    }

    /// The same with stores that answer at once: for making what is measured.
    pub fn at_rest(&self) -> Self {
        Self { latency_ms: 0, ..self.clone() }
    }

    /// The same with a `divisor`th of the work.
    pub fn smaller(&self, divisor: u64) -> Self {
        let part = |size: u64| (size / divisor).max(1);
        Self {
            rows: part(self.rows),
            appends: part(self.appends),
            times: part(self.times),
            shards: part(self.shards),
            ..self.clone()
        }
    }

    /// What a child needs to be told, beside the workload.
    pub fn for_child(&self) -> Vec<String> {
        let switch = if self.compaction.is_on() { "on" } else { "off" };
        let mut words: Vec<String> =
            ["--mode", self.mode.name(), "--store", self.store.name()].map(str::to_owned).into();
        words.extend(["--log", self.log().name(), "--compaction", switch].map(str::to_owned));
        let mut number = |name: &str, value: u64| words.extend([name.to_owned(), value.to_string()]);
        number("--rows", self.rows);
        number("--workers", self.workers as u64);
        number("--latency-ms", self.latency_ms);
        self.part_bytes.iter().for_each(|bytes| number("--part-bytes", *bytes as u64));
        self.inflight_bytes.iter().for_each(|bytes| number("--inflight-bytes", *bytes as u64));
        self.database.iter().for_each(|url| words.extend(["--database".to_owned(), url.clone()]));
        words
    }
}

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// 20 appends, and until compaction has settled.
    Ingest,
    /// `persist_source` in a fresh process, until it has given the snapshot.
    Hydrate,
    /// The same until an arrangement by key is complete.
    Arrange,
    /// Two sources of the shard until a join of their arrangements is complete.
    Join,
    /// A source whose snapshot `persist_sink` keeps in a second shard, in a fresh process, until it is durable.
    Sink,
    /// `snapshot_and_fetch`.
    Cursor,
    /// Small appends, one after another.
    Append,
    /// Small appends and a dataflow that follows them, in one process.
    Tail,
    /// The same in two processes.
    TailProcess,
    /// As `tail`, where the dataflow keeps what it reads in a second shard, and follows that.
    Pipeline,
    /// A history of many distinct times, read as of the middle, of the end, and time by time.
    Times,
    /// Values replaced 10 times, read before and after their history may go.
    Churn,
    /// Many shards in one process, each appended to once per second.
    Shards,
    /// Rows of eight fields as a derived struct, a tuple and `Serde`, and through an added field, in turn.
    Types,
    /// What the machine can do.
    Limits,
}

impl Workload {
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

macro_rules! named {
    ($type:ident { $($value:ident $name:literal),* }) => {
        impl $type {
            pub fn name(self) -> &'static str {
                match self { $(Self::$value => $name),* }
            }
        }
    };
}

/// What becomes of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Owned rows go into a stream and another operator counts them.
    Owned,
    /// Owned rows are made and dropped in the source.
    Fold,
    /// The source looks at borrowed rows.
    Borrowed,
    /// `arrange`, `join` and `tail` only: the source arranges them itself, as differential's own trace.
    Sorted,
    /// The same in flat columns.
    Flat,
}
named!(Mode { Owned "owned", Fold "fold", Borrowed "borrowed", Sorted "sorted", Flat "flat" });

/// Where parts lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// In this process.
    Memory,
    /// In a local directory.
    File,
}
named!(Place { Memory "memory", File "file" });

/// Where a log lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogPlace {
    /// In this process.
    Memory,
    /// In a local directory.
    File,
    /// In a PostgreSQL server of the benchmark's own.
    Postgres,
}
named!(LogPlace { Memory "memory", File "file", Postgres "postgres" });

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl Switch {
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}
