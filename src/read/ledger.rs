//! The ledger of a reader: what it has leased, and so what the shard must keep for it.
//!
//! One lock covers the reading of the newest state, the list of parts taken from it and the lease of each. So whoever
//! computes the reader's hold (the smallest leased SeqNo, else that of the newest state, under the same lock) never
//! misses parts that are being taken.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use timely::PartialOrder;
use timely::progress::Antichain;
use tokio::time::Instant;

use crate::machine::Machine;
use timely_persist_core::state::command::{ExpireReader, Renewal};
use timely_persist_core::state::{LeasedReader, State};
use timely_persist_io::life::{KeepAlive, lock};
use timely_persist_types::codec::Time;
use timely_persist_types::error::{EncodedFrontier, Error, ErrorKind};
use timely_persist_types::ids::{LeaseId, LeasedReaderId, SeqNo};
use timely_persist_types::record::ReaderExpired;

/// What one reader has given out. The last owner's drop expires the reader.
pub(crate) struct Ledger<T: Time> {
    machine: Arc<Machine<T>>,
    id: LeasedReaderId,
    purpose: String,
    /// How long the reader trusts a renewal, by the process's own clock.
    trust: Duration,
    page: Mutex<Page<T>>,
    /// Leased parts can be fetched for as long as they live.
    _client: Option<KeepAlive>,
}

struct Page<T> {
    since: Antichain<T>,
    next: u64,
    leases: HashMap<u64, Leased>,
    per_seqno: BTreeMap<SeqNo, usize>,
    renewed: Instant,
    standing: Standing,
    warned: bool,
}

struct Leased {
    seqno: SeqNo,
    what: What,
}

/// What a lease is of.
enum What {
    /// An object.
    Blob(String),
    /// A part that lies in the state.
    Inline,
    /// Everything that a state from the lease's SeqNo on refers to.
    All,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Registered,
    Lost,
    Expired,
}

/// Gives out leases at one SeqNo, while the ledger is locked.
pub(crate) struct Leasing<'a, T> {
    page: &'a mut Page<T>,
    seqno: SeqNo,
}

impl<T> Leasing<'_, T> {
    /// Leases one part.
    pub(crate) fn lease(&mut self, blob: Option<&str>) -> u64 {
        self.lease_what(blob.map_or(What::Inline, |name| What::Blob(name.to_owned())))
    }

    /// Leases whatever a state from here on refers to.
    pub(crate) fn lease_all(&mut self) -> u64 {
        self.lease_what(What::All)
    }

    fn lease_what(&mut self, what: What) -> u64 {
        let number = self.page.next;
        self.page.next += 1;
        self.page.leases.insert(number, Leased { seqno: self.seqno, what });
        *self.page.per_seqno.entry(self.seqno).or_default() += 1;
        number
    }
}

/// A reader that holds more SeqNos than this is reported: a dataflow that keeps up has a few, and each one more keeps
/// objects of its own.
const READER_HOLDS_WARNING: usize = 1_000;

impl<T: Time> Ledger<T> {
    /// The ledger of a reader that was registered at the instant `registered` or later.
    pub(crate) fn new(
        machine: Arc<Machine<T>>,
        id: LeasedReaderId,
        reader: LeasedReader<T>,
        registered: Instant,
        margin: Duration,
    ) -> Arc<Self> {
        // A margin that leaves little of a short lease would make the reader useless.
        let margin = margin.min(reader.lease() / 4);
        let trust = reader.lease().saturating_sub(margin);
        let page = Page {
            since: reader.since,
            next: 0,
            leases: HashMap::new(),
            per_seqno: BTreeMap::new(),
            renewed: registered,
            standing: Standing::Registered,
            warned: false,
        };
        let _client = machine.life().keep_alive();
        Arc::new(Self { machine, id, purpose: reader.purpose, trust, page: Mutex::new(page), _client })
    }

    pub(crate) fn id(&self) -> LeasedReaderId {
        self.id
    }

    pub(crate) fn purpose(&self) -> &str {
        &self.purpose
    }

