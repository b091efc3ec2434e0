//! What a client tells of itself: every metric that there is, with its unit and its meaning.
//!
//! A [`Recorder`] is told facts, one method for each point where something happens. What it makes of them (sums,
//! histograms, a line of text) is its own business: nothing here counts, and nothing else in the library does.
//!
//! Always: a fact is told when it is complete, once, by the process that it happened in; and before whoever asked for it
//! hears of it. What was given up half-way, because its caller dropped it or the client ended, is not told. Times are those
//! of the runtime's monotonic clock.
//!
//! Not here: events for people, which the library gives to `tracing`; an event and a fact of one point say the same.

use std::fmt::Debug;
use std::time::Duration;

use crate::ids::{LeasedReaderId, PART_KIND, ROLLUP_KIND, SeqNo, ShardId};

/// Is told what a client does: given to `ClientBuilder::recorder`, for metrics.
///
/// Each method is one point, and does nothing unless it is written: so a recorder has those that it is about, and a new
/// one in a later version breaks nobody.
///
/// It is called in the middle of the work, on the thread that does it, perhaps on several at once and while commits of the
/// shard wait: it must be quick, must not block, and must not call the client. A panic in it is caught, said once as an
/// `error` event, and changes nothing else.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// use timely::progress::Antichain;
/// use timely_persist::record::{Committed, Fetched, Recorder};
/// use timely_persist::{Client, ShardId};
///
/// #[derive(Debug, Default)]
/// struct Totals {
///     bytes_committed: AtomicU64,
///     bytes_fetched: AtomicU64,
/// }
///
/// impl Recorder for Totals {
///     fn committed(&self, _shard: ShardId, fact: &Committed) {
///         self.bytes_committed.fetch_add(fact.bytes, Relaxed);
///     }
///
///     fn fetched(&self, _shard: ShardId, fact: &Fetched) {
///         self.bytes_fetched.fetch_add(fact.bytes, Relaxed);
///     }
/// }
///
/// # async fn example() -> Result<(), timely_persist::Error> {
/// let totals = Arc::new(Totals::default());
/// let client = Client::at("memory:").recorder(totals.clone()).open().await?;
/// let shard = client.shard::<String, u64, u64, i64>(ShardId::new());
/// let mut writer = shard.open_writer("example").await?;
/// writer.advance_upper(&Antichain::from_elem(1)).await?;
/// assert!(totals.bytes_committed.load(Relaxed) > 0);
/// # client.shutdown().await
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
#[allow(unused_variables)] // the bodies are empty
pub trait Recorder: Debug + Send + Sync {
    /// A batch of this process's came into the shard, and its writer is about to hear of it.
    fn appended(&self, shard: ShardId, fact: &BatchAppended) {}

    /// An entry of this process's stands in the log.
    fn committed(&self, shard: ShardId, fact: &Committed) {}

    /// Commands were answered without an entry, on a state that was read from the log after they came.
    fn refused(&self, shard: ShardId, fact: &Uncommitted) {}

    /// Commands were answered with an error: what became of them may be unknown.
    fn gave_up(&self, shard: ShardId, fact: &Uncommitted) {}

    /// The log was asked for something, once.
    fn log_request(&self, shard: ShardId, fact: &LogRequest) {}

    /// An object, or a range of one, was read or could not be. Parts that lie in the log are not asked for.
    fn fetched(&self, shard: ShardId, fact: &Fetched) {}

    /// An object was written, or could not be.
    fn stored(&self, shard: ShardId, fact: &Stored) {}

    /// An object was deleted, or could not be: by a sweep, or because what it was written for did not come to be.
    fn deleted(&self, shard: ShardId, fact: &Deleted) {}

    /// A shard's objects were listed to the end, or up to an error.
    fn listed(&self, shard: ShardId, fact: &Listed) {}

    /// Runs of adjacent batches were merged.
    fn merged(&self, shard: ShardId, fact: &Merged) {}

    /// Objects that nobody refers to any more were deleted, and that is recorded in the log.
    fn swept(&self, shard: ShardId, fact: &Swept) {}

