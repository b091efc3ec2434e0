//! A single record batch as an Arrow IPC message, without the file around it: a block that is its own tail.

use arrow_array::RecordBatch;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, write_message};
use arrow_schema::ArrowError;
use xxhash_rust::xxh3::xxh3_64;

use super::places::{BlockInfo, BlockSum, Index, Written};
use super::record_batch::{PREFIX_BYTES, message_bytes, write_options};
use timely_persist_types::config::Compression;
use timely_persist_types::error::Error;

/// What the buffers are aligned to, in bytes, as little as Arrow takes: the padding would be a tenth of ten rows.
const ALIGNMENT: usize = 8;

/// A message that is being written: empty until its record batch is.
pub(in crate::part) struct MessageEncoder {
    options: IpcWriteOptions,
    bytes: Vec<u8>,
}

impl MessageEncoder {
    pub(super) fn new(compression: Compression) -> Result<Self, ArrowError> {
        Ok(Self { options: write_options(compression, ALIGNMENT)?, bytes: Vec::new() })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        if !self.bytes.is_empty() {
            return Err(ArrowError::InvalidArgumentError("more rows than one record batch takes".to_owned()));
        }
        let (mut dictionaries, mut context) = (DictionaryTracker::new(false), IpcWriteContext::default());
        let generator = IpcDataGenerator::default();
        let (_, encoded) = generator.encode(batch, &mut dictionaries, &self.options, &mut context)?;
        let bytes = encoded.ipc_message.len() + encoded.arrow_data.len();
        self.bytes = Vec::with_capacity(bytes + PREFIX_BYTES + ALIGNMENT);
        write_message(&mut self.bytes, encoded, &self.options)?;
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn finish(self) -> Written {
        Written { bytes: self.bytes, tail_start: 0 }
    }
}

/// What a message says, of which the state knows the sums.
pub(super) fn index(message: &[u8], sum: BlockSum) -> Result<Index, Error> {
    let length = message_bytes(message).ok_or_else(|| Error::corrupt("a part that holds no message"))?;
    let block = BlockInfo::new(0, message.len() as u64, (PREFIX_BYTES + length) as u64, sum);
    Ok(Index { schema: None, header_bytes: 0, header_checksum: xxh3_64(&[]), blocks: vec![block] })
}