    /// Takes parts from the newest state and leases them there, in one step.
    pub(crate) fn take<R>(&self, pick: impl FnOnce(&State<T>, &mut Leasing<'_, T>) -> R) -> Result<R, Error> {
        self.machine.life().check_home().map_err(|error| error.of_shard(self.machine.shard()))?;
        let mut page = lock(&self.page);
        let state = self.machine.state();
        self.check_page(&page, &state)?;
        let picked = pick(&state, &mut Leasing { page: &mut page, seqno: state.seqno });
        self.warn_of_many(&mut page);
        Ok(picked)
    }

    /// An error if the reader's lease was lost, or may have been.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.machine.life().check_home().map_err(|error| error.of_shard(self.machine.shard()))?;
        let page = lock(&self.page);
        self.check_page(&page, &self.machine.state())
    }

    fn check_page(&self, page: &Page<T>, state: &State<T>) -> Result<(), Error> {
        let gone = page.standing != Standing::Registered || !state.readers.contains_key(&self.id);
        if !gone && page.renewed.elapsed() < self.trust {
            return Ok(());
        }
        let message = match page.standing {
            Standing::Expired => format!("reader {} was expired by its owner", self.id),
            _ if gone => format!("reader {} ({}) was expired by others", self.id, self.purpose),
            _ => format!("reader {} ({}) could not renew its lease in time", self.id, self.purpose),
        };
        Err(self.lease_expired(state, message))
    }

    fn lease_expired(&self, state: &State<T>, message: String) -> Error {
        let kind = ErrorKind::LeaseExpired { earliest: EncodedFrontier::new(&state.since) };
        Error::new(kind, message).of_shard(self.machine.shard())
    }

    /// The error of a fetch, explained: a lost lease, if that is why an object is not there. Asks the log, because this
    /// process may not have heard of it yet.
    pub(crate) async fn explain(&self, error: Error) -> Error {
        let asked = if error.kind() == ErrorKind::Missing { self.machine.refresh().await.map(drop) } else { Ok(()) };
        match (asked, self.check()) {
            (_, Err(expired)) => expired.because(error),
            (Ok(()), Ok(())) => error,
            (Err(unavailable), Ok(())) => unavailable.because(error),
        }
    }

    /// Gives a lease back.
    pub(crate) fn give_back(&self, id: LeaseId) -> Result<(), Error> {
        if id.reader != self.id {
            return Err(Error::invalid(format!("{id} is not of reader {}", self.id)).of_shard(self.machine.shard()));
        }
        if self.release(id.number) {
            return Ok(());
        }
        let message = format!("{id} was given back before, or never given out");
        Err(Error::invalid(message).of_shard(self.machine.shard()))
    }

    /// Gives a lease back; whether it was out.
    pub(crate) fn release(&self, number: u64) -> bool {
        if !self.machine.life().is_at_home() {
            return false; // a fork's copy of the lease: the one that counts is with the process that took it
        }
        let mut page = lock(&self.page);
        let Some(leased) = page.leases.remove(&number) else {
            return false;
        };
        page.count_down(leased.seqno);
        true
    }

    /// How many leases are out.
    pub(crate) fn outstanding(&self) -> usize {
        lock(&self.page).leases.len()
    }

    /// Where the reader reads: moves it forward to `since`, if that is forward.
    pub(crate) fn downgrade(&self, since: &Antichain<T>) {
        let mut page = lock(&self.page);
        if PartialOrder::less_than(&page.since, since) {
            page.since.clone_from(since);
        }
    }

    /// What the shard must hear: where the reader reads and what it holds. `None` once it was lost or expired.
    ///
    /// A lease moves forward with the log for as long as its part is in use: only the position where its object became
    /// garbage pins it.
    pub(crate) fn renewal(&self) -> Option<Renewal<T>> {
        let mut page = lock(&self.page);
        if page.standing != Standing::Registered {
            return None;
        }
        let state = self.machine.state();
        page.advance_leases(&state);
        let hold = page.per_seqno.keys().next().copied().unwrap_or(state.seqno);
        Some(Renewal { id: self.id, since: page.since.clone(), hold })
    }

