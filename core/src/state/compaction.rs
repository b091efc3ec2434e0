//! When to merge, and what: the policy of compaction, as pure functions of the state. *When* is asked after every commit
//! and costs O(1); *what* looks at each batch.
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
//! one for the way through the inline parts, of which a reader merges at most `config.upkeep.inline_parts_max`.
//!
//! *Collapse.* When the since has moved on, history that nobody can read any more is merged away: the oldest batches
//! whose rows are all at or below the greatest lower bound of the since, as far as they go without a gap, become one as
//! soon as that must remove at least half of their rows. Where diffs are integers, their sum tells: it is at least the
//! number of rows that are left at one time, in a collection that has nothing less often than not at all. So after
//! compaction a shard whose since keeps up has at most twice the rows of its contents, or `config.upkeep.collapse_bytes_min`
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

use timely_persist_types::codec::{Codec64, Time};
use timely_persist_types::config::UpkeepConfig;

use super::frontier::glb;
use super::{Batch, State, Totals};

/// Batches smaller than this are of the lowest tier, in bytes: about what a request costs to read.
const TIER_UNIT_BYTES: u64 = 64 << 10;

impl<T: Time> State<T> {
    /// Whether there are enough batches that merging some may be worth it, for a client that merges. Where it is not,
    /// [`next_merge`] finds nothing.
    pub fn compaction_due(&self, upkeep: &UpkeepConfig) -> bool {
        upkeep.compact
            && (self.inline_full(upkeep)
                || self.totals.object_batches >= upkeep.compaction_fan_in as u64
                || self.collapse_due(upkeep))
    }

    /// Whether a compaction may find work that it did not find in the state `before`.
    pub(super) fn compaction_newly_due(&self, before: &Self, upkeep: &UpkeepConfig) -> bool {
        let batches = self.inline_full(upkeep) || self.totals.object_batches != before.totals.object_batches;
        batches && self.compaction_due(upkeep)
            || upkeep.compact && self.since != before.since && self.collapse_due(upkeep)
    }

    /// Whether the state holds so much inline that it should move to objects.
    fn inline_full(&self, upkeep: &UpkeepConfig) -> bool {
        self.totals.inline_bytes > upkeep.inline_total_bytes_max as u64
            || self.totals.inline_parts >= upkeep.inline_parts_max as u64
    }

    /// Whether the rows are twice what they could come to at one time, and merging them frees enough to be worth it.
    fn collapse_due(&self, upkeep: &UpkeepConfig) -> bool {
        let Totals { rows, diffs, bytes, .. } = self.totals;
        let readable_from_the_start = self.since.less_equal(&T::minimum());
        self.counts_rows() && !readable_from_the_start && collapses(rows, diffs, bytes, upkeep)
    }

    /// Whether the diffs are integers. Then, unless something is in the shard less often than not at all, their sum is
    /// as large as the number of rows that are there at one time, or larger.
    fn counts_rows(&self) -> bool {
        let integers = [<i64 as Codec64>::NAME, <u64 as Codec64>::NAME, <i32 as Codec64>::NAME, <u32 as Codec64>::NAME];
        self.codecs.as_deref().is_some_and(|names| integers.contains(&names.diff.as_str()))
    }
}

/// Whether at least half of so many rows, whose diffs come to this sum, must vanish when all are moved to one time, and
/// enough bytes with them.
fn collapses(rows: u64, diffs: i64, bytes: u64, upkeep: &UpkeepConfig) -> bool {
    let left = u64::try_from(diffs).unwrap_or(0);
    let freed_rows = rows.saturating_sub(left);
    let freed = u128::from(bytes) * u128::from(freed_rows) / u128::from(rows.max(1));
    freed_rows >= left && freed >= upkeep.collapse_bytes_min as u128
}

/// What to merge.
#[derive(Debug)]
pub struct Plan<T: Time> {
    /// Adjacent batches, in order.
    pub inputs: Vec<Arc<Batch<T>>>,
    /// Whether the result must be in objects however small it is, because the state holds too much inline.
    pub to_objects: bool,
}

