//! The life of a client: its threads, what runs on them, and its end.
//!
//! A runtime that is stopped must not be polled into: its timers would panic. A process that was forked has a client's
//! memory and none of its threads: whatever waits for one of them waits for ever, and a lock that one of them held stays
//! locked. So nothing polls, waits or locks but by one of these ways, and each asks first.
//!
//! | what is to be done | the way | who polls it | who drops it |
//! |---|---|---|---|
//! | what only its caller waits for, and may give up | [`Life::within`] | its caller, wherever that is | stops it |
//! | what others wait for too, or must not stop between two steps | [`Life::carry`] | its caller once, then the pulse | changes nothing |
//! | what a dropped value cannot wait for | [`Life::note`] | the threads for work | nobody holds it |
//! | what is wanted soon | [`Task::start`] | the threads for work | stops it |
//! | what goes on as long as its owner, also after a panic | [`Life::supervise`] | the threads that are named | stops it |
//! | what blocks, or keeps a processor busy | [`Life::block`] | a thread of its own | leaves it to end |
//! | code of the types of a shard's rows, on whichever of these | [`guarded`], [`guarded_async`] | its caller | |
//!
//! Always: after the end, and in a forked process, all of these say `Closed`; none panics or waits.
//!
//! Not here: what is done. This room knows no shard and no store. It only knows who is told ([`Life::tell`]), because all
//! who do something have it.

mod carried;
mod deadline;
mod lock;
mod panics;
mod retry;
mod supervisor;
mod task;
mod telling;
mod threads;

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

pub use deadline::deadline_after;
pub use lock::lock;
pub use panics::{guarded, guarded_async, panicked, unfinished};
pub use retry::Retry;
pub use supervisor::{Post, Supervised};
pub use task::Task;
pub use telling::Stopwatch;
pub use threads::{Runtimes, Threads, start_threads};

use timely_persist_types::clock::Entropy;
use timely_persist_types::config::StoreConfig;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::ProcessId;
use timely_persist_types::record::Recorder;

use retry::Pauses;

/// Whatever keeps a client's threads running: each handle has one.
pub type KeepAlive = Arc<dyn std::any::Any + Send + Sync>;

/// Whether a client still works, and its threads.
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
    threads: Threads,
    pauses: Pauses,
    /// Who is told what happens; nobody, if nobody asked to be.
    recorder: Option<Arc<dyn Recorder>>,
    /// Whether it was said that the recorder panics.
    recorder_panicked: AtomicBool,
}

/// Which of a client's threads something goes on on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Those for storage work and timers.
    Work,
    /// Those that maintain shards: a merge keeps one busy, and commits and fetches must not wait for it.
    Upkeep,
    /// The one where commits are carried to their end and leases renewed, and nothing else.
    Pulse,
}

