//! Rollups: the state as one object, so that nobody reads the log from its beginning.

use std::sync::Arc;

use crate::codec::Time;
use crate::error::Error;
use crate::machine::{Machine, damaged};
use crate::state::transition::set_rollup;
use crate::state::{RollupRef, State, rollup_interval};

/// Writes the present state as a rollup, makes it the newest, and truncates the log behind it; `false` if it was refused,
/// so that trying again at once would come to the same.
pub(super) async fn write<T: Time>(machine: &Arc<Machine<T>>) -> Result<bool, Error> {
    let context = machine.context();
    let state = machine.state();
    let name = machine.rollup_name();
    context.write_blob(machine.shard(), &name, state.encode()).await?;
    let rollup = RollupRef { seqno: state.seqno, name: name.clone() };
    // On an error the rollup may be in use, or come to be: it stays, and the leak sweep decides.
    let (interval, age_max_ms) = (rollup_interval(&context.config), context.blob_age_max_ms());
    let decide = move |state: &State<T>, now_ms| set_rollup(state, now_ms, &rollup, interval, age_max_ms);
    let applied = machine.apply(decide).await?;
    if !applied.reply && !applied.doubtful {
        context.delete_blob(machine.shard(), &name).await?;
    }
    truncate(machine).await?;
    Ok(applied.reply)
}

/// Nobody need do anything while the store answers again before long.
const BY_ITSELF: &str = "upkeep tries it again by itself";

/// Removes the log entries that the newest rollup covers. Nobody needs them: whoever is behind reads the rollup.
async fn truncate<T: Time>(machine: &Arc<Machine<T>>) -> Result<(), Error> {
    let Some(covered) = machine.state().rollup.as_ref().map(|rollup| rollup.seqno) else {
        return Ok(());
    };
    let truncation = machine.context().consensus.truncate(machine.shard(), covered.next());
    let limit = machine.context().config.store_deadline;
    match tokio::time::timeout(limit, truncation).await {
        Ok(Ok(_count)) => Ok(()),
        Ok(Err(error)) if error.damaged => Err(damaged(error).of_shard(machine.shard())),
        Ok(Err(error)) => Err(Error::unavailable("the log could not be truncated").advise(BY_ITSELF).because(error)),
        Err(_elapsed) => Err(Error::unavailable("truncating the log took too long").advise(BY_ITSELF)),
    }
}
