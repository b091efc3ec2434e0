//! The collection, read back and aggregated.
//!
//! Sums up in memory what the store holds until `persist_source` can read it.

use std::num::NonZeroUsize;

use crate::path_text::extension;
use crate::problem::Problem;
use crate::progress::Stage;
use crate::report::Hydrated;
use crate::store::Store;
use crate::table::Count;

/// Reads the collection as of a commit on so many workers.
pub(crate) fn hydrate(store: &Store, as_of: u64, _workers: NonZeroUsize) -> Result<Hydrated, Problem> {
    let mut hydrated = Hydrated::default();
    let mut stage = Stage::start("hydrate", 0);
    for ((path, lines), _, diff) in store.updates_as_of(as_of) {
        let lines = i64::try_from(*lines).unwrap_or(i64::MAX).saturating_mul(*diff);
        hydrated.table.add(extension(path), Count { files: *diff, lines });
        hydrated.rows += 1;
        stage.advance(1);
    }
    hydrated.took = stage.finish();
    Ok(hydrated)
}
