//! The last bytes of an object: Arrow's footer, which says where the record batches lie, and their checksums.
//!
//! The checksums stand in the footer's custom metadata under [`BLOCKS_KEY`], as text that any Arrow tool shows:
//! `1 HEADER ROWS:BYTES:SUM ROWS:BYTES:SUM …`, the version of this text, the xxh3 of all bytes before the first record
//! batch, and for each record batch its rows, its decoded bytes and its xxh3; sums in hexadecimal.
//!
//! Always: what is parsed has passed the checksum in [`PartMeta`], and the header and the blocks of a parsed tail fill
//! the object up to the tail without a gap.

use std::fmt::Write;
use std::ops::Range;

use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{Endianness, Footer, MetadataVersion, root_as_footer};
use arrow_schema::{ArrowError, Schema};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::block;
use super::chunk::Chunk;
use super::meta::{PartFormat, PartMeta};
use crate::codec::{Data, Diff, Time};
use crate::error::Error;

/// The key of the footer's custom metadata that holds the checksums.
pub(super) const BLOCKS_KEY: &str = "timely_persist.blocks";

/// The version of the text under [`BLOCKS_KEY`].
const BLOCKS_VERSION: &str = "1";

/// The length of the footer, as four bytes, and the magic: what ends an Arrow IPC file.
const TRAILER_BYTES: usize = 10;

/// What the tail says of one record batch, besides its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockSum {
    pub(super) rows: u64,
    pub(super) decoded_bytes: u64,
    pub(super) checksum: u64,
}

/// The text under [`BLOCKS_KEY`], as it is and as it grows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BlockList {
    header_checksum: u64,
    blocks: Vec<BlockSum>,
}

impl BlockList {
    pub(super) fn new(header_checksum: u64) -> Self {
        Self { header_checksum, blocks: Vec::new() }
    }

    pub(super) fn push(&mut self, block: BlockSum) {
        self.blocks.push(block);
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{BLOCKS_VERSION} {:016x}", self.header_checksum);
        for BlockSum { rows, decoded_bytes, checksum } in &self.blocks {
            write!(text, " {rows}:{decoded_bytes}:{checksum:016x}").expect("a String takes whatever is written");
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        if words.next()? != BLOCKS_VERSION {
            return None;
        }
        let header_checksum = u64::from_str_radix(words.next()?, 16).ok()?;
        let block = |word: &str| {
            let (rows, rest) = word.split_once(':')?;
            let (decoded_bytes, checksum) = rest.split_once(':')?;
            let (rows, decoded_bytes) = (rows.parse().ok()?, decoded_bytes.parse().ok()?);
            Some(BlockSum { rows, decoded_bytes, checksum: u64::from_str_radix(checksum, 16).ok()? })
        };
        Some(Self { header_checksum, blocks: words.map(block).collect::<Option<_>>()? })
    }
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
    pub(super) checksum: u64,
    /// Its message without the columns, in bytes.
    pub(super) metadata_bytes: u64,
}

impl BlockInfo {
    /// The bytes to fetch.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.len
    }

    /// The same, of an object that is in memory as a whole.
    pub(super) fn range_in_memory(&self) -> Range<usize> {
        self.offset as usize..(self.offset + self.len) as usize
    }
}

/// A verified tail: where everything is, and what it must hash to.
#[derive(Clone, Debug)]
pub struct PartTail {
    /// What a file says that its columns are. A message says nothing.
    schema: Option<Schema>,
    header_bytes: u64,
    header_checksum: u64,
    blocks: Vec<BlockInfo>,
}

fn corrupt(message: &'static str) -> Error {
    Error::corrupt(message)
}

fn corrupt_footer(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::corrupt("a part whose footer does not parse").because(error)
}

impl PartTail {
    /// Verifies and parses the last `meta.tail_bytes` bytes of an object. Errors are `Corrupt`.
    pub fn parse<T: Time>(tail: Bytes, meta: &PartMeta<T>) -> Result<Self, Error> {
        let tail_start = meta.tail_range()?.start;
        if tail.len() as u64 != meta.tail_bytes || xxh3_64(&tail) != meta.checksum {
            return Err(corrupt("a part whose footer is not what was written"));
        }
        let tail = match meta.format {
            PartFormat::ArrowIpc => Self::of_file(&tail)?,
            PartFormat::ArrowMessage => Self::of_message(&tail, meta)?,
        };
        tail.check(tail_start, meta)?;
        Ok(tail)
    }

    fn of_file(tail: &[u8]) -> Result<Self, Error> {
        let (rest, trailer) =
            tail.split_last_chunk::<TRAILER_BYTES>().ok_or_else(|| corrupt("a part without an end"))?;
        let footer_bytes = read_footer_length(*trailer).map_err(corrupt_footer)?;
        let footer = rest.len().checked_sub(footer_bytes).and_then(|start| rest.get(start..));
        let footer = footer.ok_or_else(|| corrupt("a part whose footer is longer than its tail"))?;
        let footer = root_as_footer(footer).map_err(|error| corrupt_footer(error.to_string()))?;
        let schema = schema(&footer).map_err(corrupt_footer)?;
        let list = block_list(&footer).ok_or_else(|| corrupt("a part without checksums"))?;
        let (header_bytes, blocks) =
            places(&footer, &list).ok_or_else(|| corrupt("a part with blocks out of place"))?;
        Ok(Self { schema: Some(schema), header_bytes, header_checksum: list.header_checksum, blocks })
    }

