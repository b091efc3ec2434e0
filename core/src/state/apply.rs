//! What facts do to a state. Deterministic, O(change), and suspicious: an entry comes from storage.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::Vector;
use timely::PartialOrder;

use timely_persist_types::codec::Time;
use timely_persist_types::ids::{SchemaId, SeqNo};

use super::{Batch, Change, Entry, SCHEMAS_MAX, Schema, State, Totals};

/// Why an entry does not fit the state before it.
pub(super) type Misfit = &'static str;

impl<T: Time> State<T> {
    /// The state after `entry`, which stands at `seqno`. On an error the state is to be thrown away.
    pub fn apply(&mut self, seqno: SeqNo, entry: &Entry<T>) -> Result<(), Misfit> {
        if seqno != self.seqno.next() {
            return Err("the entry is not the next one");
        }
        if entry.previous != self.token {
            return Err("the entry was not written behind the one before it: that one was lost or replaced");
        }
        self.seqno = seqno;
        self.token = entry.token;
        self.wall_ms = self.wall_ms.max(entry.wall_ms);
        for change in &entry.changes {
            self.apply_change(change)?;
        }
        for change in &entry.changes {
            self.check_change(change)?;
        }
        if self.rollup != entry.rollup {
            return Err("the entry names another rollup than its facts add up to");
        }
        #[cfg(debug_assertions)]
        self.check_if_small().map_err(|broken| {
            tracing::error!(shard = %self.shard, %seqno, broken, "state invariant broken");
            "an invariant of the state is broken"
        })?;
        Ok(())
    }

    /// The state after one fact of the entry at `self.seqno`.
    pub fn apply_change(&mut self, change: &Change<T>) -> Result<(), Misfit> {
        match change {
            Change::Codecs(names) => match &self.codecs {
                Some(known) if known != names => return Err("the shard's types cannot change"),
                _ => self.codecs = Some(Arc::clone(names)),
            },
            Change::SchemaAdded(id, schema) => self.add_schema(*id, schema)?,
            Change::BatchAdded(batch) => self.add_batch(batch)?,
            Change::EmptyExtended(upper) => self.extend_empty(upper)?,
            Change::BatchesReplaced { count, with, garbage } => {
                let replaced = self.replace_batches(*count, with)?;
                self.check_garbage_of(garbage, &replaced, std::slice::from_ref(with))?;
                self.add_garbage(garbage);
            }
            Change::ReaderSet(id, reader) => {
                self.readers.insert(*id, reader.clone());
            }
            Change::ReaderRemoved(id) => {
                self.readers.remove(id);
            }
            Change::CriticalSet(id, reader) => {
                self.critical.insert(*id, reader.clone());
            }
            Change::CriticalRemoved(id) => {
                self.critical.remove(id);
            }
            Change::WriterSet(id, record) => {
                self.writers.insert(*id, record.clone());
            }
            Change::WriterRemoved(id) => {
                self.writers.remove(id);
            }
            Change::SinceSet(since) => {
                if !PartialOrder::less_equal(&self.since, since) {
                    return Err("the since goes backwards");
                }
                self.since = since.clone();
            }
            Change::RollupSet(rollup) => {
                if let Some(old) = self.rollup.replace(rollup.clone()) {
                    self.add_garbage(&Arc::new(vec![old.name]));
                }
            }
            Change::GarbageDeleted { seqno, count } => self.delete_garbage(*seqno, *count)?,
            Change::GenerationSet(generation) => {
                if *generation <= self.generation {
                    return Err("the generation does not rise");
                }
                self.generation = *generation;
            }
            Change::Finalized { garbage } => {
                let gone = std::mem::take(&mut self.batches);
                self.batches.push_back(Arc::new(Batch::finalized()));
                self.since = timely::progress::Antichain::new();
                self.check_garbage_of(garbage, &gone, &[])?;
                self.totals = Totals { garbage: self.totals.garbage, ..Totals::default() };
                self.finalized = true;
                self.readers = imbl::OrdMap::new();
                self.critical = imbl::OrdMap::new();
                self.writers = imbl::OrdMap::new();
                self.add_garbage(garbage);
            }
        }
        Ok(())
    }

    fn add_schema(&mut self, id: SchemaId, schema: &Arc<Schema>) -> Result<(), Misfit> {
        if self.codecs.is_none() {
            return Err("a schema comes before the shard's types");
        }
        if id != self.next_schema() {
            return Err("a schema has another number than the next");
        }
        if self.schemas.len() >= SCHEMAS_MAX {
            return Err("there are too many schemas");
        }
        if self.schemas.back() == Some(schema) {
            return Err("a schema is added that is the latest already");
        }
        self.schemas.push_back(Arc::clone(schema));
        Ok(())
    }

