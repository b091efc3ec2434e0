//! The handle of a leased reader.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use timely::PartialOrder;
use timely::progress::Antichain;

use crate::fetch::Window;
use timely_persist_core::part::{PartStats, RowLens};
use timely_persist_core::state::command::too_early;
use timely_persist_core::state::{Part, Schema, State, Types, passed, storable};
use timely_persist_io::life::{KeepAlive, guarded};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;
use timely_persist_types::ids::{LeaseId, LeasedReaderId, SchemaId, ShardId};

use super::ahead::FetchAhead;
use super::audit::{FilterAudit, Sifted};
use super::cursor::{Cursor, is_wrongly_discarded};
use super::leased::Reading;
use super::ledger::Ledger;
use super::pick::pick;
use super::{LeasedPart, PartFetcher, Pin, Roster};

/// Reads a shard at times beyond its since, which it keeps from being merged away.
///
/// It is registered in the shard with a lease that this process renews. Dropping it removes it, as far as storage lets
/// it, once the last part that it leased has come home.
pub struct ReadHandle<K: Data, V: Data, T: Time, D: Diff> {
    roster: Arc<Roster<T>>,
    ledger: Arc<Ledger<T>>,
    client: KeepAlive,
    types: Arc<Types>,
    since: Antichain<T>,
    marker: std::marker::PhantomData<fn() -> (K, V, D)>,
}

/// The sizes and statistics of the parts of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct PartsStats {
    /// How many parts.
    pub parts: usize,
    /// Rows, before consolidation across parts and before the window of the reader.
    pub rows: u64,
    /// Encoded bytes.
    pub bytes: u64,
    /// The statistics of each part; `None` where they are missing or unknown to this version.
    pub stats: Vec<Option<PartStats>>,
}

/// A schema, and how its rows become the reader's, where they are not as those.
type Known = (Arc<Schema>, Option<Arc<RowLens>>);

/// The schemas of parts that are taken, other than the reader's own: each is looked at once.
struct Stored<'a> {
    types: &'a Types,
    known: BTreeMap<SchemaId, Option<Known>>,
    /// Why one of them has no form in the reader's types, if so.
    refused: Option<Error>,
}

impl<'a> Stored<'a> {
    fn new(types: &'a Types) -> Self {
        Self { types, known: BTreeMap::new(), refused: None }
    }

    /// The part as the reader is to know it, and the schema that it has.
    fn part<T: Time>(&mut self, state: &State<T>, part: &Part<T>) -> (Part<T>, Option<Arc<Schema>>) {
        let mut part = part.clone();
        let Some((schema, lens)) = self.of(state, part.meta.schema) else { return (part, None) };
        if let Some(lens) = lens {
            part.meta.stats = lens.stats(&part.meta.stats);
        }
        (part, Some(Arc::clone(schema)))
    }

