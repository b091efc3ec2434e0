//! Reading sorted runs block by block, and merging them: what a cursor and a compaction do, in bounded memory.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{Data, Diff, Time};
use crate::error::Error;
use crate::ids::ShardId;
use crate::machine::Context;
use crate::part::{Chunk, Merge, MergeStep, PartTail};
use crate::state::{Location, Part};

use super::whole::naming;

/// Reads the parts of one run in order, one block in memory at a time.
#[derive(Debug)]
pub struct RunReader<T: Time> {
    context: Arc<Context>,
    shard: ShardId,
    parts: VecDeque<Part<T>>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    tail: PartTail,
    next: usize,
}

impl<T: Time> RunReader<T> {
    /// A reader of these parts, which together are sorted.
    pub fn new(context: Arc<Context>, shard: ShardId, parts: impl IntoIterator<Item = Part<T>>) -> Self {
        Self { context, shard, parts: parts.into_iter().collect(), open: None }
    }

    /// The next block; `None` at the end. One range request each, and one for the footer of each part.
    pub async fn next<K: Data, V: Data, D: Diff>(&mut self) -> Result<Option<Chunk<K, V, T, D>>, Error> {
        while let Some(part) = self.parts.front() {
            let open = match self.open.take() {
                Some(open) => open,
                None => {
                    let bytes = self.read(part, part.meta.tail_range()?).await?;
                    let tail = PartTail::parse(bytes, &part.meta).map_err(|error| naming(error, self.shard, part))?;
                    Open { tail, next: 0 }
                }
            };
            let Some(block) = open.tail.blocks().get(open.next) else {
                self.parts.pop_front();
                continue;
            };
            let bytes = self.read(part, block.range()).await?;
            let chunk = open.tail.decode_block(open.next, bytes).map_err(|error| naming(error, self.shard, part))?;
            self.open = Some(Open { next: open.next + 1, ..open });
            return Ok(Some(chunk));
        }
        Ok(None)
    }

    async fn read(&self, part: &Part<T>, range: std::ops::Range<u64>) -> Result<Bytes, Error> {
        let bytes = match &part.location {
            Location::Inline(bytes) => slice(bytes, range),
            Location::Blob(name) => self.context.read_blob(self.shard, name, range).await?,
        };
        bytes.ok_or_else(|| naming(Error::corrupt("the object is missing"), self.shard, part))
    }
}

fn slice(bytes: &Bytes, range: std::ops::Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}

/// A merge of runs that are read as it goes: one block of each in memory.
#[derive(Debug)]
pub struct MergeRuns<K: Data, V: Data, T: Time, D: Diff> {
    runs: Vec<RunReader<T>>,
    merge: Merge<K, V, T, D>,
}

impl<K: Data, V: Data, T: Time, D: Diff> MergeRuns<K, V, T, D> {
    /// A merge of these runs.
    pub fn new(runs: Vec<RunReader<T>>) -> Self {
        Self { merge: Merge::new(runs.len()), runs }
    }

    /// Merges what is in memory: see [`Merge::step`]. Where it needs a block, [`MergeRuns::supply`] reads it.
    pub fn step<B>(
        &mut self,
        map_time: impl FnMut(usize, T) -> Option<T>,
        emit: impl FnMut(K::Ref<'_>, V::Ref<'_>, &T, &D) -> ControlFlow<B>,
    ) -> Result<MergeStep<B>, Error> {
        self.merge.step(map_time, emit)
    }

    /// Reads the next block of a run. Cancelling leaves nothing undone that cannot be asked for again.
    pub async fn supply(&mut self, input: usize) -> Result<(), Error> {
        let Some(run) = self.runs.get_mut(input) else {
            return Err(Error::invalid(format!("there is no run {input} to merge")));
        };
        match run.next().await? {
            Some(chunk) => self.merge.push_chunk(input, chunk),
            None => {
                self.merge.finish_input(input);
                Ok(())
            }
        }
    }
}
