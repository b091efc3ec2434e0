//! What every part of a client shares: the two seams to storage, limits, clock, randomness, the runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak};

use object_store::ObjectStore;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::clock::{Clock, Entropy};
use crate::config::Config;
use crate::error::Error;
use crate::ids::ProcessId;
use crate::store::{Consensus, Files, ObjectCache};
use crate::supervisor::Post;

use super::carried::{Carried, Within};
use super::{Agreed, Spare};

/// Whatever keeps a client's threads running: each handle has one.
pub type KeepAlive = Arc<dyn std::any::Any + Send + Sync>;

/// Whether a client still works. A runtime that is stopped must not be polled into: its timers would panic.
///
/// It works in the process that opened it. One that was forked has the client's memory and none of its threads: whatever
/// waits for one of them waits for ever, and a lock that one of them held stays locked. So that is asked first,
/// everywhere, before a lock is taken.
#[derive(Debug)]
pub struct Life {
    /// Where the client was opened.
    home: ProcessId,
    /// Held for reading while a future of the client is polled, for writing while the client stops.
    open: RwLock<bool>,
    stopped: watch::Sender<bool>,
    /// Notes that are being carried out.
    notes: watch::Sender<usize>,
    /// What ends it when it is dropped.
    owner: OnceLock<Weak<dyn std::any::Any + Send + Sync>>,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            home: ProcessId::current(),
            open: RwLock::new(true),
            stopped: watch::Sender::new(false),
            notes: watch::Sender::new(0),
            owner: OnceLock::new(),
        }
    }
}

impl Life {
    /// Names what ends this life when it is dropped. Once.
    pub fn belongs_to(&self, owner: &KeepAlive) {
        let _ = self.owner.set(Arc::downgrade(owner)); // there is one client to a context
    }

    /// Ends it: every future that is waiting, or polled later, says `Unavailable`. Returns when none is being polled.
    pub fn end(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = false;
        self.stopped.send_replace(true);
    }

    /// Whether this is the process that opened the client.
    pub fn is_at_home(&self) -> bool {
        self.home.is_current()
    }

    /// An error if it has ended, or is of another process.
    pub fn check(&self) -> Result<(), Error> {
        self.check_home()?;
        if *self.stopped.borrow() { Err(self.ended()) } else { Ok(()) }
    }

    /// An error if this is not the process that opened the client.
    pub fn check_home(&self) -> Result<(), Error> {
        if self.is_at_home() {
            return Ok(());
        }
        let message = "this process was forked from the one that opened the client, whose threads it does not have; nothing \
                       was done";
        Err(Error::invalid(message).advise("open a client in this process"))
    }

    /// Keeps the client from stopping for as long as the guard lives: for one poll. An error if it has ended, or is of
    /// another process.
    pub(super) fn for_a_poll(&self) -> Result<RwLockReadGuard<'_, bool>, Error> {
        self.check_home()?;
        // Not `read`: polls nest, and a second read would wait for the writer that waits for the first.
        self.open.try_read().ok().filter(|open| **open).ok_or_else(|| self.ended())
    }

    /// Resolves when it ends.
    pub(super) fn end_of(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut stopped = self.stopped.subscribe();
        Box::pin(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await; // an error says that nobody can end it any more
        })
    }

    pub(super) fn ended(&self) -> Error {
        let advice =
            "open a client again; what was under way is settled by asking for it again with the same arguments";
        Error::unavailable("the client was shut down, it may have happened").advise(advice)
    }
}

/// The shared values of one client.
pub struct Context {
    /// The shards' logs.
    pub consensus: Arc<dyn Consensus>,
    /// The shards' objects.
    pub store: Arc<dyn ObjectStore>,
    /// The limits: those of the store are what [`Context::agree`] found.
    pub config: Config,
    /// What the store says its limits are.
    pub agreed: Agreed,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Fresh bits.
    pub entropy: Arc<dyn Entropy>,
    /// Where storage work and timers run.
    pub runtime: Handle,
    /// Where shards are maintained: a merge keeps a thread busy, and commits and fetches must not wait for it.
    pub upkeep: Handle,
    /// Where commits are carried to their end and leases renewed, and nothing else.
    pub pulse: Handle,
    /// Until when it may be used.
    pub life: Life,
    /// What was read of objects before, if that is kept.
    pub cache: Option<ObjectCache>,
    /// Requests for parts that may still be begun: [`Config::fetches_max`] less those under way.
    pub fetches: Semaphore,
    /// What reading objects shares where the store gives files.
    pub files: Files,
    /// What the rows of a batch were collected in, for the next: [`Config::spare_rows_bytes_max`] at most.
    pub spare_rows: Spare,
}

/// Names the store, and no credentials.
impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("store", &self.store.to_string()).finish_non_exhaustive()
    }
}

impl Context {
    /// How old an object may be when a commit begins to refer to it, in milliseconds. Half of the age at which the leak
    /// sweep takes it for lost: the other half is what clocks may differ by.
    pub fn blob_age_max_ms(&self) -> u64 {
        u64::try_from(self.config.orphan_age_min.as_millis() / 2).unwrap_or(u64::MAX)
    }

    /// How a task of this client is watched over.
    pub fn post(&self, name: &'static str) -> Post {
        Post { name, pause_min: self.config.retry_pause_min, pause_max: self.config.retry_pause_max }
    }

    /// What keeps the client running for as long as it is held; `None` once the client is gone.
    pub fn keep_alive(&self) -> Option<KeepAlive> {
        self.life.owner.get().and_then(Weak::upgrade)
    }

    /// Leaves a note: what a dropped value cannot wait for, the runtime does, and the client lives until then. Neither
    /// blocks nor fails; a client that is shut down in good order ([`Context::notes_done`]) waits for it.
    ///
    /// A process that was forked leaves none: what was to be done is the business of the one that opened the client.
    pub fn note(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        if !self.life.is_at_home() {
            return;
        }
        let client = self.keep_alive();
        let note = Note::new(Arc::clone(self));
        self.runtime.spawn(async move {
            work.await;
            drop((note, client));
        });
    }

    /// Resolves when every note that was left is carried out, or given up.
    pub async fn notes_done(&self) {
        let mut notes = self.life.notes.subscribe();
        let _ = notes.wait_for(|count| *count == 0).await; // an error says that nobody can leave one any more
    }

    /// Polls `future` wherever the caller is, with this client's timers and I/O around it. Dropping it drops the work.
    pub fn within<R, F>(self: &Arc<Self>, future: F) -> Within<F>
    where
        F: Future<Output = Result<R, Error>> + Send,
    {
        Within::new(Arc::clone(self), future)
    }

    /// Carries `future` to its end, whether its caller waits for it, polls it late or drops it: for what others wait
    /// for too, such as a commit, and for what must not stop between two steps.
    ///
    /// It is polled once where the caller is: with a log that answers at once, no other thread is needed. If it has to
    /// wait, the pulse goes on with it, where no data I/O and no dataflow is in its way: renewals queue up behind
    /// commits. `Unavailable` if the client was shut down: then it may have happened.
    pub fn carry<R, F>(self: &Arc<Self>, future: F) -> Carried<R>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, Error>> + Send + 'static,
    {
        Carried::new(Arc::clone(self), Box::pin(future))
    }
}

/// Counts a note for as long as it is not carried out: also if its task is dropped.
struct Note(Arc<Context>);

impl Note {
    fn new(context: Arc<Context>) -> Self {
        context.life.notes.send_modify(|count| *count += 1);
        Self(context)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        self.0.life.notes.send_modify(|count| *count -= 1);
    }
}
