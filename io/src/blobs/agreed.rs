//! What this process has heard of the store's limits.

use std::sync::Mutex;

use crate::life::lock;
use crate::store::KeptLimits;
use timely_persist_types::config::StoreLimits;

/// The store's limits, as far as this process has heard of them.
#[derive(Debug, Default)]
pub(super) struct Agreed(Mutex<Option<KeptLimits>>);

impl Agreed {
    pub(super) fn known(&self) -> Option<KeptLimits> {
        *lock(&self.0)
    }

    /// Remembers what stands in the store; what is to be kept, of this and of what was known before.
    pub(super) fn heard(&self, found: KeptLimits) -> StoreLimits {
        let mut known = lock(&self.0);
        let kept = known.map_or(found.kept, |known| known.kept.max(found.kept));
        *known = Some(KeptLimits { kept, ..found });
        kept
    }
}
