//! `persist_source`: contents, frontiers, bounds, errors and ends, on several workers.
#![allow(clippy::unwrap_used)]

mod contents;
mod support;
