//! Sweeping: deleting the objects that no state from some position on refers to, once every hold has passed it.

use std::sync::Arc;

use crate::machine::Machine;
use timely_persist_core::state::State;
use timely_persist_core::state::command::DeleteGarbage;
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::ids::SeqNo;
use timely_persist_types::record::Swept;

/// Deletes one step's worth of garbage, at most so many objects, and records it; `None` if there is nothing that nobody
/// holds.
pub(super) async fn sweep<T: Time>(machine: &Arc<Machine<T>>, objects_max: usize) -> Result<Option<Swept>, Error> {
    let begun = machine.life().stopwatch();
    let dead = next_step(&machine.state(), objects_max);
    if dead.is_empty() {
        return Ok(None);
    }
    let names: Vec<String> = dead.iter().flat_map(|(_, names)| names.iter().cloned()).collect();
    let objects = names.len() as u64;
    // First the objects, then the record: interrupted in between, the next sweep deletes them again: no harm done.
    machine.blobs().delete_all(machine.shard(), names).await?;
    machine.apply(DeleteGarbage(dead)).await?;
    Ok(Some(Swept { objects, garbage_left: machine.state().totals.garbage, elapsed: begun.elapsed() }))
}

/// The oldest garbage that nobody holds, at most so many objects.
fn next_step<T: Time>(state: &State<T>, objects_max: usize) -> Vec<(SeqNo, Vec<String>)> {
    let hold = state.hold();
    let mut step = Vec::new();
    let mut left = objects_max.max(1);
    for (seqno, names) in state.garbage.iter().take_while(|(seqno, _)| **seqno <= hold) {
        let names: Vec<String> = names.iter().take(left).cloned().collect();
        left -= names.len();
        step.push((*seqno, names));
        if left == 0 {
            break;
        }
    }
    step
}
