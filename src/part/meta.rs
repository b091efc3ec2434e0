//! What is known of a part without fetching it, and how one is asked to be encoded.
//!
//! Always: plain data. Who holds it need not know the types of keys, values or diffs.

use std::ops::Range;

use bytes::Bytes;
use timely::progress::Antichain;

use crate::config::Compression;
use crate::error::Error;

/// How the bytes of an object are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PartFormat {
    /// An Arrow IPC file, checksummed as [`PartTail`](super::PartTail) describes.
    ArrowIpc,
    /// A single record batch as an Arrow IPC message, without the file around it: of ten rows that would be most of the
    /// bytes and of the work. Its columns are those of the shard's codecs; the whole of it is its own tail. For parts
    /// that lie in a log entry; an object is always a file.
    ArrowMessage,
}

impl PartFormat {
    /// The durable number of the format.
    pub fn number(self) -> u32 {
        match self {
            Self::ArrowIpc => 1,
            Self::ArrowMessage => 2,
        }
    }

    /// The format of a number; `None` if a later version of this library wrote it.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::ArrowIpc),
            2 => Some(Self::ArrowMessage),
            _ => None,
        }
    }
}

/// What the state of a shard remembers of a part.
#[derive(Clone, Debug, PartialEq)]
pub struct PartMeta<T> {
    /// How the bytes are to be read.
    pub format: PartFormat,
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
    /// The sum of all diffs, as its [`Codec64`](crate::codec::Codec64) word. A hint: that of integers is right modulo 2⁶⁴.
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

/// How a part is encoded. It shows in the bytes only; readers take any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// How the buffers are compressed.
    pub compression: Compression,
    /// The most rows of a record batch: what a reader has to decode at once.
    pub chunk_rows_max: usize,
    /// The most bytes of a record batch before compression, unless a single row has more: what a reader keeps in memory
    /// for each part that it merges.
    pub chunk_bytes_max: usize,
}

impl Default for EncodeOptions {
    /// Chunks of 8,192 rows or 1 MiB: large enough that their headers (about 1 KiB) and a range request each do not
    /// count, small enough that a merge of hundreds of runs fits in memory and a chunk in a cache.
    fn default() -> Self {
        Self { compression: Compression::None, chunk_rows_max: 8_192, chunk_bytes_max: 1 << 20 }
    }
}