/// What should be merged next; `None` if the shard is in good shape.
///
/// An empty batch at the end is left out: every append that only advances the upper changes it, and a merge of it would
/// be refused for as long as such appends come.
pub fn next_merge<T: Time>(state: &State<T>, upkeep: &UpkeepConfig) -> Option<Plan<T>> {
    let fan_in = upkeep.compaction_fan_in.max(2);
    if state.inline_full(upkeep)
        && let Some(inputs) = inline_batches(state)
    {
        return Some(Plan { inputs, to_objects: true });
    }
    if state.collapse_due(upkeep)
        && let Some(inputs) = collapsing_batches(state, upkeep)
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
fn collapsing_batches<T: Time>(state: &State<T>, upkeep: &UpkeepConfig) -> Option<Vec<Arc<Batch<T>>>> {
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
    (collapses(rows, diffs, bytes, upkeep) && news.saturating_mul(NEWS_ONE_IN) >= rows).then_some(range)
}

/// Rows that are not of an old batch that has collapsed: they must be one in so many for another collapse.
///
/// Each of them can remove one of the others and itself. Where half of `r` old rows and `n` new ones vanish, `2n` are
/// at least `(r + n) / 2`, so the new ones are at least a quarter.
const NEWS_ONE_IN: u64 = 4;

fn tier_of<T: Time>(batch: &Batch<T>, fan_in: usize) -> u32 {
    (batch.bytes() / TIER_UNIT_BYTES).checked_ilog(fan_in as u64).map_or(0, |tier| tier + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::ops::Range;

    use bytes::Bytes;
    use timely::progress::Antichain;

    use super::*;
    use crate::part::{PartFormat, PartMeta};
    use crate::state::{Change, CodecNames, Description, Location, Part};
    use timely_persist_types::ids::{SchemaId, ShardId};

    /// A batch of one time: so many rows, of which so many are left at one time, in so many bytes; inline if so it is.
    #[derive(Clone, Copy)]
    struct Told {
        rows: u64,
        left: i64,
        bytes: u64,
        inline: bool,
    }

    const EMPTY: Told = Told { rows: 0, left: 0, bytes: 0, inline: false };
    const INLINE: Told = Told { rows: 1, left: 1, bytes: 10, inline: true };

    /// A batch of added rows of the tier, for fan-in 4.
    fn tier(tier: u32) -> Told {
        let bytes = if tier == 0 { 1 } else { TIER_UNIT_BYTES * 4u64.pow(tier - 1) };
        Told { rows: 10, left: 10, bytes, inline: false }
    }

    fn part(told: Told, time: u64) -> Part<u64> {
        let location = match told.inline {
            true => Location::Inline(Bytes::from(vec![0; told.bytes as usize])),
            false => Location::Blob(format!("part-{time}")),
        };
        let meta = PartMeta {
            format: PartFormat::ArrowIpc,
            schema: SchemaId(0),
            encoded_bytes: told.bytes,
            decoded_bytes: told.bytes,
            tail_bytes: 0,
            rows: told.rows,
            checksum: 0,
            time_lower: Antichain::from_elem(time),
            time_upper: vec![time],
            diff_sum: told.left.to_le_bytes(),
            stats: Bytes::new(),
        };
        Part { location, meta }
    }

    /// The shard of these batches, the first at time 0, with its since at a time.
    fn shard(diff: &str, batches: &[Told], since: u64) -> State<u64> {
        let mut state = State::new(ShardId::from_u128(1));
        let codecs = CodecNames { diff: diff.to_owned(), ..CodecNames::of::<String, u64, u64, i64>() };
        state.apply_change(&Change::Codecs(Arc::new(codecs))).unwrap();
        for (time, told) in (0..).zip(batches) {
            let desc = Description::new(Antichain::from_elem(time), Antichain::from_elem(time + 1));
            let runs = if told.rows == 0 { Vec::new() } else { vec![vec![part(*told, time)]] };
            state.apply_change(&Change::BatchAdded(Arc::new(Batch { desc, runs, digest: None }))).unwrap();
        }
        state.apply_change(&Change::SinceSet(Antichain::from_elem(since))).unwrap();
        state
    }

    fn policy() -> UpkeepConfig {
        let mut upkeep = UpkeepConfig::default();
        (upkeep.compaction_fan_in, upkeep.inline_parts_max, upkeep.collapse_bytes_min) = (4, 3, 1_000);
        upkeep
    }

    /// The times of the batches that are merged next, and whether into objects.
    fn next(batches: &[Told], since: u64) -> Option<(Range<u64>, bool)> {
        next_of("i64", batches, since)
    }

    fn next_of(diff: &str, batches: &[Told], since: u64) -> Option<(Range<u64>, bool)> {
        let plan = next_merge(&shard(diff, batches, since), &policy())?;
        let bound = |frontier: &Antichain<u64>| frontier.elements()[0];
        let (first, last) = (plan.inputs.first().unwrap(), plan.inputs.last().unwrap());
        Some((bound(&first.desc.lower)..bound(&last.desc.upper), plan.to_objects))
    }

    #[test]
    fn as_many_of_a_tier_as_the_fan_in_are_merged() {
        assert_eq!(next(&[tier(0); 3], 0), None);
        assert_eq!(next(&[tier(0); 4], 0), Some((0..4, false)));
        assert_eq!(next(&[tier(0); 6], 0), Some((0..6, false)));
    }

    #[test]
    fn a_larger_batch_is_not_written_again_with_the_small() {
        let small = [tier(0); 4];
        assert_eq!(next(&[&[tier(2)][..], &small].concat(), 0), Some((1..5, false)));
        assert_eq!(next(&[&small, &[tier(2)][..]].concat(), 0), None);
    }

    #[test]
    fn smaller_batches_ride_along() {
        let batches = [tier(1), tier(1), tier(0), tier(1), tier(1), tier(0), tier(0)];
        assert_eq!(next(&batches, 0), Some((0..7, false)));
    }

    #[test]
    fn an_empty_batch_at_the_end_is_left_out() {
        assert_eq!(next(&[tier(0), tier(0), EMPTY, tier(0), tier(0), EMPTY], 0), Some((0..5, false)));
    }

    #[test]
    fn inline_parts_move_to_an_object_when_there_are_too_many() {
        assert_eq!(next(&[INLINE, INLINE], 0), None);
        assert_eq!(next(&[tier(0), INLINE, INLINE, EMPTY, INLINE], 0), Some((1..5, true)));
    }

    /// Rows that came and went.
    const HISTORY: Told = Told { rows: 10, left: 0, bytes: 10_000, inline: false };

    #[test]
    fn history_that_nobody_can_read_collapses() {
        assert_eq!(next(&[tier(0), HISTORY], 1), Some((0..2, false)));
        assert_eq!(next(&[HISTORY, tier(0)], 0), None, "it can be read");
        assert_eq!(next(&[tier(0), HISTORY], 0), None, "it can be read");
        assert_eq!(next(&[HISTORY, tier(0), HISTORY], 1), Some((0..2, false)), "as far as the since has come");
        assert_eq!(next(&[tier(0), tier(0)], 1), None, "nothing vanishes");
        assert_eq!(next_of("f64", &[tier(0), HISTORY], 1), None, "their sum does not count rows");
        let little = Told { bytes: 100, ..HISTORY };
        assert_eq!(next(&[little, little], 1), None, "it frees too little");
    }

    #[test]
    fn what_has_collapsed_waits_for_news() {
        let settled = Told { rows: 100, left: 0, bytes: 100_000, inline: false }; // lies about what will vanish
        assert_eq!(next(&[settled, HISTORY], 1), None);
        assert_eq!(next(&[settled, Told { rows: 40, ..HISTORY }], 1), Some((0..2, false)));
    }

    /// The cheap question never hides work from the one that looks.
    #[test]
    fn where_there_is_something_to_merge_it_is_due() {
        let kinds = [EMPTY, INLINE, tier(0), tier(1), HISTORY];
        let mut found = 0;
        for code in 0..kinds.len().pow(5) {
            let batches: Vec<Told> = (0..5).map(|place| kinds[code / kinds.len().pow(place) % kinds.len()]).collect();
            for since in [0, 2, 5] {
                let state = shard("i64", &batches, since);
                let merges = next_merge(&state, &policy()).is_some();
                found += usize::from(merges);
                assert!(!merges || state.compaction_due(&policy()), "{code} at {since}");
                let mut unwilling = policy();
                unwilling.compact = false;
                assert!(!state.compaction_due(&unwilling));
            }
        }
        assert!(found > 1_000, "{found}");
    }
}
