//! Parts on their way to whoever fetches them: leased in this process, or exchangeable between processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use timely::progress::Antichain;

use crate::fetch::{Plan, Window};
use timely_persist_core::part::{PartStats, RowLens};
use timely_persist_core::state::{Description, Part, Schema, Types, wire};
use timely_persist_types::codec::Time;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::{LeaseId, LeasedReaderId, ShardId};

use super::ledger::Ledger;

/// A part, and the window through which its reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading<T: Time> {
    pub(crate) shard: ShardId,
    /// The digest of the reader's types: see `Types::digest`.
    pub(crate) types: u64,
    /// What its rows look like, if it is not what the reader's types do.
    pub(crate) stored: Option<Arc<Schema>>,
    /// With its statistics as the reader's types have them.
    pub(crate) part: Arc<Part<T>>,
    pub(crate) window: Arc<Window<T>>,
}

impl<T: Time> Reading<T> {
    fn bytes(&self) -> u64 {
        self.part.meta.decoded_bytes.max(self.part.meta.encoded_bytes)
    }

    /// How its rows become those of these types, the reader's; `None` if they are.
    pub(crate) fn lens_to(&self, types: &Types) -> Result<Option<Arc<RowLens>>, Error> {
        let Some(stored) = &self.stored else { return Ok(None) };
        types.lens(stored).map_err(|incompatible| {
            let message = format!("its rows cannot be read as those of this program: {incompatible}");
            Error::new(ErrorKind::CodecMismatch, message).of_shard(self.shard)
        })
    }

    fn stats(&self) -> Option<PartStats> {
        PartStats::decode(&self.part.meta.stats)
    }
}

/// The right to fetch a part. Dropping the last owner gives it back.
#[derive(Debug)]
pub(crate) struct Lease<T: Time> {
    ledger: Arc<Ledger<T>>,
    number: u64,
    /// Whether the ledger keeps it until its id comes back.
    exchanged: AtomicBool,
}

impl<T: Time> Lease<T> {
    pub(crate) fn ledger(&self) -> &Arc<Ledger<T>> {
        &self.ledger
    }

    fn id(&self) -> LeaseId {
        LeaseId { reader: self.ledger.id(), number: self.number }
    }
}

impl<T: Time> Drop for Lease<T> {
    fn drop(&mut self) {
        if !*self.exchanged.get_mut() {
            self.ledger.release(self.number);
        }
    }
}

/// Keeps every object that a state of the shard refers to, from the moment it was taken on: see `ReadHandle::pin`.
/// Dropping it lets go.
///
/// The reader stays registered for as long as it lives, also when the handle is gone.
#[derive(Debug)]
pub struct Pin<T: Time>(Lease<T>);

impl<T: Time> Pin<T> {
    pub(crate) fn new(ledger: &Arc<Ledger<T>>, number: u64) -> Self {
        Self(Lease { ledger: Arc::clone(ledger), number, exchanged: AtomicBool::new(false) })
    }

    /// `LeaseExpired` if the reader was lost: then objects may be gone that this should have kept.
    pub fn check(&self) -> Result<(), Error> {
        self.0.ledger.check()
    }
}

/// A part that its reader holds for whoever has this value. Dropping it gives the lease back.
///
/// The reader stays registered for as long as one of its leased parts lives, also when its handle is gone.
#[derive(Debug)]
pub struct LeasedPart<T: Time> {
    reading: Arc<Reading<T>>,
    lease: Arc<Lease<T>>,
}

impl<T: Time> LeasedPart<T> {
    pub(crate) fn new(ledger: &Arc<Ledger<T>>, number: u64, reading: Reading<T>) -> Self {
        let lease = Lease { ledger: Arc::clone(ledger), number, exchanged: AtomicBool::new(false) };
        Self { reading: Arc::new(reading), lease: Arc::new(lease) }
    }

    pub(super) fn reading(&self) -> &Reading<T> {
        &self.reading
    }

    pub(super) fn ledger(&self) -> &Ledger<T> {
        &self.lease.ledger
    }

    /// Rows, before the reader's window.
    pub fn rows(&self) -> u64 {
        self.reading.part.meta.rows
    }

    /// The memory that it takes when fetched, in bytes.
    pub fn bytes(&self) -> u64 {
        self.reading.bytes()
    }

    /// The length of its object, in bytes; also of one that is inline.
    pub fn encoded_bytes(&self) -> u64 {
        self.reading.part.meta.encoded_bytes
    }

    /// Its statistics; `None` where they are missing or unknown to this version.
    pub fn stats(&self) -> Option<PartStats> {
        self.reading.stats()
    }

    /// Plain data that may travel to other workers and processes, for as long as this value keeps the lease: whoever
    /// hands the part out drops the value when its `lease_id()` comes back.
    pub fn to_exchangeable(&self) -> ExchangeablePart<T> {
        ExchangeablePart { lease: self.lease.id(), reading: Arc::clone(&self.reading) }
    }

    /// Leaves the lease in the reader's ledger and gives plain data that may travel to other workers and processes.
    /// What comes back from there is its `lease_id()`, to the reader's `return_lease`.
    pub fn into_exchangeable(self) -> ExchangeablePart<T> {
        self.lease.exchanged.store(true, Ordering::Release);
        ExchangeablePart { lease: self.lease.id(), reading: Arc::clone(&self.reading) }
    }
}

