//! What the processes did and saw, and whether it can be: the model is a sorted list.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use timely::progress::Antichain;
use timely_persist::WriterId;

use crate::judge::Appended;
use crate::model_times::{Row, is_in_snapshot, seen_at, summed};
use crate::times::SimTime;

/// What the processes did and saw.
#[derive(Debug)]
pub struct Record<T> {
    pub story: Vec<String>,
    pub attempts: Vec<Attempt<T>>,
    pub snapshots: Vec<(Antichain<T>, Vec<Row<T>>)>,
    pub listens: Vec<Heard<T>>,
    pub next_critical: u64,
    pub next_value: u64,
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

/// What a listener showed.
#[derive(Debug)]
pub struct Heard<T> {
    pub as_of: Antichain<T>,
    pub snapshot: bool,
    pub frontier: Antichain<T>,
    pub rows: Vec<Row<T>>,
}

impl<T> Default for Record<T> {
    fn default() -> Self {
        let (attempts, snapshots, listens) = (Vec::new(), Vec::new(), Vec::new());
        Self { story: Vec::new(), attempts, snapshots, listens, next_critical: 0, next_value: 0 }
    }
}

impl<T: SimTime> Record<T> {
    /// With `TELL` in the environment it is printed at once: for runs that do not end.
    pub fn tell(&mut self, line: std::fmt::Arguments<'_>) {
        if std::env::var_os("TELL").is_some() {
            eprintln!("  {line}");
        }
        self.story.push(line.to_string());
    }

    /// The rows of the shard: those of each attempt that stands in the log. Each append in the log is of one attempt, and
    /// each attempt was told what became of it.
    pub fn contents(&self, appended: &[Appended<T>]) -> Vec<Row<T>> {
        let mut rows = Vec::new();
        let mut stands: BTreeMap<usize, usize> = BTreeMap::new();
        for append in appended {
            let of = |attempt: &&Attempt<T>| {
                let lower = attempt.overlap || attempt.lower == append.lower;
                attempt.writer == append.writer && lower && attempt.upper == append.upper
            };
            let mut attempts = self.attempts.iter().enumerate().filter(|(_, attempt)| of(attempt));
            let Some((number, attempt)) = attempts.next() else { panic!("an append of nobody: {append:?}") };
            assert!(attempts.next().is_none(), "two attempts are one append: {append:?}");
            *stands.entry(number).or_default() += 1;
            let within = |time: &T| append.lower.less_equal(time) && !append.upper.less_equal(time);
            rows.extend(attempt.rows.iter().filter(|(_, time, _)| within(time)).cloned());
        }
        for (number, attempt) in self.attempts.iter().enumerate() {
            let times = stands.get(&number).copied().unwrap_or(0);
            let told = attempt.outcome;
            // Identical writers may be told that all their rows are there when others wrote them.
            let fits = match told {
                Outcome::Unknown => times <= 1,
                Outcome::Committed => times == 1 || attempt.overlap && times == 0,
                Outcome::Refused => times == 0,
            };
            assert!(fits, "attempt {number} stands {times} times in the log and was told {told:?}: {attempt:?}");
        }
        summed(rows)
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

    /// Of the identical writers every row is there once that lies in an interval which one of them appended.
    pub fn check_identical(&self, contents: &[Row<T>], appended: &[Appended<T>]) {
        let of = |writer: WriterId| self.attempts.iter().any(|attempt| attempt.overlap && attempt.writer == writer);
        let theirs = appended.iter().filter(|append| of(append.writer));
        let expected = theirs.flat_map(|append| T::common(&append.lower, &append.upper)).map(identical);
        let there = contents.iter().filter(|(row, ..)| row.1 == u64::MAX).cloned();
        assert_eq!(summed(there), summed(expected));
    }
}

/// The rows that every identical writer writes: they depend on the time only.
pub fn identical<T>(time: T) -> Row<T> {
    (("same".to_owned(), u64::MAX), time, 1)
}
