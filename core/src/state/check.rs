//! The invariants of a state.

use timely::PartialOrder;
use timely::progress::Antichain;

use timely_persist_types::codec::Time;

use super::apply::Misfit;
use super::{Batch, Change, SCHEMAS_MAX, State, Totals};

/// States up to this many batches are checked after each change in debug builds; larger ones now and then.
#[cfg(debug_assertions)]
const CHECKED_BATCHES_MAX: usize = 256;

impl<T: Time> State<T> {
    /// Whether a fact that was applied leaves the invariants as they were: of what it touched, so that it costs no more
    /// than the fact, in release builds too. Called when all facts of an entry are applied.
    pub fn check_change(&self, change: &Change<T>) -> Result<(), Misfit> {
        match change {
            Change::BatchAdded(batch) | Change::BatchesReplaced { with: batch, .. } => self.check_batch(batch),
            Change::ReaderSet(_, reader) if reader.hold > self.seqno => Err("a reader holds what is to come"),
            Change::ReaderSet(id, _) => self.check_since(self.readers.get(id).map(|reader| &reader.since)),
            Change::CriticalSet(id, _) => self.check_since(self.critical.get(id).map(|reader| &reader.since)),
            Change::SinceSet(_) => {
                let readers = self.readers.values().map(|reader| &reader.since);
                self.check_since(readers.chain(self.critical.values().map(|reader| &reader.since)))
            }
            Change::RollupSet(rollup) if rollup.seqno > self.seqno => Err("a rollup is of what is to come"),
            _ => Ok(()),
        }
    }

    fn check_batch(&self, batch: &Batch<T>) -> Result<(), Misfit> {
        if batch.runs.iter().any(Vec::is_empty) {
            return Err("a run has no parts");
        }
        if batch.parts().any(|part| part.meta.schema > self.latest_schema()) {
            return Err("a part is of a schema that is to come");
        }
        match PartialOrder::less_equal(&batch.desc.since, &self.since) {
            true => Ok(()),
            false => Err("a batch is compacted beyond the since"),
        }
    }

    /// Whether the shard's since is not beyond any of these.
    fn check_since<'a>(&self, sinces: impl IntoIterator<Item = &'a Antichain<T>>) -> Result<(), Misfit>
    where
        T: 'a,
    {
        match sinces.into_iter().all(|since| PartialOrder::less_equal(&self.since, since)) {
            true => Ok(()),
            false => Err("the since is beyond that of a reader"),
        }
    }

    /// Which invariant is broken, if one is. O(state): for debug builds, tests and the simulator.
    pub fn check(&self) -> Result<(), String> {
        self.check_schemas()?;
        self.check_batches()?;
        self.check_holders()?;
        self.check_garbage()
    }

    /// The same, where that does not cost too much.
    #[cfg(debug_assertions)]
    pub fn check_if_small(&self) -> Result<(), String> {
        let small = self.batches.len() <= CHECKED_BATCHES_MAX || self.seqno.0.is_multiple_of(256);
        if small { self.check() } else { Ok(()) }
    }

    fn check_schemas(&self) -> Result<(), String> {
        if self.codecs.is_none() && !self.schemas.is_empty() {
            return Err("there are schemas of no types".to_owned());
        }
        if self.schemas.len() > SCHEMAS_MAX {
            return Err(format!("there are {} schemas, and at most {SCHEMAS_MAX} may be", self.schemas.len()));
        }
        Ok(())
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
            if let Some(part) = batch.parts().find(|part| part.meta.schema > self.latest_schema()) {
                return Err(format!("a part is of {}, beyond the latest, {}", part.meta.schema, self.latest_schema()));
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
