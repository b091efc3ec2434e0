//! What the machines of one client share: the log, the objects, limits, clock, randomness.

use std::sync::Arc;

use timely_persist_io::blobs::Blobs;
use timely_persist_io::life::Life;
use timely_persist_types::clock::{Clock, Entropy};
use timely_persist_types::config::{LeaseConfig, StoreLimits, UpkeepConfig};

use super::{Log, Spare, SpareBytes};

/// The shared values of one client.
pub(crate) struct Context {
    /// The shards' logs.
    pub log: Log,
    /// The shards' objects.
    pub blobs: Arc<Blobs>,
    /// Its threads, and until when it may be used.
    pub life: Arc<Life>,
    /// The limits of the store, as [`Blobs::agree`] found them.
    pub limits: StoreLimits,
    /// When a reader or a writer has lapsed.
    pub lease: LeaseConfig,
    /// When a commit leaves something to be done.
    pub upkeep: UpkeepConfig,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Fresh bits.
    pub entropy: Arc<dyn Entropy>,
    /// What the rows of a batch were collected in, for the next: `config.write.spare_rows_bytes_max` at most.
    pub spare_rows: Spare,
    /// What parts were encoded in, for the next: as many bytes in all.
    pub spare_parts: SpareBytes,
}

/// Names the store, and no credentials.
impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("store", &self.blobs.store_name()).finish_non_exhaustive()
    }
}
