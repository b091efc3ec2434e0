//! `persist_source`: contents, frontiers, bounds, errors and ends, on several workers. `Resume`: where a restart begins.
#![allow(clippy::unwrap_used)]

mod agreement;
mod bounds;
mod button;
mod contents;
mod errors;
mod frontiers;
mod idle;
mod names;
mod panics;
mod partial;
#[path = "../support/random.rs"]
mod random;
mod resume;
#[path = "../support/stage.rs"]
mod stage;
mod support;
