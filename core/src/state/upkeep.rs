//! Whether a commit left something to be done. Cheap: it is asked after every commit.

use timely_persist_types::codec::Time;
use timely_persist_types::config::UpkeepConfig;

use super::State;

/// A rollup is an entry, and so is the deletion of the one before it: a smaller interval would make rollups beget
/// rollups.
const ROLLUP_INTERVAL_MIN: u64 = 3;

/// The log entries between two rollups.
pub(super) fn rollup_interval(upkeep: &UpkeepConfig) -> u64 {
    upkeep.rollup_interval.max(ROLLUP_INTERVAL_MIN)
}

impl<T: Time> State<T> {
    /// Whether a rollup, a sweep or a compaction may find work that it did not find in the state `before`.
    pub fn upkeep_due(&self, before: &Self, upkeep: &UpkeepConfig) -> bool {
        self.rollup_due(upkeep) || self.sweep_due() && !before.sweep_due() || self.compaction_newly_due(before, upkeep)
    }

    /// Whether there may be work, whatever the state before this one was.
    pub fn has_upkeep(&self, upkeep: &UpkeepConfig) -> bool {
        self.rollup_due(upkeep) || self.sweep_due() || self.compaction_due(upkeep)
    }

    /// Whether the log has grown enough since the newest rollup.
    pub fn rollup_due(&self, upkeep: &UpkeepConfig) -> bool {
        let covered = self.rollup.as_ref().map_or(0, |rollup| rollup.seqno.0);
        self.seqno.0.saturating_sub(covered) >= rollup_interval(upkeep)
    }

    /// Whether there is garbage that nobody holds.
    pub fn sweep_due(&self) -> bool {
        self.garbage.get_min().is_some_and(|(seqno, _)| *seqno <= self.hold())
    }
}
