//! Rollups: the state as one object, so that nobody reads the log from its beginning.

use std::sync::Arc;

use crate::codec::Time;
use crate::error::Error;
use crate::machine::Machine;
use crate::state::transition::set_rollup;
use crate::state::{RollupRef, State, rollup_interval};

/// Writes the present state as a rollup, makes it the newest, and truncates the log behind it; `false` if it was refused,
/// so that trying again at once would come to the same.
pub(super) async fn write<T: Time>(machine: &Arc<Machine<T>>) -> Result<bool, Error> {
    let state = machine.state();
    let name = machine.rollup_name();
    machine.blobs().write(machine.shard(), &name, state.encode()).await?;
    let rollup = RollupRef { seqno: state.seqno, name: name.clone() };
    // On an error the rollup may be in use, or come to be: it stays, and the leak sweep decides.
    let (interval, age_max_ms) = (rollup_interval(machine.config()), machine.blob_age_max_ms());
    let decide = move |state: &State<T>, now_ms| set_rollup(state, now_ms, &rollup, interval, age_max_ms);
    let applied = machine.apply(decide).await?;
    if !applied.reply && !applied.doubtful {
        machine.blobs().delete(machine.shard(), &name).await?;
    }
    machine.truncate().await?;
    Ok(applied.reply)
}