impl Life {
    /// The life of a client with these threads, opened by this process, and told to this recorder.
    pub fn new(
        threads: Threads,
        store: &StoreConfig,
        entropy: Arc<dyn Entropy>,
        recorder: Option<Arc<dyn Recorder>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            home: ProcessId::current(),
            open: RwLock::new(true),
            stopped: watch::Sender::new(false),
            notes: watch::Sender::new(0),
            owner: OnceLock::new(),
            threads,
            pauses: Pauses { min: store.retry_pause_min, max: store.retry_pause_max, entropy },
            recorder,
            recorder_panicked: AtomicBool::new(false),
        })
    }

    /// Names what ends this life when it is dropped. Once.
    pub fn belongs_to(&self, owner: &KeepAlive) {
        let _ = self.owner.set(Arc::downgrade(owner)); // there is one client to a life
    }

    /// What keeps the client running for as long as it is held; `None` once the client is gone.
    pub fn keep_alive(&self) -> Option<KeepAlive> {
        self.owner.get().and_then(Weak::upgrade)
    }

    /// Ends it: every future that is waiting, or polled later, says `Closed`. Returns when none is being polled.
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
        if *self.stopped.borrow() { Err(ended()) } else { Ok(()) }
    }

    /// An error if this is not the process that opened the client.
    pub fn check_home(&self) -> Result<(), Error> {
        if self.is_at_home() {
            return Ok(());
        }
        let message = "this process was forked from the one that opened the client, whose threads it does not have; nothing \
                       was done";
        Err(Error::new(ErrorKind::Closed, message).advise("open a client in this process"))
    }

    /// The threads for storage work and timers: what is spawned there ends with the client.
    pub fn work(&self) -> &Handle {
        &self.threads.work
    }

    /// The threads that maintain shards.
    pub fn upkeep(&self) -> &Handle {
        &self.threads.upkeep
    }

    /// Leaves a note: what a dropped value cannot wait for, the runtime does, and the client lives until then. Neither
    /// blocks nor fails; a client that is shut down in good order ([`Life::notes_done`]) waits for it.
    ///
    /// A process that was forked leaves none: what was to be done is the business of the one that opened the client.
    pub fn note(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        if !self.is_at_home() {
            return;
        }
        let client = self.keep_alive();
        let note = Note::new(Arc::clone(self));
        self.threads.work.spawn(async move {
            work.await;
            drop((note, client));
        });
    }

    /// Resolves when every note that was left is carried out, or given up.
    pub async fn notes_done(&self) {
        let mut notes = self.notes.subscribe();
        let _ = notes.wait_for(|count| *count == 0).await; // an error says that nobody can leave one any more
    }

    /// Carries out what `begin` begins until it ends by itself, or what this gives is dropped. If it panics, `hear` is told
    /// what the panic said, and after a pause it is begun again. `name` says what it does, for people.
    pub fn supervise<F>(
        &self,
        on: On,
        name: &'static str,
        begin: impl FnMut() -> F + Send + 'static,
        hear: impl FnMut(&str) + Send + 'static,
    ) -> Supervised
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let threads = match on {
            On::Work => &self.threads.work,
            On::Upkeep => &self.threads.upkeep,
            On::Pulse => &self.threads.pulse,
        };
        Supervised::start(threads, Post { name, pause_min: self.pauses.min, pause_max: self.pauses.max }, begin, hear)
    }

    /// Starts what blocks, or keeps a processor busy, on a thread for that. `stopped` says what did not happen if the
    /// client ends before: `Closed`. `Invalid` if it panics, which it would do again. Dropping the future does not stop
    /// what was begun.
    pub fn block<R: Send + 'static, F: FnOnce() -> R + Send + 'static>(
        &self,
        stopped: &'static str,
        work: F,
    ) -> impl Future<Output = Result<R, Error>> + Send + use<R, F> {
        let thread = self.threads.work.spawn_blocking(work);
        async move { thread.await.map_err(|error| panics::unfinished(error, stopped)) }
    }

    /// The tries of one operation, for `limit` from now on.
    pub fn retry(&self, limit: Duration) -> Retry<'_> {
        Retry::within(&self.pauses, limit)
    }

    /// A pause of at most this length and at least this fraction of it, so that processes that began together do not go on
    /// together.
    pub fn jittered(&self, pause: Duration, fraction_min: f64) -> Duration {
        self.pauses.jittered(pause, fraction_min)
    }

    /// Keeps the client from stopping for as long as the guard lives: for one poll. An error if it has ended, or is of
    /// another process.
    fn for_a_poll(&self) -> Result<RwLockReadGuard<'_, bool>, Error> {
        self.check_home()?;
        // Not `read`: polls nest, and a second read would wait for the writer that waits for the first.
        self.open.try_read().ok().filter(|open| **open).ok_or_else(ended)
    }

    /// Resolves when it ends.
    fn end_of(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut stopped = self.stopped.subscribe();
        Box::pin(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await; // an error says that nobody can end it any more
        })
    }
}

/// The error of a client that was shut down.
pub fn ended() -> Error {
    Error::new(ErrorKind::Closed, "the client was shut down")
}

/// Counts a note for as long as it is not carried out: also if its task is dropped.
struct Note(Arc<Life>);

impl Note {
    fn new(life: Arc<Life>) -> Self {
        life.notes.send_modify(|count| *count += 1);
        Self(life)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        self.0.notes.send_modify(|count| *count -= 1);
    }
}
