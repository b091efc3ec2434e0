//! Whether the appends in the log are those that the processes made and were told of.

use std::collections::BTreeMap;

use timely_persist::WriterId;

use crate::actors::{Attempt, Outcome, Record, SAME, SimTime, identical};
use crate::judge::Appended;
use crate::times::{Row, summed};

impl<T: SimTime> Record<T> {
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

    /// Of the identical writers every row is there once that lies in an interval which one of them appended.
    pub fn check_identical(&self, contents: &[Row<T>], appended: &[Appended<T>]) {
        let of = |writer: WriterId| self.attempts.iter().any(|attempt| attempt.overlap && attempt.writer == writer);
        let theirs = appended.iter().filter(|append| of(append.writer));
        let expected = theirs.flat_map(|append| T::common(&append.lower, &append.upper)).map(identical);
        let there = contents.iter().filter(|(row, ..)| row.1 == SAME).cloned();
        assert_eq!(summed(there), summed(expected));
    }
}
