//! The leak sweep: deleting objects that no state ever referred to, left by a crash between an upload and its commit.
//!
//! Always: an object is deleted only if it is older than `config.limits.orphan_age_min` *in the shard's time as the log had it
//! before the sweep asked how large that limit is*, and the state that the log has come to after that does not know it.
//! A commit refers to new objects only if they are at most half as old in the shard's time of its own entry, which does
//! not run backwards along the log. So a commit before that state is known to it, and one behind it is refused. A process
//! that runs by a larger limit, which the sweep has not heard of, opened later, and names what it makes by the shard's
//! time or a later one: nothing of that is old. No process's wall clock is part of the argument. Where nobody has committed
//! for the whole of that age, by this process's own monotonic clock, the sweep does, to have the time written down.
//!
//! The state is the listed head's, so that a lost log entry is not taken for the end (what lies behind it is needed). For
//! the same reason nothing is deleted while there is a rollup of a state that is not of this log: its newest entries are
//! gone, and what they refer to is here.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::TryStreamExt;

use crate::machine::Machine;
use timely_persist_core::state::command::RecordTime;
use timely_persist_core::state::{State, is_stale};
use timely_persist_types::clock::millis;
use timely_persist_types::codec::Time;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::{ROLLUP_KIND, blob_made_ms};
use timely_persist_types::record::LeaksSwept;

use super::Policy;

/// Deletes what is lost, step by step, each of a bounded number of objects, and tells of it.
pub(super) async fn sweep<T: Time>(machine: &Arc<Machine<T>>, policy: &Policy) -> Result<LeaksSwept, Error> {
    let swept = delete_leaks(machine, policy).await?;
    let LeaksSwept { objects, .. } = swept;
    if objects > 0 {
        tracing::info!(shard = %machine.shard(), objects, "deleted objects that no state ever referred to");
    }
    machine.life().tell(|to| to.leaks_swept(machine.shard(), &swept));
    Ok(swept)
}

async fn delete_leaks<T: Time>(machine: &Arc<Machine<T>>, policy: &Policy) -> Result<LeaksSwept, Error> {
    let begun = machine.life().stopwatch();
    let step_max = policy.upkeep.sweep_step_objects_max.max(1);
    let (mut seen, mut lost_before) = (None, None);
    let mut count = 0;
    loop {
        let found = suspects(machine, seen.as_deref(), step_max, policy.orphan_age_min).await?;
        // Where the next step goes on: a name that is looked at once is not looked at again.
        let Some(last) = found.old.last() else { break };
        seen = Some(last.clone());
        let full = found.old.len() >= step_max;
        let before_ms = match lost_before {
            Some(before_ms) => before_ms,
            None => *lost_before.insert(begin(machine, &found, policy.orphan_age_min).await?),
        };
        count += delete_lost(machine, found.old, before_ms).await?;
        if !full {
            break;
        }
    }
    Ok(LeaksSwept { objects: count as u64, elapsed: begun.elapsed() })
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
async fn suspects<T: Time>(
    machine: &Arc<Machine<T>>,
    seen: Option<&str>,
    step_max: usize,
    age_min: Duration,
) -> Result<Suspects, Error> {
    let (now_ms, age_ms) = (machine.wall_ms(), millis(age_min));
    let mut listing = pin!(machine.blobs().list(machine.shard(), seen));
    let mut found = Suspects::default();
    // Those that are in use are old too: all are looked at, but no more than a step's worth of others is remembered,
    // the first by name, because not every store lists in order.
    let known = machine.state();
    let used: BTreeSet<&str> = known.blobs().collect();
    while let Some(name) = listing.try_next().await? {
        if used.contains(name.as_str()) {
            continue;
        }
        if name.starts_with(ROLLUP_KIND) && found.rollup.as_ref().is_none_or(|youngest| *youngest < name) {
            found.rollup = Some(name.clone());
        }
        if is_stale(&name, now_ms, age_ms) {
            found.old.insert(name);
        }
        if found.old.len() > step_max {
            found.old.pop_last();
        }
    }
    Ok(found)
}

/// Makes sure that the log is whole, has the shard's time written down, and asks the store for its limit: when an object
/// must have been made to be taken for lost.
async fn begin<T: Time>(machine: &Arc<Machine<T>>, found: &Suspects, age_min: Duration) -> Result<u64, Error> {
    let mut state = machine.confirm().await?;
    refuse_beside_a_foreign_rollup(machine, &state, found.rollup.as_deref()).await?;
    let age_ms = millis(age_min);
    let is_young = |state: &State<T>| !found.old.iter().any(|name| is_stale(name, state.wall_ms, age_ms));
    if is_young(&state) && machine.time_stood_still() >= age_min {
        machine.apply(RecordTime).await?;
        state = machine.state();
    }
    if is_young(&state) {
        return Ok(0); // by this process's clock alone they are old
    }
    machine.blobs().lost_before_ms(state.wall_ms).await.map_err(|error| error.of_shard(machine.shard()))
}

/// Deletes those that were made before that and that the log, as it is now, does not know; how many.
async fn delete_lost<T: Time>(
    machine: &Arc<Machine<T>>,
    mut lost: BTreeSet<String>,
    before_ms: u64,
) -> Result<usize, Error> {
    lost.retain(|name| blob_made_ms(name).is_some_and(|made_ms| made_ms < before_ms));
    if lost.is_empty() {
        return Ok(0);
    }
    let state = machine.refresh().await?;
    for name in state.blobs() {
        lost.remove(name);
    }
    let count = lost.len();
    machine.blobs().delete_all(machine.shard(), lost.into_iter().collect()).await?;
    Ok(count)
}

/// An error if a rollup that nobody refers to is of a state that the log does not come to: then newer entries were lost.
/// One that was refused, or whose process died, is of an entry that is in the log, or was truncated.
async fn refuse_beside_a_foreign_rollup<T: Time>(
    machine: &Arc<Machine<T>>,
    state: &State<T>,
    rollup: Option<&str>,
) -> Result<(), Error> {
    let Some(name) = rollup.filter(|name| !state.blobs().any(|known| known == *name)) else {
        return Ok(());
    };
    let Some(bytes) = machine.blobs().read_whole(machine.shard(), name).await? else {
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
    let message = format!(
        "log entry {lost} is missing: there is a rollup of it, and the log, which ends at {}, does not have it",
        state.seqno.0
    );
    Err(Error::new(ErrorKind::Missing, message)
        .advise(
            "put back what was lost; nothing is deleted before. If the shard was restored from an older backup on purpose, \
             delete the rollup",
        )
        .of_shard(machine.shard())
        .of_object(name))
}
