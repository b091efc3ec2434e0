//! What travels between workers, and the capabilities that stay behind.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::dataflow::operators::{Capability, CapabilitySet, InputCapability};
use timely::progress::Timestamp;
use timely_persist::{ExchangeablePart, LeaseId, Time};

use crate::agreement::Asked;

/// What the leader sends to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) enum Sent<T: Time> {
    /// A part to fetch.
    Part(PartDesc<T>),
    /// The workers were asked for different things, as these words say: nothing will come.
    Disagreement { worker: u64, message: String },
}

impl<T: Time> Sent<T> {
    /// The worker that it goes to.
    pub(crate) fn worker(&self) -> u64 {
        match self {
            Self::Part(desc) => desc.worker,
            Self::Disagreement { worker, .. } => *worker,
        }
    }
}

/// What a worker sends to the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Home {
    /// What it was asked for. The first that it sends, if there are other workers.
    Asked(Asked),
    /// A part comes home.
    Returned(Returned),
}

/// A part for a worker to fetch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct PartDesc<T: Time> {
    /// The worker.
    pub(crate) worker: u64,
    /// The part.
    pub(crate) part: ExchangeablePart<T>,
    /// Whether the filter discarded the part, and it is fetched only to check the filter.
    pub(crate) audit: bool,
}

/// A part that comes home: its lease and its credit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Returned {
    /// The lease.
    pub(crate) lease: LeaseId,
    /// The part's bytes, as its descriptor said.
    pub(crate) bytes: u64,
    /// Whether its rows were emitted. If not, they never will be.
    pub(crate) emitted: bool,
}

/// Where the outputs of the fetch operator lie.
pub(crate) const DATA: usize = 0;
pub(crate) const HOME: usize = 1;
pub(crate) const ERRORS: usize = 2;

/// The right to emit what a part, or several, of one message lead to: one set of capabilities for each output.
#[derive(Debug)]
pub(crate) struct Rights<T: Timestamp> {
    pub(crate) data: CapabilitySet<T>,
    pub(crate) home: CapabilitySet<T>,
    pub(crate) errors: CapabilitySet<T>,
}

impl<T: Timestamp> Rights<T> {
    /// No rights.
    pub(crate) fn none() -> Self {
        Self { data: CapabilitySet::new(), home: CapabilitySet::new(), errors: CapabilitySet::new() }
    }

    /// Those that came with a message. Whole stamps, so that times need no total order.
    pub(crate) fn of(message: &InputCapability<T>) -> Rc<Self> {
        Rc::new(Self {
            data: message.retain_stamp(DATA),
            home: message.retain_stamp(HOME),
            errors: message.retain_stamp(ERRORS),
        })
    }

    /// Takes these rights too.
    pub(crate) fn add(&mut self, other: &Self) {
        join(&mut self.data, &other.data);
        join(&mut self.home, &other.home);
        join(&mut self.errors, &other.errors);
    }
}

/// Adds capabilities to a set, which stays minimal.
pub(crate) fn join<T: Timestamp>(set: &mut CapabilitySet<T>, other: &[Capability<T>]) {
    for capability in other {
        set.insert(capability.clone());
    }
}
