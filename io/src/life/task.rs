//! Work that the runtime does ahead of who wants its result.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::ProcessId;

use super::panics::unfinished;

/// A task that stops when nobody waits for it any more. Its result is given once.
#[derive(Debug)]
pub struct Task<R> {
    handle: Option<JoinHandle<R>>,
    home: ProcessId,
    /// What to say did not happen, if it is stopped.
    stopped: &'static str,
}

impl<R: Send + 'static> Task<R> {
    /// Starts the work. `stopped` says what did not happen if it does not come to its end.
    pub fn start(runtime: &Handle, stopped: &'static str, work: impl Future<Output = R> + Send + 'static) -> Self {
        Self { handle: Some(runtime.spawn(work)), home: ProcessId::current(), stopped }
    }

    /// Its result; `Closed` if the runtime was stopped, or the result was given before; `Invalid` if the work
    /// panicked, which it would do again. Cancelling loses nothing.
    pub async fn join(&mut self) -> Result<R, Error> {
        let given = || Error::new(ErrorKind::Closed, self.stopped);
        let joined = self.handle.as_mut().ok_or_else(given)?.await;
        self.handle = None;
        joined.map_err(|error| unfinished(error, self.stopped))
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        // In a process that was forked the runtime has no threads, and its locks may stay locked for ever.
        if let Some(task) = self.handle.as_ref().filter(|_| self.home.is_current()) {
            task.abort();
        }
    }
}
