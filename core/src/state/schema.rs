//! The schemas of a shard: what its keys and values looked like, from one position of its log to the next.
//!
//! Always: they are numbered as they came, and never change. A shard whose types' names say all of their shape has none written
//! down, and what its names say is its schema 0.

use std::sync::Arc;

use timely_persist_types::codec::{Data, Shape, Time};
use timely_persist_types::ids::SchemaId;

use super::State;

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
