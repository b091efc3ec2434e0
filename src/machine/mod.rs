//! The machine of a shard: the only place that does compare-and-set.
//!
//! One [`Machine`] per shard and process, shared by all handles. It keeps the newest state it knows as an immutable
//! value that readers borrow without I/O, and changes it in one way: decide on the state, write the facts behind it,
//! install what they make of it. Commits are single-flight and grouped; an unknown outcome is settled by reading the
//! position back.
//!
//! Always: the installed state is a prefix of the log, and only moves forward; a reply that says "no" was decided on a
//! state read from the log after the command came; no lock is held across an await except the one whose purpose is
//! to let commits through one by one.

mod catch_up;
mod commit;
mod context;
mod follow;
mod health;
mod log;
mod purpose;
mod request;
mod spare;
mod write_entry;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

pub(crate) use context::Context;
pub use health::Health;
pub(crate) use log::Log;
pub(crate) use purpose::check_purpose;
pub(crate) use request::Applied;
pub(crate) use spare::{Spare, SpareBytes};

use timely_persist_core::state::command::Command;
use timely_persist_core::state::{Part, Sightings, State};
use timely_persist_io::blobs::Blobs;
use timely_persist_io::life::{Life, Supervised, lock};
use timely_persist_types::clock::millis;
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::ids::{PART_KIND, ROLLUP_KIND, ShardId, blob_name};

use request::{Pending, Request};

/// A shard's state in this process, and the way to change it.
pub(crate) struct Machine<T: Time> {
    shard: ShardId,
    context: Arc<Context>,
    state: watch::Sender<Arc<State<T>>>,
    /// Wakes those who wait for the state in the order they came, so that a simulation replays: a watch throws dice.
    changed: Notify,
    queue: Mutex<VecDeque<Box<dyn Pending<T>>>>,
    committer: tokio::sync::Mutex<()>,
    /// What this process has seen of readers and writers, and when by its monotonic clock.
    sightings: Mutex<Sightings>,
    begun: Instant,
    /// When the shard's time came to be what it is, as far as this process has seen.
    time_seen: Mutex<Instant>,
    /// Whether it was said that the shard's time is ahead of this process's clock.
    told_ahead: AtomicBool,
    follow: Mutex<Weak<Supervised>>,
    /// The position that a commit of this process stands at or goes for: whoever follows the log need not look at it.
    own: Arc<AtomicU64>,
    health: watch::Sender<Health>,
    upkeep: Notify,
    upkeep_health: Mutex<Health>,
}

