//! What became of a request to the store, and whether asking again would help.

use std::time::Duration;

use object_store::path::Path;

use timely_persist_types::error::Error;
use timely_persist_types::ids::ShardId;
use timely_persist_types::record::Outcome;

/// What the store was asked for until it gave an answer, or no time was left.
pub(super) struct Asked<R> {
    pub(super) answer: Result<R, Tried>,
    /// Requests.
    pub(super) tries: u64,
    /// How long it took, if somebody records that.
    pub(super) elapsed: Duration,
}

impl<R> Asked<R> {
    pub(super) fn outcome(&self) -> Outcome {
        match &self.answer {
            Ok(_) => Outcome::Done,
            Err(Tried::Failed(object_store::Error::NotFound { .. })) => Outcome::Missing,
            Err(_) => Outcome::Failed,
        }
    }
}

/// What became of a request that was tried until then.
pub(super) enum Tried {
    Failed(object_store::Error),
    NoAnswer,
}

impl Tried {
    pub(super) fn into_error(self, what: &'static str, shard: ShardId, path: &Path) -> Error {
        let named = |error: Error| error.of_shard(shard).of_object(path.to_string());
        match self {
            Tried::Failed(cause) if is_final(&cause) => {
                let error = named(Error::unavailable(format!("{what}: the store refuses it")));
                error.advise("see what the credentials, or the directory's owner and rights, allow").because(cause)
            }
            Tried::Failed(cause) => named(Error::unavailable(what)).because(cause),
            Tried::NoAnswer => named(Error::unavailable(format!("{what}: the store did not answer in time"))),
        }
    }
}

/// Whether asking again would bring the same answer.
pub(super) fn is_final(error: &object_store::Error) -> bool {
    use object_store::Error::{
        InvalidPath, NotFound, NotImplemented, NotSupported, PermissionDenied, Unauthenticated, UnknownConfigurationKey,
    };
    matches!(
        error,
        NotFound { .. }
            | InvalidPath { .. }
            | NotSupported { .. }
            | NotImplemented { .. }
            | PermissionDenied { .. }
            | Unauthenticated { .. }
            | UnknownConfigurationKey { .. }
    )
}