    fn add_batch(&mut self, batch: &Arc<Batch<T>>) -> Result<(), Misfit> {
        if batch.desc.lower != self.upper() {
            return Err("an appended batch does not begin at the upper");
        }
        if !PartialOrder::less_than(&batch.desc.lower, &batch.desc.upper) {
            return Err("an appended batch is empty of times");
        }
        self.totals.add(batch);
        self.batches.push_back(Arc::clone(batch));
        Ok(())
    }

    fn extend_empty(&mut self, upper: &timely::progress::Antichain<T>) -> Result<(), Misfit> {
        let Some(last) = self.batches.back_mut().filter(|last| last.is_empty()) else {
            return Err("only an empty batch can be extended");
        };
        if !PartialOrder::less_than(&last.desc.upper, upper) {
            return Err("the upper goes backwards");
        }
        let mut batch = Batch::clone(last);
        batch.desc.upper = upper.clone();
        *last = Arc::new(batch);
        Ok(())
    }

    /// The batches that were replaced.
    fn replace_batches(&mut self, count: u64, with: &Arc<Batch<T>>) -> Result<Vector<Arc<Batch<T>>>, Misfit> {
        const MISFIT: Misfit = "a replacement does not cover the batches it replaces";
        let start = self.batch_beginning_at(&with.desc.lower).ok_or(MISFIT)?;
        let end = usize::try_from(count).ok().and_then(|count| start.checked_add(count)).ok_or(MISFIT)?;
        if count == 0 || end > self.batches.len() || self.batches[end - 1].desc.upper != with.desc.upper {
            return Err(MISFIT);
        }
        if !PartialOrder::less_equal(&with.desc.since, &self.since) {
            return Err("a replacement was compacted beyond the since");
        }
        let behind = self.batches.split_off(end);
        let replaced = self.batches.split_off(start);
        for batch in &replaced {
            self.totals.subtract(batch);
        }
        self.totals.add(with);
        self.batches.push_back(Arc::clone(with));
        self.batches.append(behind);
        Ok(replaced)
    }

    /// The index of the batch with this lower.
    pub fn batch_beginning_at(&self, lower: &timely::progress::Antichain<T>) -> Option<usize> {
        let index = self.batch_beyond(lower);
        self.batches.get(index).filter(|batch| batch.desc.lower == *lower).map(|_| index)
    }

    /// Whether garbage is what went with these batches and did not stay, and is in use nowhere. O(change), unless an entry
    /// names objects that did not go with the batches.
    fn check_garbage_of(
        &self,
        garbage: &[String],
        gone: &Vector<Arc<Batch<T>>>,
        with: &[Arc<Batch<T>>],
    ) -> Result<(), Misfit> {
        let names: BTreeSet<&str> = garbage.iter().map(String::as_str).collect();
        let kept: BTreeSet<&str> = with.iter().flat_map(|batch| batch.blobs()).collect();
        let gone: BTreeSet<&str> = gone.iter().flat_map(|batch| batch.blobs()).collect();
        if !names.is_disjoint(&kept) {
            return Err("an object is garbage, and is in use");
        }
        if !gone.iter().all(|name| names.contains(name) || kept.contains(name)) {
            return Err("an object went with its batch, and is no garbage");
        }
        let foreign: BTreeSet<&str> = names.difference(&gone).copied().collect();
        if !foreign.is_empty() && self.used_blobs().any(|name| foreign.contains(name)) {
            return Err("an object is garbage, and is in use");
        }
        Ok(())
    }

    fn add_garbage(&mut self, names: &Arc<Vec<String>>) {
        if names.is_empty() {
            return;
        }
        self.totals.garbage += names.len() as u64;
        match self.garbage.get_mut(&self.seqno) {
            Some(known) => Arc::make_mut(known).extend(names.iter().cloned()),
            None => {
                self.garbage.insert(self.seqno, Arc::clone(names));
            }
        }
    }

    fn delete_garbage(&mut self, seqno: SeqNo, count: u64) -> Result<(), Misfit> {
        let names = self.garbage.get_mut(&seqno).ok_or("there is no garbage at this position")?;
        let count = usize::try_from(count).ok().filter(|count| *count <= names.len());
        let count = count.ok_or("more garbage is deleted than there is")?;
        if count == names.len() {
            self.garbage.remove(&seqno);
        } else {
            Arc::make_mut(names).drain(..count);
        }
        self.totals.garbage -= count as u64;
        Ok(())
    }
}
