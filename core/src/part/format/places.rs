//! Where things lie in the bytes of a part, whatever their format.

use std::ops::Range;

use arrow_schema::Schema;

/// What is to be known of a block besides its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::part) struct BlockSum {
    pub(in crate::part) rows: u64,
    pub(in crate::part) decoded_bytes: u64,
    pub(in crate::part) checksum: u64,
}

/// A record batch in the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Where it begins in the object.
    pub offset: u64,
    /// How many bytes it has there.
    pub len: u64,
    /// How many rows it has.
    pub rows: u64,
    /// The memory that its columns take when decoded, in bytes.
    pub decoded_bytes: u64,
    pub(in crate::part) checksum: u64,
    /// Its message without the columns, in bytes.
    pub(super) metadata_bytes: u64,
}

impl BlockInfo {
    pub(super) fn new(offset: u64, len: u64, metadata_bytes: u64, sum: BlockSum) -> Self {
        let BlockSum { rows, decoded_bytes, checksum } = sum;
        Self { offset, len, rows, decoded_bytes, checksum, metadata_bytes }
    }

    /// The memory that it takes at most, decoded or not.
    pub fn memory_bytes(&self) -> u64 {
        self.decoded_bytes.max(self.len)
    }

    /// The bytes to fetch.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.len
    }
}

/// What the tail of an object says.
#[derive(Clone, Debug)]
pub(in crate::part) struct Index {
    /// What the columns are, if that is said.
    pub(in crate::part) schema: Option<Schema>,
    /// The bytes before the first block.
    pub(in crate::part) header_bytes: u64,
    pub(in crate::part) header_checksum: u64,
    /// In order and without a gap.
    pub(in crate::part) blocks: Vec<BlockInfo>,
}

/// An object that was written.
pub(in crate::part) struct Written {
    pub(in crate::part) bytes: Vec<u8>,
    pub(in crate::part) tail_start: usize,
}
