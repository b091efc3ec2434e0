//! Critical readers: opening, moving forward.

use std::sync::Arc;

use timely::PartialOrder;
use timely::progress::Antichain;

use crate::state::{Change, CriticalReader, State, Types};
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::ids::CriticalReaderId;

use super::admit::admit_reader;
use super::leased::advance_since;
use super::{Command, Decision, Moment};

/// Registers a critical reader at the shard's since, or finds the one of that name.
#[derive(Clone, Debug)]
pub struct OpenCritical {
    /// Its name.
    pub id: CriticalReaderId,
    /// The types it reads.
    pub types: Arc<Types>,
    /// The fencing token of a new one.
    pub opaque: u64,
    /// What a new one is for.
    pub purpose: String,
}

impl<T: Time> Command<T> for OpenCritical {
    const NAME: &'static str = "open critical reader";
    type Reply = Result<CriticalReader<T>, Error>;

    fn decide(&self, state: &State<T>, _moment: &Moment) -> Decision<T, Self::Reply> {
        Decision::or_refusal(admit_reader(state, &self.types).map(|mut changes| {
            if let Some(reader) = state.critical.get(&self.id) {
                return Decision::Reply(reader.clone());
            }
            let (opaque, purpose) = (self.opaque, self.purpose.clone());
            let reader = CriticalReader { since: state.since.clone(), opaque, purpose };
            changes.push(Change::CriticalSet(self.id, reader.clone()));
            Decision::Commit(changes, reader)
        }))
    }
}

/// Moves a critical reader forward, if its fencing token is the expected one.
#[derive(Clone, Debug)]
pub struct DowngradeCritical<T> {
    /// Which.
    pub id: CriticalReaderId,
    /// The token it should have.
    pub expected: u64,
    /// The token it has from now on.
    pub opaque: u64,
    /// Where it reads from now on; never backwards.
    pub since: Antichain<T>,
}

/// What a critical reader hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CriticalReply<T> {
    /// It stands at this since now.
    Downgraded(Antichain<T>),
    /// Another owner has taken it over, with this fencing token.
    OpaqueMismatch(u64),
    /// There is no such reader.
    Missing,
}

impl<T: Time> Command<T> for DowngradeCritical<T> {
    const NAME: &'static str = "downgrade critical reader";
    type Reply = CriticalReply<T>;

    fn decide(&self, state: &State<T>, _moment: &Moment) -> Decision<T, Self::Reply> {
        let Some(reader) = state.critical.get(&self.id) else {
            return Decision::Reply(CriticalReply::Missing);
        };
        if reader.opaque != self.expected {
            // With the caller's own new token and since, it is an earlier try of the same whose answer was lost.
            let done = reader.opaque == self.opaque && PartialOrder::less_equal(&self.since, &reader.since);
            return Decision::Reply(match done {
                true => CriticalReply::Downgraded(reader.since.clone()),
                false => CriticalReply::OpaqueMismatch(reader.opaque),
            });
        }
        let mut reader = reader.clone();
        reader.opaque = self.opaque;
        if PartialOrder::less_than(&reader.since, &self.since) {
            reader.since = self.since.clone();
        }
        let critical = state.critical.update(self.id, reader.clone());
        let reply = CriticalReply::Downgraded(reader.since.clone());
        let mut changes = vec![Change::CriticalSet(self.id, reader)];
        let sinces = critical.values().map(|reader| &reader.since);
        changes.extend(advance_since(state, sinces.chain(state.readers.values().map(|reader| &reader.since))));
        Decision::Commit(changes, reply)
    }
}
