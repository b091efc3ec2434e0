//! What the judge knows of the types of a shard that change: which program each part is of, and who may still write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use object_store::PutPayload;
use timely_persist::{SchemaId, SeqNo, Time, WriterId};
use timely_persist_core::part::{PartMeta, decode_part};
use timely_persist_core::state::{Batch, Change, Entry, Location, Part, Schema, State};

use crate::actors::{Program, Turn};

/// A version of a program, as storage shows it.
#[derive(Clone, Debug)]
struct Version<T: Time> {
    schema: Schema,
    /// Whether a part is of this version, as its bytes say.
    is_of: fn(Bytes, &PartMeta<T>) -> bool,
}

/// What is known of the types of one shard.
#[derive(Clone, Debug)]
pub struct Schemas<T: Time> {
    /// None where types never change.
    versions: Vec<Version<T>>,
    /// Which of them each schema is, by its number.
    added: Vec<usize>,
    /// Those that wrote as the older program.
    older: BTreeSet<WriterId>,
    objects: BTreeMap<String, Bytes>,
    turn: Arc<Turn>,
}

fn version<P: Program, T: Time>() -> Version<T> {
    let is_of = |bytes, meta: &PartMeta<T>| decode_part::<P::Key, P::Value, T, i64>(bytes, meta).is_ok();
    Version { schema: Schema::of::<P::Key, P::Value>(), is_of }
}

impl<T: Time> Schemas<T> {
    /// Of shards that become `P`'s.
    pub fn of<P: Program>(turn: Arc<Turn>) -> Self {
        let versions = if P::VERSION == 0 { Vec::new() } else { vec![version::<P::Older, T>(), version::<P, T>()] };
        let (added, older, objects) = Default::default();
        Self { versions, added, older, objects, turn }
    }

    /// An object was written.
    pub fn object(&mut self, name: &str, data: &PutPayload) {
        if !self.versions.is_empty() {
            self.objects.insert(name.to_owned(), data.clone().into());
        }
    }

    fn turned(&self) -> bool {
        self.added.len() > 1
    }

    /// Takes an entry that comes after this state.
    pub fn entry(&mut self, seqno: SeqNo, before: &State<T>, entry: &Entry<T>) -> Result<(), String> {
        if self.versions.is_empty() {
            let adds = |change: &Change<T>| matches!(change, Change::SchemaAdded(..));
            return if entry.changes.iter().any(adds) { Err("the types change".to_owned()) } else { Ok(()) };
        }
        let mut known: Vec<Part<T>> = before.batches.iter().flat_map(|batch| batch.parts()).cloned().collect();
        let mut appended: Option<&Batch<T>> = None;
        for change in &entry.changes {
            match change {
                Change::SchemaAdded(id, schema) => self.add(seqno, *id, schema)?,
                Change::BatchAdded(batch) => {
                    batch.parts().try_for_each(|part| self.check_label(part))?;
                    known.extend(batch.parts().cloned());
                    appended = Some(batch);
                }
                Change::WriterSet(writer, _) => self.check_writer(*writer, appended.take())?,
                Change::BatchesReplaced { with, .. } => self.check_merged(with, &known)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, seqno: SeqNo, id: SchemaId, schema: &Schema) -> Result<(), String> {
        let version = self.versions.iter().position(|version| version.schema == *schema);
        match (self.added.as_slice(), id, version) {
            ([], SchemaId(0), Some(0)) => {}
            ([], SchemaId(0), Some(1)) => self.turn.skip(),
            ([0], SchemaId(1), Some(1)) => self.turn.happen(seqno),
            (added, ..) => return Err(format!("{id} is added behind {}, of version {version:?}", added.len())),
        }
        self.added.extend(version);
        Ok(())
    }

    /// A part says of which schema it is.
    fn check_label(&self, part: &Part<T>) -> Result<(), String> {
        let bytes = match &part.location {
            Location::Inline(bytes) => Some(bytes),
            Location::Blob(name) => self.objects.get(name),
        };
        let is_of =
            |number: &usize| bytes.is_some_and(|bytes| (self.versions[*number].is_of)(bytes.clone(), &part.meta));
        let shown: Vec<usize> = (0..self.versions.len()).filter(is_of).collect();
        let said: Vec<usize> = self.added.get(part.meta.schema.0 as usize).copied().into_iter().collect();
        if shown == said {
            return Ok(());
        }
        let (id, place) = (part.meta.schema, part.blob().unwrap_or("inline"));
        Err(format!("a part ({place}) is said to be of {id}, program {said:?}, and has rows of program {shown:?}"))
    }

    fn check_writer(&mut self, writer: WriterId, appended: Option<&Batch<T>>) -> Result<(), String> {
        let known = self.older.contains(&writer) || self.turn.is_older(writer);
        if !self.turned() {
            if self.added == [0] {
                self.older.insert(writer);
                self.turn.commits(writer);
            }
            return match known && self.added == [1] {
                true => Err(format!("writer {writer} of the older program wrote as the newer one")),
                false => Ok(()),
            };
        }
        if known {
            return Err(format!("writer {writer} of the older program wrote behind the turn"));
        }
        let old = appended.into_iter().flat_map(|batch| batch.parts()).any(|part| part.meta.schema != SchemaId(1));
        match old && !self.turn.is_heir(writer) {
            true => Err(format!("writer {writer} appended rows of older types behind the turn")),
            false => Ok(()),
        }
    }

    /// What a compaction writes is of the latest types; what it leaves is labelled as before.
    fn check_merged(&self, with: &Batch<T>, known: &[Part<T>]) -> Result<(), String> {
        let latest = SchemaId(self.added.len().saturating_sub(1) as u32);
        for part in with.parts() {
            match known.iter().find(|known| known.location == part.location) {
                Some(known) if known.meta.schema == part.meta.schema => {}
                Some(known) => return Err(format!("a part of {} is {} now", known.meta.schema, part.meta.schema)),
                None if part.meta.schema == latest => self.check_label(part)?,
                None => return Err(format!("a compaction wrote {}, and the latest is {latest}", part.meta.schema)),
            }
        }
        Ok(())
    }
}
