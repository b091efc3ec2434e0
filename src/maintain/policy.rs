//! By what a shard is maintained: what of the client's limits this layer is given.

use std::time::Duration;

use timely_persist_types::config::{UpkeepConfig, WriteConfig};

/// By what a shard is maintained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// What is merged and deleted, and when.
    pub upkeep: UpkeepConfig,
    /// How the parts are written that merges come to.
    pub write: WriteConfig,
    /// How old an object is at least that is taken for lost.
    pub orphan_age_min: Duration,
    /// How often a `Maintainer` looks for what no commit tells of.
    pub round_interval: Duration,
}
