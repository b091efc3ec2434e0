//! What travels between workers: plain data.

use serde::{Deserialize, Serialize};
use timely_persist::LeaseId;

use crate::common::agreement::Asked;

/// What the leader sends to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent<P> {
    /// The worker.
    pub(crate) worker: u64,
    /// What it is to do.
    pub(crate) order: Order<P>,
}

/// What a worker is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order<P> {
    /// Fetch a part.
    Fetch {
        /// The part.
        part: P,
        /// Whether the filter discarded the part, and it is fetched only to check the filter.
        audit: bool,
    },
    /// Say that the workers were asked for different things, as these words tell: nothing will come.
    Disagree(String),
}

/// What a worker sends to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Home {
    /// What it was asked for. The first that it sends, if there are other workers.
    Asked(Asked),
    /// A part comes home.
    Returned(Returned),
}

/// A part that comes home: its lease, and so its credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Returned {
    /// The lease.
    pub(crate) lease: LeaseId,
    /// Whether its rows were emitted. If not, they never will be.
    pub(crate) emitted: bool,
}
