//! What a process says of the work that it does by itself.

use timely_persist_types::error::Error;

/// Whether what a process does for a shard behind its callers' backs works: following its log, its upkeep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works, as far as is known.
    Well,
    /// It does not, and is tried again and again: why.
    Stalled(Error),
}
