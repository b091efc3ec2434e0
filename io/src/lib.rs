//! What `timely-persist` asks of the system: threads, a log for each shard, objects by name.
//!
//! A program uses `timely-persist`. Nothing here knows what a shard's entries and objects mean, so a change of that does
//! not build this again.

#![warn(unreachable_pub)]

pub mod blobs;
pub mod life;
pub mod store;
