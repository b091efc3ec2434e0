//! Work that the runtime does ahead of who wants its result.

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use crate::error::Error;

/// A task that stops when nobody waits for it any more. Its result is given once.
#[derive(Debug)]
pub struct Task<R>(Option<JoinHandle<R>>);

impl<R: Send + 'static> Task<R> {
    /// Starts the work.
    pub fn start(runtime: &Handle, work: impl Future<Output = R> + Send + 'static) -> Self {
        Self(Some(runtime.spawn(work)))
    }

    /// Its result; `Unavailable` if the runtime was stopped, or the result was given before; `Invalid` if the work
    /// panicked, which it would do again. Cancelling loses nothing.
    pub async fn join(&mut self) -> Result<R, Error> {
        let stopped = || Error::unavailable("reading a part was stopped");
        let joined = self.0.as_mut().ok_or_else(stopped)?.await;
        self.0 = None;
        joined.map_err(|error| if error.is_panic() { panicked(error) } else { stopped().because(error) })
    }
}

/// Never `Unavailable`: whoever is told that tries again, for ever.
fn panicked(error: JoinError) -> Error {
    let message = format!(
        "{error}: correct what panics, which is the `Ord`, the arithmetic or the codec of a type of the shard's rows, or the \
         store; trying again does not help"
    );
    Error::invalid(message).because(error)
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
