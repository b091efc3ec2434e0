//! What every part of a client shares: the two seams to storage, limits, clock, randomness, the runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use object_store::ObjectStore;
use tokio::runtime::Handle;

use crate::clock::{Clock, Entropy};
use crate::config::Config;
use crate::store::Consensus;

/// The shared values of one client.
#[derive(Debug)]
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
}

impl Context {
    /// A name for a new part that nothing had before, with the time in it: a part's age counts from its making.
    pub fn part_name(&self) -> String {
        let id = uuid::Uuid::from_u128(self.entropy.bits());
        format!("part-{:013}-{id}.arrow", self.clock.wall_ms())
    }

    /// Polls `future` wherever the caller is, with this client's timers and I/O around it. Dropping it drops the work.
    pub fn within<F: Future + Send>(&self, future: F) -> Within<F> {
        Within { future: Box::pin(future), runtime: self.runtime.clone() }
    }

    /// The same, but once begun it is carried to its end: dropped half-way, the runtime goes on with it. For what must
    /// not stop between two steps, such as a commit that other callers wait for.
    pub fn carry<F>(&self, future: F) -> Carried<F>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        Carried { within: Some(self.within(future)), begun: false }
    }
}

/// A future that may be polled from any thread, also one without a runtime of its own.
pub struct Within<F> {
    future: Pin<Box<F>>,
    runtime: Handle,
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<F::Output> {
        let runtime = self.runtime.clone();
        let _entered = runtime.enter();
        self.future.as_mut().poll(context)
    }
}

/// A future that, once begun, ends even if nobody waits for it.
pub struct Carried<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    within: Option<Within<F>>,
    begun: bool,
}

impl<F> Future for Carried<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<F::Output> {
        self.begun = true;
        let Some(within) = self.within.as_mut() else {
            return Poll::Pending; // polled after it was ready: nothing will ever come, as with any fused future
        };
        let polled = Pin::new(within).poll(context);
        if polled.is_ready() {
            self.within = None;
        }
        polled
    }
}

impl<F> Drop for Carried<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        if let Some(within) = self.within.take().filter(|_| self.begun) {
            let runtime = within.runtime.clone();
            runtime.spawn(async move {
                within.await;
            });
        }
    }
}
