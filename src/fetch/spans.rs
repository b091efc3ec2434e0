//! An object, a stretch of blocks at a time.
//!
//! Always: a stretch is as long as the reader allows, so that a slow store is asked seldom for much instead of often
//! for little; and never shorter than a block, which cannot be decoded in pieces.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::blobs::{Blobs, slice};
use crate::codec::Time;
use crate::error::Error;
use crate::ids::ShardId;
use crate::part::{BlockInfo, PartTail};
use crate::state::{Location, Part};

use super::whole::{naming, trusted};

/// Parts up to this size, in bytes, are read with one request: about what a request costs in transfer.
pub const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// Gives one part as spans, in order.
#[derive(Debug)]
pub(super) struct PartSpans<T: Time> {
    blobs: Arc<Blobs>,
    shard: ShardId,
    part: Part<T>,
    /// The memory that a span should take at most, decoded or not.
    bytes_max: u64,
    tail: Option<Arc<PartTail>>,
    /// The block to be read next.
    block: usize,
}

/// Adjacent blocks of one part.
#[derive(Debug)]
pub(super) struct Span<T: Time> {
    pub(super) part: Part<T>,
    pub(super) tail: Arc<PartTail>,
    /// Which blocks.
    pub(super) blocks: Range<usize>,
    /// Where in the object the bytes begin.
    start: u64,
    /// `None` once they were dropped to save memory.
    pub(super) bytes: Option<Bytes>,
}

impl<T: Time> PartSpans<T> {
    pub(super) fn new(blobs: Arc<Blobs>, shard: ShardId, part: Part<T>, bytes_max: u64) -> Self {
        Self { blobs, shard, part, bytes_max, tail: None, block: 0 }
    }

    /// Whether nothing is left.
    pub(super) fn is_finished(&self) -> bool {
        self.tail.as_ref().is_some_and(|tail| self.block >= tail.blocks().len())
    }

    /// The next span; `None` at the end. One request for a part that fits, otherwise one for its footer and one for
    /// each span. Cancelling leaves nothing undone that cannot be asked for again.
    pub(super) async fn next(&mut self) -> Result<Option<Span<T>>, Error> {
        let meta = &self.part.meta;
        let tail = match &self.tail {
            Some(tail) => Arc::clone(tail),
            None if is_whole(&self.part, self.bytes_max) => {
                let bytes = self.read(0..meta.encoded_bytes).await?;
                let tail = slice(&bytes, meta.tail_range()?).ok_or_else(|| missing(self.shard, &self.part))?;
                let tail = self.parse(tail).await?;
                self.block = tail.blocks().len();
                return Ok(Some(self.span(tail, 0..self.block, 0, bytes)));
            }
            None => {
                let tail = self.read(meta.tail_range()?).await?;
                self.parse(tail).await?
            }
        };
        let Some(rest) = tail.blocks().get(self.block..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
        let blocks = self.block..self.block + blocks_within(rest, self.bytes_max);
        let range = range(&tail, &blocks);
        let bytes = self.read(range.clone()).await?;
        self.block = blocks.end;
        Ok(Some(self.span(tail, blocks, range.start, bytes)))
    }

    fn span(&self, tail: Arc<PartTail>, blocks: Range<usize>, start: u64, bytes: Bytes) -> Span<T> {
        Span { part: self.part.clone(), tail, blocks, start, bytes: Some(bytes) }
    }

    async fn parse(&mut self, bytes: Bytes) -> Result<Arc<PartTail>, Error> {
        let tail = PartTail::parse(bytes, &self.part.meta);
        let tail = trusted(tail, &self.blobs, self.shard, &self.part).await?;
        Ok(Arc::clone(self.tail.insert(Arc::new(tail))))
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        read(&self.blobs, self.shard, &self.part, range).await
    }
}

impl<T: Time> Span<T> {
    /// The bytes of one of its blocks, if they are still there.
    pub(super) fn block(&self, index: usize) -> Option<Bytes> {
        let range = self.tail.blocks().get(index)?.range();
        slice(self.bytes.as_ref()?, range.start.checked_sub(self.start)?..range.end.checked_sub(self.start)?)
    }
}

/// Whether a part is one span, where a span has so many bytes.
pub(super) fn is_whole<T: Time>(part: &Part<T>, bytes_max: u64) -> bool {
    let small = part.meta.encoded_bytes <= WHOLE_BYTES_MAX.min(bytes_max);
    part.blob().is_none() || small || part_bytes(part) <= bytes_max
}

/// The memory that a part takes, decoded or not, beside the state.
pub(super) fn part_bytes<T: Time>(part: &Part<T>) -> u64 {
    part.blob().map_or(0, |_| part.meta.encoded_bytes.max(part.meta.decoded_bytes))
}

/// These bytes of a part.
pub(super) async fn read<T: Time>(
    blobs: &Blobs,
    shard: ShardId,
    part: &Part<T>,
    range: Range<u64>,
) -> Result<Bytes, Error> {
    let bytes = match &part.location {
        Location::Inline(bytes) => slice(bytes, range),
        Location::Blob(name) => blobs.read(shard, name, range, part.meta.encoded_bytes).await?,
    };
    bytes.ok_or_else(|| missing(shard, part))
}

pub(super) fn missing<T: Time>(shard: ShardId, part: &Part<T>) -> Error {
    naming(Error::missing(), shard, part)
}

/// Where adjacent blocks lie.
pub(super) fn range(tail: &PartTail, blocks: &Range<usize>) -> Range<u64> {
    let blocks = tail.blocks().get(blocks.clone()).unwrap_or_default();
    let start = blocks.first().map_or(0, |block| block.range().start);
    start..blocks.last().map_or(start, |block| block.range().end)
}

/// How many of these blocks take so many bytes together; at least one.
pub(super) fn blocks_within(blocks: &[BlockInfo], bytes_max: u64) -> usize {
    let mut bytes = 0u64;
    let fitting = blocks.iter().take_while(|block| {
        bytes = bytes.saturating_add(block_bytes(block));
        bytes <= bytes_max
    });
    fitting.count().max(1)
}

/// The memory that a block takes, decoded or not.
pub(super) fn block_bytes(block: &BlockInfo) -> u64 {
    block.decoded_bytes.max(block.len)
}
