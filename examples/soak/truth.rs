//! What must be in a shard, from the journals alone, held against what a reader found there. Pure.
//!
//! Always: an acknowledged append is there once; a refused one is not there; an unknown one is there once or not at
//! all, as a whole; what one took away is gone; nothing else is there. What is there stays there, with its time: what
//! readers noted at any moment adds up to the same appends.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::journal::{Attempt, Outcome};
use crate::notes::Note;
use crate::rows::{Digest, Name};

/// Findings of one kind that are told; more of them tell nothing more.
const FINDINGS_MAX: usize = 10;

/// What of one append was found.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    marker: bool,
    rest: u32,
    time: u64,
}

/// All rows of a snapshot, by append.
#[derive(Default)]
pub struct Snapshot {
    found: HashMap<(u32, u64), Found>,
    pub digest: Digest,
    findings: Vec<String>,
}

impl Snapshot {
    /// The next row, of rows that are consolidated.
    pub fn add(&mut self, salt: u64, key: &str, value: u64, diff: i64) {
        self.digest.add(value, diff);
        let Some(name) = Name::of(salt, key, value) else {
            return self.findings.push(format!("nobody ever wrote the row ({key:?}, {value})"));
        };
        if diff != 1 {
            return self.findings.push(format!("{name:?} is there {diff} times"));
        }
        let found =
            self.found.entry((name.writer, name.append)).or_insert(Found { time: name.time, ..Found::default() });
        if found.time != name.time {
            self.findings.push(format!("{name:?} is there, and others of its append at {}", found.time));
        }
        match name.index {
            0 => found.marker = true,
            _ => found.rest += 1,
        }
    }

    /// What is wrong with it, as the contents of the shard before `upper`; and what was in the shard at each time. The
    /// attempts are those that were written down when it was complete.
    pub fn compare(mut self, shard: u32, upper: u64, attempts: &[Attempt], salt: u64) -> (History, Vec<String>) {
        let attempts: Vec<&Attempt> = attempts.iter().filter(|attempt| attempt.shard == shard).collect();
        let at = |writer, number| self.found.get(&(writer, number)).copied();
        let is_there = |attempt: &Attempt| {
            at(attempt.writer, attempt.number).is_some_and(|found| found.marker && found.time == attempt.time)
        };
        let there: Vec<&Attempt> = attempts.iter().copied().filter(|attempt| is_there(attempt)).collect();
        let retracted: HashSet<(u32, u64)> =
            there.iter().filter_map(|attempt| Some((attempt.writer, attempt.retracts?))).collect();
        let mut wrong = Vec::new();
        for attempt in &attempts {
            let is_there = is_there(attempt);
            let found = at(attempt.writer, attempt.number).unwrap_or_default();
            let taken = retracted.contains(&(attempt.writer, attempt.number));
            let rest = if is_there && !taken { attempt.rows - 1 } else { 0 };
            match attempt.outcome {
                // Written down after the snapshot was taken, it may be behind it.
                Outcome::Acknowledged if !is_there && attempt.time < upper => {
                    wrong.push(format!("{attempt:?} was acknowledged, and is gone"));
                }
                Outcome::Refused if is_there => wrong.push(format!("{attempt:?} was refused, and is there")),
                _ if found.rest != rest => {
                    let retracted = if taken { " (retracted)" } else { "" };
                    wrong.push(format!("of {attempt:?}{retracted} there are {} rows beside the marker", found.rest));
                }
                _ => {}
            }
        }
        let known: HashMap<(u32, u64), &Attempt> =
            attempts.iter().map(|attempt| ((attempt.writer, attempt.number), *attempt)).collect();
        for ((writer, number), found) in &self.found {
            if known.get(&(*writer, *number)).is_none_or(|attempt| attempt.time != found.time) {
                wrong.push(format!("append {number} of writer {writer} at {} is there: nobody tried it", found.time));
            }
        }
        let history = History::of(&there, &known, salt);
        if wrong.is_empty() && self.findings.is_empty() && history.before(upper) != self.digest {
            wrong.push(format!("{:?} was read before {upper}, and should be {:?}", self.digest, history.before(upper)));
        }
        wrong.append(&mut self.findings);
        wrong.truncate(FINDINGS_MAX);
        (history, wrong)
    }
}

/// What was in the shard before each time.
pub struct History(BTreeMap<u64, Digest>);

impl History {
    fn of(there: &[&Attempt], known: &HashMap<(u32, u64), &Attempt>, salt: u64) -> Self {
        let mut changes: BTreeMap<u64, Digest> = BTreeMap::new();
        for attempt in there {
            let (marker, rest) = attempt.digests(salt);
            let mut change = marker.plus(rest);
            if let Some(taken) = attempt.retracts.and_then(|number| known.get(&(attempt.writer, number))) {
                change = change.minus(taken.digests(salt).1);
            }
            let sum = changes.entry(attempt.time).or_default();
            *sum = sum.plus(change);
        }
        let mut sum = Digest::default();
        Self(
            changes
                .into_iter()
                .map(|(time, change)| {
                    sum = sum.plus(change);
                    (time, sum)
                })
                .collect(),
        )
    }

    /// Everything at times before this one.
    pub fn before(&self, time: u64) -> Digest {
        self.0.range(..time).next_back().map_or(Digest::default(), |(_, digest)| *digest)
    }

    /// How many notes could be held against it, and what is wrong with those that say something else.
    pub fn compare(&self, shard: u32, upper: u64, notes: &[(String, Note)]) -> (usize, Vec<String>) {
        let comparable = notes.iter().filter(|(_, note)| note.shard == shard && note.upto <= upper);
        let (mut compared, mut wrong) = (0, Vec::new());
        for (reader, note) in comparable {
            compared += 1;
            let expected = self.before(note.upto).minus(self.before(note.from));
            if note.digest != expected && wrong.len() < FINDINGS_MAX {
                wrong.push(format!("{reader} saw {note:?}, which should be {expected:?}"));
            }
        }
        (compared, wrong)
    }
}
