//! What every part of a client shares: the two seams to storage, limits, clock, randomness, the runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use object_store::ObjectStore;
use tokio::runtime::Handle;

use crate::clock::{Clock, Entropy};
use crate::config::Config;
use crate::error::Error;
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
    /// Where commits are made and leases renewed, and nothing else.
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

    /// Carries `future` to its end, whether its caller waits for it, polls it late or drops it: for what others wait for
    /// too, such as a commit, and for what must not stop between two steps.
    ///
    /// It runs on the pulse, where no data I/O and no dataflow is in its way: renewals queue up behind commits.
    /// `Unavailable` if the client was shut down: then it may have happened.
    pub async fn carry<R, F>(&self, future: F) -> Result<R, Error>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, Error>> + Send + 'static,
    {
        match self.pulse.spawn(future).await {
            Ok(result) => result,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(stopped) => {
                    Err(Error::unavailable("the client was shut down, it may have happened").because(stopped))
                }
            },
        }
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
