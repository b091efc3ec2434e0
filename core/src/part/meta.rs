//! What is known of a part without fetching it.
//!
//! Always: plain data. Who holds it need not know the types of keys, values or diffs.

use std::ops::Range;

use bytes::Bytes;
use timely::progress::Antichain;

use super::format::PartFormat;
use timely_persist_types::error::Error;
use timely_persist_types::ids::SchemaId;

/// What the state of a shard remembers of a part.
#[derive(Clone, Debug, PartialEq)]
pub struct PartMeta<T> {
    /// How the bytes are to be read.
    pub format: PartFormat,
    /// What its rows look like: a schema of its shard.
    pub schema: SchemaId,
    /// The length of the object, in bytes.
    pub encoded_bytes: u64,
    /// The memory that its columns take when decoded, in bytes.
    pub decoded_bytes: u64,
    /// How many of the last bytes of the object hold the footer: what to fetch first.
    pub tail_bytes: u64,
    /// The number of rows. Never zero.
    pub rows: u64,
    /// The xxh3 of exactly the last `tail_bytes` bytes.
    pub checksum: u64,
    /// Every row's time is at or after one of these. They are the minimal times, unless there were too many of those.
    pub time_lower: Antichain<T>,
    /// Every row's time is at or before one of these. They are the maximal times, unless there were too many of those.
    pub time_upper: Vec<T>,
    /// The sum of the words of all diffs, modulo 2⁶⁴, little-endian. A hint: of integers it is the word of their sum.
    pub diff_sum: [u8; 8],
    /// [`PartStats`](super::PartStats), encoded. Empty means unknown.
    pub stats: Bytes,
}

impl<T> PartMeta<T> {
    /// Where the tail lies in the object. `Corrupt` if it is longer than the object.
    pub fn tail_range(&self) -> Result<Range<u64>, Error> {
        let start = self.encoded_bytes.checked_sub(self.tail_bytes);
        let start = start.ok_or_else(|| Error::corrupt("a part whose tail is longer than itself"))?;
        Ok(start..self.encoded_bytes)
    }
}

/// An object to be stored, and what to remember of it.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedPart<T> {
    /// The object.
    pub bytes: Bytes,
    /// What to remember.
    pub meta: PartMeta<T>,
}
