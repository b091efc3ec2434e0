//! Readers: registering, renewing, downgrading, expiring.

use std::sync::Arc;

use differential_dataflow::lattice::Lattice;
use timely::PartialOrder;
use timely::progress::Antichain;

use crate::codec::Time;
use crate::error::{EncodedFrontier, Error, ErrorKind};
use crate::ids::{CriticalReaderId, LeasedReaderId, SeqNo};
use crate::state::{Change, CodecNames, CriticalReader, Decision, LeasedReader, State};

use super::{finalized, settle_codecs};

/// A leased reader to be registered.
#[derive(Clone, Debug)]
pub struct Registration<T> {
    /// Its name, fresh.
    pub id: LeasedReaderId,
    /// The types it reads.
    pub codecs: Arc<CodecNames>,
    /// What it is for.
    pub purpose: String,
    /// How long it stays without renewal, in milliseconds.
    pub lease_ms: u64,
    /// Where it wants to read; `None` for the shard's since.
    pub as_of: Option<Antichain<T>>,
}

/// Registers a leased reader and checks that it can read at its `as_of`, in one step.
pub fn register<T: Time>(
    state: &State<T>,
    now_ms: u64,
    registration: &Registration<T>,
) -> Decision<T, Result<LeasedReader<T>, Error>> {
    let mut changes = Vec::new();
    match settle_codecs(state, &registration.codecs) {
        Ok(change) => changes.extend(change),
        Err(error) => return Decision::Reply(Err(error)),
    }
    if state.finalized {
        return Decision::Reply(Err(finalized(state)));
    }
    if let Some(reader) = state.readers.get(&registration.id) {
        return Decision::Reply(Ok(reader.clone()));
    }
    let since = registration.as_of.clone().unwrap_or_else(|| state.since.clone());
    if !PartialOrder::less_equal(&state.since, &since) {
        return Decision::Reply(Err(too_early(state.shard, &since, &state.since)));
    }
    let reader = LeasedReader {
        since,
        hold: state.seqno,
        heartbeat_ms: now_ms,
        lease_ms: registration.lease_ms,
        opened_ms: now_ms,
        purpose: registration.purpose.clone(),
    };
    changes.push(Change::ReaderSet(registration.id, reader.clone()));
    Decision::Commit(changes, Ok(reader))
}

/// The error of a read below what is kept.
pub fn too_early<T: Time>(shard: crate::ids::ShardId, as_of: &Antichain<T>, since: &Antichain<T>) -> Error {
    let kind = ErrorKind::Since { earliest: EncodedFrontier::new(since) };
    Error::new(kind, format!("the history at {} is no longer kept", EncodedFrontier::new(as_of))).of_shard(shard)
}

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

/// Renews and downgrades readers, all in one entry, and advances the shard's since to what the rest allows.
pub fn renew<T: Time>(state: &State<T>, now_ms: u64, renewals: &[Renewal<T>]) -> Decision<T, Vec<RenewalReply>> {
    let mut changes = Vec::new();
    let mut replies = Vec::with_capacity(renewals.len());
    let mut readers = state.readers.clone();
    let mut moved = false;
    for renewal in renewals {
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
        reader.heartbeat_ms = reader.heartbeat_ms.saturating_add(1).max(now_ms);
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

/// The shard's since is the meet over all readers; it never goes backwards.
fn advance_since<'a, T: Time>(state: &State<T>, sinces: impl Iterator<Item = &'a Antichain<T>>) -> Option<Change<T>> {
    let since = sinces.fold(Antichain::new(), |met, since| met.meet(since));
    PartialOrder::less_than(&state.since, &since).then_some(Change::SinceSet(since))
}

/// Removes a leased reader. The since is not recomputed: that is for those who still read to say.
pub fn expire_reader<T: Time>(state: &State<T>, id: LeasedReaderId) -> Decision<T, ()> {
    match state.readers.contains_key(&id) {
        true => Decision::Commit(vec![Change::ReaderRemoved(id)], ()),
        false => Decision::Reply(()),
    }
}

/// Registers a critical reader at the shard's since, or finds the one of that name.
pub fn open_critical<T: Time>(
    state: &State<T>,
    codecs: &Arc<CodecNames>,
    id: CriticalReaderId,
    opaque: u64,
    purpose: &str,
) -> Decision<T, Result<CriticalReader<T>, Error>> {
    let mut changes = Vec::new();
    match settle_codecs(state, codecs) {
        Ok(change) => changes.extend(change),
        Err(error) => return Decision::Reply(Err(error)),
    }
    if state.finalized {
        return Decision::Reply(Err(finalized(state)));
    }
    if let Some(reader) = state.critical.get(&id) {
        return Decision::Reply(Ok(reader.clone()));
    }
    let reader = CriticalReader { since: state.since.clone(), opaque, purpose: purpose.to_owned() };
    changes.push(Change::CriticalSet(id, reader.clone()));
    Decision::Commit(changes, Ok(reader))
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

/// Moves a critical reader forward, if its fencing token is the expected one.
pub fn downgrade_critical<T: Time>(
    state: &State<T>,
    id: CriticalReaderId,
    expected: u64,
    opaque: u64,
    since: &Antichain<T>,
) -> Decision<T, CriticalReply<T>> {
    let Some(reader) = state.critical.get(&id) else {
        return Decision::Reply(CriticalReply::Missing);
    };
    if reader.opaque != expected {
        // With the caller's own new token and since, it is an earlier try of the same whose answer was lost.
        let done = reader.opaque == opaque && PartialOrder::less_equal(since, &reader.since);
        return Decision::Reply(match done {
            true => CriticalReply::Downgraded(reader.since.clone()),
            false => CriticalReply::OpaqueMismatch(reader.opaque),
        });
    }
    let mut reader = reader.clone();
    reader.opaque = opaque;
    if PartialOrder::less_than(&reader.since, since) {
        reader.since = since.clone();
    }
    let critical = state.critical.update(id, reader.clone());
    let reply = CriticalReply::Downgraded(reader.since.clone());
    let mut changes = vec![Change::CriticalSet(id, reader)];
    let sinces = critical.values().map(|reader| &reader.since);
    changes.extend(advance_since(state, sinces.chain(state.readers.values().map(|reader| &reader.since))));
    Decision::Commit(changes, reply)
}

/// Removes a critical reader.
pub fn expire_critical<T: Time>(state: &State<T>, id: CriticalReaderId) -> Decision<T, ()> {
    match state.critical.contains_key(&id) {
        true => Decision::Commit(vec![Change::CriticalRemoved(id)], ()),
        false => Decision::Reply(()),
    }
}