    /// The renewal asked for at `asked` was committed.
    pub(crate) fn renewed(&self, asked: Instant) {
        let mut page = lock(&self.page);
        page.renewed = page.renewed.max(asked);
    }

    /// When the lease was renewed last.
    pub(crate) fn last_renewed(&self) -> Instant {
        lock(&self.page).renewed
    }

    /// The shard does not know the reader any more.
    pub(crate) fn lost(&self) {
        let mut page = lock(&self.page);
        if page.standing == Standing::Registered {
            page.standing = Standing::Lost;
            tracing::warn!(shard = %self.machine.shard(), reader = %self.id, purpose = self.purpose, "lease lost");
        }
    }

    /// Removes the reader from the shard.
    pub(crate) async fn expire(&self) -> Result<(), Error> {
        self.machine.life().check_home().map_err(|error| error.of_shard(self.machine.shard()))?;
        if self.retire() {
            remove(&self.machine, self.id, false).await?;
        }
        Ok(())
    }

    /// Whether the reader is still to be removed; only once.
    fn retire(&self) -> bool {
        if !self.machine.life().is_at_home() {
            return false; // the reader is another process's
        }
        let mut page = lock(&self.page);
        std::mem::replace(&mut page.standing, Standing::Expired) == Standing::Registered
    }

    fn warn_of_many(&self, page: &mut Page<T>) {
        let held = page.per_seqno.len();
        let many = held > READER_HOLDS_WARNING;
        if many && !page.warned {
            let oldest = page.per_seqno.keys().next().map(|seqno| seqno.0);
            tracing::warn!(
                shard = %self.machine.shard(), reader = %self.id, purpose = self.purpose, held, oldest,
                "a reader holds many SeqNos: its leases do not come back"
            );
        }
        page.warned = many;
    }
}

impl<T> Page<T> {
    fn count_down(&mut self, seqno: SeqNo) {
        if let Some(count) = self.per_seqno.get_mut(&seqno) {
            *count -= 1;
            if *count == 0 {
                self.per_seqno.remove(&seqno);
            }
        }
    }

    /// Moves each lease to the newest position at which its object is still in use.
    fn advance_leases<U: Time>(&mut self, state: &State<U>) {
        let Some(oldest) = self.per_seqno.keys().next().copied().filter(|oldest| *oldest < state.seqno) else {
            return;
        };
        // Objects that became garbage behind the oldest lease, and where. All are still listed: our own hold keeps
        // them.
        let mut died: HashMap<&str, SeqNo> = HashMap::new();
        for (seqno, names) in state.garbage.range(oldest.next()..) {
            died.extend(names.iter().map(|name| (name.as_str(), *seqno)));
        }
        self.per_seqno.clear();
        for leased in self.leases.values_mut() {
            let end = match &leased.what {
                What::All => leased.seqno,
                What::Inline => state.seqno,
                What::Blob(name) => died.get(name.as_str()).map_or(state.seqno, |seqno| seqno.previous()),
            };
            leased.seqno = leased.seqno.max(end);
            *self.per_seqno.entry(leased.seqno).or_default() += 1;
        }
    }
}

impl<T: Time> Drop for Ledger<T> {
    fn drop(&mut self) {
        if !self.retire() {
            return;
        }
        // A note to the runtime: dropping neither blocks nor fails. If it cannot be carried out, the lease runs out.
        let (machine, id) = (Arc::clone(&self.machine), self.id);
        self.machine.life().note(async move {
            if let Err(error) = remove(&machine, id, true).await {
                tracing::debug!(%error, reader = %id, "a dropped reader could not be removed; its lease will run out");
            }
        });
    }
}

/// Removes a reader from the shard, because its owner dropped it or said so.
async fn remove<T: Time>(machine: &Arc<Machine<T>>, reader: LeasedReaderId, dropped: bool) -> Result<(), Error> {
    machine.apply(ExpireReader(reader)).await?;
    machine.life().tell(|to| to.reader_expired(machine.shard(), &ReaderExpired { reader, dropped }));
    Ok(())
}

impl<T: Time> std::fmt::Debug for Ledger<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger of {} with {} leases", self.id, self.outstanding())
    }
}