impl<T: Time> Machine<T> {
    /// The machine of `shard`. No I/O: the state is read when it is first needed.
    pub(crate) fn new(shard: ShardId, context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            shard,
            context,
            state: watch::Sender::new(Arc::new(State::new(shard))),
            changed: Notify::new(),
            queue: Mutex::new(VecDeque::new()),
            committer: tokio::sync::Mutex::new(()),
            sightings: Mutex::default(),
            begun: Instant::now(),
            time_seen: Mutex::new(Instant::now()),
            told_ahead: AtomicBool::new(false),
            follow: Mutex::new(Weak::new()),
            own: Arc::default(),
            health: watch::Sender::new(Health::Well),
            upkeep: Notify::new(),
            upkeep_health: Mutex::new(Health::Well),
        })
    }

    /// The shard.
    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    /// The way to its objects.
    pub(crate) fn blobs(&self) -> &Arc<Blobs> {
        &self.context.blobs
    }

    /// The life of the client.
    pub(crate) fn life(&self) -> &Arc<Life> {
        &self.context.life
    }

    /// 128 bits that nobody else has.
    pub(crate) fn fresh_bits(&self) -> u128 {
        self.context.entropy.bits()
    }

    /// Wall time by this process's clock, in milliseconds.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.context.clock.wall_ms()
    }

    /// The bytes that the parts of one entry may take.
    pub(crate) fn entry_bytes_max(&self) -> usize {
        self.context.log.config.entry_bytes_max
    }

    /// What the rows of a batch were collected in, for the next.
    /// What parts were encoded in.
    pub(crate) fn spare_parts(&self) -> &SpareBytes {
        &self.context.spare_parts
    }

    pub(crate) fn spare_rows(&self) -> &Spare {
        &self.context.spare_rows
    }

    /// The newest state this process knows. No I/O.
    pub(crate) fn state(&self) -> Arc<State<T>> {
        Arc::clone(&self.state.borrow())
    }

    /// The newest state in the log. One scan of the log, plus a rollup where this process is far behind.
    ///
    /// Cancelling leaves the work to the runtime.
    pub(crate) async fn refresh(self: &Arc<Self>) -> Result<Arc<State<T>>, Error> {
        let machine = Arc::clone(self);
        self.context.life.carry(async move { machine.read_to_head().await.map(|()| machine.state()) }).await
    }

    /// Applies a command: it decides on the newest state, again after each conflict, until its facts are committed or
    /// its reply stands on a fresh state.
    ///
    /// Cancelling before the first poll leaves nothing; after it the command is carried to its end by the runtime.
    /// An `Unavailable` error means that the command may have taken effect, unless it says that it did not; a `Closed` one
    /// says as much. `Unavailable` comes at `config.log.commit_deadline` at the latest, also where every try lost to another
    /// writer.
    pub(crate) async fn apply<C: Command<T>>(self: &Arc<Self>, command: C) -> Result<Applied<C::Reply>, Error> {
        self.context.life.check_home().map_err(|error| error.of_shard(self.shard))?;
        let (sender, receiver) = oneshot::channel();
        lock(&self.queue).push_back(Box::new(Request::new(command, sender)));
        let machine = Arc::clone(self);
        let led = self.context.life.carry(async move { machine.lead_until(receiver).await });
        led.await.map_err(|error: Error| error.of_shard(self.shard))
    }

    /// The newest state in the log, which is not taken to end where an entry is lost: for whoever deletes what it does not
    /// know. One question for the head, and one scan.
    ///
    /// Cancelling leaves the work to the runtime.
    pub(crate) async fn confirm(self: &Arc<Self>) -> Result<Arc<State<T>>, Error> {
        let machine = Arc::clone(self);
        self.context.life.carry(async move { machine.read_to_listed_head().await.map(|()| machine.state()) }).await
    }

    /// A name for a new part of this shard that nothing had before.
    pub(crate) fn part_name(&self) -> String {
        format!("{}.arrow", self.blob_name(PART_KIND))
    }

    /// A name for a new rollup of this shard that nothing had before.
    pub(crate) fn rollup_name(&self) -> String {
        self.blob_name(ROLLUP_KIND)
    }

    /// Its age counts in the shard's time: a process whose clock is behind must not make what looks old already.
    fn blob_name(&self, kind: &str) -> String {
        blob_name(kind, self.now_ms(), self.context.entropy.bits())
    }

    /// The shard's time, as a commit of this process would have it now.
    fn now_ms(&self) -> u64 {
        self.context.clock.wall_ms().max(self.state.borrow().wall_ms)
    }

    /// Whether a part that no commit refers to yet is so old that its object needs another name. No I/O.
    pub(crate) fn renewal_due(&self, part: &Part<T>) -> bool {
        part.is_stale(self.now_ms(), millis(self.context.limits.renewal_age()))
    }

    /// How long nobody has moved the shard's time, as far as this process has seen. No I/O.
    pub(crate) fn time_stood_still(&self) -> Duration {
        lock(&self.time_seen).elapsed()
    }

    /// Whether a reader or a writer's record has lapsed that the next commit will remove. No I/O.
    pub(crate) fn anyone_lapsed(&self) -> bool {
        let state = self.state();
        let mut sightings = lock(&self.sightings);
        let lapsed = !self.look(&mut sightings, &state).is_empty();
        sightings.look_again();
        lapsed
    }

    /// Removes the log entries that the newest rollup covers. Nobody needs them: whoever is behind reads the rollup.
    pub(crate) async fn truncate(&self) -> Result<(), Error> {
        let Some(covered) = self.state().rollup.as_ref().map(|rollup| rollup.seqno) else {
            return Ok(());
        };
        let truncated = self.context.log.truncate(self.shard, covered.next()).await;
        truncated.map_err(|error| error.of_shard(self.shard))
    }

    /// Why what other processes commit is heard of later than usual, if it is: something that the system is short of.
    pub(crate) fn late(&self) -> Option<String> {
        self.context.log.late()
    }

    /// Resolves when a commit of this process left upkeep to do (a rollup, garbage, compaction).
    pub(crate) async fn upkeep_due(&self) {
        self.upkeep.notified().await;
    }

    /// Whether this process's upkeep works.
    pub(crate) fn upkeep_health(&self) -> Health {
        lock(&self.upkeep_health).clone()
    }

    /// Says whether this process's upkeep works.
    pub(crate) fn set_upkeep_health(&self, health: Health) {
        *lock(&self.upkeep_health) = health;
    }

    /// Says that there is upkeep to do.
    pub(crate) fn request_upkeep(&self) {
        self.upkeep.notify_one();
    }
}

impl<T: Time> std::fmt::Debug for Machine<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("shard", &self.shard)
            .field("seqno", &self.state().seqno)
            .finish_non_exhaustive()
    }
}
