//! What goes on in a shard, written down, and whether it can be: each append there as a whole or not at all, as its writer
//! was told, and each reader shown exactly that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use timely::progress::Antichain;
use timely_persist::Shard;

use crate::actors::hear;
use crate::random::Story;

/// Rows say by their value which attempt wrote them.
pub type Row = ((String, u64), u64, i64);
pub type Strings = Shard<String, u64, u64, i64>;

pub type Shared = Arc<Mutex<Record>>;

pub fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// The time of a frontier of totally ordered times.
pub fn time(frontier: &Antichain<u64>) -> u64 {
    frontier.elements().first().copied().unwrap_or(u64::MAX)
}

/// What the processes did and saw.
#[derive(Debug)]
pub struct Record {
    pub story: Story,
    pub attempts: Vec<Attempt>,
    pub snapshots: Vec<(u64, Vec<Row>)>,
    pub listens: Vec<Heard>,
    pub lost: usize,
    pub next_critical: u64,
    pub next_value: u64,
}

/// An append as its writer saw it.
#[derive(Debug)]
pub struct Attempt {
    pub rows: Vec<Row>,
    pub lower: u64,
    pub upper: u64,
    /// Whether it may be there in part, because identical writers wrote the rest.
    pub overlap: bool,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Unknown,
    Committed,
    Refused,
}

#[derive(Debug)]
pub struct Heard {
    pub as_of: u64,
    pub snapshot: bool,
    pub frontier: u64,
    pub rows: Vec<Row>,
}

impl Record {
    pub fn new(story: Story) -> Self {
        Self {
            story,
            attempts: Vec::new(),
            snapshots: Vec::new(),
            listens: Vec::new(),
            lost: 0,
            next_critical: 0,
            next_value: 0,
        }
    }
}

/// Hears everything that is ever committed, on a store without faults.
pub async fn tap(shard: Strings, truth: Arc<Mutex<Heard>>) {
    let reader = shard.open_reader("truth").await.unwrap();
    let mut listen = reader.subscribe(at(0)).await.unwrap();
    loop {
        let mut step = Heard { as_of: 0, snapshot: true, frontier: truth.lock().unwrap().frontier, rows: Vec::new() };
        hear(&mut listen, &mut step).await.unwrap();
        let mut truth = truth.lock().unwrap();
        truth.rows.extend(step.rows);
        truth.frontier = step.frontier;
    }
}

/// The rows added up, in order of time.
pub fn summed(rows: impl IntoIterator<Item = Row>) -> Vec<Row> {
    let mut sums: BTreeMap<(u64, (String, u64)), i64> = BTreeMap::new();
    for (row, time, diff) in rows {
        *sums.entry((time, row)).or_default() += diff;
    }
    sums.into_iter().filter(|(_, diff)| *diff != 0).map(|((time, row), diff)| (row, time, diff)).collect()
}

/// The rows of the truth as a reader from `as_of` sees them.
pub fn seen(truth: &[Row], as_of: u64, snapshot: bool, from: u64, to: u64) -> Vec<Row> {
    let rows = truth.iter().filter(|(_, time, _)| (*time > as_of || snapshot) && *time >= from && *time < to);
    summed(rows.map(|(row, time, diff)| (row.clone(), as_of.max(*time), *diff)))
}

/// Panics where what the processes saw is not what happened.
pub fn check(record: &Record, truth: &Heard) {
    let rows = summed(truth.rows.iter().cloned());
    assert!(rows.iter().all(|(_, _, diff)| *diff == 1), "an update was doubled: {rows:?}");
    // Each attempt is there as a whole or not at all, as its writer was told.
    let mut intervals: BTreeMap<u64, usize> = BTreeMap::new();
    for (number, attempt) in record.attempts.iter().enumerate() {
        let there = attempt.rows.iter().filter(|row| rows.contains(row)).count();
        if attempt.overlap {
            // The times are taken by its rows, or by those of a competitor who came first.
            assert!(attempt.outcome != Outcome::Committed || attempt.upper <= truth.frontier);
            continue;
        }
        assert!(there == 0 || there == attempt.rows.len(), "attempt {number} is there in part: {attempt:?}");
        match attempt.outcome {
            Outcome::Committed => {
                assert_eq!(there, attempt.rows.len(), "attempt {number} was lost: {attempt:?}");
                assert!(attempt.upper <= truth.frontier);
                let other = intervals.insert(attempt.lower, number);
                assert_eq!(other, None, "two were told that they committed at {}", attempt.lower);
            }
            Outcome::Refused => assert!(there == 0, "attempt {number} was refused and is there"),
            Outcome::Unknown => {}
        }
    }
    let known: Vec<&Row> = record.attempts.iter().flat_map(|attempt| &attempt.rows).collect();
    assert!(rows.iter().all(|row| known.contains(&row)), "rows out of nothing");
    for (as_of, snapshot) in &record.snapshots {
        assert_eq!(summed(snapshot.iter().cloned()), seen(&rows, *as_of, true, 0, as_of + 1), "snapshot at {as_of}");
    }
    for heard in &record.listens {
        let shown = summed(heard.rows.iter().cloned());
        let expected = match heard.frontier > heard.as_of {
            true => seen(&rows, heard.as_of, heard.snapshot, 0, heard.frontier),
            false => Vec::new(),
        };
        assert_eq!(shown, expected, "listener from {} up to {}", heard.as_of, heard.frontier);
    }
}
