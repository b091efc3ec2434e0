//! The leak sweep: deleting objects that no state ever referred to, left by a crash between an upload and its commit.
//!
//! An object is taken for lost when it is older than `Config::orphan_age_min` and the state, read *after* the object
//! was listed, knows nothing of it. No later commit can begin to refer to it: a commit refuses objects half that old. The
//! age is the largest that any process on the store may run with: the store is asked when the sweep begins.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::TryStreamExt;
use object_store::path::Path;

use crate::codec::Time;
use crate::error::Error;
use crate::ids::blob_made_ms;
use crate::machine::Machine;
use crate::store::keys;

/// Deletes what is lost, step by step, each of a bounded number of objects; how many.
pub(super) async fn sweep<T: Time>(machine: &Arc<Machine<T>>) -> Result<usize, Error> {
    let context = machine.context();
    let step_max = context.config.sweep_step_objects_max.max(1);
    // The time comes first: see `lost_before_ms`.
    let old_ms =
        context.lost_before_ms(context.clock.wall_ms()).await.map_err(|error| error.of_shard(machine.shard()))?;
    let mut seen = None;
    let mut count = 0;
    loop {
        let suspects = suspects(machine, old_ms, seen.as_ref(), step_max).await?;
        let full = suspects.len() >= step_max;
        // Where the next step goes on: a name that is looked at once is not looked at again.
        seen = suspects.last().map(|name| keys::blob(machine.shard(), name));
        count += delete_lost(machine, suspects).await?;
        if !full {
            break;
        }
    }
    if count > 0 {
        tracing::info!(shard = %machine.shard(), count, "deleted objects that no state ever referred to");
    }
    Ok(count)
}

/// The first old objects behind `seen` that the state in this process does not know, at most so many.
async fn suspects<T: Time>(
    machine: &Arc<Machine<T>>,
    old_ms: u64,
    seen: Option<&Path>,
    step_max: usize,
) -> Result<BTreeSet<String>, Error> {
    let context = machine.context();
    let folder = keys::blob_folder(machine.shard());
    let mut listing = match seen {
        Some(seen) => context.store.list_with_offset(Some(&folder), seen),
        None => context.store.list(Some(&folder)),
    };
    let mut suspects = BTreeSet::new();
    // Those that are in use are old too: all are looked at, but no more than a step's worth of others is remembered,
    // the first by name, because not every store lists in order.
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
        if suspects.len() > step_max {
            suspects.pop_last();
        }
    }
    Ok(suspects)
}

/// Deletes those that the log, as it is now, does not know either; how many.
async fn delete_lost<T: Time>(machine: &Arc<Machine<T>>, mut suspects: BTreeSet<String>) -> Result<usize, Error> {
    if suspects.is_empty() {
        return Ok(0);
    }
    let state = machine.refresh().await?;
    for name in state.blobs() {
        suspects.remove(name);
    }
    let count = suspects.len();
    machine.context().delete_blobs(machine.shard(), suspects.into_iter().collect()).await?;
    Ok(count)
}
