//! Finalizing: a shard whose since and upper are empty becomes a tombstone.

use std::sync::Arc;

use crate::state::{Batch, Change, Description, State};
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;

use super::{Command, Decision, Moment};

/// Shrinks a shard whose since and upper are empty towards a tombstone, some objects at a time.
#[derive(Clone, Copy, Debug)]
pub struct Finalize;

/// What finalizing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizeReply {
    /// One step of a big shard was done; call again.
    More,
    /// The shard is a tombstone.
    Done,
}

impl<T: Time> Command<T> for Finalize {
    const NAME: &'static str = "finalize";
    type Reply = Result<FinalizeReply, Error>;

    fn decide(&self, state: &State<T>, moment: &Moment) -> Decision<T, Self::Reply> {
        if state.finalized {
            return Decision::Reply(Ok(FinalizeReply::Done));
        }
        Decision::or_refusal(check(state).map(|()| shrink(state, moment.limits.finalize_objects_max)))
    }
}

/// An error if somebody may still read or write the shard.
fn check<T: Time>(state: &State<T>) -> Result<(), Error> {
    if state.since.is_empty() && state.upper().is_empty() {
        return Ok(());
    }
    let message = format!(
        "only a shard with an empty since and an empty upper can be finalized; they are {:?} and {:?}. \
         Downgrade all its readers and advance its upper to the empty frontier first",
        state.since.elements(),
        state.upper().elements(),
    );
    Err(Error::invalid(message).of_shard(state.shard))
}

/// One step of so many objects at most.
fn shrink<T: Time>(state: &State<T>, objects_max: usize) -> Decision<T, FinalizeReply> {
    let mut garbage = Vec::new();
    let mut count = 0;
    for batch in &state.batches {
        if count > 0 && garbage.len() + batch.parts().count() > objects_max {
            break;
        }
        garbage.extend(batch.blobs().map(str::to_owned));
        count += 1;
    }
    if count == state.batches.len() {
        return Decision::Commit(vec![Change::Finalized { garbage: Arc::new(garbage) }], FinalizeReply::Done);
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
    Decision::Commit(vec![change], FinalizeReply::More)
}
