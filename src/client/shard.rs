//! A typed handle on a shard.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use timely::progress::Antichain;

use crate::machine::{Health, Machine, check_purpose};
use crate::maintain::Maintainer;
use crate::read::{PartFetcher, ReadHandle, SinceHandle};
use crate::write::WriteHandle;
use timely_persist_core::state::command::{
    Finalize, FinalizeReply, OpenCritical, admit, admit_generation, settle_types,
};
use timely_persist_core::state::{State, Types, storable};
use timely_persist_io::life::lock;
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;
use timely_persist_types::ids::{CriticalReaderId, LeasedReaderId, SchemaId, SeqNo, ShardId, WriterId};

use super::{Client, Local};

/// A shard of rows `((K, V), T, D)`. Cheap to clone and to send; it does no I/O by itself.
pub struct Shard<K: Data, V: Data, T: Time, D: Diff> {
    client: Client,
    id: ShardId,
    /// What the shard's types are called and look like, once somebody asked.
    types: Arc<OnceLock<Arc<Types>>>,
    projects: bool,
    marker: PhantomData<fn() -> (K, V, T, D)>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Clone for Shard<K, V, T, D> {
    fn clone(&self) -> Self {
        let types = Arc::clone(&self.types);
        Self { client: self.client.clone(), id: self.id, types, projects: self.projects, marker: PhantomData }
    }
}

/// What a shard is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardInfo<T> {
    /// Times not beyond this may be merged away.
    pub since: Antichain<T>,
    /// No more updates will appear at times not beyond this.
    pub upper: Antichain<T>,
    /// The position of the log's head.
    pub seqno: SeqNo,
    /// Objects that states from here on refer to are kept.
    pub seqno_hold: SeqNo,
    /// Leased readers.
    pub readers: usize,
    /// Critical readers.
    pub critical_readers: usize,
    /// Writers that committed lately.
    pub writers: usize,
    /// Batches.
    pub batches: usize,
    /// Parts.
    pub parts: u64,
    /// Rows, before consolidation across parts.
    pub rows: u64,
    /// Encoded bytes of all parts.
    pub bytes: u64,
    /// Of these, bytes in the state itself.
    pub inline_bytes: u64,
    /// Of these, bytes whose rows have the types of before, and are read as the latest until they are compacted.
    pub bytes_of_older_schemas: u64,
    /// Objects that are to be deleted when nobody holds them any more.
    pub garbage: u64,
    /// The position of the newest rollup; [`SeqNo::ZERO`] before the first.
    pub rollup: SeqNo,
    /// The largest generation of writers that has committed ([`Shard::open_writer_in`]); 0 before any did.
    pub generation: u64,
    /// Whether the shard was finalized.
    pub finalized: bool,
    /// Whether this process follows the log, where somebody in it waits for it.
    pub following: Health,
    /// Whether this process's upkeep works: compaction, rollups, deletions. [`Shard::settle`] has the error itself.
    pub upkeep: Health,
    /// Why this process hears late (within a second or so) of what others write, where it should hear at once: the system
    /// is short of something. `None` where all is well.
    pub late: Option<String>,
}

/// Who keeps a shard's since or objects where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hold<T> {
    /// Who.
    pub holder: Holder,
    /// What for, in the owner's words.
    pub purpose: String,
    /// Where the reader reads.
    pub since: Antichain<T>,
    /// What it holds; `None` for a critical reader, which holds no objects, only times.
    pub seqno: Option<SeqNo>,
    /// When it was opened, in milliseconds of the shard's wall time; `None` for a critical reader.
    pub opened_ms: Option<u64>,
    /// When it was renewed last; `None` for a critical reader.
    pub heartbeat_ms: Option<u64>,
    /// Unreferenced objects that are kept because of this hold, perhaps of others too.
    pub garbage_kept: u64,
    /// Encoded bytes of the parts whose history could be merged if this reader were not there, perhaps others too:
    /// those that reach beyond its since.
    pub bytes_kept: u64,
}

/// A reader, of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// It expires when it is not renewed.
    Leased(LeasedReaderId),
    /// It stays until its owner removes it.
    Critical(CriticalReaderId),
}

