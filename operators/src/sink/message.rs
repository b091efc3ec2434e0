//! What travels between the workers of a sink: plain data.

use serde::{Deserialize, Serialize};
use timely::progress::Antichain;

use crate::common::agreement::Asked;
use crate::sink::error::SinkError;

/// A letter, and the worker it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mail<T> {
    pub(crate) to: u64,
    pub(crate) letter: Letter<T>,
}

/// What workers tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Letter<T> {
    /// To the leader: what this worker was asked for. The first that it sends, if there are others.
    Asked(Asked),
    /// To the leader: the answer to an ask.
    Answer(Answer),
    /// To the leader: something to say.
    Report(SinkError),
    /// From the leader.
    Order(Order<T>),
}

/// What the leader tells all workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order<T> {
    /// The shard ends here: what is before is in it.
    Floor(Antichain<T>),
    /// Stage the rows of an interval.
    Ask(Ask<T>),
    /// Nothing will be committed any more: keep no rows.
    Rest,
    /// All is done.
    End,
}

/// Asks each worker for its rows at times in `[lower, upper)`. All of them are there: the frontier has passed `upper`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask<T> {
    pub(crate) seq: u64,
    /// The shard's upper.
    pub(crate) lower: Antichain<T>,
    pub(crate) upper: Antichain<T>,
}

/// A worker's rows of an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) seq: u64,
    pub(crate) worker: usize,
    /// Staged batches, as bytes.
    pub(crate) batches: Vec<Vec<u8>>,
    /// Rows that the worker has at later times.
    pub(crate) rows_later: u64,
}
