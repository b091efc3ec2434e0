//! One attempt to put an entry at a position, and how its outcome is settled.
//!
//! Create-if-absent answers yes, no, or not at all, and none of them is believed alone. *Yes* may come from a position
//! that was truncated before: the boundary tells. *No* may be this attempt's own earlier request, retried by a layer
//! below, or a bucket's way to say "busy": the object that stands there tells. *No answer* is treated as no.
//!
//! Creating the same bytes at the same position again cannot double an effect, so it is retried here.

use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

use super::{boundary, read};
use crate::store::consensus::{CompareAndSet, LogError};
use crate::store::keys;
use timely_persist_types::ids::{SeqNo, ShardId};

/// Attempts to create an entry whose fate reading back did not settle. Few, because the caller has a deadline of its
/// own and can try the whole commit again.
pub const CREATE_ATTEMPTS_MAX: u32 = 3;

/// The wait before the second attempt; each further one waits twice as long. Long enough for a bucket to finish the
/// conflicting request that made it answer "busy".
pub const CREATE_BACKOFF: Duration = Duration::from_millis(10);

/// Whether an entry stands at `seqno`, in the log or below its boundary.
pub(super) async fn exists(store: &dyn ObjectStore, shard: ShardId, seqno: SeqNo) -> Result<bool, LogError> {
    match store.head(&keys::log_entry(shard, seqno)).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(LogError::failed(format!("looking for entry {seqno} of shard {shard}")).because(error)),
    }
}

/// What became of an earlier attempt to put `data` at `seqno`, where none can be made now: nothing stands at the
/// position before (it is truncated, or was never written), or the log is known to reach to `newest_seen` by now.
pub(super) async fn settle_without_create(
    store: &dyn ObjectStore,
    shard: ShardId,
    seqno: SeqNo,
    data: &Bytes,
    newest_seen: SeqNo,
) -> Result<CompareAndSet, LogError> {
    let unsettled = || LogError::unknown(format!("settling entry {seqno} of shard {shard}"));
    let standing = read::get(store, shard, seqno).await.map_err(|error| unsettled().because(error))?;
    let boundary = boundary::boundary(store, shard).await.map_err(|error| unsettled().because(error))?;
    if boundary > seqno {
        return settle_truncated(store, shard, boundary, seqno, data).await;
    }
    match standing {
        Some(bytes) if bytes == *data => Ok(CompareAndSet::Committed),
        None if seqno <= newest_seen => Err(LogError::missing(seqno, newest_seen)),
        _ => Ok(CompareAndSet::Conflict),
    }
}

/// Puts `data` at `seqno`. The caller knows that an entry was committed at the position before.
///
/// Cancelling it leaves the entry in the log, absent, or below the boundary, where the next truncation removes it.
pub(super) async fn commit(
    store: &dyn ObjectStore,
    shard: ShardId,
    seqno: SeqNo,
    data: &Bytes,
) -> Result<CompareAndSet, LogError> {
    let location = keys::log_entry(shard, seqno);
    let unsettled = || LogError::unknown(format!("committing entry {seqno} of shard {shard}"));
    let mut wait = CREATE_BACKOFF;
    let mut attempt = 1;
    loop {
        let created = store.put_opts(&location, data.clone().into(), PutMode::Create.into()).await;
        let standing = match &created {
            Ok(_) => Some(data.clone()),
            Err(_) => read::get(store, shard, seqno).await.map_err(|error| unsettled().because(error))?,
        };
        // After the create and after the read: what was truncated before either of them is below this boundary.
        let boundary = boundary::boundary(store, shard).await.map_err(|error| unsettled().because(error))?;
        if boundary > seqno {
            let outcome = settle_truncated(store, shard, boundary, seqno, data).await;
            if standing.is_some_and(|bytes| bytes == *data) {
                remove_stray(store, shard, seqno).await;
            }
            return outcome;
        }
        match (standing, created) {
            (Some(bytes), _) if bytes == *data => return Ok(CompareAndSet::Committed),
            (Some(_), _) => return Ok(CompareAndSet::Conflict),
            (None, Err(error)) if attempt == CREATE_ATTEMPTS_MAX || is_final(&error) => {
                return Err(unsettled().because(error));
            }
            (None, _) => {}
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
        attempt += 1;
    }
}

/// The error of an entry that cannot be written because of what stands in its place.
pub(super) fn blocked(seqno: SeqNo) -> LogError {
    LogError::damaged(format!(
        "a folder or a broken link stands in the place of log entry {}: remove it, if it was put there by mistake",
        seqno.0
    ))
}

/// Who won a position that is truncated.
async fn settle_truncated(
    store: &dyn ObjectStore,
    shard: ShardId,
    mut boundary: SeqNo,
    seqno: SeqNo,
    data: &Bytes,
) -> Result<CompareAndSet, LogError> {
    let unsettled =
        || LogError::unknown(format!("entry {seqno} of shard {shard} is truncated, and no longer known whose it was"));
    for _ in 0..read::READ_ATTEMPTS_MAX {
        let marker = boundary::read(store, shard, boundary).await.map_err(|error| unsettled().because(error))?;
        match marker.holds(seqno, data) {
            Some(true) => return Ok(CompareAndSet::Committed),
            Some(false) => return Ok(CompareAndSet::Conflict),
            None => {}
        }
        // Later truncations may have removed the marker between the two requests; the newest has what it had.
        let newest = boundary::boundary(store, shard).await.map_err(|error| unsettled().because(error))?;
        if newest == boundary {
            break;
        }
        boundary = newest;
    }
    Err(unsettled())
}

/// Removes what this attempt put below the boundary. Nobody reads it there, so a failure costs only its bytes, until
/// the next truncation.
async fn remove_stray(store: &dyn ObjectStore, shard: ShardId, seqno: SeqNo) {
    if let Err(error) = store.delete(&keys::log_entry(shard, seqno)).await {
        tracing::warn!(%shard, %seqno, %error, "could not remove a log entry that lost to a truncation");
    }
}

/// Whether asking again is no use.
fn is_final(error: &object_store::Error) -> bool {
    use object_store::Error;
    matches!(
        error,
        Error::NotImplemented { .. }
            | Error::NotSupported { .. }
            | Error::InvalidPath { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
    )
}
