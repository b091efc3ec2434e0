//! The schemas of a shard: what its keys and values looked like, from one position of its log to the next.
//!
//! Always: they are numbered as they came, and never change. A shard whose types' names say all of their shape has none written
//! down, and what its names say is its schema 0.

use std::sync::Arc;

use crate::part::RowLens;
use timely_persist_types::codec::{Data, Incompatible, Shape};

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

    /// How rows of this schema become rows of another; `None` if they are those. Or why they cannot.
    pub fn lens_to(&self, other: &Self) -> Result<Option<Arc<RowLens>>, Incompatible> {
        RowLens::between([&self.key, &self.value], [&other.key, &other.value])
    }

    /// How a reader of an older schema sees rows of this one: see [`RowLens::projecting`].
    pub fn projection_to(&self, other: &Self) -> Result<Option<Arc<RowLens>>, Incompatible> {
        RowLens::projecting([&self.key, &self.value], [&other.key, &other.value])
    }
}
