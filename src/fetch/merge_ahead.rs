//! Merging ahead of who wants the rows: the runtime finds their order while the caller copies those found before.
//!
//! Always: at most two pieces exist, the one that is being copied and the one that is being found. What both refer to is
//! counted in the bound of the merge: a piece ends early rather than that the merge be done with too many chunks meanwhile.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::runtime::Handle;

use timely_persist_core::part::{Chunk, MergeStep};
use timely_persist_io::life::Task;
use timely_persist_types::codec::{Column, Data, Diff, Time};
use timely_persist_types::error::Error;

use super::{MergeRuns, RunReader, Window};

/// Rows that a piece has at most.
const ROWS_MAX: usize = 8_192;

/// Chunks that the merge may be done with while it finds one piece.
const DONE_MAX: usize = 2;

/// Consecutive rows of a merge, in the chunks where they were found.
#[derive(Debug)]
pub(crate) struct Piece<K: Data, V: Data, T: Time, D: Diff> {
    chunks: Vec<Chunk<K, V, T, D>>,
    /// Of each run: where in `chunks` the last of its chunks is.
    last: Vec<usize>,
    rows: Vec<Place<T, D>>,
}

#[derive(Debug)]
struct Place<T, D> {
    chunk: usize,
    row: usize,
    time: T,
    diff: D,
}

impl<K: Data, V: Data, T: Time, D: Diff> Piece<K, V, T, D> {
    fn new(runs: usize) -> Self {
        Self { chunks: Vec::new(), last: vec![0; runs], rows: Vec::new() }
    }

    fn clear(&mut self) {
        self.chunks.clear();
        self.rows.clear();
    }

    #[inline]
    fn push(&mut self, run: usize, chunk: &Chunk<K, V, T, D>, row: usize, time: T, diff: D) {
        if !self.chunks.get(self.last[run]).is_some_and(|last| last.is(chunk)) {
            self.last[run] = self.chunks.len();
            self.chunks.push(chunk.clone());
        }
        self.rows.push(Place { chunk: self.last[run], row, time, diff });
    }

    /// The rows, owned.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = ((K, V), T, D)> {
        self.rows.iter().map(|Place { chunk, row, time, diff }| {
            let chunk = &self.chunks[*chunk];
            let data = (K::from_ref(chunk.keys().get(*row)), V::from_ref(chunk.values().get(*row)));
            (data, time.clone(), diff.clone())
        })
    }
}

/// A merge of runs, a piece ahead.
#[derive(Debug)]
pub(crate) struct MergeAhead<K: Data, V: Data, T: Time, D: Diff> {
    merging: Merging<K, V, T, D>,
    /// What was found last.
    piece: Piece<K, V, T, D>,
    runtime: Handle,
}

#[derive(Debug)]
enum Merging<K: Data, V: Data, T: Time, D: Diff> {
    Here(Box<Finder<K, V, T, D>>),
    Ahead(Task<Found<K, V, T, D>>),
    Ended,
}

type Found<K, V, T, D> = (Box<Finder<K, V, T, D>>, Result<bool, Error>);

impl<K: Data, V: Data, T: Time, D: Diff> MergeAhead<K, V, T, D> {
    /// A merge of these runs as seen through their windows. It and the pieces take up to `bytes_max` bytes of chunks in
    /// memory, unless that is not one row of each.
    pub(crate) fn new(
        runs: Vec<RunReader<T>>,
        windows: Vec<Arc<Window<T>>>,
        bytes_max: usize,
        runtime: Handle,
    ) -> Self {
        let piece = || Piece::new(runs.len());
        let (found, piece) = (piece(), piece());
        let merge = MergeRuns::new(runs, bytes_max, 2 * DONE_MAX, runtime.clone());
        let finder = Finder { merge, windows, piece: found, done_with: 0 };
        Self { merging: Merging::Here(Box::new(finder)), piece, runtime }
    }

    /// The next rows, at least one; `None` at the end. Only from the second piece on the runtime is at work: what is small
    /// is not worth waking another thread. Cancelling leaves nothing undone that cannot be asked for again.
    pub(crate) async fn next(&mut self) -> Result<Option<&Piece<K, V, T, D>>, Error> {
        self.piece.clear();
        while self.piece.rows.is_empty() {
            let more = match &mut self.merging {
                Merging::Ended => return Ok(None),
                Merging::Here(finder) => finder.find().await?,
                Merging::Ahead(task) => {
                    let (finder, more) = task.join().await?;
                    self.merging = Merging::Here(finder);
                    more?
                }
            };
            if let Merging::Here(mut finder) = std::mem::replace(&mut self.merging, Merging::Ended) {
                std::mem::swap(&mut self.piece, &mut finder.piece);
                finder.done_with = 0;
                if more {
                    self.merging = Merging::Ahead(find(finder, &self.runtime));
                }
            }
        }
        Ok(Some(&self.piece))
    }
}

fn find<K: Data, V: Data, T: Time, D: Diff>(
    mut finder: Box<Finder<K, V, T, D>>,
    runtime: &Handle,
) -> Task<Found<K, V, T, D>> {
    Task::start(runtime, "reading a part was stopped", async move {
        let more = finder.find().await;
        (finder, more)
    })
}

/// Finds pieces.
#[derive(Debug)]
struct Finder<K: Data, V: Data, T: Time, D: Diff> {
    merge: MergeRuns<K, V, T, D>,
    /// Of each run: what the reader sees of it.
    windows: Vec<Arc<Window<T>>>,
    piece: Piece<K, V, T, D>,
    /// The chunks that the merge was done with since the piece was begun.
    done_with: usize,
}

impl<K: Data, V: Data, T: Time, D: Diff> Finder<K, V, T, D> {
    /// Completes the piece; whether there may be more. Cancelling leaves a piece to be completed.
    async fn find(&mut self) -> Result<bool, Error> {
        loop {
            let (windows, piece) = (&self.windows, &mut self.piece);
            let show = |run: usize, time: T| windows.get(run).and_then(|window| window.show(time));
            let step = self.merge.step_places(show, |run, chunk, row, time, diff| {
                piece.push(run, chunk, row, time.clone(), diff.clone());
                if piece.rows.len() >= ROWS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            match step {
                MergeStep::Done => return Ok(false),
                MergeStep::Paused(()) => return Ok(true),
                MergeStep::NeedChunk(run) => {
                    let replaces = self.merge.has_chunk(run);
                    if replaces && self.done_with == DONE_MAX {
                        return Ok(true);
                    }
                    self.merge.supply(run).await?;
                    self.done_with += usize::from(replaces);
                }
            }
        }
    }
}