    /// It was looked for objects that no state ever referred to.
    fn leaks_swept(&self, shard: ShardId, fact: &LeaksSwept) {}

    /// The state was written as a rollup. The truncation behind it is a [`LogRequest`].
    fn rollup_written(&self, shard: ShardId, fact: &RollupWritten) {}

    /// A leased reader of this process is registered.
    fn reader_opened(&self, shard: ShardId, fact: &ReaderOpened) {}

    /// A leased reader of this process was removed by its owner. Those that others remove are [`Renewed::lost`].
    fn reader_expired(&self, shard: ShardId, fact: &ReaderExpired) {}

    /// The leases of this process's readers were renewed, all in one commit.
    fn renewed(&self, shard: ShardId, fact: &Renewed) {}

    /// What a process does for a shard behind its callers' backs failed, and is tried again after a pause.
    fn stalled(&self, shard: ShardId, fact: &Stalled) {}
}

/// Of [`Recorder::appended`]. All zero where only the upper moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchAppended {
    /// Rows, after equal ones in one part were added up.
    pub rows: u64,
    /// Parts.
    pub parts: u64,
    /// Of these, parts that lie in the log entry.
    pub inline_parts: u64,
    /// Encoded bytes of all parts.
    pub bytes: u64,
}

/// Of [`Recorder::committed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// What the commands of the entry are called, in the order in which they were decided: a few words each, such as
    /// `append` or `renew readers`. Some of them may have been answered without a change.
    pub commands: Vec<&'static str>,
    /// Where the entry stands.
    pub seqno: SeqNo,
    /// Compare-and-sets that the log was asked for, this entry's and those that met another's before it. 1 where nobody
    /// else wrote and the log answered.
    pub tries: u64,
    /// Changes of the state in the entry.
    pub changes: u64,
    /// Bytes of the entry.
    pub bytes: u64,
    /// Readers that have lapsed, of whichever process, and that the entry removes.
    pub readers_lapsed: u64,
    /// Records of writers that have lapsed, and that the entry removes.
    pub writers_lapsed: u64,
    /// From when the commands' turn came until the entry stood, with whatever was read of the log in between.
    pub elapsed: Duration,
}

/// Of [`Recorder::refused`] and [`Recorder::gave_up`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncommitted {
    /// What the commands are called, as in [`Committed::commands`].
    pub commands: Vec<&'static str>,
    /// Compare-and-sets that the log was asked for: those that met another's entry, failed or were not answered.
    pub tries: u64,
    /// From when the commands' turn came until they were answered.
    pub elapsed: Duration,
}

/// Of [`Recorder::log_request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// What for.
    pub operation: LogOperation,
    /// What became of it.
    pub outcome: LogOutcome,
    /// Entries that were read, written or removed: 0 unless it was answered.
    pub entries: u64,
    /// Bytes of the entries that were read, or of the one that was to be written: 0 without an answer, and for a
    /// truncation.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a log is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogOperation {
    /// The newest entry.
    Head,
    /// Entries from a position on.
    Scan,
    /// To write an entry.
    CompareAndSet,
    /// To remove entries.
    Truncate,
}

/// What became of a request to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogOutcome {
    /// It was answered; what was to be written stands.
    Answered,
    /// Another entry stands where this one was to be.
    Conflict,
    /// It was answered with an error. What was to be written may stand.
    Failed,
    /// It was not answered in time. What was to be written may stand.
    Silent,
}

/// What is in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ObjectKind {
    /// Rows.
    Part,
    /// A state.
    Rollup,
    /// What this version does not know by its name.
    Other,
}

impl ObjectKind {
    /// The kind of an object of this name.
    pub fn of(name: &str) -> Self {
        match name.split('-').next() {
            Some(PART_KIND) => Self::Part,
            Some(ROLLUP_KIND) => Self::Rollup,
            _ => Self::Other,
        }
    }
}

/// What became of an operation on an object, with all its tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Done,
    /// There is no such object.
    Missing,
    /// It was not done: refused, not answered in time, or the object is shorter than it should be.
    Failed,
}

