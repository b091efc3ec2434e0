//! Appending a batch at the upper.

use std::sync::Arc;
use std::time::Duration;

use timely::PartialOrder;
use timely::progress::Antichain;

use crate::codec::Time;
use crate::error::Error;
use crate::ids::{Token, WriterId, blob_made_ms};
use crate::state::{Batch, Change, CodecNames, Decision, Description, Part, Run, State, WriterRecord};

use super::settle_codecs;

/// A batch to be appended.
#[derive(Clone, Debug)]
pub struct Append<T: Time> {
    /// Who appends.
    pub writer: WriterId,
    /// Names this append, also when it is tried again: it takes effect once.
    pub token: Token,
    /// The types of its rows.
    pub codecs: Arc<CodecNames>,
    /// Where it begins.
    pub lower: Antichain<T>,
    /// Where it ends.
    pub upper: Antichain<T>,
    /// Its rows.
    pub runs: Vec<Run<T>>,
    /// Whether the shard's upper may be anywhere in `[lower, upper]`: what is there already is left out.
    pub overlap: bool,
    /// How old its objects may be, in milliseconds: older ones may have been taken for lost, and deleted.
    pub blob_age_max_ms: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendReply<T> {
    /// It is in the shard.
    Committed,
    /// An earlier try of the same append is in the shard; the parts of this one are not used, unless they are the same.
    Repeated,
    /// The shard has these times already, from an identical writer; the parts are not used.
    Covered,
    /// The shard's upper is elsewhere; the parts are not used.
    UpperMismatch(Antichain<T>),
}

/// Appends a batch if the upper is where it begins.
pub fn append<T: Time>(
    state: &State<T>,
    now_ms: u64,
    append: &Append<T>,
) -> Decision<T, Result<AppendReply<T>, Error>> {
    let mut changes = Vec::new();
    match settle_codecs(state, &append.codecs) {
        Ok(change) => changes.extend(change),
        Err(error) => return Decision::Reply(Err(error)),
    }
    let known = state.writers.get(&append.writer);
    if known.is_some_and(|record| record.tokens.contains(&append.token)) {
        return Decision::Reply(Ok(AppendReply::Repeated));
    }
    let upper = state.upper();
    let fits = if append.overlap {
        if PartialOrder::less_equal(&append.upper, &upper) {
            return Decision::Reply(Ok(AppendReply::Covered));
        }
        PartialOrder::less_equal(&append.lower, &upper) && PartialOrder::less_equal(&upper, &append.upper)
    } else {
        append.lower == upper
    };
    if !fits {
        return Decision::Reply(Ok(AppendReply::UpperMismatch(upper)));
    }
    if append.upper == upper {
        return Decision::Reply(Ok(AppendReply::Committed));
    }
    if let Some(part) = append.runs.iter().flatten().find(|part| part.is_stale(now_ms, append.blob_age_max_ms)) {
        return Decision::Reply(Err(stale(state, now_ms, part, append.blob_age_max_ms)));
    }
    let foldable = state.batches.last().is_some_and(|last| last.is_empty());
    if append.runs.is_empty() && foldable {
        changes.push(Change::EmptyExtended(append.upper.clone()));
    } else {
        let desc = Description::new(upper, append.upper.clone());
        changes.push(Change::BatchAdded(Arc::new(Batch { desc, runs: append.runs.clone() })));
    }
    let mut record = known.cloned().unwrap_or(WriterRecord { tokens: Vec::new(), last_ms: now_ms });
    record.push(append.token, now_ms);
    changes.push(Change::WriterSet(append.writer, record));
    Decision::Commit(changes, Ok(AppendReply::Committed))
}

/// The error of a batch with an object that a leak sweep may take for lost.
fn stale<T: Time>(state: &State<T>, now_ms: u64, part: &Part<T>, age_max_ms: u64) -> Error {
    let name = part.blob().unwrap_or_default();
    let age = Duration::from_millis(now_ms.saturating_sub(blob_made_ms(name).unwrap_or(0)));
    let message = format!(
        "the batch was staged {age:?} ago in the shard's time, at most {:?} are allowed, and its objects may be gone",
        Duration::from_millis(age_max_ms)
    );
    Error::invalid(message).of_shard(state.shard).of_object(name.to_owned()).advise(
        "append its rows again; if it was staged just now, a process whose clock is ahead has moved the shard's time",
    )
}
