//! What the bytes of a part are: written, indexed and decoded, as Arrow's arrays.
//!
//! To be added with a new format: a file beside the others, a variant here with its durable number, and its arms.
//!
//! Always: what is indexed and decoded has passed its checksum before, and is distrusted all the same: bytes that say
//! what cannot be are `Corrupt`. Not here: the types of rows, and what the state remembers of a part.

mod arrow_file;
mod arrow_message;
mod buffers;
mod places;
mod record_batch;

use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::Bytes;

use timely_persist_types::config::Compression;
use timely_persist_types::error::Error;

use arrow_file::FileEncoder;
pub(super) use arrow_file::file_bytes;
use arrow_message::MessageEncoder;
pub use places::BlockInfo;
pub(super) use places::{BlockSum, Index, Written};

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
        [Self::ArrowIpc, Self::ArrowMessage].into_iter().find(|format| format.number() == number)
    }

    /// What the tail of an object says, of which the state knows the sums.
    pub(super) fn index(self, tail: &[u8], sum: BlockSum) -> Result<Index, Error> {
        match self {
            Self::ArrowIpc => arrow_file::index(tail),
            Self::ArrowMessage => arrow_message::index(tail, sum),
        }
    }

    /// Where the last block ends in an object whose tail lies there.
    pub(super) fn blocks_end(self, tail: Range<u64>) -> u64 {
        match self {
            Self::ArrowIpc => tail.start,
            Self::ArrowMessage => tail.end,
        }
    }

    /// A block's columns, which should be those of `schema`, and the memory that they keep alive.
    pub(super) fn decode(
        self,
        block: &BlockInfo,
        schema: SchemaRef,
        bytes: Bytes,
    ) -> Result<(RecordBatch, usize), Error> {
        match self {
            Self::ArrowIpc | Self::ArrowMessage => record_batch::decode(block, schema, bytes),
        }
    }

    /// Begins an object, with room for so many bytes of rows: in this memory, if it has it.
    pub(super) fn encoder(
        self,
        schema: &Schema,
        compression: Compression,
        bytes: usize,
        room: Vec<u8>,
    ) -> Result<PartEncoder, ArrowError> {
        match self {
            Self::ArrowIpc => FileEncoder::new(schema, compression, bytes, room).map(PartEncoder::File),
            Self::ArrowMessage => MessageEncoder::new(compression).map(PartEncoder::Message),
        }
    }
}

/// `Invalid` if a part cannot hold columns of these types.
pub(super) fn check_types(schema: &Schema) -> Result<(), Error> {
    buffers::widths(schema).map(drop)
}

/// An object that is being written, a record batch at a time.
#[allow(clippy::large_enum_variant)] // a writer has one, in place
pub(super) enum PartEncoder {
    File(FileEncoder),
    /// It takes one record batch.
    Message(MessageEncoder),
}

impl PartEncoder {
    pub(super) fn write(&mut self, batch: &RecordBatch, decoded_bytes: u64) -> Result<(), ArrowError> {
        match self {
            Self::File(file) => file.write(batch, decoded_bytes),
            Self::Message(message) => message.write(batch),
        }
    }

    /// Its bytes so far.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::File(file) => file.len(),
            Self::Message(message) => message.len(),
        }
    }

    pub(super) fn finish(self) -> Result<Written, ArrowError> {
        match self {
            Self::File(file) => file.finish(),
            Self::Message(message) => Ok(message.finish()),
        }
    }
}
