//! The schemas of a shard: what its keys and values looked like, from one position of its log to the next.
//!
//! Always: they are numbered as they came, and never change. A shard whose types' names say all of their shape has none written
//! down, and what its names say is its schema 0.

use std::sync::Arc;

use crate::part::RowLens;
use timely_persist_types::codec::{Data, Incompatible, Shape};
use timely_persist_types::ids::SchemaId;

/// The schemas that a shard may have. Each is a fact for ever, some hundred bytes in every rollup, and a lens for each reader.
pub const SCHEMAS_MAX: usize = 256;

/// Stands for the schema of rows that were staged before their shard had any: others may come first, and then theirs has
/// another number than 0. What appends them knows it.
pub const UNSETTLED: SchemaId = SchemaId(u32::MAX);

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

    /// How rows of this schema become rows of another; `None` if they are those. Or why they cannot.
    pub fn lens_to(&self, other: &Self) -> Result<Option<Arc<RowLens>>, Incompatible> {
        RowLens::between([&self.key, &self.value], [&other.key, &other.value])
    }
}
