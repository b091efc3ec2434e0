//! What commits leave to be done: replacing batches, rollups, deleting garbage, expiring the lapsed, finalizing.

use std::collections::BTreeSet;
use std::sync::Arc;

use timely::PartialOrder;

use crate::codec::Time;
use crate::error::Error;
use crate::ids::SeqNo;
use crate::state::{Batch, Change, Decision, Description, RollupRef, State, is_stale};

/// A compaction's result, offered.
#[derive(Clone, Debug)]
pub struct Replacement<T: Time> {
    /// The adjacent batches that were read.
    pub inputs: Vec<Arc<Batch<T>>>,
    /// What they come to.
    pub output: Arc<Batch<T>>,
    /// How old the output's new objects may be, in milliseconds: older ones may have been taken for lost, and deleted.
    pub blob_age_max_ms: u64,
}

/// Replaces batches if they still stand as they were read. `false` refuses: the output's parts are not used.
pub fn replace<T: Time>(state: &State<T>, now_ms: u64, replacement: &Replacement<T>) -> Decision<T, bool> {
    let Replacement { inputs, output, blob_age_max_ms } = replacement;
    let start = match inputs.first() {
        Some(first) => state.batch_beginning_at(&first.desc.lower),
        None => None,
    };
    let Some(start) = start.filter(|_| !state.finalized) else {
        return Decision::Reply(false);
    };
    let stand = inputs.iter().enumerate().all(|(offset, input)| {
        let here = state.batches.get(start + offset);
        here.is_some_and(|batch| Arc::ptr_eq(batch, input) || batch == input)
    });
    let covers = inputs.first().is_some_and(|first| first.desc.lower == output.desc.lower)
        && inputs.last().is_some_and(|last| last.desc.upper == output.desc.upper);
    let known: BTreeSet<&str> = inputs.iter().flat_map(|batch| batch.blobs()).collect();
    let mut new = output.parts().filter(|part| part.blob().is_some_and(|name| !known.contains(name)));
    if new.any(|part| part.is_stale(now_ms, *blob_age_max_ms)) {
        return Decision::Reply(false);
    }
    if !stand || !covers || !PartialOrder::less_equal(&output.desc.since, &state.since) {
        return Decision::Reply(false);
    }
    let kept: BTreeSet<&str> = output.blobs().collect();
    let garbage = inputs.iter().flat_map(|batch| batch.blobs()).filter(|name| !kept.contains(name));
    let change = Change::BatchesReplaced {
        count: inputs.len() as u64,
        with: Arc::clone(output),
        garbage: Arc::new(garbage.map(str::to_owned).collect()),
    };
    Decision::Commit(vec![change], true)
}

/// Makes a rollup the newest, unless the newest is nearly as new: closer than `interval` entries. `false` refuses: the
/// rollup is not used.
///
/// Several processes find at the same time that one is due. If each wrote its own, their entries would make the next
/// due.
pub fn set_rollup<T: Time>(
    state: &State<T>,
    now_ms: u64,
    rollup: &RollupRef,
    interval: u64,
    blob_age_max_ms: u64,
) -> Decision<T, bool> {
    if state.rollup.as_ref().is_some_and(|newest| newest == rollup) {
        return Decision::Reply(true);
    }
    let newest = state.rollup.as_ref().map_or(SeqNo::ZERO, |newest| newest.seqno);
    let due = rollup.seqno.0 >= newest.0.saturating_add(interval.max(1));
    let fresh = !is_stale(&rollup.name, now_ms, blob_age_max_ms);
    match due && fresh && rollup.seqno <= state.seqno {
        true => Decision::Commit(vec![Change::RollupSet(rollup.clone())], true),
        false => Decision::Reply(false),
    }
}

/// Records that these objects, the first of the garbage at their positions, were deleted.
///
/// Two sweeps may have deleted the same ones: the second finds other names in front, or none, and records nothing.
pub fn delete_garbage<T: Time>(state: &State<T>, deleted: &[(SeqNo, Vec<String>)]) -> Decision<T, ()> {
    let stands = |(seqno, names): &&(SeqNo, Vec<String>)| {
        !names.is_empty() && state.garbage.get(seqno).is_some_and(|known| known.starts_with(names))
    };
    let changes: Vec<Change<T>> = deleted
        .iter()
        .filter(stands)
        .map(|(seqno, names)| Change::GarbageDeleted { seqno: *seqno, count: names.len() as u64 })
        .collect();
    if changes.is_empty() { Decision::Reply(()) } else { Decision::Commit(changes, ()) }
}

/// Changes nothing but the shard's time, which is that of this commit from here on.
pub fn record_time<T: Time>(state: &State<T>) -> Decision<T, ()> {
    // A fact that is true of every state.
    Decision::Commit(vec![Change::SinceSet(state.since.clone())], ())
}

/// What finalizing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizeReply {
    /// One step of a big shard was done; call again.
    More,
    /// The shard is a tombstone.
    Done,
}

/// Shrinks a shard whose since and upper are empty towards a tombstone, at most `step` objects at a time.
pub fn finalize<T: Time>(state: &State<T>, step: usize) -> Decision<T, Result<FinalizeReply, Error>> {
    if state.finalized {
        return Decision::Reply(Ok(FinalizeReply::Done));
    }
    if !state.since.is_empty() || !state.upper().is_empty() {
        let message = format!(
            "only a shard with an empty since and an empty upper can be finalized; they are {:?} and {:?}. \
             Downgrade all its readers and advance its upper to the empty frontier first",
            state.since.elements(),
            state.upper().elements(),
        );
        return Decision::Reply(Err(Error::invalid(message).of_shard(state.shard)));
    }
    let mut garbage = Vec::new();
    let mut count = 0;
    for batch in &state.batches {
        if count > 0 && garbage.len() + batch.parts().count() > step {
            break;
        }
        garbage.extend(batch.blobs().map(str::to_owned));
        count += 1;
    }
    if count == state.batches.len() {
        let change = Change::Finalized { garbage: Arc::new(garbage) };
        return Decision::Commit(vec![change], Ok(FinalizeReply::Done));
    }
    // A batch of nothing at the front grows until it covers all: no entry names more than a step's objects. It takes
    // the next batch with it, or it would replace itself for ever.
    if count == 1 {
        garbage.extend(state.batches[1].blobs().map(str::to_owned));
        count = 2;
    }
    let desc = Description {
        lower: state.batches[0].desc.lower.clone(),
        upper: state.batches[count - 1].desc.upper.clone(),
        since: state.since.clone(),
    };
    let with = Arc::new(Batch::empty(desc));
    let change = Change::BatchesReplaced { count: count as u64, with, garbage: Arc::new(garbage) };
    Decision::Commit(vec![change], Ok(FinalizeReply::More))
}
