//! Reading a sorted run block by block.
//!
//! Always: the spans of blocks that were asked for, one block of them decoded, and of a block that is larger than the
//! reader may keep, a copy of some of its rows at a time: then the block is read again for the next ones. So any number of
//! runs can be read side by side within a bound, at the price of reading more often.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::codec::{Data, Diff, Time};
use crate::error::Error;
use crate::ids::ShardId;
use crate::machine::Context;
use crate::part::{BlockInfo, Chunk};
use crate::state::Part;

use super::spans::{Span, Spans, block_bytes, read};
use super::task::Task;
use super::whole::naming;

/// What comes of reading a span: it, and what reads the next one.
type Read<T> = (Spans<T>, Result<Option<Span<T>>, Error>);

/// Reads the parts of one run in order.
#[derive(Debug)]
pub struct RunReader<T: Time> {
    context: Arc<Context>,
    shard: ShardId,
    /// What reads the next span; `None` while that is being read ahead.
    spans: Option<Spans<T>>,
    ahead: Option<Task<Read<T>>>,
    /// Where spans are read ahead, if they are.
    runtime: Option<Handle>,
    open: Option<Open<T>>,
    is_inline: bool,
    /// The memory that what it gives out may take at a time.
    chunk_bytes_max: usize,
}

/// A span in the middle of being read.
#[derive(Debug)]
struct Open<T: Time> {
    span: Span<T>,
    /// The block to be given out next.
    block: usize,
    /// The rows of it that were given out before.
    rows: usize,
}

impl<T: Time> RunReader<T> {
    /// A reader of these parts, which together are sorted. Block by block, unless [`RunReader::within`] allows more.
    pub fn new(context: Arc<Context>, shard: ShardId, parts: impl IntoIterator<Item = Part<T>>) -> Self {
        let spans = Spans::new(Arc::clone(&context), shard, parts.into_iter().collect());
        let (is_inline, chunk_bytes_max) = (spans.is_inline(), usize::MAX);
        Self { context, shard, spans: Some(spans), ahead: None, runtime: None, open: None, is_inline, chunk_bytes_max }
    }

    /// Whether all its parts lie in the state, so that reading takes no memory.
    pub fn is_inline(&self) -> bool {
        self.is_inline
    }

    /// Whether its first rows are one request away.
    pub fn begins_whole(&self) -> bool {
        self.spans.as_ref().is_some_and(Spans::next_is_whole)
    }

    /// The same reader, which gives out no more than `chunk_bytes_max` at a time, unless a single row has more.
    pub fn within(mut self, chunk_bytes_max: usize) -> Self {
        self.chunk_bytes_max = chunk_bytes_max.max(1);
        if let Some(spans) = &mut self.spans {
            spans.bytes_max = self.chunk_bytes_max as u64;
        }
        self
    }

    /// The same reader, which asks for up to `span_bytes_max` with one request, and for the next ones before they are
    /// wanted: up to two such spans are in memory.
    pub fn ahead(mut self, span_bytes_max: usize, runtime: Handle) -> Self {
        if let Some(spans) = &mut self.spans {
            spans.bytes_max = span_bytes_max as u64;
        }
        self.runtime = Some(runtime);
        self
    }

    /// The next rows; `None` at the end. One request for a part that fits in a span; for a larger one, one for its footer
    /// and one for each span (for each time a block is read). Cancelling leaves nothing undone that cannot be asked for
    /// again.
    pub async fn next<K: Data, V: Data, D: Diff>(&mut self) -> Result<Option<Chunk<K, V, T, D>>, Error> {
        loop {
            if self.open.is_none() {
                let Some(span) = self.next_span().await? else { return Ok(None) };
                self.open = Some(Open { block: span.blocks.start, span, rows: 0 });
                self.read_ahead();
            }
            let Some(open) = &mut self.open else { continue };
            let Some(info) = open.span.tail.blocks().get(open.block).filter(|_| open.block < open.span.blocks.end) else {
                self.open = None;
                continue;
            };
            let part = &open.span.part;
            let bytes = match open.span.block(open.block) {
                Some(bytes) => bytes,
                None => read(&self.context, self.shard, part, info.range()).await?,
            };
            let chunk = open.span.tail.decode_block::<K, V, T, D>(open.block, bytes);
            let chunk = chunk.map_err(|error| naming(error, self.shard, part))?;
            let chunk_bytes_max = self.chunk_bytes_max;
            if part.blob().is_none() || block_bytes(info) <= chunk_bytes_max as u64 {
                open.block += 1;
                if open.block == open.span.blocks.end {
                    self.open = None; // its bytes go with the chunk
                }
                return Ok(Some(chunk));
            }
            let end = chunk.len().min(open.rows + rows_within(&chunk, info, chunk_bytes_max));
            let some = chunk.copy(open.rows..end).map_err(|error| naming(error, self.shard, part))?;
            (open.block, open.rows) = if end == chunk.len() { (open.block + 1, 0) } else { (open.block, end) };
            open.span.bytes.take_if(|bytes| bytes.len() > chunk_bytes_max);
            return Ok(Some(some));
        }
    }

    async fn next_span(&mut self) -> Result<Option<Span<T>>, Error> {
        if let Some(ahead) = &mut self.ahead {
            let joined = ahead.join().await;
            self.ahead = None;
            let (spans, span) = joined?;
            self.spans = Some(spans);
            return span;
        }
        let stopped = || Error::unavailable("reading a run was stopped").of_shard(self.shard);
        self.spans.as_mut().ok_or_else(stopped)?.next().await
    }

    /// Begins to read the next span, if there is one.
    fn read_ahead(&mut self) {
        let Some(runtime) = &self.runtime else { return };
        let Some(mut spans) = self.spans.take_if(|spans| !spans.is_empty()) else { return };
        self.ahead = Some(Task::start(runtime, async move {
            let span = spans.next().await;
            (spans, span)
        }));
    }
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
