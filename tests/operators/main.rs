//! `persist_source` and `persist_sink`: contents, frontiers, bounds, errors and ends, on several workers.
#![allow(clippy::unwrap_used)]

mod agreement;
mod arranged;
mod arranged_otherwise;
mod bounds;
mod bridge;
mod button;
mod contents;
mod errors;
#[cfg(feature = "chrono")]
mod filters;
mod flat;
mod frontiers;
mod idle;
mod names;
mod panics;
mod partial;
mod projecting;
#[path = "../support/random.rs"]
mod random;
mod resume;
mod sinks;
#[path = "../support/stage.rs"]
mod stage;
mod support;
mod types;
