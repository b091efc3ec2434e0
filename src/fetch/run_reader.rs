//! Reading a sorted run block by block.
//!
//! Always: the spans of blocks that were asked for, one block of them decoded, and of a block that is larger than the
//! reader may keep, a copy of some of its rows at a time: then the block is read again for the next ones. So any number
//! of runs can be read side by side within a bound, at the price of reading more often.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::runtime::Handle;

use timely_persist_core::part::{BlockInfo, Blocks, Chunk, EncodeOptions, RowLens};
use timely_persist_core::state::Part;
use timely_persist_io::blobs::Blobs;
use timely_persist_io::life::{Task, guarded};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::ShardId;

use super::part_reader::{PartReader, WHOLE_BYTES_MAX};
use super::source::Source;

/// The memory that reading a run takes, in bytes: what its largest block takes, and while it is decoded.
///
/// A guess where rows differ: each is taken for as large as the average of its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockBytes {
    /// Decoded.
    pub decoded: u64,
    /// Decoded and, where it was compressed, encoded.
    pub decoding: u64,
}

impl BlockBytes {
    /// Of these parts. Those that are inline are in memory as it is.
    pub(crate) fn of<'a, T: Time>(parts: impl IntoIterator<Item = &'a Part<T>>) -> Self {
        let block_bytes_max = EncodeOptions::default().chunk_bytes_max as u64;
        let parts = parts.into_iter().filter(|part| part.blob().is_some());
        let blocks = parts.map(|Part { meta, .. }| {
            let row = meta.decoded_bytes / meta.rows.max(1);
            let decoded = row.max(block_bytes_max).min(meta.decoded_bytes);
            let compressed = meta.encoded_bytes < meta.decoded_bytes;
            Self { decoded, decoding: if compressed { decoded.saturating_mul(2) } else { decoded } }
        });
        blocks.max().unwrap_or_default()
    }
}

/// A part, and the lens through which its rows are seen, if there is one.
pub(crate) type Seen<T> = (Arc<Part<T>>, Option<Arc<RowLens>>);

/// Reads the parts of one run in order.
#[derive(Debug)]
pub(crate) struct RunReader<T: Time> {
    shard: ShardId,
    /// What nothing was asked of yet.
    waiting: VecDeque<Source<T>>,
    /// The part that is read span by span, unless that happens ahead.
    part: Option<PartReader<T>>,
    /// What is read before it is wanted.
    ahead: VecDeque<Ahead<T>>,
    /// Where it is, if it is.
    runtime: Option<Handle>,
    /// The span that is being given out.
    open: Option<(Source<T>, Blocks)>,
    /// The rows of its first block that were given out before.
    rows: usize,
    is_inline: bool,
    /// Whether the runtime ended under it.
    stopped: bool,
    /// The memory that what it gives out may take at a time.
    chunk_bytes_max: usize,
    /// The memory that may be asked for with one request.
    span_bytes_max: u64,
}

/// The next span of a part, on its way.
#[derive(Debug)]
struct Ahead<T: Time> {
    bytes: u64,
    /// Whether the part has no other span.
    whole: bool,
    read: Task<ReadAhead<T>>,
}

/// What comes of reading a span: its blocks, and the reader again.
type ReadAhead<T> = (PartReader<T>, Result<Option<Blocks>, Error>);

impl<T: Time> RunReader<T> {
    /// A reader of these parts, which together are sorted, each through its lens.
    pub(crate) fn new(blobs: Arc<Blobs>, shard: ShardId, parts: impl IntoIterator<Item = Seen<T>>) -> Self {
        let source = |(part, lens)| Source::new(Arc::clone(&blobs), shard, part).through(lens);
        let waiting: VecDeque<_> = parts.into_iter().map(source).collect();
        Self {
            shard,
            is_inline: waiting.iter().all(Source::is_inline),
            waiting,
            part: None,
            ahead: VecDeque::new(),
            runtime: None,
            open: None,
            rows: 0,
            stopped: false,
            chunk_bytes_max: usize::MAX,
            span_bytes_max: WHOLE_BYTES_MAX,
        }
    }

    /// Whether all its parts lie in the state, so that reading takes no memory.
    pub(super) fn is_inline(&self) -> bool {
        self.is_inline
    }

    /// The memory that reading it takes, if it has not begun.
    pub(super) fn block_bytes(&self) -> BlockBytes {
        BlockBytes::of(self.waiting.iter().map(Source::part))
    }

    /// Whether its first rows are one request away.
    pub(super) fn begins_whole(&self) -> bool {
        self.waiting.front().is_some_and(|part| PartReader::is_whole(part, self.span_bytes_max))
    }

    /// The same reader, which gives out no more than these bytes at a time, unless a single row has more.
    pub(super) fn within(mut self, chunk_bytes_max: usize) -> Self {
        self.chunk_bytes_max = chunk_bytes_max.max(1);
        self.span_bytes_max = self.span_bytes_max.min(self.chunk_bytes_max as u64);
        self
    }

