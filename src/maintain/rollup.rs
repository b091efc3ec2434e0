//! Rollups: the state as one object, so that nobody reads the log from its beginning.

use std::sync::Arc;

use crate::machine::Machine;
use timely_persist_core::state::RollupRef;
use timely_persist_core::state::command::SetRollup;
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::record::RollupWritten;

/// Writes the present state as a rollup and makes it the newest. One that is not used was refused, so that trying again at
/// once would come to the same.
pub(super) async fn write<T: Time>(machine: &Arc<Machine<T>>) -> Result<RollupWritten, Error> {
    let begun = machine.life().stopwatch();
    let state = machine.state();
    let (name, bytes) = (machine.rollup_name(), state.encode());
    let (seqno, length) = (state.seqno, bytes.len() as u64);
    machine.blobs().write(machine.shard(), &name, bytes).await?;
    let rollup = RollupRef { seqno, name: name.clone() };
    // On an error the rollup may be in use, or come to be: it stays, and the leak sweep decides.
    let applied = machine.apply(SetRollup(rollup)).await?;
    if !applied.reply && !applied.doubtful {
        machine.blobs().delete(machine.shard(), &name).await?;
    }
    Ok(RollupWritten { seqno, bytes: length, used: applied.reply, elapsed: begun.elapsed() })
}