/// A part that may travel to other workers and processes: serde, plain data. Its reader holds it until
/// [`ExchangeablePart::lease_id`] comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire", bound = "T: Time")]
pub struct ExchangeablePart<T: Time> {
    lease: LeaseId,
    reading: Arc<Reading<T>>,
}

impl<T: Time> ExchangeablePart<T> {
    /// What comes back to the reader when the part was fetched.
    pub fn lease_id(&self) -> LeaseId {
        self.lease
    }

    /// Whether the part's bytes are in this value itself, so that fetching it asks the store nothing.
    pub fn is_inline(&self) -> bool {
        self.reading.part.blob().is_none()
    }

    /// The shard that the part is of.
    pub fn shard_id(&self) -> ShardId {
        self.reading.shard
    }

    /// Rows, before the reader's window.
    pub fn rows(&self) -> u64 {
        self.reading.part.meta.rows
    }

    /// The memory that it takes when fetched, in bytes.
    pub fn bytes(&self) -> u64 {
        self.reading.bytes()
    }

    /// Its statistics; `None` where they are missing or unknown to this version.
    pub fn stats(&self) -> Option<PartStats> {
        self.reading.stats()
    }
}

/// How an exchangeable part travels. Frontiers as words, so that times need no serde of their own.
#[derive(Clone, Serialize, Deserialize)]
struct Wire {
    reader: u128,
    number: u64,
    shard: u128,
    types: u64,
    stored: Option<Bytes>,
    part: Bytes,
    /// Lower, upper and since of the batch; `as_of`, `shown` and `until` of the reader.
    frontiers: [Vec<[u8; 8]>; 6],
    snapshot: bool,
    updates: bool,
}

impl<T: Time> From<ExchangeablePart<T>> for Wire {
    fn from(part: ExchangeablePart<T>) -> Self {
        let reading = &part.reading;
        let window = &reading.window;
        let desc = &window.desc;
        let words = |frontier: &Antichain<T>| frontier.elements().iter().map(|time| time.encode()).collect();
        Self {
            reader: part.lease.reader.as_u128(),
            number: part.lease.number,
            shard: reading.shard.as_u128(),
            types: reading.types,
            stored: reading.stored.as_deref().map(wire::encode_schema),
            part: wire::encode_part(&reading.part),
            frontiers: [&desc.lower, &desc.upper, &desc.since, &window.as_of, &window.shown, &window.until].map(words),
            snapshot: window.snapshot,
            updates: window.updates,
        }
    }
}

impl<T: Time> TryFrom<Wire> for ExchangeablePart<T> {
    type Error = Error;

    fn try_from(wire: Wire) -> Result<Self, Error> {
        let frontier = |words: Vec<[u8; 8]>| -> Result<Antichain<T>, Error> {
            let times = words.into_iter().map(T::decode).collect::<Result<Vec<T>, _>>();
            times.map(Antichain::from).map_err(|error| Error::corrupt("a time does not decode").because(error))
        };
        let [lower, upper, since, as_of, shown, until] = wire.frontiers;
        let desc = Description { lower: frontier(lower)?, upper: frontier(upper)?, since: frontier(since)? };
        let window = Window {
            desc,
            as_of: frontier(as_of)?,
            snapshot: wire.snapshot,
            updates: wire.updates,
            shown: frontier(shown)?,
            until: frontier(until)?,
        };
        let window = Arc::new(window);
        let shard = ShardId::from_u128(wire.shard);
        let stored = wire.stored.map(|stored| wire::decode_schema(&stored)).transpose()?;
        let part = Arc::new(wire::decode_part(&wire.part)?);
        let reading = Reading { shard, types: wire.types, stored, part, window };
        let lease = LeaseId { reader: LeasedReaderId::from_u128(wire.reader), number: wire.number };
        Ok(Self { lease, reading: Arc::new(reading) })
    }
}

/// A part that can be fetched: made from a leased or an exchangeable one, owned or borrowed. One made from a leased
/// part shares its lease.
#[derive(Clone, Debug)]
pub struct PartRef<T: Time> {
    pub(crate) reading: Arc<Reading<T>>,
    pub(crate) reader: LeasedReaderId,
    pub(crate) lease: Option<Arc<Lease<T>>>,
}

impl<T: Time> PartRef<T> {
    /// What the reader's window does to the part.
    pub(crate) fn plan(&self) -> Plan<T> {
        let meta = &self.reading.part.meta;
        self.reading.window.plan(&meta.time_lower, &meta.time_upper)
    }
}

impl<T: Time> From<&LeasedPart<T>> for PartRef<T> {
    fn from(part: &LeasedPart<T>) -> Self {
        let lease = Some(Arc::clone(&part.lease));
        Self { reading: Arc::clone(&part.reading), reader: part.lease.ledger.id(), lease }
    }
}

impl<T: Time> From<LeasedPart<T>> for PartRef<T> {
    fn from(part: LeasedPart<T>) -> Self {
        Self::from(&part)
    }
}

impl<T: Time> From<&ExchangeablePart<T>> for PartRef<T> {
    fn from(part: &ExchangeablePart<T>) -> Self {
        Self { reading: Arc::clone(&part.reading), reader: part.lease.reader, lease: None }
    }
}

impl<T: Time> From<ExchangeablePart<T>> for PartRef<T> {
    fn from(part: ExchangeablePart<T>) -> Self {
        Self::from(&part)
    }
}
