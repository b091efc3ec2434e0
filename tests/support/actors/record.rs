//! What the processes did and saw, and whether what they read can be: the model is a sorted list.

use std::sync::{Arc, Mutex};

use timely::progress::Antichain;
use timely_persist::{Evolved, SchemaId, WriterId};

use super::{Plain, ShardOf, SimTime, Turn};
use crate::random::Story;
use crate::times::{Row, is_in_snapshot, seen_at, summed};

pub type Strings<T> = ShardOf<Plain, T>;

/// What the processes did and saw.
#[derive(Debug)]
pub struct Record<T> {
    pub story: Story,
    pub attempts: Vec<Attempt<T>>,
    pub snapshots: Vec<(Antichain<T>, Vec<Row<T>>)>,
    pub listens: Vec<Heard<T>>,
    /// Answers that left an append unsettled for ever.
    pub too_old: usize,
    pub next_critical: u64,
    pub next_value: u64,
    pub evolutions: Vec<Evolving>,
    pub turn: Arc<Turn>,
}

pub type Shared<T> = Arc<Mutex<Record<T>>>;

/// An append as its writer saw it.
#[derive(Debug)]
pub struct Attempt<T> {
    pub writer: WriterId,
    pub rows: Vec<Row<T>>,
    pub lower: Antichain<T>,
    pub upper: Antichain<T>,
    /// Whether others may have written a part of it before.
    pub overlap: bool,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Unknown,
    Committed,
    Refused,
}

/// An evolution as whoever asked for it saw it.
#[derive(Clone, Copy, Debug)]
pub struct Evolving {
    pub expected: SchemaId,
    /// Unless nobody knows.
    pub outcome: Option<Evolved>,
}

/// What a listener showed.
#[derive(Debug)]
pub struct Heard<T> {
    pub as_of: Antichain<T>,
    pub snapshot: bool,
    pub frontier: Antichain<T>,
    pub rows: Vec<Row<T>>,
}

impl<T: SimTime> Record<T> {
    pub fn new(story: Story) -> Self {
        let (attempts, snapshots, listens) = (Vec::new(), Vec::new(), Vec::new());
        let (evolutions, turn) = Default::default();
        Self { story, attempts, snapshots, listens, too_old: 0, next_critical: 0, next_value: 0, evolutions, turn }
    }

    /// Everything that was read is the contents, as they are at that time.
    pub fn check_reads(&self, contents: &[Row<T>]) {
        for (as_of, snapshot) in &self.snapshots {
            let expected = contents.iter().filter(|(_, time, _)| is_in_snapshot(time, as_of));
            let expected = summed(expected.map(|(row, time, diff)| (row.clone(), seen_at(time, as_of), *diff)));
            assert_eq!(summed(snapshot.iter().cloned()), expected, "snapshot at {as_of:?}");
        }
        for Heard { as_of, snapshot, frontier, rows } in &self.listens {
            let complete = |(_, time, _): &Row<T>| !frontier.less_equal(time);
            let wanted = contents.iter().filter(|(_, time, _)| *snapshot || !is_in_snapshot(time, as_of));
            let expected = wanted.map(|(row, time, diff)| (row.clone(), seen_at(time, as_of), *diff)).filter(complete);
            let shown = rows.iter().filter(|row| complete(row)).cloned();
            assert_eq!(summed(shown), summed(expected), "listener from {as_of:?} up to {frontier:?}");
        }
    }
}

/// The number of the rows that every identical writer writes. Every program has one for it.
pub const SAME: u64 = u32::MAX as u64;

/// The rows that every identical writer writes: they depend on the time only.
pub fn identical<T>(time: T) -> Row<T> {
    (("same".to_owned(), SAME), time, 1)
}
