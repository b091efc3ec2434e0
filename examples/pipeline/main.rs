//! Three processes and three shards: what a dataflow keeps in a shard goes on where it was, whatever is killed.
//!
//! ```text
//! cargo run --release --example pipeline              # five seconds of orders, and the check
//! cargo run --release --example pipeline              # again: it goes on where the first ended
//! cargo run --release --example pipeline -- --kill    # a minute of kill -9, one each second, and the check
//! cargo run --release --example pipeline -- --kill --moments 1000    # 1,000 of them, each at a random moment
//!
//! producer ─── orders ───┐
//!          └── items ────┴──> middle: join, sum ──> revenue ──> follower
//!                             2 timely workers
//! ```
//!
//! The `producer` appends orders and their items, step by step (`rows` says which). The `middle` reads both shards,
//! maintains the revenue per customer with differential dataflow, and keeps it in the third shard; where it begins after a
//! kill, and what the inputs keep for that, is `Resume`'s business. The `follower` follows the third shard and prints it. They
//! share a directory and nothing else: none knows whether the others run. `stage` starts them, and kills them if that is
//! wanted. A fourth process, the auditor, is not killed: it follows too, and compares the third shard, at every step, with a
//! plain computation (`truth`).

#![allow(clippy::disallowed_methods)] // a program, which paces itself and starts others

mod args;
mod failure;
mod follower;
mod middle;
mod problem;
mod producer;
mod rows;
mod say;
mod shards;
mod stage;
mod truth;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Role};

fn main() -> ExitCode {
    let done = match Args::parse() {
        Args { role: Some(Role::Producer(part)), .. } => stage::play(part, producer::produce),
        Args { role: Some(Role::Middle(part)), .. } => stage::play(part, middle::maintain),
        Args { role: Some(Role::Follower(part)), .. } => stage::play(part, follower::follow),
        Args { role: Some(Role::Auditor(part)), .. } => stage::play(part, follower::audit),
        args => stage::direct(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say::complain(&problem);
            ExitCode::FAILURE
        }
    }
}
