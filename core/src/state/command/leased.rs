//! Leased readers: registering, renewing.

use std::sync::Arc;

use differential_dataflow::lattice::Lattice;
use timely::PartialOrder;
use timely::progress::Antichain;

use crate::state::{Change, LeasedReader, State, Types};
use timely_persist_types::codec::Time;
use timely_persist_types::error::{EncodedFrontier, Error, ErrorKind};
use timely_persist_types::ids::{LeasedReaderId, SeqNo, ShardId};

use super::admit::admit_reader;
use super::{Command, Decision, Moment};

/// Registers a leased reader and checks that it can read at its `as_of`, in one step.
#[derive(Clone, Debug)]
pub struct Register<T> {
    /// Its name, fresh.
    pub id: LeasedReaderId,
    /// The types it reads.
    pub types: Arc<Types>,
    /// What it is for.
    pub purpose: String,
    /// How long it stays without renewal, in milliseconds.
    pub lease_ms: u64,
    /// Where it wants to read; `None` for the shard's since.
    pub as_of: Option<Antichain<T>>,
}

impl<T: Time> Command<T> for Register<T> {
    const NAME: &'static str = "register reader";
    type Reply = Result<LeasedReader<T>, Error>;

    fn decide(&self, state: &State<T>, moment: &Moment) -> Decision<T, Self::Reply> {
        Decision::or_refusal(self.decide_or_refuse(state, moment))
    }
}

impl<T: Time> Register<T> {
    fn decide_or_refuse(&self, state: &State<T>, moment: &Moment) -> Result<Decision<T, LeasedReader<T>>, Error> {
        let mut changes = admit_reader(state, &self.types)?;
        if let Some(reader) = state.readers.get(&self.id) {
            return Ok(Decision::Reply(reader.clone()));
        }
        let since = self.as_of.clone().unwrap_or_else(|| state.since.clone());
        if !PartialOrder::less_equal(&state.since, &since) {
            return Err(too_early(state.shard, &since, &state.since));
        }
        let reader = LeasedReader {
            since,
            hold: state.seqno,
            heartbeat_ms: moment.now_ms,
            lease_ms: self.lease_ms,
            opened_ms: moment.now_ms,
            purpose: self.purpose.clone(),
        };
        changes.push(Change::ReaderSet(self.id, reader.clone()));
        Ok(Decision::Commit(changes, reader))
    }
}

/// The error of a read below what is kept.
pub fn too_early<T: Time>(shard: ShardId, as_of: &Antichain<T>, since: &Antichain<T>) -> Error {
    let kind = ErrorKind::Since { earliest: EncodedFrontier::new(since) };
    Error::new(kind, format!("the history at {} is no longer kept", EncodedFrontier::new(as_of))).of_shard(shard)
}

/// Renews and downgrades readers, all in one entry, and advances the shard's since to what the rest allows.
#[derive(Clone, Debug)]
pub struct Renew<T>(pub Vec<Renewal<T>>);

/// What a process says of one of its readers.
#[derive(Clone, Debug, PartialEq)]
pub struct Renewal<T> {
    /// Which.
    pub id: LeasedReaderId,
    /// Where it reads from now on; never backwards.
    pub since: Antichain<T>,
    /// What it holds from now on; never backwards.
    pub hold: SeqNo,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalReply {
    /// The reader's lease runs from now.
    Renewed,
    /// The reader is not registered: its lease was lost.
    Lost,
}

impl<T: Time> Command<T> for Renew<T> {
    const NAME: &'static str = "renew readers";
    type Reply = Vec<RenewalReply>;

    fn decide(&self, state: &State<T>, moment: &Moment) -> Decision<T, Self::Reply> {
        let mut changes = Vec::new();
        let mut replies = Vec::with_capacity(self.0.len());
        let mut readers = state.readers.clone();
        let mut moved = false;
        for renewal in &self.0 {
            let Some(reader) = readers.get(&renewal.id) else {
                replies.push(RenewalReply::Lost);
                continue;
            };
            let mut reader = reader.clone();
            if PartialOrder::less_than(&reader.since, &renewal.since) {
                reader.since = renewal.since.clone();
                moved = true;
            }
            reader.hold = reader.hold.max(renewal.hold).min(state.seqno);
            // Each renewal is a new mark: that is how others see that the reader lives (`Sightings`).
            reader.heartbeat_ms = reader.heartbeat_ms.saturating_add(1).max(moment.now_ms);
            readers.insert(renewal.id, reader.clone());
            changes.push(Change::ReaderSet(renewal.id, reader));
            replies.push(RenewalReply::Renewed);
        }
        if changes.is_empty() {
            return Decision::Reply(replies);
        }
        if moved {
            let all = readers.values().map(|reader| &reader.since);
            changes.extend(advance_since(state, all.chain(state.critical.values().map(|reader| &reader.since))));
        }
        Decision::Commit(changes, replies)
    }
}

/// The shard's since is the meet over all readers; it never goes backwards.
pub(super) fn advance_since<'a, T: Time>(
    state: &State<T>,
    sinces: impl Iterator<Item = &'a Antichain<T>>,
) -> Option<Change<T>> {
    let since = sinces.fold(Antichain::new(), |met, since| met.meet(since));
    PartialOrder::less_than(&state.since, &since).then_some(Change::SinceSet(since))
}