    fn of<T: Time>(&mut self, state: &State<T>, id: SchemaId) -> Option<&Known> {
        let Self { types, known, refused } = self;
        let look = || {
            let stored = types.stored(state, id)?;
            let lens = types.lens_from(&stored, state, id).unwrap_or_else(|error| {
                refused.get_or_insert(error);
                None
            });
            Some((stored, lens))
        };
        known.entry(id).or_insert_with(look).as_ref()
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> ReadHandle<K, V, T, D> {
    /// Registers a reader. For the client.
    pub(crate) async fn open(
        roster: Arc<Roster<T>>,
        client: KeepAlive,
        types: Arc<Types>,
        purpose: String,
        as_of: Option<Antichain<T>>,
    ) -> Result<Self, Error> {
        let (ledger, since) = roster.open(Arc::clone(&types), purpose, as_of).await?;
        Ok(Self { roster, ledger, client, types, since, marker: std::marker::PhantomData })
    }

    /// It may read at times beyond this.
    pub fn since(&self) -> &Antichain<T> {
        &self.since
    }

    /// The shard.
    pub fn shard_id(&self) -> ShardId {
        self.roster.machine().shard()
    }

    /// This reader.
    pub fn reader_id(&self) -> LeasedReaderId {
        self.ledger.id()
    }

    /// What it is for.
    pub fn purpose(&self) -> &str {
        self.ledger.purpose()
    }

    /// How many leases of it are out.
    pub fn outstanding_leases(&self) -> usize {
        self.ledger.outstanding()
    }

    /// Another reader with the same since.
    pub async fn fork(&self, purpose: &str) -> Result<Self, Error> {
        let as_of = Some(self.since.clone());
        let (roster, client) = (Arc::clone(&self.roster), Arc::clone(&self.client));
        Self::open(roster, client, Arc::clone(&self.types), purpose.to_owned(), as_of).await
    }

    /// Moves the since forward and tells the shard, with what the reader still holds: also a heartbeat. A since that is
    /// not beyond the present one leaves it. The empty frontier says that this handle will never read again.
    ///
    /// `LeaseExpired` if the reader was lost. `Invalid` for a time that cannot be stored; nothing moves then. `Unavailable`
    /// if the log did not answer; the handle stands at the new since all the same, and the next heartbeat tells the shard.
    /// Cancelling leaves it so, too.
    pub async fn downgrade_since(&mut self, since: &Antichain<T>) -> Result<(), Error> {
        storable(since, self.shard_id())?;
        self.set_since(since);
        self.roster.renew(&[Arc::clone(&self.ledger)]).await?;
        self.ledger.check()
    }

    /// The same, but tells the shard only if a quarter of the lease has passed since it heard of the reader.
    pub async fn maybe_downgrade_since(&mut self, since: &Antichain<T>) -> Result<(), Error> {
        storable(since, self.shard_id())?;
        self.set_since(since);
        let quarter = self.roster.lease().duration / 4;
        if self.ledger.last_renewed().elapsed() >= quarter {
            self.roster.renew(&[Arc::clone(&self.ledger)]).await?;
        }
        self.ledger.check()
    }

    /// Moves the since forward without I/O; the next heartbeat tells the shard.
    pub(super) fn set_since(&mut self, since: &Antichain<T>) {
        if PartialOrder::less_than(&self.since, since) {
            self.since.clone_from(since);
            self.ledger.downgrade(since);
        }
    }

    /// The parts that add up to the shard's contents at `as_of`, leased. Waits until the upper has passed `as_of`.
    ///
    /// `Since` if `as_of` is not beyond this reader's since, with the smallest that is. `Invalid` if it has a time that
    /// cannot be stored. `LeaseExpired` if the reader was lost. No I/O where the state in this process knows that the upper has passed. Cancelling leaves nothing.
    pub async fn snapshot(&self, as_of: Antichain<T>) -> Result<Vec<LeasedPart<T>>, Error> {
        self.check_as_of(&as_of)?;
        if as_of.is_empty() {
            return Ok(Vec::new()); // no time is at or below it
        }
        self.wait_until_passed(&as_of).await?;
        Ok(self.take_snapshot(&as_of)?.into_iter().flatten().collect())
    }

    /// The runs of parts that a snapshot at `as_of` has, leased.
    fn take_snapshot(&self, as_of: &Antichain<T>) -> Result<Vec<Vec<LeasedPart<T>>>, Error> {
        let view = Window { updates: false, ..Window::new(as_of.clone()) };
        Ok(self.take(&view, usize::MAX)?.0)
    }

    /// Leases the parts that this view shows something of, as [`pick`] says.
    pub(super) fn take(
        &self,
        view: &Window<T>,
        parts_max: usize,
    ) -> Result<(Vec<Vec<LeasedPart<T>>>, Antichain<T>), Error> {
        let mut schemas = Stored::new(&self.types);
        let taken = self.ledger.take(|state, leasing| {
            pick(state, view, parts_max, |part, window| {
                let number = leasing.lease(part.blob());
                let (part, stored) = schemas.part(state, part);
                let part = Arc::new(part);
                let reading = Reading { shard: state.shard, types: self.types.digest, stored, part, window };
                LeasedPart::new(&self.ledger, number, reading)
            })
        });
        // Then the leases go back.
        schemas.refused.map_or(taken, Err)
    }

    /// The shard's contents at `as_of` as a stream of consolidated rows, in memory that `config.read.cursor_bytes_max`
    /// bounds. Without the parts that `keep` discards by their statistics: it must keep a part that may hold a row that
    /// is wanted. A part without statistics is kept. Of the discarded parts one in `config.read.filter_audit_one_in` is
    /// fetched all the same, and an error event says so if `keep` would have kept one of its rows.
    ///
    /// Errors as in [`ReadHandle::snapshot`]; `Invalid` if the reader projects. Cancelling leaves nothing.
    pub async fn snapshot_cursor(
        &self,
        as_of: Antichain<T>,
        keep: impl Fn(&PartStats) -> bool,
    ) -> Result<Cursor<K, V, T, D>, Error> {
        self.check_as_of(&as_of)?;
        self.check_order()?;
        self.wait_until_passed(&as_of).await?;
        let (mut audit, mut audited) = (self.filter_audit(), Vec::new());
        let mut runs = self.take_snapshot(&as_of)?;
        for run in &mut runs {
            let sifted = Cell::new(Sifted::Kept);
            let left_out = run.extract_if(.., |part| {
                sifted.set(audit.sift(part, &keep));
                sifted.get() != Sifted::Kept
            });
            audited.extend(left_out.filter(|_| sifted.get() == Sifted::Audited));
        }
        for part in audited {
            let stats = part.stats();
            let fetched = self.fetcher().fetch(&part).await?;
            if is_wrongly_discarded(&fetched, &keep)? {
                let (shard, reader) = (self.shard_id(), self.reader_id());
                tracing::error!(%shard, %reader, purpose = self.purpose(), ?stats, "a filter discards wanted rows");
            }
        }
        Cursor::new(self.roster.machine(), &self.types, runs, self.roster.read().cursor_bytes_max)
    }

    /// For one read through a filter of parts: which of them it leaves out, and which of those are to be audited.
    pub fn filter_audit(&self) -> FilterAudit {
        FilterAudit::new(self.roster.read().filter_audit_one_in, self.roster.machine().fresh_bits())
    }

    /// The shard's contents at `as_of`, consolidated, in order: all of them in memory. Errors as in
    /// [`ReadHandle::snapshot_cursor`] and `PartFetcher::fetch`. Cancelling leaves nothing.
    pub async fn snapshot_and_fetch(&self, as_of: Antichain<T>) -> Result<Vec<((K, V), T, D)>, Error> {
        let mut cursor = self.snapshot_cursor(as_of, |_stats| true).await?;
        let mut rows = Vec::new();
        while cursor.next_into(&mut rows).await? {}
        Ok(rows)
    }

    /// The shard's contents at `as_of`, row by row, not consolidated: parts are fetched ahead within
    /// `config.read.inflight_bytes_max`, in order. Errors as in
    /// [`ReadHandle::snapshot`] and `PartFetcher::fetch`; an error ends the stream. Dropping it leaves nothing.
    pub async fn snapshot_and_stream(
        &self,
        as_of: Antichain<T>,
    ) -> Result<impl Stream<Item = Result<((K, V), T, D), Error>> + use<K, V, T, D>, Error> {
        let fetching = FetchAhead::new(self.fetcher(), self.snapshot(as_of).await?, self.roster.read());
        let fetched = stream::try_unfold(fetching, |mut fetching| async move {
            Ok(fetching.next().await?.map(|part| (part, fetching)))
        });
        let shard = self.shard_id();
        let rows = fetched.map_ok(move |part| stream::iter(owned_rows(part, shard))).try_flatten();
        let ended = std::cell::Cell::new(false);
        Ok(rows.take_while(move |row| {
            let before = ended.replace(row.is_err());
            std::future::ready(!before)
        }))
    }

    /// Sizes and statistics of the parts that a snapshot at `as_of` has. Nothing is fetched. Errors as in
    /// [`ReadHandle::snapshot`].
    pub async fn snapshot_parts_stats(&self, as_of: Antichain<T>) -> Result<PartsStats, Error> {
        let parts = self.snapshot(as_of).await?;
        Ok(PartsStats {
            parts: parts.len(),
            rows: parts.iter().map(LeasedPart::rows).sum(),
            bytes: parts.iter().map(LeasedPart::encoded_bytes).sum(),
            stats: parts.iter().map(LeasedPart::stats).collect(),
        })
    }

    /// Gives back the lease of a part that was exchanged. `Invalid` if it is not out.
    pub fn return_lease(&self, id: LeaseId) -> Result<(), Error> {
        self.ledger.give_back(id)
    }

    /// Keeps all objects: while the [`Pin`] lives, none is deleted that the shard's state refers to now or comes to
    /// refer to. For whoever copies the shard's log and then its objects, a backup above all: the copies fit. What is
    /// compacted meanwhile stays on disk, too, so it is not for long. No I/O.
    ///
    /// `LeaseExpired` if the reader was lost; [`Pin::check`], asked afterwards, says the same if it is lost meanwhile.
    pub fn pin(&self) -> Result<Pin<T>, Error> {
        let number = self.ledger.take(|_state, leasing| leasing.lease_all())?;
        Ok(Pin::new(&self.ledger, number))
    }

    /// Fetches what this reader leases.
    pub fn fetcher(&self) -> PartFetcher<K, V, T, D> {
        PartFetcher::new(Arc::clone(self.roster.machine()), Arc::clone(&self.client), Arc::clone(&self.types))
    }

    /// Removes the reader from the shard, also if leases of it are out: what they hold may go.
    ///
    /// `Unavailable` if the log did not answer: then its lease runs out.
    pub async fn expire(self) -> Result<(), Error> {
        self.ledger.expire().await
    }

    pub(super) fn types(&self) -> &Types {
        &self.types
    }

    pub(super) fn roster(&self) -> &Arc<Roster<T>> {
        &self.roster
    }

    /// An error if this reader may not read at `as_of`.
    pub(super) fn check_as_of(&self, as_of: &Antichain<T>) -> Result<(), Error> {
        self.ledger.check()?;
        storable(as_of, self.shard_id())?;
        if PartialOrder::less_equal(&self.since, as_of) {
            return Ok(());
        }
        Err(too_early(self.shard_id(), as_of, &self.since))
    }

    /// An error if this reader sees rows in no order, which nobody can merge.
    fn check_order(&self) -> Result<(), Error> {
        if !self.types.projects() {
            return Ok(());
        }
        let message =
            "rows of a reader that projects come in no order: read them with `snapshot_and_stream`, or a source";
        Err(Error::invalid(message).of_shard(self.shard_id()))
    }

    pub(super) async fn wait_until_passed(&self, as_of: &Antichain<T>) -> Result<(), Error> {
        let (machine, id) = (self.roster.machine(), self.reader_id());
        // Or the lease was lost while we waited: whoever takes parts next hears of it.
        let lost = |state: &State<T>| !state.readers.contains_key(&id);
        let find = |state: &State<T>| (passed(&state.upper(), as_of) || lost(state)).then_some(());
        machine.life().within(machine.wait_for(find)).await
    }
}

fn owned_rows<K: Data, V: Data, T: Time, D: Diff>(
    part: super::FetchedPart<K, V, T, D>,
    shard: ShardId,
) -> impl Iterator<Item = Result<((K, V), T, D), Error>> {
    part.into_iter().flat_map(move |block| {
        let own = |(key, value, time, diff)| ((K::from_ref(key), V::from_ref(value)), time, diff);
        let rows = guarded(|| Ok(block.refs().map(own).collect::<Vec<_>>()));
        let (rows, failed) = match rows {
            Ok(rows) => (rows, None),
            Err(error) => (Vec::new(), Some(Err(error.of_shard(shard)))),
        };
        rows.into_iter().map(Ok).chain(failed)
    })
}

impl<K: Data, V: Data, T: Time, D: Diff> std::fmt::Debug for ReadHandle<K, V, T, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadHandle")
            .field("reader", &self.reader_id())
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}
