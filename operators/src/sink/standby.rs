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

#[cfg(test)]
mod tests {
    use timely::progress::Antichain;
    use timely_persist::ShardId;

    use super::*;
    use crate::sink::lead::{Action, Event, Lead, Outcome, Terms};
    use crate::sink::message::{Answer, Order};

    fn at(time: u64) -> Antichain<u64> {
        Antichain::from_elem(time)
    }

    /// The copy, and how often it has asked.
    struct Copy {
        lead: Lead<u64>,
        asks: u64,
    }

    impl Copy {
        fn new() -> Self {
            let terms = Terms {
                shard: ShardId::from_u128(1),
                as_of: at(0),
                until: Antichain::new(),
                commit_interval: Duration::ZERO,
                commit_bytes: 1,
                close_at_end: false,
                waits: false,
            };
            let mut copy = Self { lead: Lead::new(terms, 1), asks: 0 };
            copy.tell(Event::Upper(at(0)), 0);
            copy
        }

        fn tell(&mut self, event: Event<u64>, now_ms: u64) -> Option<Duration> {
            let mut actions = Vec::new();
            self.lead.handle(event, Duration::from_millis(now_ms), &mut actions);
            self.asks += actions.iter().filter(|action| matches!(action, Action::Tell(Order::Ask(_)))).count() as u64;
            actions.into_iter().find_map(|action| if let Action::Wake(wait) = action { Some(wait) } else { None })
        }

        /// It stages what it is to ask for next, and hears what became of it.
        fn append(&mut self, outcome: Outcome<u64>, now_ms: u64) {
            let answer = Answer { seq: self.asks, worker: 0, batches: Vec::new(), rows_later: 0 };
            self.tell(Event::Answer(answer), now_ms);
            self.tell(Event::Appended(outcome), now_ms);
        }
    }

    /// While another copy commits, one that came second three times asks for nothing, so it stages nothing. When the other
    /// stops, it goes on after twice the time that the other took, and is not second any more.
    #[test]
    fn a_copy_that_comes_second_waits_until_the_other_is_late() {
        let mut copy = Copy::new();
        for step in 1..=3 {
            copy.tell(Event::Frontier(at(step), 0), step * 1_000);
            assert_eq!(copy.asks, step);
            copy.append(Outcome::Covered { same: true }, step * 1_000 + 1);
        }
        for step in 4..100 {
            let due = copy.tell(Event::Frontier(at(step), 0), step * 1_000);
            assert!(due.is_some_and(|due| due >= PATIENCE_MIN), "{due:?}");
            copy.tell(Event::Upper(at(step)), step * 1_000 + 300); // the other's
        }
        assert_eq!(copy.asks, 3);
        assert_eq!(copy.tell(Event::Frontier(at(100), 0), 100_000), Some(Duration::from_millis(600)));
        copy.tell(Event::Frontier(at(100), 0), 100_599);
        assert_eq!(copy.asks, 3);
        copy.tell(Event::Frontier(at(100), 0), 100_600);
        assert_eq!(copy.asks, 4);
        copy.append(Outcome::Committed, 100_601);
        copy.tell(Event::Frontier(at(101), 0), 101_000);
        assert_eq!(copy.asks, 5);
    }
}
