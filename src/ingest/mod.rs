//! Bringing inputs that have no times of their own into shards, each row once.
//!
//! * A source whose *position* is one number (a commit number, an LSN, the offset of one partition): the position is the
//!   time. [`Ingest`] resumes at the shard's upper, and there is nothing else to remember.
//! * A source whose position is an offset in each of several *partitions*: a second shard, the *remap* shard, says for each
//!   time, a *tick*, which offsets it has. [`IngestPartitions`] binds the offsets to a tick, then writes the rows, then
//!   acknowledges; [`Remap`] is the first of these alone.
//!
//! Always: a position or a tick is in the shard as a whole or not at all; whatever is read again after a crash is what was
//! read before, if the source gives the same rows at the same place; the source is told that it may forget only what is
//! in the shard.
//!
//! Not here: sources. What reads a log, a queue or a table is the caller's, and is asked as a stream or by
//! [`PartitionedSource`].

mod appender;
mod bindings;
mod by_partition;
mod by_position;
mod error;
mod partition_error;
mod position;
mod remap;

use std::time::Duration;

pub use bindings::{Binding, Offsets};
pub use by_partition::{IngestPartitions, IngestedPartitions, PartitionedSource};
pub use by_position::{Ingest, Ingested};
pub use error::IngestError;
pub use partition_error::IngestPartitionsError;
pub use position::Position;
pub use remap::Remap;

/// How often [`Ingest`] commits, if not told otherwise. 100 ms: a person does not notice it, and ten commits a second are
/// some twenty requests to a bucket.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// Of how many bytes in memory [`Ingest`] makes a commit, if not told otherwise. 12 MiB: one part as
/// `config.write.part_bytes_max` has it; a larger commit saves no requests worth speaking of.
pub const COMMIT_BYTES: usize = 12 << 20;

/// How often [`IngestPartitions`] asks a source for its ends, and binds them, if not told otherwise. One second: each tick is
/// a commit to the remap shard and one to the data shard.
pub const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// How many offsets of each partition [`IngestPartitions`] binds to one tick at most, if not told otherwise. One million: so
/// much is read again after a crash, and a source with a long past is ingested in steps.
pub const TICK_OFFSETS_MAX: u64 = 1_000_000;

/// The bindings that a remap shard keeps at least, before those that the data shard has are merged: to merge takes a commit.
/// 64: one commit more in a hundred, and a few kilobytes.
const KEPT_TICKS: u64 = 64;

/// Rows that are taken in before others have their turn on the thread. 1,024: well below a millisecond.
const ROWS_PER_TURN: usize = 1 << 10;
