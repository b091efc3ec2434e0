//! Rollups: the state as one object, so that nobody reads the log from its beginning.

use std::sync::Arc;

use crate::codec::Time;
use crate::error::Error;
use crate::machine::Machine;
use crate::state::RollupRef;
use crate::state::command::SetRollup;

/// Writes the present state as a rollup, makes it the newest, and truncates the log behind it; `false` if it was refused,
/// so that trying again at once would come to the same.
pub(super) async fn write<T: Time>(machine: &Arc<Machine<T>>) -> Result<bool, Error> {
    let state = machine.state();
    let name = machine.rollup_name();
    machine.blobs().write(machine.shard(), &name, state.encode()).await?;
    let rollup = RollupRef { seqno: state.seqno, name: name.clone() };
    // On an error the rollup may be in use, or come to be: it stays, and the leak sweep decides.
    let applied = machine.apply(SetRollup(rollup)).await?;
    if !applied.reply && !applied.doubtful {
        machine.blobs().delete(machine.shard(), &name).await?;
    }
    machine.truncate().await?;
    Ok(applied.reply)
}
