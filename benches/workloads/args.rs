//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures the workloads that BENCHMARKS.md describes.
#[derive(Clone, Debug, Parser)]
#[command(name = "workloads")]
pub struct Args {
    /// What to measure.
    pub workload: Workload,
    /// Rows of the shard, in 20 batches; appends of `append` and `tail` if given there.
    #[arg(long, default_value_t = 2_000_000)]
    pub rows: u64,
    /// Workers of the dataflow.
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// What a hydration does with the rows.
    #[arg(long, value_enum, default_value_t = Mode::Owned)]
    pub mode: Mode,
    /// Where parts lie.
    #[arg(long, value_enum, default_value_t = Place::File)]
    pub store: Place,
    /// Where the log lies; where the parts lie, unless given.
    #[arg(long, value_enum)]
    log: Option<Place>,
    /// Whether the shard is compacted.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub compaction: Switch,
    /// How often.
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// One JSON object on one line.
    #[arg(long)]
    pub json: bool,
    /// Where directories for files are made; the system's temporary folder unless given.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Measures once, in this process, a shard that lies there: the benchmark calls itself with it.
    #[arg(long, hide = true)]
    pub child: Option<String>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    pub fn log(&self) -> Place {
        self.log.unwrap_or(self.store)
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
    /// `snapshot_and_fetch`.
    Cursor,
    /// Small appends, one after another.
    Append,
    /// Small appends and a dataflow that follows them, in one process.
    Tail,
    /// The same in two processes.
    TailProcess,
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
}
named!(Mode { Owned "owned", Fold "fold", Borrowed "borrowed" });

/// Where something lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// In this process.
    Memory,
    /// In a local directory.
    File,
}
named!(Place { Memory "memory", File "file" });

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
