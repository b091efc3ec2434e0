//! A snapshot as a stream of consolidated rows, in bounded memory.
//!
//! Always: rows come in the order of (key, value, time), each of these once, none with a diff of zero, compared as
//! values and not as bytes. What the rows were read from is leased until the cursor is done or dropped.

use std::sync::Arc;

use crate::fetch::{MergeAhead, RunReader, Seen};
use crate::machine::Machine;
use timely_persist_core::part::{EncodeOptions, PartStats, SortedPartWriter};
use timely_persist_core::state::Types;
use timely_persist_io::life::{Life, guarded, guarded_async};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;

use super::{FetchedPart, LeasedPart};

/// Rows of a part that an audit looks at, at most: spread evenly.
const AUDITED_ROWS_MAX: usize = 1_024;

/// The contents of a shard at one time, consolidated, a piece at a time: from `ReadHandle::snapshot_cursor`.
///
/// It merges the sorted runs of the snapshot and keeps `config.read.cursor_bytes_max` bytes of decoded rows in memory, and
/// one more block while it reads one (1 MiB, or a row that is larger). Some of that is the rows that the client's threads
/// merge while the caller takes those before. With n MiB it reads the next block of each run ahead of up to n / 2 - 6
/// runs, keeps a block of each of up to n - 6 runs, and with more runs a part of a block of each, and then it reads
/// blocks several times. Inline parts lie in the state and take nothing.
///
/// It may be dropped at any moment.
pub struct Cursor<K: Data, V: Data, T: Time, D: Diff> {
    life: Arc<Life>,
    merge: MergeAhead<K, V, T, D>,
    /// Leases of all parts; none once all rows were given.
    leases: Vec<LeasedPart<T>>,
    done: bool,
}

impl<K: Data, V: Data, T: Time, D: Diff> Cursor<K, V, T, D> {
    /// A cursor over these runs of leased parts, in so much memory.
    pub(super) fn new(
        machine: &Machine<T>,
        types: &Types,
        runs: Vec<Vec<LeasedPart<T>>>,
        bytes_max: usize,
    ) -> Result<Self, Error> {
        let (life, blobs) = (Arc::clone(machine.life()), machine.blobs());
        let seen = |part: &LeasedPart<T>| Ok((Arc::clone(&part.reading().part), part.reading().lens_to(types)?));
        let reader = |run: &Vec<LeasedPart<T>>| {
            let parts: Vec<Seen<T>> = run.iter().map(seen).collect::<Result<_, Error>>()?;
            Ok(RunReader::new(Arc::clone(blobs), machine.shard(), parts))
        };
        let windows = runs.iter().filter_map(|run| run.first()).map(|part| part.reading().window.clone()).collect();
        let readers = runs.iter().filter(|run| !run.is_empty()).map(reader).collect::<Result<_, Error>>()?;
        let merge = MergeAhead::new(readers, windows, bytes_max, life.work().clone());
        Ok(Self { life, merge, leases: runs.into_iter().flatten().collect(), done: false })
    }

    /// The next rows, at least one; `None` at the end.
    ///
    /// `LeaseExpired` if the reader was lost; `Invalid` if the `Ord`, the arithmetic or the codec of a type of the rows
    /// panicked, on whichever thread, and for a row whose diffs add up beyond what their type holds; otherwise errors as in `PartFetcher::fetch`. After an error it has ended, and gives `None`.
    /// Cancelling loses no row.
    pub async fn next(&mut self) -> Result<Option<Vec<((K, V), T, D)>>, Error> {
        let mut rows = Vec::new();
        if self.next_into(&mut rows).await? { Ok(Some(rows)) } else { Ok(None) }
    }

    /// Adds the next rows to `rows`; whether there were any.
    pub(super) async fn next_into(&mut self, rows: &mut Vec<((K, V), T, D)>) -> Result<bool, Error> {
        if self.done {
            return Ok(false);
        }
        let before = rows.len();
        let error = match self.life.within(guarded_async(self.merge.next())).await {
            Ok(Some(piece)) => {
                let copied = guarded(|| {
                    rows.extend(piece.rows());
                    Ok(true)
                });
                match copied {
                    Ok(more) => return Ok(more),
                    Err(error) => error,
                }
            }
            Ok(None) => {
                self.end();
                return Ok(false);
            }
            Err(error) => error,
        };
        rows.truncate(before);
        let error = match self.leases.first() {
            Some(part) => part.ledger().explain(error).await.of_shard(part.reading().shard),
            None => error,
        };
        self.end();
        Err(error)
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
    let rows: usize = part.blocks().iter().map(|block| block.columns().len()).sum();
    let mut looked_at = part.refs().step_by(rows.div_ceil(AUDITED_ROWS_MAX).max(1));
    let mut next = || {
        let Some((key, value, time, diff)) = looked_at.next() else { return Ok(None) };
        let mut writer = SortedPartWriter::<K, V, T, D>::new(&EncodeOptions::default())?;
        writer.push(key, value, &time, &diff)?;
        Ok(Some(writer.finish()?.and_then(|part| PartStats::decode(&part.meta.stats))))
    };
    while let Some(stats) = guarded(&mut next)? {
        if stats.is_some_and(|stats| keep(&stats)) {
            return Ok(true);
        }
    }
    Ok(false)
}
