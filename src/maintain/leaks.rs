//! The leak sweep: deleting objects that no state ever referred to, left by a crash between an upload and its commit.
//!
//! Always: an object is deleted only if it is older than `Config::orphan_age_min` *in the shard's time as the log has it
//! in a state that was read after the object was listed*, and that state does not know it. A commit refers to new
//! objects only if they are at most half as old in the shard's time of its own entry, and that time does not run
//! backwards along the log. So a commit before that state is known to it, and a commit behind it is refused: no process's
//! wall clock is part of the argument. Where nobody commits, the sweep does, to have the shard's time written down.
//!
//! The state is the listed head's, so that a lost log entry is not taken for the end (what lies behind it is needed). For
//! the same reason nothing is deleted while there is a rollup of a state that is not of this log: its newest entries are
//! gone, and what they refer to is here.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::TryStreamExt;
use object_store::path::Path;

use crate::codec::Time;
use crate::error::Error;
use crate::ids::{ROLLUP_KIND, blob_made_ms};
use crate::machine::{Context, Machine};
use crate::state::transition::record_time;
use crate::state::{State, is_stale};
use crate::store::keys;

/// Deletes what is lost, step by step, each of a bounded number of objects; how many.
pub(super) async fn sweep<T: Time>(machine: &Arc<Machine<T>>) -> Result<usize, Error> {
    let step_max = machine.context().config.sweep_step_objects_max.max(1);
    let mut seen = None;
    let mut count = 0;
    loop {
        let found = suspects(machine, seen.as_ref(), step_max).await?;
        let full = found.old.len() >= step_max;
        // Where the next step goes on: a name that is looked at once is not looked at again.
        seen = found.old.last().map(|name| keys::blob(machine.shard(), name));
        count += delete_lost(machine, found).await?;
        if !full {
            break;
        }
    }
    if count > 0 {
        tracing::info!(shard = %machine.shard(), count, "deleted objects that no state ever referred to");
    }
    Ok(count)
}

/// Objects that the state in this process does not know.
#[derive(Default)]
struct Suspects {
    /// Those that are old by this process's clock.
    old: BTreeSet<String>,
    /// The youngest rollup, of whatever age.
    rollup: Option<String>,
}

/// What was listed behind `seen` and is not known, at most so many old ones.
async fn suspects<T: Time>(machine: &Arc<Machine<T>>, seen: Option<&Path>, step_max: usize) -> Result<Suspects, Error> {
    let context = machine.context();
    let (now_ms, age_ms) = (context.clock.wall_ms(), age_min_ms(context));
    let folder = keys::blob_folder(machine.shard());
    let mut listing = match seen {
        Some(seen) => context.store.list_with_offset(Some(&folder), seen),
        None => context.store.list(Some(&folder)),
    };
    let mut found = Suspects::default();
    // Those that are in use are old too: all are looked at, but no more than a step's worth of others is remembered,
    // the first by name, because not every store lists in order.
    let known = machine.state();
    let used: BTreeSet<&str> = known.blobs().collect();
    let failed = |error| Error::unavailable("the objects could not be listed").because(error);
    while let Some(object) = listing.try_next().await.map_err(|error| failed(error).of_shard(machine.shard()))? {
        let Some(name) = object.location.filename().filter(|name| !used.contains(name)) else {
            continue;
        };
        if name.starts_with(ROLLUP_KIND) && found.rollup.as_deref().is_none_or(|youngest| youngest < name) {
            found.rollup = Some(name.to_owned());
        }
        if is_stale(name, now_ms, age_ms) {
            found.old.insert(name.to_owned());
        }
        if found.old.len() > step_max {
            found.old.pop_last();
        }
    }
    Ok(found)
}

/// Deletes those that are old in the shard's time, too, and that the log, as it is now, does not know; how many.
async fn delete_lost<T: Time>(machine: &Arc<Machine<T>>, found: Suspects) -> Result<usize, Error> {
    let Suspects { old: mut lost, rollup } = found;
    if lost.is_empty() {
        return Ok(0);
    }
    let age_ms = age_min_ms(machine.context());
    let youngest_ms = lost.iter().filter_map(|name| blob_made_ms(name)).max().unwrap_or(0);
    let old_at_ms = youngest_ms.saturating_add(age_ms).saturating_add(1);
    let mut state = machine.confirm().await?;
    refuse_beside_a_foreign_rollup(machine, &state, rollup).await?;
    if state.wall_ms < old_at_ms {
        machine.apply(|state, _now_ms| record_time(state)).await?;
        state = machine.state();
    }
    lost.retain(|name| is_stale(name, state.wall_ms, age_ms));
    for name in state.blobs() {
        lost.remove(name);
    }
    let count = lost.len();
    machine.context().delete_blobs(machine.shard(), lost.into_iter().collect()).await?;
    Ok(count)
}

/// An error if a rollup that nobody refers to is of a state that the log does not come to: then newer entries were lost.
/// One that was refused, or whose process died, is of an entry that is in the log, or was truncated.
async fn refuse_beside_a_foreign_rollup<T: Time>(
    machine: &Arc<Machine<T>>,
    state: &State<T>,
    rollup: Option<String>,
) -> Result<(), Error> {
    let Some(name) = rollup.filter(|name| !state.blobs().any(|known| known == name)) else {
        return Ok(());
    };
    let Some(bytes) = machine.context().read_whole_blob(machine.shard(), &name).await? else {
        return Ok(()); // deleted meanwhile
    };
    // One that cannot be read was never in use, or was cut short by a crash.
    let Ok(rolled_up) = State::<T>::decode(&bytes, machine.shard()) else {
        return Ok(());
    };
    let is_foreign = match machine.token_at(rolled_up.seqno).await? {
        Some(token) => token != rolled_up.token,
        None => rolled_up.seqno > state.seqno,
    };
    if !is_foreign {
        return Ok(());
    }
    let lost = rolled_up.seqno.0;
    Err(Error::corrupt(format!(
        "log entry {lost} is missing: there is a rollup of it, and the log, which ends at {}, does not have it. Put back \
         what was lost; nothing is deleted before. If the shard was restored from an older backup on purpose, delete the \
         rollup",
        state.seqno.0
    ))
    .of_shard(machine.shard())
    .of_object(name))
}

fn age_min_ms(context: &Context) -> u64 {
    u64::try_from(context.config.orphan_age_min.as_millis()).unwrap_or(u64::MAX)
}
