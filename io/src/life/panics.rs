//! What to say of code of a shard's types that panicked, and of a task that ended without a result.
//!
//! Always: wherever that code runs, its panic is the caller's `Invalid` and not a panic of the caller's, nor of a task that
//! others rely on. What it was in the middle of is not to be used any more; that is for who catches it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt;
use tokio::task::JoinError;

use timely_persist_types::error::{Error, ErrorKind};

use super::supervisor::panic_text;

/// Runs code of the types of a shard's rows here. `Invalid` if it panics.
pub fn guarded<R>(run: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| Err(caught(&*payload)))
}

/// The same of code that waits. Cancelling is that of `run`.
pub async fn guarded_async<R>(run: impl Future<Output = Result<R, Error>>) -> Result<R, Error> {
    AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|payload| Err(caught(&*payload)))
}

/// `Closed` with this message if the runtime was stopped, `Invalid` if the task panicked, which it would do again.
/// Never `Unavailable` for that: whoever is told so tries again, for ever.
pub fn unfinished(error: JoinError, stopped: &'static str) -> Error {
    if !error.is_panic() {
        return Error::new(ErrorKind::Closed, stopped).because(error);
    }
    panicked(&error.to_string()).because(error)
}

fn caught(payload: &(dyn Any + Send)) -> Error {
    panicked(&format!("a panic with message {:?}", panic_text(payload)))
}

/// `Invalid`: something panicked, which would do so again. `panic` is what it said.
pub fn panicked(panic: &str) -> Error {
    Error::invalid(format!("code that the library calls panicked: {panic}")).advise(
        "correct what panics, which is the `Ord`, the arithmetic or the codec of a type of the shard's rows, or the store; \
         trying again does not help",
    )
}
