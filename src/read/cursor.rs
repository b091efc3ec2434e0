//! A snapshot as a stream of consolidated rows, in bounded memory.
//!
//! Always: rows come in the order of (key, value, time), each of these once, none with a diff of zero, compared as
//! values and not as bytes. What the rows were read from is leased until the cursor is done or dropped.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::codec::{Data, Diff, Time};
use crate::error::Error;
use crate::fetch::{MergeRuns, RunReader, Window};
use crate::machine::{Context, Machine};
use crate::part::{EncodeOptions, MergeStep, PartStats, SortedPartWriter};

use super::{FetchedPart, LeasedPart};

/// Rows that one call gives at most.
const ROWS_MAX: usize = 8_192;

/// Rows of a part that an audit looks at, at most: spread evenly.
const AUDITED_ROWS_MAX: usize = 1_024;

/// The contents of a shard at one time, consolidated, a piece at a time: from `ReadHandle::snapshot_cursor`.
///
/// It merges the sorted runs of the snapshot and keeps `Config::cursor_bytes_max` bytes of decoded rows in memory, and
/// one more block while it reads one (1 MiB, or a row that is larger). Up to half as many runs as the bound has MiB, it
/// reads the next block of each run ahead; up to as many runs as it has MiB, it keeps a block of each run; with more
/// runs, a part of a block of each, and it reads blocks several times. Inline parts lie in the state and take nothing.
///
/// It may be dropped at any moment.
pub struct Cursor<K: Data, V: Data, T: Time, D: Diff> {
    context: Arc<Context>,
    merge: MergeRuns<K, V, T, D>,
    /// Of each run: what the reader sees of it.
    windows: Vec<Window<T>>,
    /// Leases of all parts; none once all rows were given.
    leases: Vec<LeasedPart<T>>,
    done: bool,
}

impl<K: Data, V: Data, T: Time, D: Diff> Cursor<K, V, T, D> {
    /// A cursor over these runs of leased parts.
    pub(super) fn new(machine: &Machine<T>, runs: Vec<Vec<LeasedPart<T>>>) -> Self {
        let context = Arc::clone(machine.context());
        let reader = |run: &Vec<LeasedPart<T>>| {
            let parts = run.iter().map(|part| part.reading().part.clone());
            RunReader::new(Arc::clone(&context), machine.shard(), parts)
        };
        let windows = runs.iter().filter_map(|run| run.first()).map(|part| part.reading().window.clone()).collect();
        let readers = runs.iter().filter(|run| !run.is_empty()).map(reader).collect();
        let merge = MergeRuns::new(readers, context.config.cursor_bytes_max, context.runtime.clone());
        Self { context, merge, windows, leases: runs.into_iter().flatten().collect(), done: false }
    }

    /// The next rows, at least one; `None` at the end.
    ///
    /// `LeaseExpired` if the reader was lost; otherwise errors as in `PartFetcher::fetch`. After an error it has ended,
    /// and gives `None`. Cancelling loses no row.
    pub async fn next(&mut self) -> Result<Option<Vec<((K, V), T, D)>>, Error> {
        let mut rows = Vec::new();
        if self.next_into(&mut rows).await? { Ok(Some(rows)) } else { Ok(None) }
    }

    /// Adds the next rows to `rows`; whether there were any.
    pub(super) async fn next_into(&mut self, rows: &mut Vec<((K, V), T, D)>) -> Result<bool, Error> {
        let enough = rows.len() + ROWS_MAX;
        loop {
            if self.done {
                return Ok(false);
            }
            let step = match self.merge_into(rows, enough) {
                Ok(MergeStep::NeedChunk(input)) => self.supply(input).await,
                Ok(MergeStep::Paused(())) => return Ok(true),
                Ok(MergeStep::Done) => {
                    self.end();
                    return Ok(rows.len() + ROWS_MAX > enough);
                }
                Err(error) => Err(error),
            };
            if let Err(error) = step {
                let error = match self.leases.first() {
                    Some(part) => part.ledger().explain(error).await,
                    None => error,
                };
                self.end();
                return Err(error);
            }
        }
    }

    async fn supply(&mut self, input: usize) -> Result<(), Error> {
        let context = Arc::clone(&self.context);
        context.within(self.merge.supply(input)).await
    }

    fn merge_into(&mut self, rows: &mut Vec<((K, V), T, D)>, enough: usize) -> Result<MergeStep, Error> {
        let windows = &self.windows;
        let show = |input: usize, time: T| windows.get(input).and_then(|window: &Window<T>| window.show(time));
        self.merge.step(show, |key, value, time, diff| {
            rows.push(((K::from_ref(key), V::from_ref(value)), time.clone(), diff.clone()));
            if rows.len() >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    /// Gives the leases back.
    fn end(&mut self) {
        self.done = true;
        self.leases.clear();
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> std::fmt::Debug for Cursor<K, V, T, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("parts", &self.leases.len()).field("done", &self.done).finish_non_exhaustive()
    }
}

/// Whether a predicate that discarded this part was wrong to: whether it would keep one of its rows, had that row a
/// part of its own. Looks at some of the rows.
pub(super) fn is_wrongly_discarded<K: Data, V: Data, T: Time, D: Diff>(
    part: &FetchedPart<K, V, T, D>,
    keep: impl Fn(&PartStats) -> bool,
) -> Result<bool, Error> {
    let rows: usize = (0..part.chunks()).map(|chunk| part.chunk_rows(chunk)).sum();
    for (key, value, time, diff) in part.refs().step_by(rows.div_ceil(AUDITED_ROWS_MAX).max(1)) {
        let mut writer = SortedPartWriter::<K, V, T, D>::new(&EncodeOptions::default())?;
        writer.push(key, value, &time, &diff)?;
        let stats = writer.finish()?.and_then(|part| PartStats::decode(&part.meta.stats));
        if stats.is_some_and(|stats| keep(&stats)) {
            return Ok(true);
        }
    }
    Ok(false)
}
