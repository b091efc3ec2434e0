//! What to merge: the policy of compaction, as a pure function.
//!
//! *Size-tiered over adjacent batches.* A batch's tier is the power of the fan-in `F` that its size reaches, so a batch
//! of tier `t` has between `Fᵗ` and `Fᵗ⁺¹` times the unit in bytes. As soon as `F` adjacent batches stand at one tier
//! or below, with the newest of them at the end of the shard or before a larger one, they are merged into one.
//!
//! *Inline first.* Batches whose parts are all inline are of no tier: a reader has them with the state, so merging them
//! saves no request. They are merged into an object when there are too many of them, and ride along otherwise.
//!
//! *Bounds.* With `n` bytes in appends of at least one unit each, a byte is rewritten at most `log_F(n)` times (each
//! time it climbs a tier), and a reader finds at most `F − 1` batches per tier, so `(F − 1) · log_F(n)` batches. Fan-in
//! 8, 12 MiB appends and 10 GiB: a byte is written at most 4.2 times and a reader merges at most 23 runs. To both comes
//! one for the way through the inline parts, of which a reader merges at most `Config::inline_parts_max`.
//!
//! *Collapse.* When the since has moved on, history that nobody can read any more is merged away: the oldest batches
//! whose rows are all at or below the greatest lower bound of the since, as far as they go without a gap, become one as
//! soon as that must remove at least half of their rows. Where diffs are integers, their sum tells: it is at least the
//! number of rows that are left at one time, in a collection that has nothing less often than not at all. So after
//! compaction a shard whose since keeps up has at most twice the rows of its contents, or `Config::collapse_bytes_min`
//! more; a reader that lags keeps what it can read. For other diffs, and for rows that were only ever added, merges of
//! tiers are all.
//!
//! *Bounds of that.* It writes at most as many rows as it removes, and no row is removed twice: a row is written at
//! most once more. A collection of negative rows can lie about what will vanish, so it is not believed alone: rows of
//! the oldest batch that are all at one time cannot vanish but with newer ones, and those must be a quarter of all.
//! Then a row is written at most four times more, and again when a merge of tiers took it along. A batch that nothing
//! was added to is rewritten alone once, when the since has passed it.
//!
//! Empty batches count as nothing and ride along.

use std::sync::Arc;

use crate::codec::Time;
use crate::config::Config;
use crate::state::{Batch, State, collapses, glb};

/// Batches smaller than this are of the lowest tier, in bytes: about what a request costs to read.
const TIER_UNIT_BYTES: u64 = 64 << 10;

/// What to merge.
#[derive(Debug)]
pub(super) struct Plan<T: Time> {
    /// Adjacent batches, in order.
    pub(super) inputs: Vec<Arc<Batch<T>>>,
    /// Whether the result must be in objects however small it is, because the state holds too much inline.
    pub(super) to_objects: bool,
}

/// What should be merged next; `None` if the shard is in good shape.
///
/// An empty batch at the end is left out: every append that only advances the upper changes it, and a merge of it would
/// be refused for as long as such appends come.
pub(super) fn next_merge<T: Time>(state: &State<T>, config: &Config) -> Option<Plan<T>> {
    let fan_in = config.compaction_fan_in.max(2);
    if state.inline_full(config)
        && let Some(inputs) = inline_batches(state)
    {
        return Some(Plan { inputs, to_objects: true });
    }
    if state.collapse_due(config)
        && let Some(inputs) = collapsing_batches(state, config)
    {
        return Some(Plan { inputs, to_objects: false });
    }
    let end = state.batches.len() - usize::from(state.batches.last().is_some_and(|last| last.is_empty()));
    // From the newest backwards: a run of batches none of which is of a higher tier than the highest seen so far.
    let mut tier = 0;
    let mut members = 0;
    let mut best: Option<usize> = None;
    for (index, batch) in state.batches.iter().enumerate().take(end).rev() {
        if !batch.has_object() {
            continue;
        }
        let here = tier_of(batch, fan_in);
        if here > tier {
            if members >= fan_in {
                break;
            }
            tier = here;
            members = 0;
        }
        // Batches below the tier ride along: only those of the tier count.
        members += usize::from(here == tier);
        if members >= fan_in {
            best = Some(index);
        }
    }
    let start = best.filter(|start| end - start >= 2)?;
    let inputs = state.batches.iter().take(end).skip(start).cloned().collect();
    Some(Plan { inputs, to_objects: false })
}

/// The newest batches with inline parts, as one range: they are to move into objects.
fn inline_batches<T: Time>(state: &State<T>) -> Option<Vec<Arc<Batch<T>>>> {
    let inline = |batch: &Arc<Batch<T>>| !batch.is_empty() && !batch.has_object();
    let last = state.batches.iter().rposition(inline)?;
    let backwards = state.batches.iter().take(last + 1).rev();
    let mut range: Vec<_> = backwards.take_while(|batch| inline(batch) || batch.is_empty()).cloned().collect();
    range.reverse();
    Some(range)
}

/// The oldest batches that the since has passed, if merging them at one time removes at least half of their rows.
fn collapsing_batches<T: Time>(state: &State<T>, config: &Config) -> Option<Vec<Arc<Batch<T>>>> {
    let floor = glb(&state.since)?;
    let passed = |batch: &Arc<Batch<T>>| {
        batch.parts().all(|part| part.meta.time_upper.iter().all(|time| time.less_equal(&floor)))
    };
    let mut range: Vec<_> = state.batches.iter().take_while(|batch| passed(batch)).cloned().collect();
    range.truncate(range.iter().rposition(|batch| !batch.is_empty())? + 1);
    let (mut rows, mut diffs, mut bytes) = (0u64, 0i64, 0u64);
    for batch in &range {
        rows = rows.saturating_add(batch.rows());
        diffs = diffs.wrapping_add(batch.diffs());
        bytes = bytes.saturating_add(batch.bytes());
    }
    let oldest = range.iter().find(|batch| !batch.is_empty())?;
    let settled = if oldest.is_settled() { oldest.rows() } else { 0 };
    let news = rows.saturating_sub(settled);
    (collapses(rows, diffs, bytes, config) && news.saturating_mul(NEWS_ONE_IN) >= rows).then_some(range)
}

/// Rows that are not of an old batch that has collapsed: they must be one in so many for another collapse.
///
/// Each of them can remove one of the others and itself. Where half of `r` old rows and `n` new ones vanish, `2n` are
/// at least `(r + n) / 2`, so the new ones are at least a quarter.
const NEWS_ONE_IN: u64 = 4;

fn tier_of<T: Time>(batch: &Batch<T>, fan_in: usize) -> u32 {
    (batch.bytes() / TIER_UNIT_BYTES).checked_ilog(fan_in as u64).map_or(0, |tier| tier + 1)
}
