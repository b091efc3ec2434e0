//! A part: sorted, consolidated updates as one immutable object, and back.
//!
//! An object is an Arrow IPC file with the columns `key`, `value`, `time` and `diff`, in several record batches, so any
//! Arrow tool opens it and a reader can fetch it a block at a time. [`PartMeta`], which is kept elsewhere, vouches for
//! the *tail* of the object (its last bytes: the footer); the tail vouches for every other block and for the header.
//! So every byte is covered by a checksum, and each range is verified before anything interprets it. A part of few rows,
//! to lie in a log entry, is only the message of its one record batch, without the file around it
//! ([`PartFormat::ArrowMessage`]); it is its own tail.
//!
//! Always: rows are sorted by (key, value, time) and no two are equal in all three, unless their diffs add up beyond what
//! the type or one word holds, so that they stand as several; no diff is zero; no part is empty;
//! bytes from storage give [`Corrupt`](timely_persist_types::error::ErrorKind::Corrupt), never a panic and never an allocation beyond what
//! the bytes or the metadata account for.
//!
//! Not here: I/O, and whether a part belongs where it was found.

mod blocks;
mod bounds;
mod builder;
mod chunk;
mod combine;
mod format;
mod lens;
mod merge;
mod meta;
mod schema;
mod stats;
mod sum;
mod tail;
mod tournament;
mod value;
mod words;
mod writer;

use bytes::Bytes;

use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;

pub use blocks::Blocks;
pub use builder::{PartBuilder, SortedRows};
pub use chunk::Chunk;
pub use combine::combine;
pub use format::{BlockInfo, PartFormat};
pub use lens::RowLens;
pub use merge::{Merge, MergeStep};
pub use meta::{EncodedPart, PartMeta};
pub use stats::{ColumnStats, PartStats, STATS_BYTES_MAX, StatsCollector, StatsLens};
pub use tail::PartTail;
pub use tournament::Tournament;
pub use value::StatValue;
pub(crate) use words::check_time;
pub use writer::{EncodeOptions, ROW_BYTES_MAX, SortedPartWriter};

/// Decodes a whole object, verifying all of it against `meta`.
///
/// Errors are `Corrupt` if any byte is not what was written, or the columns are of other types.
pub fn decode_part<K: Data, V: Data, T: Time, D: Diff>(
    bytes: Bytes,
    meta: &PartMeta<T>,
) -> Result<Vec<Chunk<K, V, T, D>>, Error> {
    Blocks::of_object(bytes, meta, None)?.decode(u64::MAX)
}
