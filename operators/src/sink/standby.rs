//! Whether a copy that always comes second should wait: then it costs reads and CPU, but no upload.

use std::time::Duration;

/// Intervals in a row that another copy wrote first, before this one waits for it.
const COVERED_MAX: u32 = 3;

/// However often the other copy commits, this long is waited for it: a busy machine pauses a process for as long.
pub(crate) const PATIENCE_MIN: Duration = Duration::from_millis(200);

/// How a copy stands to the others.
#[derive(Debug, Default)]
pub(crate) struct Standby {
    /// Intervals in a row that another copy wrote.
    covered: u32,
    /// How long the others took lately to commit what could be committed here too.
    period: Duration,
    /// Since when there is something to commit.
    due_since: Option<Duration>,
}

impl Standby {
    /// The shard's upper has moved.
    pub(crate) fn moved(&mut self, now: Duration) {
        if let Some(since) = self.due_since.take() {
            // It grows at once, and shrinks slowly.
            self.period = now.saturating_sub(since).max(self.period / 8 * 7);
        }
    }

    /// Nothing waits to be committed.
    pub(crate) fn nothing_due(&mut self) {
        self.due_since = None;
    }

    /// An interval of this copy was committed.
    pub(crate) fn committed(&mut self) {
        self.covered = 0;
    }

    /// An interval of this copy was there already.
    pub(crate) fn covered(&mut self) {
        self.covered = self.covered.saturating_add(1);
    }

    /// How long to wait for another copy, where something is to be committed; `None` for not at all.
    pub(crate) fn wait(&mut self, now: Duration) -> Option<Duration> {
        let due_since = *self.due_since.get_or_insert(now);
        if self.covered < COVERED_MAX {
            return None;
        }
        let patience = (self.period * 2).max(PATIENCE_MIN);
        due_since.saturating_add(patience).checked_sub(now).filter(|wait| !wait.is_zero())
    }
}
