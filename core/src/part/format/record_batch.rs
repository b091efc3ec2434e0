//! One record batch out of its bytes, as both of Arrow's formats hold it.
//!
//! Always: what Arrow's reader takes for granted is verified first (it slices by the offsets of a message and allocates by
//! its lengths); then comes Arrow's own full validation.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_ipc::writer::IpcWriteOptions;
use arrow_ipc::{BodyCompressionMethod, CompressionType, MessageHeader, MetadataVersion, root_as_message};
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;

use super::buffers::widths;
use super::places::BlockInfo;
use crate::part::schema::OTHER_TYPE;
use timely_persist_types::config::Compression;
use timely_persist_types::error::Error;

/// What begins a message, by Arrow's format.
const CONTINUATION_MARKER: [u8; 4] = [0xff; 4];

/// The continuation marker and the length of the message that follows it, four bytes each.
pub(super) const PREFIX_BYTES: usize = 8;

/// What begins a compressed buffer: its length before compression.
const LENGTH_BYTES: usize = 8;

/// The most that a byte of a compressed buffer expands to. LZ4 stays below 255; Zstandard's densest block says in four
/// bytes that one byte repeats 128 KiB.
const EXPANSION_MAX: u64 = 1 << 15;

/// What a compressed buffer may expand to regardless of its length: one block of Zstandard.
const EXPANSION_BASE: u64 = 1 << 17;

/// Decodes `bytes`, which passed the checksum of `block`: its columns, which should be those of `schema`, and the memory
/// that they keep alive.
pub(super) fn decode(block: &BlockInfo, schema: SchemaRef, bytes: Bytes) -> Result<(RecordBatch, usize), Error> {
    let buffer = Buffer::from(bytes);
    let (message, body) = split(block, &buffer).ok_or_else(|| Error::corrupt("a block that holds no message"))?;
    let message = root_as_message(&message).map_err(|error| malformed(error.to_string()))?;
    if message.version() != MetadataVersion::V5 || message.header_type() != MessageHeader::RecordBatch {
        return Err(malformed("a message that is no record batch of version 5".to_owned()));
    }
    let batch = message.header_as_record_batch();
    let batch = batch.ok_or_else(|| malformed("a message without its record batch".to_owned()))?;
    let memory_bytes = check(&batch, block, &widths(&schema)?, &body).map_err(malformed)?;
    let dictionaries = HashMap::new();
    let decoder = RecordBatchDecoder::try_new(&body, batch, schema, &dictionaries, &MetadataVersion::V5);
    let batch = decoder.and_then(RecordBatchDecoder::read_record_batch).map_err(malformed)?;
    Ok((batch, memory_bytes))
}

/// How record batches are written.
pub(super) fn write_options(compression: Compression, alignment: usize) -> Result<IpcWriteOptions, ArrowError> {
    let compression = match compression {
        Compression::None => None,
        Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
        Compression::Zstd => Some(CompressionType::ZSTD),
    };
    IpcWriteOptions::try_new(alignment, false, MetadataVersion::V5)?.try_with_compression(compression)
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::corrupt("a part with a block that does not decode").advise(OTHER_TYPE).because(error)
}

/// The message and the body of a block.
fn split(block: &BlockInfo, buffer: &Buffer) -> Option<(Buffer, Buffer)> {
    let metadata_bytes = usize::try_from(block.metadata_bytes).ok()?;
    let length = message_bytes(buffer.get(..metadata_bytes)?)?;
    Some((buffer.slice_with_length(PREFIX_BYTES, length), buffer.slice(metadata_bytes)))
}

/// How long the message is that these bytes begin with, without its prefix. It lies within them.
pub(super) fn message_bytes(bytes: &[u8]) -> Option<usize> {
    let (marker, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_le_bytes(*length)).ok()?;
    (*marker == CONTINUATION_MARKER && length <= rest.len()).then_some(length)
}

/// Checks the lengths in a message against the bytes that are there, and says what decoding will keep in memory.
fn check(batch: &arrow_ipc::RecordBatch<'_>, block: &BlockInfo, widths: &[u64], body: &[u8]) -> Result<usize, String> {
    if u64::try_from(batch.length()) != Ok(block.rows) {
        return Err(format!("{} rows instead of {}", batch.length(), block.rows));
    }
    // A column of a codec has a value per row; one within may have more (a list's), but each takes a bit of the bytes.
    let length_max = block.rows.max(block.decoded_bytes.saturating_mul(8));
    for node in batch.nodes().into_iter().flatten() {
        let length = u64::try_from(node.length()).ok().filter(|length| *length <= length_max);
        if length.is_none() || node.null_count() < 0 || node.null_count() > node.length() {
            return Err(format!("a column of {} values and {} nulls", node.length(), node.null_count()));
        }
    }
    if batch.variadicBufferCounts().is_some_and(|counts| !counts.is_empty()) {
        return Err("view buffers, which no codec writes".to_owned());
    }
    let compressed = match batch.compression() {
        None => false,
        Some(compression) => {
            let known = [CompressionType::LZ4_FRAME, CompressionType::ZSTD].contains(&compression.codec());
            if !known || compression.method() != BodyCompressionMethod::BUFFER {
                return Err(format!("an unknown compression {:?}", compression.codec()));
            }
            true
        }
    };
    let mut expanded_bytes = 0u64;
    let buffers = batch.buffers().ok_or("a record batch without buffers")?;
    if buffers.len() != widths.len() {
        return Err(format!("{} buffers instead of {}", buffers.len(), widths.len()));
    }
    for (buffer, width) in buffers.iter().zip(widths) {
        let (start, len) = (usize::try_from(buffer.offset()).ok(), usize::try_from(buffer.length()).ok());
        let range = start.zip(len).and_then(|(start, len)| body.get(start..start.checked_add(len)?));
        let range = range.ok_or_else(|| format!("a buffer of {} bytes at {}", buffer.length(), buffer.offset()))?;
        let len = if compressed && !range.is_empty() { expanded(range)? } else { range.len() as u64 };
        if len % width != 0 {
            return Err(format!("a buffer of {len} bytes for values of {width}"));
        }
        expanded_bytes = expanded_bytes.saturating_add(len);
    }
    if expanded_bytes > block.decoded_bytes {
        return Err(format!("{expanded_bytes} bytes after expansion, {} promised", block.decoded_bytes));
    }
    Ok(if compressed { expanded_bytes as usize } else { body.len() })
}

/// The length that a compressed buffer says it expands to, if that is possible at all.
fn expanded(buffer: &[u8]) -> Result<u64, String> {
    let (length, rest) = buffer.split_first_chunk::<LENGTH_BYTES>().ok_or("a compressed buffer without its length")?;
    match i64::from_le_bytes(*length) {
        // Stored as it is, because compression did not help.
        -1 => Ok(rest.len() as u64),
        length => match u64::try_from(length) {
            Ok(length) if length <= EXPANSION_BASE + EXPANSION_MAX * rest.len() as u64 => Ok(length),
            _ => Err(format!("{} compressed bytes that expand to {length}", rest.len())),
        },
    }
}
