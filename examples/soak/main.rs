//! The attack on a store: real processes that write, follow and maintain, killed, stopped and put on other clocks at
//! random moments, and a checker that believes only what the writers wrote down.
//!
//! ```text
//! make soak MINUTES=20 STORE=all          # a directory, PostgreSQL, and S3, one after the other
//! make soak STORE=s3 SOAK_FLAGS="--clock-days 0 --seed 7"
//! cargo run --example soak -- check DIRECTORY    # look again at what a run on a directory has kept
//! ```
//!
//! `run` starts the other roles as processes of their own (`attack`, `process`). A `writer` notes in a `journal` beside
//! the store what it is about to append and what was acknowledged; its rows follow from its number and the append's
//! (`rows`). A `follower` reads and listens, looks at each row, and notes what it saw (`notes`). A `maintainer`
//! compacts and sweeps. `check` compares what a fresh client reads with the journals and the notes (`truth`): what was
//! acknowledged is there once, what was refused is not, what is unknown is there once or not at all, nothing else is
//! there, and all readers saw the same. The run ends with exit code 1 at the first violation, and keeps the store.
//!
//! All processes have the same limits (`place::config`), set so that upkeep is always busy. Other roles end when their
//! standard input does, and when `run` dies.
#![allow(clippy::disallowed_methods)] // a program, with clocks and an end of its own

mod attack;
mod check;
mod follower;
mod guard;
mod journal;
mod maintainer;
mod notes;
mod place;
mod process;
mod rows;
mod run;
mod say;
mod stand;
mod truth;
mod writer;

// What the tests start their servers with.
#[path = "../../tests/support/postgres.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod postgres;
#[path = "../../tests/support/proxy.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod proxy;
#[path = "../../tests/support/random.rs"]
#[allow(dead_code)]
mod random;
#[path = "../../tests/support/servers.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::place::Part;

#[derive(Parser)]
#[command(about = "Attacks a store with real processes and checks what is in it")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Attacks a store, and checks it all the while
    Run(run::Order),
    /// Checks the store of a run that was kept (a directory only)
    Check {
        /// What `run` has kept
        directory: PathBuf,
    },
    /// A process of `run`
    #[command(hide = true)]
    Writer(Part),
    /// A process of `run`
    #[command(hide = true)]
    Follower(Part),
    /// A process of `run`
    #[command(hide = true)]
    Maintainer(Part),
    /// A process of `run`
    #[command(hide = true)]
    Checker(Part),
    /// A process of `run`
    #[command(hide = true)]
    Last(Part),
    /// A process of `run`
    #[command(hide = true)]
    Guard,
}

fn main() -> ExitCode {
    match Arguments::parse().role {
        Role::Run(order) => run::run(&order),
        Role::Check { directory } => place::alone(Part::of_kept(directory), check::check),
        Role::Writer(part) => place::child(part, writer::write),
        Role::Follower(part) => place::child(part, follower::follow),
        Role::Maintainer(part) => place::child(part, maintainer::maintain),
        Role::Checker(part) => place::child(part, check::check),
        Role::Last(part) => place::child(part, writer::last),
        Role::Guard => guard::guard(),
    }
}
