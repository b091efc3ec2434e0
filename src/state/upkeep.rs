//! Whether a commit left something to be done. Cheap: it is asked after every commit.

use crate::codec::{Codec64, Time};
use crate::config::Config;

use super::{State, Totals};

/// States up to this many batches are checked after each change in debug builds; larger ones now and then.
#[cfg(debug_assertions)]
const CHECKED_BATCHES_MAX: usize = 256;

/// A rollup is an entry, and so is the deletion of the one before it: a smaller interval would make rollups beget
/// rollups.
const ROLLUP_INTERVAL_MIN: u64 = 3;

/// The log entries between two rollups.
pub fn rollup_interval(config: &Config) -> u64 {
    config.rollup_interval.max(ROLLUP_INTERVAL_MIN)
}

/// Whether at least half of so many rows, whose diffs come to this sum, must vanish when all are moved to one time, and
/// enough bytes with them.
pub fn collapses(rows: u64, diffs: i64, bytes: u64, config: &Config) -> bool {
    let left = u64::try_from(diffs).unwrap_or(0);
    let freed_rows = rows.saturating_sub(left);
    let freed = u128::from(bytes) * u128::from(freed_rows) / u128::from(rows.max(1));
    freed_rows >= left && freed >= config.collapse_bytes_min as u128
}

impl<T: Time> State<T> {
    /// Whether a rollup, a sweep or a compaction may find work that it did not find in the state `before`.
    pub fn upkeep_due(&self, before: &Self, config: &Config) -> bool {
        let batches = self.inline_full(config) || self.totals.object_batches != before.totals.object_batches;
        self.rollup_due(config)
            || self.sweep_due() && !before.sweep_due()
            || config.compact && batches && self.compaction_due(config)
            || config.compact && self.since != before.since && self.collapse_due(config)
    }

    /// Whether there may be work, whatever the state before this one was.
    pub fn has_upkeep(&self, config: &Config) -> bool {
        self.rollup_due(config) || self.sweep_due() || config.compact && self.compaction_due(config)
    }

    /// Whether the log has grown enough since the newest rollup.
    pub fn rollup_due(&self, config: &Config) -> bool {
        let covered = self.rollup.as_ref().map_or(0, |rollup| rollup.seqno.0);
        self.seqno.0.saturating_sub(covered) >= rollup_interval(config)
    }

    /// Whether there is garbage that nobody holds.
    pub fn sweep_due(&self) -> bool {
        self.garbage.get_min().is_some_and(|(seqno, _)| *seqno <= self.hold())
    }

    /// Whether there are enough batches that merging some may be worth it.
    pub fn compaction_due(&self, config: &Config) -> bool {
        self.inline_full(config)
            || self.totals.object_batches >= config.compaction_fan_in as u64
            || self.collapse_due(config)
    }

    /// Whether the rows are twice what they could come to at one time, and merging them frees enough to be worth it.
    pub fn collapse_due(&self, config: &Config) -> bool {
        let Totals { rows, diffs, bytes, .. } = self.totals;
        let readable_from_the_start = self.since.less_equal(&T::minimum());
        self.counts_rows() && !readable_from_the_start && collapses(rows, diffs, bytes, config)
    }

    /// Whether the diffs are integers. Then, unless something is in the shard less often than not at all, their sum is
    /// as large as the number of rows that are there at one time, or larger.
    pub fn counts_rows(&self) -> bool {
        let integers = [<i64 as Codec64>::NAME, <u64 as Codec64>::NAME];
        self.codecs.as_deref().is_some_and(|names| integers.contains(&names.diff.as_str()))
    }

    /// Whether the state holds so much inline that it should move to objects.
    pub fn inline_full(&self, config: &Config) -> bool {
        self.totals.inline_bytes > config.inline_total_bytes_max as u64
            || self.totals.inline_parts >= config.inline_parts_max as u64
    }

    /// The invariants, where checking them does not cost too much.
    #[cfg(debug_assertions)]
    pub fn check_if_small(&self) -> Result<(), String> {
        let small = self.batches.len() <= CHECKED_BATCHES_MAX || self.seqno.0.is_multiple_of(256);
        if small { self.check() } else { Ok(()) }
    }
}
