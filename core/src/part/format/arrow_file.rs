//! An Arrow IPC file whose footer holds the checksums of everything before it.
//!
//! They stand in the footer's custom metadata under [`BLOCKS_KEY`], as text that any Arrow tool shows:
//! `1 HEADER ROWS:BYTES:SUM ROWS:BYTES:SUM …`, the version of this text, the xxh3 of all bytes before the first record
//! batch, and for each record batch its rows, its decoded bytes and its xxh3; sums in hexadecimal.
//!
//! Always: the header and the blocks of an index follow each other without a gap.

use std::fmt::Write;

use arrow_array::RecordBatch;
use arrow_ipc::reader::read_footer_length;
use arrow_ipc::writer::FileWriter;
use arrow_ipc::{Endianness, Footer, MetadataVersion, root_as_footer};
use arrow_schema::{ArrowError, Schema};
use xxhash_rust::xxh3::xxh3_64;

use super::places::{BlockInfo, BlockSum, Index, Written};
use super::record_batch::write_options;
use timely_persist_types::config::Compression;
use timely_persist_types::error::Error;

/// The key of the footer's custom metadata that holds the checksums.
const BLOCKS_KEY: &str = "timely_persist.blocks";

/// The version of the text under [`BLOCKS_KEY`].
const BLOCKS_VERSION: &str = "1";

/// The length of the footer, as four bytes, and the magic: what ends an Arrow IPC file.
const TRAILER_BYTES: usize = 10;

/// What the buffers of a file are aligned to, in bytes: what Arrow recommends.
const ALIGNMENT: usize = 64;

/// Bytes of an object that do not come from rows, generously: header and footer of a part of common types.
const OVERHEAD_BYTES: usize = 4_096;

/// The bytes of a file of so many bytes of rows, or a few more.
pub(in crate::part) fn file_bytes(rows: usize) -> usize {
    rows + rows / 16 + OVERHEAD_BYTES
}

/// A file that is being written.
pub(in crate::part) struct FileEncoder {
    writer: FileWriter<Vec<u8>>,
    blocks: BlockList,
}

impl FileEncoder {
    /// A file of no rows yet, with room for so many bytes of them: in this memory, if it has it.
    pub(super) fn new(
        schema: &Schema,
        compression: Compression,
        bytes: usize,
        mut room: Vec<u8>,
    ) -> Result<Self, ArrowError> {
        room.clear();
        room.reserve_exact(file_bytes(bytes));
        let writer = FileWriter::try_new_with_options(room, schema, write_options(compression, ALIGNMENT)?)?;
        let blocks = BlockList { header_checksum: xxh3_64(writer.get_ref()), blocks: Vec::new() };
        Ok(Self { writer, blocks })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch, decoded_bytes: u64) -> Result<(), ArrowError> {
        let start = self.len();
        self.writer.write(batch)?;
        let checksum = xxh3_64(&self.writer.get_ref()[start..]);
        self.blocks.blocks.push(BlockSum { rows: batch.num_rows() as u64, decoded_bytes, checksum });
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.writer.get_ref().len()
    }

    pub(super) fn finish(mut self) -> Result<Written, ArrowError> {
        self.writer.write_metadata(BLOCKS_KEY, self.blocks.to_text());
        let tail_start = self.len();
        Ok(Written { bytes: self.writer.into_inner()?, tail_start })
    }
}

/// What the last bytes of a file say, which end with its footer.
pub(super) fn index(tail: &[u8]) -> Result<Index, Error> {
    let (rest, trailer) =
        tail.split_last_chunk::<TRAILER_BYTES>().ok_or_else(|| Error::corrupt("a part without an end"))?;
    let footer_bytes = read_footer_length(*trailer).map_err(corrupt_footer)?;
    let footer = rest.len().checked_sub(footer_bytes).and_then(|start| rest.get(start..));
    let footer = footer.ok_or_else(|| Error::corrupt("a part whose footer is longer than its tail"))?;
    let footer = root_as_footer(footer).map_err(|error| corrupt_footer(error.to_string()))?;
    let schema = Some(schema(&footer).map_err(corrupt_footer)?);
    let list = block_list(&footer).ok_or_else(|| Error::corrupt("a part without checksums"))?;
    let places = places(&footer, &list).ok_or_else(|| Error::corrupt("a part with blocks out of place"));
    let (header_bytes, blocks) = places?;
    Ok(Index { schema, header_bytes, header_checksum: list.header_checksum, blocks })
}

fn corrupt_footer(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::corrupt("a part whose footer does not parse").because(error)
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
        blocks.push(BlockInfo::new(end, len, metadata_bytes, *sum));
        end = end.checked_add(len)?;
    }
    Some((header_bytes, blocks))
}

/// The text under [`BLOCKS_KEY`], as it is and as it grows.
#[derive(Debug, PartialEq, Eq)]
struct BlockList {
    header_checksum: u64,
    blocks: Vec<BlockSum>,
}

impl BlockList {
    fn to_text(&self) -> String {
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
