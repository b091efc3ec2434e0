//! What every part of a client shares: the two seams to storage, limits, clock, randomness, the runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{self, Poll};

use object_store::ObjectStore;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::{Clock, Entropy};
use crate::config::Config;
use crate::error::Error;
use crate::ids::blob_name;
use crate::store::Consensus;

/// Whatever keeps a client's threads running: each handle has one.
pub type KeepAlive = Arc<dyn std::any::Any + Send + Sync>;

/// Whether a client still works. A runtime that is stopped must not be polled into: its timers would panic.
#[derive(Debug)]
pub struct Life {
    /// Held for reading while a future of the client is polled, for writing while the client stops.
    open: RwLock<bool>,
    stopped: watch::Sender<bool>,
}

impl Default for Life {
    fn default() -> Self {
        Self { open: RwLock::new(true), stopped: watch::Sender::new(false) }
    }
}

impl Life {
    /// Ends it: every future that is waiting, or polled later, says `Unavailable`. Returns when none is being polled.
    pub fn end(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = false;
        self.stopped.send_replace(true);
    }

    /// An error if it has ended.
    pub fn check(&self) -> Result<(), Error> {
        if *self.stopped.borrow() { Err(self.ended()) } else { Ok(()) }
    }

    fn ended(&self) -> Error {
        Error::unavailable("the client was shut down")
    }
}

/// The shared values of one client.
pub struct Context {
    /// The shards' logs.
    pub consensus: Arc<dyn Consensus>,
    /// The shards' objects.
    pub store: Arc<dyn ObjectStore>,
    /// The limits.
    pub config: Config,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Fresh bits.
    pub entropy: Arc<dyn Entropy>,
    /// Where storage work and timers run.
    pub runtime: Handle,
    /// Where shards are maintained: a merge keeps a thread busy, and commits and fetches must not wait for it.
    pub upkeep: Handle,
    /// Where leases are renewed, and nothing else.
    pub pulse: Handle,
    /// Until when it may be used.
    pub life: Life,
}

/// Names the store, and no credentials.
impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("store", &self.store.to_string()).finish_non_exhaustive()
    }
}

impl Context {
    /// A name for a new part that nothing had before.
    pub fn part_name(&self) -> String {
        format!("{}.arrow", blob_name("part", self.clock.wall_ms(), self.entropy.bits()))
    }

    /// A name for a new rollup that nothing had before.
    pub fn rollup_name(&self) -> String {
        blob_name("rollup", self.clock.wall_ms(), self.entropy.bits())
    }

    /// How old an object may be when a commit begins to refer to it, in milliseconds. Half of the age at which the leak
    /// sweep takes it for lost: the other half is what clocks may differ by.
    pub fn blob_age_max_ms(&self) -> u64 {
        u64::try_from(self.config.orphan_age_min.as_millis() / 2).unwrap_or(u64::MAX)
    }

    /// Polls `future` wherever the caller is, with this client's timers and I/O around it. Dropping it drops the work.
    pub fn within<R, F>(self: &Arc<Self>, future: F) -> Within<F>
    where
        F: Future<Output = Result<R, Error>> + Send,
    {
        let mut stopped = self.life.stopped.subscribe();
        let stopped = Box::pin(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await; // an error says that nobody can stop it any more
        });
        Within { future: Box::pin(future), stopped, context: Arc::clone(self) }
    }

    /// The same, but once begun it is carried to its end: dropped half-way, the runtime goes on with it. For what must
    /// not stop between two steps, such as a commit that other callers wait for.
    pub fn carry<R, F>(self: &Arc<Self>, future: F) -> Carried<R, F>
    where
        R: Send,
        F: Future<Output = Result<R, Error>> + Send + 'static,
    {
        Carried { within: Some(self.within(future)), begun: false }
    }
}

/// A future that may be polled from any thread, also one without a runtime of its own.
pub struct Within<F> {
    future: Pin<Box<F>>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    context: Arc<Context>,
}

impl<R, F: Future<Output = Result<R, Error>>> Future for Within<F> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let context = Arc::clone(&self.context);
        // Not `read`: polls nest, and a second read would wait for the writer that waits for the first.
        let Ok(open) = context.life.open.try_read() else {
            return Poll::Ready(Err(context.life.ended()));
        };
        if !*open {
            return Poll::Ready(Err(context.life.ended()));
        }
        let _entered = context.runtime.enter();
        if let Poll::Ready(answer) = self.future.as_mut().poll(task) {
            return Poll::Ready(answer);
        }
        self.stopped.as_mut().poll(task).map(|()| Err(context.life.ended()))
    }
}

/// A future that, once begun, ends even if nobody waits for it.
pub struct Carried<R, F>
where
    R: Send,
    F: Future<Output = Result<R, Error>> + Send + 'static,
{
    within: Option<Within<F>>,
    begun: bool,
}

impl<R, F> Future for Carried<R, F>
where
    R: Send,
    F: Future<Output = Result<R, Error>> + Send + 'static,
{
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.begun = true;
        let Some(within) = self.within.as_mut() else {
            return Poll::Pending; // polled after it was ready: nothing will ever come, as with any fused future
        };
        let polled = Pin::new(within).poll(task);
        if polled.is_ready() {
            self.within = None;
        }
        polled
    }
}

impl<R, F> Drop for Carried<R, F>
where
    R: Send,
    F: Future<Output = Result<R, Error>> + Send + 'static,
{
    fn drop(&mut self) {
        if let Some(within) = self.within.take().filter(|_| self.begun) {
            let runtime = within.context.runtime.clone();
            runtime.spawn(async move {
                let _ = within.await; // nobody waits for the answer
            });
        }
    }
}
