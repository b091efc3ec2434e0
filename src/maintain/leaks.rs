//! The leak sweep: deleting objects that no state ever referred to, left by a crash between an upload and its commit.
//!
//! An object is taken for lost when it is older than `Config::orphan_age_min` and the state, read *after* the object was
//! listed, knows nothing of it. No later commit can begin to refer to it: a commit refuses objects half that old.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::TryStreamExt;

use crate::codec::Time;
use crate::error::Error;
use crate::ids::blob_made_ms;
use crate::machine::Machine;
use crate::store::keys;

/// Deletes what is lost, at most one step's worth of objects; how many.
pub(super) async fn sweep<T: Time>(machine: &Arc<Machine<T>>) -> Result<usize, Error> {
    let context = machine.context();
    let age_min_ms = u64::try_from(context.config.orphan_age_min.as_millis()).unwrap_or(u64::MAX);
    let old_ms = context.clock.wall_ms().saturating_sub(age_min_ms);
    let step = context.config.sweep_step_objects_max.max(1);
    let folder = keys::blob_folder(machine.shard());
    let mut suspects = BTreeSet::new();
    let mut listing = context.store.list(Some(&folder));
    // Names sort by kind and age, so the oldest come first where the store lists in order. Those that are in use are old
    // too: all are looked at, but no more than a step's worth of others is remembered.
    let known = machine.state();
    let used: BTreeSet<&str> = known.blobs().collect();
    let failed = |error| Error::unavailable("the objects could not be listed").because(error);
    while let Some(object) = listing.try_next().await.map_err(|error| failed(error).of_shard(machine.shard()))? {
        let Some(name) = object.location.filename() else {
            continue;
        };
        if blob_made_ms(name).is_some_and(|made_ms| made_ms < old_ms) && !used.contains(name) {
            suspects.insert(name.to_owned());
        }
        if suspects.len() >= step {
            break;
        }
    }
    drop(listing);
    if suspects.is_empty() {
        return Ok(0);
    }
    let state = machine.refresh().await?;
    for name in state.blobs() {
        suspects.remove(name);
    }
    let (count, shard) = (suspects.len(), machine.shard());
    context.delete_blobs(shard, suspects.into_iter().collect()).await?;
    if count > 0 {
        tracing::info!(%shard, count, "deleted objects that no state ever referred to");
    }
    Ok(count)
}
