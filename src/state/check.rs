//! The invariants of a state.

use timely::PartialOrder;
use timely::progress::Antichain;

use crate::codec::Time;

use super::{State, Totals};

impl<T: Time> State<T> {
    /// Which invariant is broken, if one is. O(state): for debug builds, tests and the simulator.
    pub fn check(&self) -> Result<(), String> {
        self.check_batches()?;
        self.check_holders()?;
        self.check_garbage()
    }

    fn check_batches(&self) -> Result<(), String> {
        let mut lower = Antichain::from_elem(T::minimum());
        let mut totals = Totals { garbage: self.totals.garbage, ..Totals::default() };
        for batch in &self.batches {
            let desc = &batch.desc;
            if desc.lower != lower {
                return Err(format!("a batch begins at {:?} and not at the upper before, {lower:?}", desc.lower));
            }
            if !PartialOrder::less_than(&desc.lower, &desc.upper) {
                return Err(format!("a batch has no times: {desc:?}"));
            }
            if !PartialOrder::less_equal(&desc.since, &self.since) {
                return Err(format!("a batch is compacted to {:?}, beyond the since {:?}", desc.since, self.since));
            }
            if batch.runs.iter().any(Vec::is_empty) {
                return Err("a run has no parts".to_owned());
            }
            totals.add(batch);
            lower = desc.upper.clone();
        }
        if totals != self.totals {
            return Err(format!("totals {:?} are not the sums {totals:?}", self.totals));
        }
        if self.finalized && (!self.since.is_empty() || !self.upper().is_empty()) {
            return Err("a finalized shard has a since or an upper".to_owned());
        }
        Ok(())
    }

    fn check_holders(&self) -> Result<(), String> {
        for (id, reader) in &self.readers {
            if !PartialOrder::less_equal(&self.since, &reader.since) && !self.finalized {
                return Err(format!("the since {:?} is beyond that of {id}, {:?}", self.since, reader.since));
            }
            if reader.hold > self.seqno {
                return Err(format!("{id} holds {}, beyond {}", reader.hold, self.seqno));
            }
        }
        for (id, reader) in &self.critical {
            if !PartialOrder::less_equal(&self.since, &reader.since) && !self.finalized {
                return Err(format!("the since {:?} is beyond that of {id}, {:?}", self.since, reader.since));
            }
        }
        Ok(())
    }

    fn check_garbage(&self) -> Result<(), String> {
        let count: u64 = self.garbage.values().map(|names| names.len() as u64).sum();
        if count != self.totals.garbage {
            return Err(format!("garbage counts {} objects, there are {count}", self.totals.garbage));
        }
        let dead: std::collections::BTreeSet<&str> =
            self.garbage.values().flat_map(|names| names.iter().map(String::as_str)).collect();
        let live = self.batches.iter().flat_map(|batch| batch.blobs());
        let rollup = self.rollup.iter().map(|rollup| rollup.name.as_str());
        if let Some(name) = live.chain(rollup).find(|name| dead.contains(name)) {
            return Err(format!("{name} is both in use and garbage"));
        }
        if let Some(seqno) = self.garbage.keys().find(|seqno| **seqno > self.seqno) {
            return Err(format!("there is garbage of the future, at {seqno}"));
        }
        Ok(())
    }
}
