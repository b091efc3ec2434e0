//! The dataflow in front of a sink: it makes the steps of the run's [`Input`], and shows what is complete.

use std::sync::Arc;
use std::time::Duration;

use timely::progress::Antichain;

use crate::actors::SimTime;
use crate::input::Input;
use crate::times::{Row, summed};

/// Rows that a copy has made and that are not in the shard, before it makes more: what all of them take is encoded at once,
/// without a thread. Threads do not replay.
const AHEAD_MAX: usize = 12;

/// The dataflow in front of a sink.
pub struct Feed<T: SimTime> {
    pub input: Arc<Input<T>>,
    pub as_of: T,
    pub lag: Duration,
    /// So many steps were made.
    pub steps: usize,
    pub ended: bool,
    /// Rows that no worker has taken in.
    pub pending: Vec<Row<T>>,
    /// The times of rows that are not in the shard yet, as far as is known.
    pub ahead: Vec<T>,
}

impl<T: SimTime> Feed<T> {
    /// What is complete, but for the rows that nobody has taken in.
    pub fn made(&self) -> Antichain<T> {
        match self.ended && self.pending.is_empty() {
            true => Antichain::new(),
            false => self.input.frontier(self.steps, &self.as_of),
        }
    }

    /// What the port of the sink shows.
    pub fn port(&self) -> Antichain<T> {
        let made = self.made();
        made.into_iter().chain(self.pending.iter().map(|(_, time, _)| time.clone())).collect()
    }

    pub fn may_make(&self) -> bool {
        !self.ended && self.ahead.len() < AHEAD_MAX && self.steps < self.input.steps(self.lag)
    }

    /// Makes a step, where the shard ends at `progress`; the first is all that is as of the beginning, added up.
    pub fn make(&mut self, progress: &Antichain<T>) {
        let begins = Antichain::from_elem(self.as_of.clone());
        let mut rows = Vec::new();
        loop {
            rows.extend(self.input.rows(self.steps, &self.as_of));
            self.steps += 1;
            if self.made() != begins || self.steps == self.input.steps(self.lag) {
                break;
            }
        }
        let rows = summed(rows);
        self.ahead.extend(rows.iter().map(|(_, time, _)| time.clone()).filter(|time| progress.less_equal(time)));
        self.pending.extend(rows);
    }

    /// Ends in the middle of a step.
    pub fn end(&mut self) {
        if self.may_make() {
            self.pending.extend(self.input.rows(self.steps, &self.as_of).pop());
        }
        self.ended = true;
    }
}
