//! Work that the runtime does ahead of who wants its result.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::Error;

/// A task that stops when nobody waits for it any more. Its result is given once.
#[derive(Debug)]
pub struct Task<R>(Option<JoinHandle<R>>);

impl<R: Send + 'static> Task<R> {
    /// Starts the work.
    pub fn start(runtime: &Handle, work: impl Future<Output = R> + Send + 'static) -> Self {
        Self(Some(runtime.spawn(work)))
    }

    /// Its result; `Unavailable` if the runtime was stopped, or the result was given before. Cancelling loses nothing.
    pub async fn join(&mut self) -> Result<R, Error> {
        let stopped = || Error::unavailable("reading a part was stopped");
        let joined = self.0.as_mut().ok_or_else(stopped)?.await;
        self.0 = None;
        joined.map_err(|error| stopped().because(error))
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