    /// The same reader, which asks for up to `span_bytes_max` with one request and has as much asked for before it is
    /// wanted: twice that is in memory.
    pub(super) fn ahead(mut self, span_bytes_max: usize, runtime: Handle) -> Self {
        self.span_bytes_max = span_bytes_max as u64;
        self.runtime = Some(runtime);
        self
    }

    /// The next rows; `None` at the end. One request for a part that fits in a span; for a larger one, one for its
    /// footer and one for each span (for each time a block is read). Cancelling leaves nothing undone that cannot be
    /// asked for again.
    pub(super) async fn next<K: Data, V: Data, D: Diff>(&mut self) -> Result<Option<Chunk<K, V, T, D>>, Error> {
        loop {
            if self.open.is_none() {
                self.open = self.next_span().await?;
            }
            let Some((source, blocks)) = &mut self.open else { return Ok(None) };
            let Some(info) = blocks.first() else {
                self.open = None;
                continue;
            };
            let bytes = match blocks.first_bytes() {
                Some(bytes) => bytes,
                None => source.read(info.range()).await?,
            };
            let chunk = guarded(|| blocks.decode_first::<K, V, T, D>(bytes));
            let chunk = source.trust(chunk).await?;
            let chunk_bytes_max = self.chunk_bytes_max;
            if source.is_inline() || info.memory_bytes() <= chunk_bytes_max as u64 {
                blocks.skip_first();
                if blocks.first().is_none() {
                    self.open = None; // its bytes go with the chunk
                }
                return Ok(Some(chunk));
            }
            let end = chunk.len().min(self.rows + rows_within(&chunk, info, chunk_bytes_max));
            let some = chunk.copy(self.rows..end).map_err(|error| source.name(error))?;
            self.rows = end;
            if end == chunk.len() {
                self.rows = 0;
                blocks.skip_first();
            }
            blocks.drop_bytes(chunk_bytes_max);
            return Ok(Some(some));
        }
    }

    async fn next_span(&mut self) -> Result<Option<(Source<T>, Blocks)>, Error> {
        loop {
            if self.stopped {
                return Err(Error::new(ErrorKind::Closed, "reading a run was stopped").of_shard(self.shard));
            }
            if let Some(part) = &mut self.part {
                let source = part.source().clone();
                let span = part.next(self.span_bytes_max).await?;
                if let Some(part) = self.part.take_if(|part| self.runtime.is_some() || part.is_finished()) {
                    self.go_on(part);
                }
                match span {
                    Some(blocks) => return Ok(Some((source, blocks))),
                    None => continue,
                }
            }
            self.read_ahead();
            if let Some(first) = self.ahead.front_mut() {
                let joined = first.read.join().await;
                self.ahead.pop_front();
                let (part, span) = joined.inspect_err(|_| self.stopped = true)?;
                match span {
                    Err(error) => {
                        self.part = Some(part); // it may be asked again
                        return Err(error);
                    }
                    Ok(None) => continue,
                    Ok(Some(blocks)) => {
                        let source = part.source().clone();
                        self.go_on(part);
                        return Ok(Some((source, blocks)));
                    }
                }
            }
            let Some(part) = self.waiting.pop_front() else { return Ok(None) };
            self.part = Some(PartReader::new(part, 0));
        }
    }

    /// Begins to read what follows a span of this part.
    fn go_on(&mut self, part: PartReader<T>) {
        if let Some(runtime) = self.runtime.as_ref().filter(|_| !part.is_finished()) {
            let bytes = self.span_bytes_max;
            self.ahead.push_front(Ahead { bytes, whole: false, read: start(runtime, part, bytes) });
        }
        self.read_ahead();
    }

    /// Begins to read the next parts, as far as a span's bytes go.
    fn read_ahead(&mut self) {
        let Some(runtime) = self.runtime.clone() else { return };
        let mut bytes: u64 = self.ahead.iter().map(|ahead| ahead.bytes).sum();
        while self.ahead.back().is_none_or(|last| last.whole)
            && let Some(next) = self.waiting.front()
        {
            let whole = PartReader::is_whole(next, self.span_bytes_max);
            let next_bytes = next.memory_bytes().min(self.span_bytes_max);
            bytes = bytes.saturating_add(next_bytes);
            if !self.ahead.is_empty() && bytes > self.span_bytes_max {
                return;
            }
            if let Some(part) = self.waiting.pop_front() {
                let read = start(&runtime, PartReader::new(part, 0), self.span_bytes_max);
                self.ahead.push_back(Ahead { bytes: next_bytes, whole, read });
            }
        }
    }
}

fn start<T: Time>(runtime: &Handle, mut part: PartReader<T>, bytes_max: u64) -> Task<ReadAhead<T>> {
    Task::start(runtime, "reading a part was stopped", async move {
        let span = part.next(bytes_max).await;
        (part, span)
    })
}

/// How many rows of a block take about so many bytes; at least one.
fn rows_within<K: Data, V: Data, T: Time, D: Diff>(
    chunk: &Chunk<K, V, T, D>,
    block: &BlockInfo,
    bytes_max: usize,
) -> usize {
    let row_bytes = block.memory_bytes().div_ceil(chunk.len().max(1) as u64).max(1);
    usize::try_from(bytes_max as u64 / row_bytes).unwrap_or(usize::MAX).max(1)
}
