//! Work that the runtime does ahead of who wants its result.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::ids::ProcessId;
use crate::machine::unfinished;

const STOPPED: &str = "reading a part was stopped";

/// A task that stops when nobody waits for it any more. Its result is given once.
#[derive(Debug)]
pub struct Task<R>(Option<JoinHandle<R>>, ProcessId);

impl<R: Send + 'static> Task<R> {
    /// Starts the work.
    pub fn start(runtime: &Handle, work: impl Future<Output = R> + Send + 'static) -> Self {
        Self(Some(runtime.spawn(work)), ProcessId::current())
    }

    /// Its result; `Unavailable` if the runtime was stopped, or the result was given before; `Invalid` if the work
    /// panicked, which it would do again. Cancelling loses nothing.
    pub async fn join(&mut self) -> Result<R, Error> {
        let joined = self.0.as_mut().ok_or_else(|| Error::unavailable(STOPPED).advise("open a client again"))?.await;
        self.0 = None;
        joined.map_err(|error| unfinished(error, STOPPED))
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        // In a process that was forked the runtime has no threads, and its locks may stay locked for ever.
        if let Some(task) = self.0.as_ref().filter(|_| self.1.is_current()) {
            task.abort();
        }
    }
}
