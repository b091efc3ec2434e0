//! Asking the store until it answers, or a deadline has passed.

use object_store::path::Path;
use tokio::time::timeout_at;

use crate::error::Error;
use crate::ids::ShardId;

use super::Blobs;

impl Blobs {
    /// Asks until the store gives an answer that asking again would not change, or the deadline has passed.
    pub(super) async fn persist<R, F>(&self, mut request: impl FnMut() -> F) -> Result<R, Tried>
    where
        F: Future<Output = object_store::Result<R>>,
    {
        let limit = self.deadline;
        let mut retry = self.life.retry(limit);
        let mut failed = None; // the last that was told: a request that the deadline cuts off says nothing
        loop {
            match timeout_at(retry.request_deadline(limit), request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if is_final(&error) => return Err(Tried::Failed(error)),
                Ok(Err(error)) => failed = Some(error),
                Err(_elapsed) => {}
            }
            if !retry.pause().await {
                return Err(failed.map_or(Tried::NoAnswer, Tried::Failed));
            }
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
