//! Bringing inputs that have no times of their own into shards, each row once.
//!
//! A source whose *position* is one number (a commit number, an LSN, the offset of one partition): the position is the time.
//! [`Ingest`] resumes at the shard's upper, and there is nothing else to remember.
//!
//! Always: a position is in the shard as a whole or not at all; whatever is read again after a crash is what was read
//! before, if the source gives the same rows at the same place; the source is told that it may forget only what is in the
//! shard.
//!
//! Not here: sources. What reads a log, a queue or a table is the caller's, and is asked as a stream.

mod appender;
mod by_position;
mod error;
mod position;

use std::time::Duration;

pub use by_position::{Ingest, Ingested};
pub use error::IngestError;
pub use position::Position;

/// How often [`Ingest`] commits, if not told otherwise. 100 ms: a person does not notice it, and ten commits a second are
/// some twenty requests to a bucket.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// Of how many bytes in memory [`Ingest`] makes a commit, if not told otherwise. 12 MiB: one part as
/// `config.write.part_bytes_max` has it; a larger commit saves no requests worth speaking of.
pub const COMMIT_BYTES: usize = 12 << 20;

/// Rows that are taken in before others have their turn on the thread. 1,024: well below a millisecond.
const ROWS_PER_TURN: usize = 1 << 10;