/// Of [`Recorder::fetched`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What is in the object.
    pub object: ObjectKind,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether a cache had it, so that the store was not asked.
    pub cached: bool,
    /// Bytes that were had; 0 unless it was done.
    pub bytes: u64,
    /// Requests to the store; 0 from a cache, 1 where the store answers.
    pub tries: u64,
    /// How long it waited for its turn: see `config.read.fetches_max`.
    pub waited: Duration,
    /// How long it took from then on. Of a part that is read piece by piece from a local file: until that was open.
    pub elapsed: Duration,
}

/// Of [`Recorder::stored`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What is in the object.
    pub object: ObjectKind,
    /// What became of it. What failed may be there all the same.
    pub outcome: Outcome,
    /// Bytes of the object that were sent: none of a copy, which the store makes.
    pub bytes: u64,
    /// Requests to the store; 1 where it answers.
    pub tries: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Of [`Recorder::deleted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// What was in the object.
    pub object: ObjectKind,
    /// What became of it. Not every store says that an object was missing: of others, it was done.
    pub outcome: Outcome,
    /// Requests to the store; 1 where it answers.
    pub tries: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Of [`Recorder::listed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whether it came to the end.
    pub outcome: Outcome,
    /// Objects that it showed.
    pub objects: u64,
    /// How long it took, with what was made of the objects meanwhile.
    pub elapsed: Duration,
}

/// Of [`Recorder::merged`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// What became of it.
    pub outcome: MergeOutcome,
    /// Batches that it is to replace.
    pub batches_in: u64,
    /// Runs that were merged into one.
    pub runs_in: u64,
    /// Parts that were read.
    pub parts_in: u64,
    /// Rows in them.
    pub rows_in: u64,
    /// Encoded bytes of them.
    pub bytes_in: u64,
    /// Parts that were written.
    pub parts_out: u64,
    /// Rows in them: fewer than came in where some add up, or cancel.
    pub rows_out: u64,
    /// Encoded bytes of them.
    pub bytes_out: u64,
    /// How long it took, with the commit.
    pub elapsed: Duration,
}

/// What became of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MergeOutcome {
    /// What it came to stands in the place of the batches.
    Replaced,
    /// The batches had changed: it was in vain.
    Refused,
    /// It failed because the batches are gone: somebody else merged them. What it had written does not count.
    Overtaken,
}

/// Of [`Recorder::swept`]. Nothing remembers how long the objects were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Objects that are gone.
    pub objects: u64,
    /// Objects that nobody refers to any more and that are still there: readers hold them, or the next sweep deletes them.
    pub garbage_left: u64,
    /// How long it took, with the commit.
    pub elapsed: Duration,
}

/// Of [`Recorder::leaks_swept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaksSwept {
    /// Objects that were deleted.
    pub objects: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Of [`Recorder::rollup_written`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollupWritten {
    /// The position that it is of.
    pub seqno: SeqNo,
    /// Bytes of it.
    pub bytes: u64,
    /// Whether it is the newest now. Otherwise another process was as quick, and it was in vain.
    pub used: bool,
    /// How long it took, with the commit.
    pub elapsed: Duration,
}

/// Of [`Recorder::reader_opened`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderOpened {
    /// Which.
    pub reader: LeasedReaderId,
}

/// Of [`Recorder::reader_expired`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderExpired {
    /// Which.
    pub reader: LeasedReaderId,
    /// Whether its handle and its leased parts were dropped. Otherwise its owner said so.
    pub dropped: bool,
}

/// Of [`Recorder::renewed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Readers whose lease runs from now.
    pub readers: u64,
    /// Readers that the shard does not know any more: others took them for lapsed.
    pub lost: u64,
    /// How long it took: close to a lease, readers are about to be lost.
    pub elapsed: Duration,
}

/// Of [`Recorder::stalled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// What failed.
    pub work: BackgroundWork,
}

/// What a process does for a shard behind its callers' backs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackgroundWork {
    /// Reading the log when it may have grown.
    Following,
    /// Compaction, rollups, deletions.
    Upkeep,
    /// Renewing leases.
    Renewing,
}
