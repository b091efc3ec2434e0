//! Merging sorted runs that are read as it goes: what a cursor and a compaction do.
//!
//! Always: the memory of what was read and not merged yet stays within the bound given, however many runs there are. Of
//! each run one chunk is being merged and, where the bound allows for it, more is on its way: read and decoded by the
//! runtime while the caller's thread merges. The more room there is, the more is asked of the store at once, so that
//! one that takes its time is asked early and seldom.

use std::ops::ControlFlow;

use tokio::runtime::Handle;

use timely_persist_core::part::{Chunk, Merge, MergeStep};
use timely_persist_io::life::Task;
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::{Error, ErrorKind};

use super::RunReader;

/// A merge of runs.
#[derive(Debug)]
pub(crate) struct MergeRuns<K: Data, V: Data, T: Time, D: Diff> {
    runs: Vec<Run<K, V, T, D>>,
    merge: Merge<K, V, T, D>,
    runtime: Handle,
    /// Whether the next chunk of a run is read before it is asked for.
    ahead: bool,
}

/// What comes of reading a run: its next chunk, and the reader again.
type Read<K, V, T, D> = (Box<RunReader<T>>, Result<Option<Chunk<K, V, T, D>>, Error>);

#[derive(Debug)]
enum Run<K: Data, V: Data, T: Time, D: Diff> {
    Idle(Box<RunReader<T>>),
    Reading(Task<Read<K, V, T, D>>),
    Ended,
}

impl<K: Data, V: Data, T: Time, D: Diff> MergeRuns<K, V, T, D> {
    /// A merge of these runs, with up to `bytes_max` bytes of chunks in memory, unless that is not one row of each; `kept`
    /// of them may be chunks that the merge is done with and the caller is not. The runtime reads.
    pub(crate) fn new(runs: Vec<RunReader<T>>, bytes_max: usize, kept: usize, runtime: Handle) -> Self {
        let outside = runs.iter().filter(|run| !run.is_inline()).count().max(1);
        // Beside one of each run: the chunk that a run is about to be done with, and one that stays for the row at
        // hand.
        let each = bytes_max / (outside + 2 + kept);
        let largest = runs.iter().map(RunReader::block_bytes).max().unwrap_or_default();
        let ahead = each as u64 >= largest.decoded.saturating_add(largest.decoding);
        // One span is read, one decoded, and the last rows of a third may still be merged; or, of compressed ones, two
        // and two decoded blocks.
        let span_bytes_max = Some(each / 4).filter(|bytes| *bytes as u64 >= largest.decoded);
        let merge = Merge::new(runs.len());
        let runs = runs.into_iter().map(|run| {
            if run.is_inline() {
                return Run::Idle(Box::new(run));
            }
            let run = run.within(if ahead { each / 2 } else { each });
            let run = match span_bytes_max {
                Some(bytes) => run.ahead(bytes, runtime.clone()),
                None => run,
            };
            // Without room to read ahead there is room for the first chunks all the same.
            let begins = ahead || run.begins_whole();
            if begins { read(Box::new(run), &runtime) } else { Run::Idle(Box::new(run)) }
        });
        Self { runs: runs.collect(), merge, runtime, ahead }
    }

    /// The same merge, as [`Merge::splitting`] says.
    pub(crate) fn splitting(self) -> Self {
        Self { merge: self.merge.splitting(), ..self }
    }

    /// Merges what is in memory: see [`Merge::step`]. Where it needs a chunk, [`MergeRuns::supply`] reads it.
    pub(crate) fn step<B>(
        &mut self,
        map_time: impl FnMut(usize, T) -> Option<T>,
        emit: impl FnMut(K::Ref<'_>, V::Ref<'_>, &T, &D) -> ControlFlow<B>,
    ) -> Result<MergeStep<B>, Error> {
        self.merge.step(map_time, emit)
    }

    /// As [`MergeRuns::step`], with places instead of rows: see [`Merge::step_places`].
    pub(super) fn step_places<B>(
        &mut self,
        map_time: impl FnMut(usize, T) -> Option<T>,
        emit: impl FnMut(usize, &Chunk<K, V, T, D>, usize, &T, &D) -> ControlFlow<B>,
    ) -> Result<MergeStep<B>, Error> {
        self.merge.step_places(map_time, emit)
    }

    /// Whether supplying the next chunk of a run replaces another.
    pub(super) fn has_chunk(&self, input: usize) -> bool {
        self.merge.has_chunk(input)
    }

    /// Supplies the next chunk of a run. Cancelling leaves nothing undone that cannot be asked for again.
    pub(crate) async fn supply(&mut self, input: usize) -> Result<(), Error> {
        let Some(run) = self.runs.get_mut(input) else {
            return Err(Error::new(ErrorKind::Bug, format!("there is no run {input} to merge")));
        };
        let chunk = match run {
            Run::Ended => None,
            Run::Idle(reader) => reader.next().await?,
            Run::Reading(reading) => {
                let (reader, chunk) = reading.join().await?;
                *run = Run::Idle(reader);
                chunk?
            }
        };
        match chunk {
            Some(chunk) => {
                if self.ahead
                    && let Run::Idle(reader) = std::mem::replace(run, Run::Ended)
                {
                    *run = if reader.is_inline() { Run::Idle(reader) } else { read(reader, &self.runtime) };
                }
                self.merge.push_chunk(input, chunk)
            }
            None => {
                *run = Run::Ended;
                self.merge.finish_input(input);
                Ok(())
            }
        }
    }
}

fn read<K: Data, V: Data, T: Time, D: Diff>(mut reader: Box<RunReader<T>>, runtime: &Handle) -> Run<K, V, T, D> {
    Run::Reading(Task::start(runtime, "reading a part was stopped", async move {
        let chunk = reader.next().await;
        (reader, chunk)
    }))
}
