//! Reading a sorted run block by block.
//!
//! Always: one block in memory, and of a block that is larger than the reader may keep, a copy of some of its rows at a
//! time: then the block is read again for the next ones. So any number of runs can be read side by side within a bound,
//! at the price of reading more often.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{Data, Diff, Time};
use crate::error::Error;
use crate::ids::ShardId;
use crate::machine::Context;
use crate::part::{BlockInfo, Chunk, PartTail};
use crate::state::{Location, Part};

use super::whole::naming;

/// Parts up to this size, in bytes, are read with one request: about what a request costs in transfer.
pub const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// Reads the parts of one run in order.
#[derive(Debug)]
pub struct RunReader<T: Time> {
    context: Arc<Context>,
    shard: ShardId,
    parts: VecDeque<Part<T>>,
    open: Option<Open>,
    /// The memory that what it gives out may take at a time.
    chunk_bytes_max: usize,
}

/// A part in the middle of being read.
#[derive(Debug)]
struct Open {
    tail: PartTail,
    /// The whole part, if it is small enough that one request for all of it is the least.
    whole: Option<Bytes>,
    /// The block to be read next.
    block: usize,
    /// The rows of it that were given out before.
    rows: usize,
}

impl<T: Time> RunReader<T> {
    /// A reader of these parts, which together are sorted.
    pub fn new(context: Arc<Context>, shard: ShardId, parts: impl IntoIterator<Item = Part<T>>) -> Self {
        Self { context, shard, parts: parts.into_iter().collect(), open: None, chunk_bytes_max: usize::MAX }
    }

    /// Whether all its parts lie in the state, so that reading takes no memory.
    pub fn is_inline(&self) -> bool {
        self.parts.iter().all(|part| part.blob().is_none())
    }

    /// The same reader, which gives out no more than these bytes at a time, unless a single row has more.
    pub fn within(mut self, chunk_bytes_max: usize) -> Self {
        self.chunk_bytes_max = chunk_bytes_max.max(1);
        self
    }

    /// The next rows; `None` at the end. One request for a part of up to [`WHOLE_BYTES_MAX`]; for a larger one, one for its
    /// footer and one for each block (for each time a block is read). Cancelling leaves nothing undone that cannot be asked for again.
    pub async fn next<K: Data, V: Data, D: Diff>(&mut self) -> Result<Option<Chunk<K, V, T, D>>, Error> {
        while let Some(part) = self.parts.front() {
            let open = match self.open.take() {
                Some(open) => open,
                None => {
                    let small = part.meta.encoded_bytes <= WHOLE_BYTES_MAX.min(self.chunk_bytes_max as u64);
                    let whole =
                        if small { Some(self.read(part, None, 0..part.meta.encoded_bytes).await?) } else { None };
                    let bytes = self.read(part, whole.as_ref(), part.meta.tail_range()?).await?;
                    let tail = PartTail::parse(bytes, &part.meta).map_err(|error| naming(error, self.shard, part))?;
                    Open { tail, whole, block: 0, rows: 0 }
                }
            };
            let open = self.open.insert(open);
            let Some(block) = open.tail.blocks().get(open.block).cloned() else {
                self.open = None;
                self.parts.pop_front();
                continue;
            };
            let in_memory = open.whole.clone();
            let whole = part.blob().is_none() || block_bytes(&block) <= self.chunk_bytes_max as u64;
            let bytes = self.read(part, in_memory.as_ref(), block.range()).await?;
            let Some(open) = &mut self.open else {
                continue;
            };
            let chunk = open.tail.decode_block::<K, V, T, D>(open.block, bytes);
            let chunk = chunk.map_err(|error| naming(error, self.shard, part))?;
            if whole {
                open.block += 1;
                return Ok(Some(chunk));
            }
            let end = chunk.len().min(open.rows + rows_within(&chunk, &block, self.chunk_bytes_max));
            let some = chunk.copy(open.rows..end).map_err(|error| naming(error, self.shard, part))?;
            (open.block, open.rows) = if end == chunk.len() { (open.block + 1, 0) } else { (open.block, end) };
            return Ok(Some(some));
        }
        Ok(None)
    }

    async fn read(&self, part: &Part<T>, whole: Option<&Bytes>, range: Range<u64>) -> Result<Bytes, Error> {
        let bytes = match (&part.location, whole) {
            (Location::Inline(bytes), _) | (_, Some(bytes)) => slice(bytes, range),
            (Location::Blob(name), None) => self.context.read_blob(self.shard, name, range).await?,
        };
        bytes.ok_or_else(|| naming(Error::missing(), self.shard, part))
    }
}

/// The memory that a block takes, decoded or not.
fn block_bytes(block: &BlockInfo) -> u64 {
    block.decoded_bytes.max(block.len)
}

/// How many rows of a block take about so many bytes; at least one.
fn rows_within<K: Data, V: Data, T: Time, D: Diff>(
    chunk: &Chunk<K, V, T, D>,
    block: &BlockInfo,
    bytes_max: usize,
) -> usize {
    let row_bytes = block_bytes(block).div_ceil(chunk.len().max(1) as u64).max(1);
    usize::try_from(bytes_max as u64 / row_bytes).unwrap_or(usize::MAX).max(1)
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}
