//! The objects of a sorted run, a stretch of each at a time.
//!
//! Always: a stretch is as long as the reader allows, so that a slow store is asked seldom for much instead of often for
//! little; and never shorter than a block, which cannot be decoded in pieces.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::Time;
use crate::error::Error;
use crate::ids::ShardId;
use crate::machine::Context;
use crate::part::{BlockInfo, PartTail};
use crate::state::{Location, Part};

use super::whole::naming;

/// Parts up to this size, in bytes, are read with one request: about what a request costs in transfer.
pub const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// Gives the parts of a run as spans, in order.
#[derive(Debug)]
pub(super) struct Spans<T: Time> {
    context: Arc<Context>,
    shard: ShardId,
    parts: VecDeque<Part<T>>,
    /// The first part's footer and the block to be read next, once something of it was read.
    open: Option<(Arc<PartTail>, usize)>,
    /// The memory that a span should take at most, decoded or not.
    pub(super) bytes_max: u64,
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

impl<T: Time> Spans<T> {
    pub(super) fn new(context: Arc<Context>, shard: ShardId, parts: VecDeque<Part<T>>) -> Self {
        Self { context, shard, parts, open: None, bytes_max: 0 }
    }

    /// Whether all that is left lies in the state, so that reading takes no memory.
    pub(super) fn is_inline(&self) -> bool {
        self.parts.iter().all(|part| part.blob().is_none())
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether the next part is read with one request.
    pub(super) fn next_is_whole(&self) -> bool {
        let Some(part) = self.parts.front() else { return false };
        let meta = &part.meta;
        part.blob().is_none()
            || meta.encoded_bytes <= WHOLE_BYTES_MAX.min(self.bytes_max)
            || meta.encoded_bytes.max(meta.decoded_bytes) <= self.bytes_max
    }

    /// The next span; `None` at the end. One request for a part that fits, otherwise one for its footer and one for each
    /// span. Cancelling leaves nothing undone that cannot be asked for again.
    pub(super) async fn next(&mut self) -> Result<Option<Span<T>>, Error> {
        let Some(part) = self.parts.front().cloned() else { return Ok(None) };
        let parse = |bytes| PartTail::parse(bytes, &part.meta).map_err(|error| naming(error, self.shard, &part));
        let (tail, first) = match &self.open {
            Some((tail, first)) => (Arc::clone(tail), *first),
            None if self.next_is_whole() => {
                let bytes = self.read(&part, 0..part.meta.encoded_bytes).await?;
                let tail = slice(&bytes, part.meta.tail_range()?).ok_or_else(|| missing(self.shard, &part))?;
                let tail = Arc::new(parse(tail)?);
                self.parts.pop_front();
                return Ok(Some(Span { blocks: 0..tail.blocks().len(), tail, part, start: 0, bytes: Some(bytes) }));
            }
            None => {
                let tail = Arc::new(parse(self.read(&part, part.meta.tail_range()?).await?)?);
                self.open = Some((Arc::clone(&tail), 0));
                (tail, 0)
            }
        };
        let blocks = first..first + self.blocks_within(tail.blocks().get(first..).unwrap_or_default());
        let range = range(&tail, &blocks);
        let bytes = self.read(&part, range.clone()).await?;
        if blocks.end < tail.blocks().len() {
            self.open = Some((Arc::clone(&tail), blocks.end));
        } else {
            self.open = None;
            self.parts.pop_front();
        }
        Ok(Some(Span { part, tail, blocks, start: range.start, bytes: Some(bytes) }))
    }

    /// How many of these blocks fit in a span; at least one.
    fn blocks_within(&self, blocks: &[BlockInfo]) -> usize {
        let mut bytes = 0u64;
        let fitting = blocks.iter().take_while(|block| {
            bytes = bytes.saturating_add(block_bytes(block));
            bytes <= self.bytes_max
        });
        fitting.count().max(1)
    }

    async fn read(&self, part: &Part<T>, range: Range<u64>) -> Result<Bytes, Error> {
        read(&self.context, self.shard, part, range).await
    }
}

impl<T: Time> Span<T> {
    /// The bytes of one of its blocks, if they are still there.
    pub(super) fn block(&self, index: usize) -> Option<Bytes> {
        let range = self.tail.blocks().get(index)?.range();
        slice(self.bytes.as_ref()?, range.start.checked_sub(self.start)?..range.end.checked_sub(self.start)?)
    }
}

/// These bytes of a part.
pub(super) async fn read<T: Time>(
    context: &Context,
    shard: ShardId,
    part: &Part<T>,
    range: Range<u64>,
) -> Result<Bytes, Error> {
    let bytes = match &part.location {
        Location::Inline(bytes) => slice(bytes, range),
        Location::Blob(name) => context.read_blob(shard, name, range).await?,
    };
    bytes.ok_or_else(|| missing(shard, part))
}

fn missing<T: Time>(shard: ShardId, part: &Part<T>) -> Error {
    naming(Error::corrupt("the object is missing"), shard, part)
}

/// Where adjacent blocks lie.
fn range(tail: &PartTail, blocks: &Range<usize>) -> Range<u64> {
    let blocks = tail.blocks().get(blocks.clone()).unwrap_or_default();
    let start = blocks.first().map_or(0, |block| block.range().start);
    start..blocks.last().map_or(start, |block| block.range().end)
}

/// The memory that a block takes, decoded or not.
pub(super) fn block_bytes(block: &BlockInfo) -> u64 {
    block.decoded_bytes.max(block.len)
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}
