//! The command line.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args as Group, Parser, Subcommand};

/// Orders and their items in two shards, revenue per customer in a third: three processes that share a directory, and go on
/// where they were, whatever is killed.
///
/// Meanwhile a fourth compares the third shard with a plain computation, at every step. Exit codes: 0 if it is equal, 1 with
/// a message if not, or if something went wrong.
#[derive(Clone, Debug, Parser)]
#[command(name = "pipeline", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Where the shards lie; a later run goes on with them
    #[arg(long, value_name = "DIR", default_value = "pipeline-data")]
    pub(crate) data: PathBuf,

    /// How many steps more to produce, 20 each second
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "kill")]
    #[arg(value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub(crate) steps: u64,

    /// Kill one of the three processes each second, with SIGKILL, and start it again
    #[arg(long)]
    pub(crate) kill: bool,

    /// For so long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "kill", value_parser = kills())]
    pub(crate) kill_for: u64,

    /// Kill so often instead, each time after a random part of a second
    #[arg(long, value_name = "N", requires = "kill", conflicts_with = "kill_for", value_parser = kills())]
    pub(crate) moments: Option<u64>,

    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// What a process is started with.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Role {
    /// Appends orders and items
    #[command(hide = true)]
    Producer(Part),
    /// Keeps the revenue per customer in a shard
    #[command(hide = true)]
    Middle(Part),
    /// Prints it
    #[command(hide = true)]
    Follower(Part),
    /// Compares it with a plain computation
    #[command(hide = true)]
    Auditor(Part),
}

/// What every process is told.
#[derive(Clone, Debug, Group)]
pub(crate) struct Part {
    /// Where the shards lie
    pub(crate) data: PathBuf,
    /// The step before which it ends
    pub(crate) until: u64,
}

/// How often to kill: a million times at most, in more than a week.
fn kills() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=1_000_000)
}