impl Client {
    /// A typed handle on a shard. No I/O.
    pub fn shard<K: Data, V: Data, T: Time, D: Diff>(&self, id: ShardId) -> Shard<K, V, T, D> {
        Shard::new(self.clone(), id)
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Shard<K, V, T, D> {
    fn new(client: Client, id: ShardId) -> Self {
        Self { client, id, types: Arc::default(), projects: false, marker: PhantomData }
    }

    /// The same shard for a program of before its types changed, which reads on: its readers, sources and fetchers see each row
    /// without the fields that these types do not know. No I/O.
    ///
    /// The types may also be some of the fields from the start. Numbers, options and variants that became wider are read as
    /// the narrower ones; a row that has no place in those (a number that is too large, nothing where a value must be, a variant
    /// that is new) is an error, `CodecMismatch`, of whoever fetches it. Rows that differed may be equal, and come in any order,
    /// so [`ReadHandle::snapshot_cursor`] and [`ReadHandle::snapshot_and_fetch`] are refused, as `Invalid`, and so are writers.
    /// What such a reader gives out, a fetcher of such a handle fetches.
    pub fn projecting(&self) -> Self {
        Self { types: Arc::default(), projects: true, ..self.clone() }
    }

    /// Its name.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The client it is of.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A writer. One read of the log, and none of that where this process knows the shard.
    ///
    /// `CodecMismatch` if the shard holds other types, `Finalized` if it was finalized, `Unavailable` if the log did
    /// not answer, `Invalid` for a purpose of more than [`PURPOSE_BYTES_MAX`](timely_persist_types::config::PURPOSE_BYTES_MAX) bytes.
    /// Cancelling leaves nothing.
    ///
    /// Where writers have generations ([`Shard::open_writer_in`]), it is of generation 0, and so refused as `Fenced` once a
    /// writer of another has committed.
    pub async fn open_writer(&self, purpose: &str) -> Result<WriteHandle<K, V, T, D>, Error> {
        self.open_writer_in(purpose, 0).await
    }

    /// A writer of this generation: of this version of a program, say, whose predecessor must not go on writing.
    ///
    /// The shard remembers the largest generation that has committed, with or without rows. Each append of this writer, and
    /// each [`WriteHandle::advance_upper`], is refused as `Fenced`, with the shard's generation, if that is larger: in the one
    /// decision that also compares the upper, so nothing of an older generation is written after the first commit of a newer
    /// one, wherever their processes are. Opening alone changes nothing: the predecessor writes on until then. Writers of one
    /// generation do not fence each other. A generation never goes back; programs that know none cannot write any more.
    ///
    /// `Fenced` at once if the shard's generation is larger. Other errors, cost and cancelling as in [`Shard::open_writer`].
    ///
    /// ```
    /// # use timely::progress::Antichain;
    /// # use timely_persist::{Client, ErrorKind, ShardId};
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let client = Client::open("memory:").await?;
    /// # let at = |time: u64| Antichain::from_elem(time);
    /// let orders = client.shard::<String, u64, u64, i64>(ShardId::new());
    /// let mut version_1 = orders.open_writer_in("orders 1.0", 1).await?;
    /// let mut version_2 = orders.open_writer_in("orders 2.0", 2).await?;
    /// version_1.advance_upper(&at(3)).await?; // it writes until the other does
    /// version_2.advance_upper(&at(4)).await?;
    /// let refused = version_1.advance_upper(&at(5)).await.unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::Fenced { generation: 2 });
    /// # Ok::<(), timely_persist::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn open_writer_in(&self, purpose: &str, generation: u64) -> Result<WriteHandle<K, V, T, D>, Error> {
        check_purpose(self.id, purpose)?;
        let local = self.local()?;
        let state = local.machine.refresh().await?;
        let types = self.types();
        admit(&state, &types)?;
        admit_generation(&state, generation)?;
        self.client.maintain_as::<K, V, T, D>(&local);
        let schema = state.latest_schema();
        let id = WriterId::from_u128(local.machine.fresh_bits());
        let (machine, client) = (Arc::clone(&local.machine), self.client.keep_alive());
        let config = self.client.config().write;
        Ok(WriteHandle::new(machine, client, config, id, (types, schema), purpose.to_owned(), generation))
    }

    /// A leased reader at the shard's since. One commit.
    ///
    /// Errors as in [`Shard::open_writer`]. Cancelled, it may leave a reader behind that expires.
    pub async fn open_reader(&self, purpose: &str) -> Result<ReadHandle<K, V, T, D>, Error> {
        self.reader(purpose, None).await
    }

    /// A leased reader at `as_of`: checked and registered in one commit. `Since` if the shard does not keep `as_of` any
    /// more, with the smallest that it keeps; `Invalid` if it has a time that cannot be stored. Other errors as in
    /// [`Shard::open_reader`].
    pub async fn open_reader_at(&self, purpose: &str, as_of: Antichain<T>) -> Result<ReadHandle<K, V, T, D>, Error> {
        storable(&as_of, self.id)?;
        self.reader(purpose, Some(as_of)).await
    }

    async fn reader(&self, purpose: &str, as_of: Option<Antichain<T>>) -> Result<ReadHandle<K, V, T, D>, Error> {
        let roster = Arc::clone(&self.local()?.roster);
        ReadHandle::open(roster, self.client.keep_alive(), self.types(), purpose.to_owned(), as_of).await
    }

    /// The critical reader of this name, made with this fencing token at the shard's since if there is none. One
    /// commit, or a read of the log if there is one.
    ///
    /// Errors as in [`Shard::open_writer`]. Cancelled, it may leave the reader behind: open it again by its id.
    pub async fn open_critical_since(
        &self,
        id: CriticalReaderId,
        initial_opaque: u64,
    ) -> Result<SinceHandle<T>, Error> {
        self.open_critical_since_as(id, initial_opaque, "").await
    }

    /// The same, and says what a new one is for: [`Shard::holds`] shows it to whoever asks why the history is kept, also
    /// when the owner's program is long gone. One that is there keeps the purpose that it was made with.
    pub async fn open_critical_since_as(
        &self,
        id: CriticalReaderId,
        initial_opaque: u64,
        purpose: &str,
    ) -> Result<SinceHandle<T>, Error> {
        check_purpose(self.id, purpose)?;
        let local = self.local()?;
        let open = OpenCritical { id, types: self.types(), opaque: initial_opaque, purpose: purpose.to_owned() };
        let reader = local.machine.apply(open).await?.reply?;
        Ok(SinceHandle::new(Arc::clone(&local.machine), self.client.keep_alive(), id, reader))
    }

    /// Fetches parts that readers gave out, here or in another process. No I/O.
    pub fn fetcher(&self) -> PartFetcher<K, V, T, D> {
        let machine = match self.local() {
            Ok(local) => Arc::clone(&local.machine),
            // Open with another type of time, or the client is stopped: what it fetches says so.
            Err(_) => Machine::new(self.id, Arc::clone(self.client.context())),
        };
        PartFetcher::new(machine, self.client.keep_alive(), self.types())
    }

    /// Shrinks the shard to a tombstone, if its since and its upper are empty; `Invalid` otherwise. Repeating it does
    /// no harm. Interrupted, it has shrunk the shard a little.
    pub async fn finalize(&self) -> Result<(), Error> {
        let local = self.local()?;
        loop {
            match local.machine.apply(Finalize).await?.reply? {
                FinalizeReply::More => {}
                FinalizeReply::Done => {
                    local.machine.request_upkeep();
                    return Ok(());
                }
            }
        }
    }

    /// What the shard is at this moment. One read of the log.
    pub async fn inspect(&self) -> Result<ShardInfo<T>, Error> {
        let local = self.local()?;
        let state = local.machine.refresh().await?;
        Ok(ShardInfo {
            since: state.since.clone(),
            upper: state.upper(),
            seqno: state.seqno,
            seqno_hold: state.hold(),
            readers: state.readers.len(),
            critical_readers: state.critical.len(),
            writers: state.writers.len(),
            batches: state.batches.len(),
            parts: state.totals.parts,
            rows: state.totals.rows,
            bytes: state.totals.bytes,
            inline_bytes: state.totals.inline_bytes,
            bytes_of_older_schemas: bytes_of_older(&state),
            garbage: state.totals.garbage,
            rollup: state.rollup.as_ref().map_or(SeqNo::ZERO, |rollup| rollup.seqno),
            generation: state.generation,
            finalized: state.finalized,
            following: local.machine.health().borrow().clone(),
            upkeep: local.machine.upkeep_health(),
            late: local.machine.late(),
        })
    }

    /// Who keeps the since and the objects where they are, and what that costs. One read of the log.
    pub async fn holds(&self) -> Result<Vec<Hold<T>>, Error> {
        let state = self.local()?.machine.refresh().await?;
        let leased = state.readers.iter().map(|(id, reader)| Hold {
            holder: Holder::Leased(*id),
            purpose: reader.purpose.clone(),
            since: reader.since.clone(),
            seqno: Some(reader.hold),
            opened_ms: Some(reader.opened_ms),
            heartbeat_ms: Some(reader.heartbeat_ms),
            garbage_kept: state.garbage.range(reader.hold.next()..).map(|(_, names)| names.len() as u64).sum(),
            bytes_kept: bytes_beyond(&state, &reader.since),
        });
        let critical = state.critical.iter().map(|(id, reader)| Hold {
            holder: Holder::Critical(*id),
            purpose: reader.purpose.clone(),
            since: reader.since.clone(),
            seqno: None,
            opened_ms: None,
            heartbeat_ms: None,
            garbage_kept: 0,
            bytes_kept: bytes_beyond(&state, &reader.since),
        });
        Ok(leased.chain(critical).collect())
    }

    /// Maintains the shard until what it gives is dropped, although this process neither reads nor writes it: for a
    /// process that compacts what others write, with `config.upkeep.maintain` off there. One read of the log, and then
    /// what [`Maintainer`] says.
    ///
    /// `Invalid` if this client does not maintain, `CodecMismatch` if the shard holds other types, `Unavailable` if the
    /// log did not answer. Cancelling leaves nothing.
    pub async fn maintain(&self) -> Result<Maintainer, Error> {
        let local = self.local()?;
        if local.maintenance.is_none() {
            return Err(self.does_not_maintain());
        }
        let state = local.machine.refresh().await?;
        settle_types(&state, &self.types())?;
        self.client.maintain_as::<K, V, T, D>(&local);
        Ok(Maintainer::start(Arc::clone(&local.machine), self.client.policy(), self.client.keep_alive()))
    }

    /// Waits until this process has done the upkeep that its commits left: compaction, rollups, deletions.
    ///
    /// `Invalid` if this client does not maintain.
    pub async fn settle(&self) -> Result<(), Error> {
        let local = self.local()?;
        let Some(maintenance) = &local.maintenance else { return Err(self.does_not_maintain()) };
        let settling = || {
            let maintained = lock(maintenance);
            (maintained.types, maintained.task.settle())
        };
        loop {
            let (types, settled) = settling();
            let settled = settled.await;
            // Its types changed meanwhile, and another task maintains it now.
            let replaced = settled.is_err() && lock(maintenance).types != types;
            if !replaced {
                return settled;
            }
        }
    }

    fn does_not_maintain(&self) -> Error {
        Error::invalid("this client does not maintain: open it with `config.upkeep.maintain`").of_shard(self.id)
    }

    pub(super) fn local(&self) -> Result<Arc<Local<T>>, Error> {
        self.client.local::<K, V, T, D>(self.id)
    }

    pub(super) fn types(&self) -> Arc<Types> {
        let of = || {
            let types = Types::of::<K, V, T, D>();
            Arc::new(if self.projects { types.projecting() } else { types })
        };
        Arc::clone(self.types.get_or_init(of))
    }
}

fn bytes_of_older<T: Time>(state: &State<T>) -> u64 {
    let latest = state.latest_schema();
    if latest == SchemaId(0) {
        return 0;
    }
    let parts = state.batches.iter().flat_map(|batch| batch.parts());
    parts.filter(|part| part.meta.schema != latest).map(|part| part.meta.encoded_bytes).sum()
}

fn bytes_beyond<T: Time>(state: &State<T>, since: &Antichain<T>) -> u64 {
    let first = state.batch_beyond(since);
    state.batches.iter().skip(first).map(|batch| batch.bytes()).sum()
}

impl<K: Data, V: Data, T: Time, D: Diff> std::fmt::Debug for Shard<K, V, T, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shard {}", self.id)
    }
}
