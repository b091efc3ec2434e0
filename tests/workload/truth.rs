//! What an observer heard of a shard, and whether it is what the processes were told and shown: each append there as a
//! whole or not at all, as its writer was told, and each reader shown exactly that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use timely::PartialOrder;
use timely::progress::Antichain;

use crate::actors::readers::step;
use crate::actors::{Heard, Outcome, Plain, Record, Strings};
use crate::times::summed;

/// Everything that was ever committed, as far as it was heard.
pub type Truth = Heard<u64>;

pub fn nothing() -> Truth {
    Truth { as_of: Antichain::from_elem(0), snapshot: true, frontier: Antichain::from_elem(0), rows: Vec::new() }
}

/// Hears everything, on a store without faults.
pub async fn tap(shard: Strings<u64>, truth: Arc<Mutex<Truth>>) {
    let reader = shard.open_reader("truth").await.unwrap();
    let begin = truth.lock().unwrap().as_of.clone();
    let mut listen = reader.subscribe(begin).await.unwrap();
    loop {
        let step = step::<u64, Plain>(&mut listen).await.unwrap();
        truth.lock().unwrap().hear(step);
    }
}

/// Panics where what the processes saw is not what happened.
pub fn check(record: &Record<u64>, truth: &Truth) {
    let rows = summed(truth.rows.iter().cloned());
    assert!(rows.iter().all(|(_, _, diff)| *diff == 1), "an update was doubled: {rows:?}");
    assert_eq!(record.too_old, 0, "nothing here takes so long that an object grows too old");
    // Each attempt is there as a whole or not at all, as its writer was told.
    let mut intervals: BTreeMap<u64, usize> = BTreeMap::new();
    for (number, attempt) in record.attempts.iter().enumerate() {
        let is_over = PartialOrder::less_equal(&attempt.upper, &truth.frontier);
        assert!(attempt.outcome != Outcome::Committed || is_over, "attempt {number} is not there yet: {attempt:?}");
        if attempt.overlap {
            // The times are taken by its rows, or by those of a competitor who came first.
            continue;
        }
        let there = attempt.rows.iter().filter(|row| rows.contains(row)).count();
        assert!(there == 0 || there == attempt.rows.len(), "attempt {number} is there in part: {attempt:?}");
        match attempt.outcome {
            Outcome::Committed => {
                assert_eq!(there, attempt.rows.len(), "attempt {number} was lost: {attempt:?}");
                let lower = attempt.lower.elements()[0];
                let other = intervals.insert(lower, number);
                assert_eq!(other, None, "two were told that they committed at {lower}");
            }
            Outcome::Refused => assert!(there == 0, "attempt {number} was refused and is there"),
            Outcome::Unknown => {}
        }
    }
    let known: Vec<_> = record.attempts.iter().flat_map(|attempt| &attempt.rows).collect();
    assert!(rows.iter().all(|row| known.contains(&row)), "rows out of nothing");
    record.check_reads(&rows);
}
