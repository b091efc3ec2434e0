//! `persist_source` and `persist_sink`: contents, frontiers, bounds, errors and ends, on several workers.
#![allow(clippy::unwrap_used)]

mod agreement;
mod bounds;
mod bridge;
mod button;
mod contents;
mod errors;
mod frontiers;
mod idle;
mod names;
mod panics;
mod partial;
mod sinks;
mod support;
mod types;
