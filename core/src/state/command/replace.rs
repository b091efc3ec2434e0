//! Putting what a compaction made in the place of what it read.

use std::collections::BTreeSet;
use std::sync::Arc;

use timely::PartialOrder;

use crate::state::{Batch, Change, State, entry_bytes};
use timely_persist_types::codec::Time;
use timely_persist_types::ids::SchemaId;

use super::{Command, Decision, Moment};

/// Replaces batches if they still stand as they were read. `false` refuses: the output's parts are not used.
#[derive(Clone, Debug)]
pub struct Replace<T: Time> {
    /// The adjacent batches that were read.
    pub inputs: Vec<Arc<Batch<T>>>,
    /// What they come to.
    pub output: Arc<Batch<T>>,
    /// Which schema the rows are of that were written for it.
    pub schema: SchemaId,
}

impl<T: Time> Command<T> for Replace<T> {
    const NAME: &'static str = "replace batches";
    type Reply = bool;

    fn entry_bytes(&self) -> usize {
        entry_bytes(&self.output.runs)
    }

    fn decide(&self, state: &State<T>, moment: &Moment) -> Decision<T, bool> {
        let Replace { inputs, output, schema } = self;
        if state.finalized || !self.stand(state) || self.is_stale(moment) {
            return Decision::Reply(false);
        }
        // The types changed while it was merged: it would stand for ever as what is to be read through a lens.
        if *schema != state.latest_schema() {
            return Decision::Reply(false);
        }
        let covers = inputs.first().is_some_and(|first| first.desc.lower == output.desc.lower)
            && inputs.last().is_some_and(|last| last.desc.upper == output.desc.upper);
        if !covers || !PartialOrder::less_equal(&output.desc.since, &state.since) {
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
}

impl<T: Time> Replace<T> {
    /// Whether the batches stand in the state as they were read.
    fn stand(&self, state: &State<T>) -> bool {
        let start = self.inputs.first().and_then(|first| state.batch_beginning_at(&first.desc.lower));
        start.is_some_and(|start| {
            self.inputs.iter().enumerate().all(|(offset, input)| {
                let here = state.batches.get(start + offset);
                here.is_some_and(|batch| Arc::ptr_eq(batch, input) || batch == input)
            })
        })
    }

    /// Whether a leak sweep may take one of the new objects for lost.
    fn is_stale(&self, moment: &Moment) -> bool {
        let known: BTreeSet<&str> = self.inputs.iter().flat_map(|batch| batch.blobs()).collect();
        let mut new = self.output.parts().filter(|part| part.blob().is_some_and(|name| !known.contains(name)));
        new.any(|part| part.is_stale(moment.now_ms, moment.limits.blob_age_max_ms))
    }
}
