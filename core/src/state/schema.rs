//! The schemas of a shard: what its keys and values looked like, from one position of its log to the next.
//!
//! Always: they are numbered as they came, and never change. A shard whose types' names say all of their shape has none written
//! down, and what its names say is its schema 0.

use std::sync::Arc;

use crate::part::RowLens;
use timely_persist_types::codec::{Data, Diff, Incompatible, Shape, Time};
use timely_persist_types::ids::SchemaId;

use super::{CodecNames, State};

/// The schemas that a shard may have. Each is a fact for ever, some hundred bytes in every rollup, and a lens for each reader.
pub const SCHEMAS_MAX: usize = 256;

/// What keys and values look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Keys.
    pub key: Shape,
    /// Values.
    pub value: Shape,
}

impl Schema {
    /// That of these types.
    pub fn of<K: Data, V: Data>() -> Self {
        Self { key: K::shape(), value: V::shape() }
    }

    /// What the names of types say of their shapes.
    pub fn of_names(names: &CodecNames) -> Self {
        Self { key: Shape::of_name(&names.key), value: Shape::of_name(&names.value) }
    }

    /// How rows of this schema become rows of another; `None` if they are those. Or why they cannot.
    pub fn lens_to(&self, other: &Self) -> Result<Option<Arc<RowLens>>, Incompatible> {
        RowLens::between([&self.key, &self.value], [&other.key, &other.value])
    }
}

/// The types of a program, as a shard sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types {
    /// What they are called.
    pub names: CodecNames,
    /// What keys and values look like.
    pub schema: Arc<Schema>,
}

impl Types {
    /// Of these.
    pub fn of<K: Data, V: Data, T: Time, D: Diff>() -> Self {
        Self { names: CodecNames::of::<K, V, T, D>(), schema: Arc::new(Schema::of::<K, V>()) }
    }

    /// Whether their names say all that there is to say of their shapes, so that no schema need be written down.
    pub fn names_say_all(&self) -> bool {
        Schema::of_names(&self.names) == *self.schema
    }
}

/// How the types of a program stand to those of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The shard has none yet.
    Fresh,
    /// They are the shard's.
    Latest,
    /// They are what the shard's were before they changed.
    Older(SchemaId),
    /// The shard's may become these: all its rows can be read as theirs.
    Next,
}

impl Standing {
    /// Where these types stand. Or why they have nothing to do with the shard's.
    pub fn of<T: Time>(types: &Types, state: &State<T>) -> Result<Self, String> {
        let Some(known) = &state.codecs else { return Ok(Self::Fresh) };
        let Types { names, schema } = types;
        let written_down = !state.schemas.is_empty();
        if !written_down && known.difference(names).is_none() {
            return Ok(Self::Latest);
        }
        if (&known.time, &known.diff) != (&names.time, &names.diff) {
            return Err(known.difference(names).unwrap_or_default());
        }
        // The latest most often; an older one, where it came back, by its last number.
        if let Some(id) = state.schemas.iter().rposition(|other| other == schema) {
            let id = SchemaId(u32::try_from(id).unwrap_or(u32::MAX));
            return Ok(if id == state.latest_schema() { Self::Latest } else { Self::Older(id) });
        }
        let implied = || Arc::new(Schema::of_names(known));
        let latest = state.schemas.last().cloned().unwrap_or_else(implied);
        match latest.lens_to(schema) {
            Ok(_) => Ok(Self::Next),
            Err(incompatible) => Err(format!("{incompatible}")),
        }
    }
}

impl<T: Time> State<T> {
    /// The schema of this number, if one is written down.
    pub fn schema(&self, id: SchemaId) -> Option<&Arc<Schema>> {
        self.schemas.get(usize::try_from(id.0).ok()?)
    }

    /// The number of the latest.
    pub fn latest_schema(&self) -> SchemaId {
        SchemaId(u32::try_from(self.schemas.len().saturating_sub(1)).unwrap_or(u32::MAX))
    }

    /// The number of the next.
    pub fn next_schema(&self) -> SchemaId {
        SchemaId(u32::try_from(self.schemas.len()).unwrap_or(u32::MAX))
    }
}