    /// A message is a block without anything around it.
    fn of_message<T: Time>(message: &[u8], meta: &PartMeta<T>) -> Result<Self, Error> {
        let length = block::message_bytes(message).ok_or_else(|| corrupt("a part that holds no message"))?;
        let &PartMeta { rows, decoded_bytes, checksum, .. } = meta;
        let (len, metadata_bytes) = (message.len() as u64, (block::PREFIX_BYTES + length) as u64);
        let block = BlockInfo { offset: 0, len, rows, decoded_bytes, checksum, metadata_bytes };
        Ok(Self { schema: None, header_bytes: 0, header_checksum: xxh3_64(&[]), blocks: vec![block] })
    }

    /// Compares the sums with what the state says: the same facts, from two sides.
    fn check<T: Time>(&self, tail_start: u64, meta: &PartMeta<T>) -> Result<(), Error> {
        let end = match meta.format {
            PartFormat::ArrowIpc => tail_start,
            PartFormat::ArrowMessage => meta.encoded_bytes,
        };
        if self.blocks.last().map(|block| block.range().end) != Some(end) {
            return Err(corrupt("a part whose blocks do not end where its tail begins"));
        }
        let sum =
            |of: fn(&BlockInfo) -> u64| self.blocks.iter().try_fold(0u64, |sum, block| sum.checked_add(of(block)));
        if sum(|block| block.rows) != Some(meta.rows) || sum(|block| block.decoded_bytes) != Some(meta.decoded_bytes) {
            return Err(corrupt("a part whose blocks do not sum up to it"));
        }
        Ok(())
    }

    /// The record batches, in order and without a gap.
    pub fn blocks(&self) -> &[BlockInfo] {
        &self.blocks
    }

    /// How many bytes there are before the first record batch. Other tools need them; decoding does not.
    pub fn header_bytes(&self) -> u64 {
        self.header_bytes
    }

    /// Verifies the bytes before the first record batch.
    pub fn verify_header(&self, header: &[u8]) -> Result<(), Error> {
        if header.len() as u64 != self.header_bytes || xxh3_64(header) != self.header_checksum {
            return Err(corrupt("a part whose header is not what was written"));
        }
        Ok(())
    }

    /// Verifies and decodes the bytes of the record batch `index`, whose [`BlockInfo::range`] the caller fetched.
    /// Nothing is copied unless it was compressed or lies unaligned in memory.
    ///
    /// Errors are `Corrupt`, also if the columns are of other types, and `Invalid` for an index that is none.
    pub fn decode_block<K: Data, V: Data, T: Time, D: Diff>(
        &self,
        index: usize,
        bytes: Bytes,
    ) -> Result<Chunk<K, V, T, D>, Error> {
        let block = self.blocks.get(index).ok_or_else(|| Error::invalid(format!("a part has no block {index}")))?;
        block::decode(block, self.schema.as_ref(), bytes)
    }
}

fn schema(footer: &Footer<'_>) -> Result<Schema, ArrowError> {
    let malformed = |what: &str| ArrowError::ParseError(what.to_owned());
    if footer.version() != MetadataVersion::V5 {
        return Err(malformed("a version other than 5"));
    }
    if footer.dictionaries().is_some_and(|dictionaries| !dictionaries.is_empty()) {
        return Err(malformed("dictionaries"));
    }
    let schema = footer.schema().ok_or_else(|| malformed("no schema"))?;
    if schema.endianness() != Endianness::Little {
        return Err(malformed("a byte order other than little-endian"));
    }
    arrow_ipc::convert::try_fb_to_schema(schema)
}

fn block_list(footer: &Footer<'_>) -> Option<BlockList> {
    let metadata = footer.custom_metadata()?;
    let text = metadata.iter().find(|entry| entry.key() == Some(BLOCKS_KEY))?.value()?;
    BlockList::parse(text)
}

/// The length of the header and the blocks, which begin there and follow each other.
fn places(footer: &Footer<'_>, list: &BlockList) -> Option<(u64, Vec<BlockInfo>)> {
    let places = footer.recordBatches()?;
    if places.len() != list.blocks.len() || places.is_empty() {
        return None;
    }
    let header_bytes = u64::try_from(places.get(0).offset()).ok()?;
    let mut end = header_bytes;
    let mut blocks = Vec::with_capacity(list.blocks.len());
    for (place, sum) in places.iter().zip(&list.blocks) {
        let metadata_bytes = u64::try_from(place.metaDataLength()).ok()?;
        let len = metadata_bytes.checked_add(u64::try_from(place.bodyLength()).ok()?)?;
        if u64::try_from(place.offset()).ok()? != end {
            return None;
        }
        let &BlockSum { rows, decoded_bytes, checksum } = sum;
        blocks.push(BlockInfo { offset: end, len, rows, decoded_bytes, checksum, metadata_bytes });
        end = end.checked_add(len)?;
    }
    Some((header_bytes, blocks))
}
