//! What to say of a task that ended without a result.

use tokio::task::JoinError;

use crate::error::Error;

/// `Unavailable` with this message if the runtime was stopped, `Invalid` if the task panicked, which it would do again.
/// Never `Unavailable` for that: whoever is told so tries again, for ever.
pub fn unfinished(error: JoinError, stopped: &'static str) -> Error {
    if !error.is_panic() {
        return Error::unavailable(stopped).advise("open a client again: this one was shut down").because(error);
    }
    panicked(&error.to_string()).because(error)
}

/// `Invalid`: something panicked, which would do so again. `panic` is what it said.
pub fn panicked(panic: &str) -> Error {
    Error::invalid(format!("code that the library calls panicked: {panic}")).advise(
        "correct what panics, which is the `Ord`, the arithmetic or the codec of a type of the shard's rows, or the store; \
         trying again does not help",
    )
}
