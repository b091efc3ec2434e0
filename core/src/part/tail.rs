//! The last bytes of an object, which say where its blocks lie and what each byte before them must hash to.
//!
//! Always: what is parsed has passed the checksum in [`PartMeta`], and the header and the blocks of a parsed tail fill
//! the object up to the tail without a gap. A block's checksum is verified before anything looks into it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::chunk::Chunk;
use super::format::{BlockInfo, BlockSum, Index, PartFormat};
use super::lens::RowLens;
use super::meta::PartMeta;
use super::schema::{OTHER_TYPE, schema};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::{Error, ErrorKind};

/// A verified tail: where everything is, and what it must hash to.
#[derive(Clone, Debug)]
pub struct PartTail {
    format: PartFormat,
    index: Index,
    lens: Option<Arc<RowLens>>,
}

impl PartTail {
    /// Verifies and parses the last `meta.tail_bytes` bytes of an object. Errors are `Corrupt`.
    pub fn parse<T: Time>(tail: Bytes, meta: &PartMeta<T>) -> Result<Self, Error> {
        let place = meta.tail_range()?;
        if tail.len() as u64 != meta.tail_bytes || xxh3_64(&tail) != meta.checksum {
            return Err(Error::corrupt("a part whose footer is not what was written"));
        }
        let &PartMeta { format, rows, decoded_bytes, checksum, .. } = meta;
        let index = format.index(&tail, BlockSum { rows, decoded_bytes, checksum })?;
        // The same facts, from two sides.
        let blocks = &index.blocks;
        if blocks.last().map(|block| block.range().end) != Some(format.blocks_end(place)) {
            return Err(Error::corrupt("a part whose blocks do not end where its tail begins"));
        }
        let sum = |of: fn(&BlockInfo) -> u64| blocks.iter().try_fold(0u64, |sum, block| sum.checked_add(of(block)));
        if sum(|block| block.rows) != Some(rows) || sum(|block| block.decoded_bytes) != Some(decoded_bytes) {
            return Err(Error::corrupt("a part whose blocks do not sum up to it"));
        }
        Ok(Self { format, index, lens: None })
    }

    /// The same, with rows to be seen through a lens, if there is one.
    pub fn through(self, lens: Option<Arc<RowLens>>) -> Self {
        Self { lens, ..self }
    }

    /// The record batches, in order and without a gap.
    pub fn blocks(&self) -> &[BlockInfo] {
        &self.index.blocks
    }

    /// Where adjacent blocks lie in the object.
    pub fn range(&self, indices: &Range<usize>) -> Range<u64> {
        let blocks = self.blocks().get(indices.clone()).unwrap_or_default();
        let start = blocks.first().map_or(0, |block| block.range().start);
        start..blocks.last().map_or(start, |block| block.range().end)
    }

    /// The first of these blocks, as many as take so many bytes of memory together; at least one, if there is one.
    pub fn within(&self, indices: Range<usize>, bytes_max: u64) -> Range<usize> {
        let blocks = self.blocks().get(indices.clone()).unwrap_or_default();
        let mut bytes = 0u64;
        let fitting = blocks.iter().take_while(|block| {
            bytes = bytes.saturating_add(block.memory_bytes());
            bytes <= bytes_max
        });
        indices.start..indices.start + fitting.count().max(1).min(blocks.len())
    }

    /// How many bytes there are before the first record batch. Other tools need them; decoding does not.
    pub fn header_bytes(&self) -> u64 {
        self.index.header_bytes
    }

    /// Verifies the bytes before the first record batch.
    pub fn verify_header(&self, header: &[u8]) -> Result<(), Error> {
        if header.len() as u64 != self.index.header_bytes || xxh3_64(header) != self.index.header_checksum {
            return Err(Error::corrupt("a part whose header is not what was written"));
        }
        Ok(())
    }

    /// Verifies and decodes the bytes of the record batch `index`, whose [`BlockInfo::range`] the caller fetched: here, and
    /// nowhere else, Arrow's arrays become typed columns. Nothing is copied unless it was compressed or lies unaligned in
    /// memory.
    ///
    /// Errors are `Corrupt`, also if the columns are of other types, and `Bug` for an index that is none.
    pub fn decode_block<K: Data, V: Data, T: Time, D: Diff>(
        &self,
        index: usize,
        bytes: Bytes,
    ) -> Result<Chunk<K, V, T, D>, Error> {
        let none = || Error::new(ErrorKind::Bug, format!("a part has no block {index}"));
        let block = self.blocks().get(index).ok_or_else(none)?;
        if bytes.len() as u64 != block.len || xxh3_64(&bytes) != block.checksum {
            return Err(Error::corrupt("a part with a block that is not what was written"));
        }
        let expected = match &self.lens {
            None => schema::<K, V, T, D>(),
            Some(lens) => lens.schema::<K, V, T, D>(),
        };
        let stored = self.index.schema.as_ref();
        if let Some(stored) = stored.filter(|stored| stored.fields() != expected.fields()) {
            let types = |schema: &arrow_schema::Schema| {
                schema.fields().iter().map(|field| field.to_string()).collect::<Vec<_>>().join(", ")
            };
            let message = format!("a part of columns ({}) instead of ({})", types(stored), types(&expected));
            return Err(Error::corrupt(message).advise(OTHER_TYPE));
        }
        let (columns, memory_bytes) = self.format.decode(block, expected.into(), bytes)?;
        match &self.lens {
            None => Chunk::try_new(columns.columns(), memory_bytes),
            Some(lens) => Chunk::try_new(&lens.map(&columns)?, memory_bytes),
        }
    }
}
