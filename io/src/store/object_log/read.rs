//! Reading a log that others extend and truncate meanwhile.
//!
//! Positions are probed, not listed: the log is dense from its boundary to its head, so the first position that has no
//! object is the end, or was truncated. Each read ends with a look at the boundary, because only then is it known
//! which: a boundary at or below the first position means that nothing was missed and nothing is a stray. Listings need
//! not be snapshots for that.
//!
//! A position without an object that is at or above the boundary, and at or below one that is known to have been
//! written, is no end: the entry was lost, and the answer says so.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt};

use super::boundary;
use crate::store::consensus::{LogEntry, LogError};
use crate::store::keys;
use timely_persist_types::ids::{SeqNo, ShardId};

/// Entries that one scan fetches at the same time. It starts with one, so that a caught-up reader asks for little, and
/// doubles up to this; 16 keeps a bucket's latency hidden without a thousand readers being a flood.
pub const SCAN_FETCHES_MAX: usize = 16;

/// The same for entries of which this process knows that they were written, so that none is asked for in vain: those
/// between a rollup and the head are read in a few round trips.
pub const SCAN_KNOWN_FETCHES_MAX: usize = 64;

/// How often a read starts again because a truncation overtook it. Each time means a whole truncation between two
/// requests, so more than a few is a fault and no bad luck.
pub const READ_ATTEMPTS_MAX: u32 = 8;

/// The object at `seqno`, whether in the log or below its boundary.
pub(super) async fn get(store: &dyn ObjectStore, shard: ShardId, seqno: SeqNo) -> object_store::Result<Option<Bytes>> {
    match store.get(&keys::log_entry(shard, seqno)).await {
        Ok(found) => found.bytes().await.map(Some),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// See [`crate::store::Consensus::scan`]. `newest_seen` is known to have been committed.
pub(super) async fn scan(
    store: &dyn ObjectStore,
    shard: ShardId,
    from: SeqNo,
    limit: usize,
    newest_seen: SeqNo,
) -> Result<Vec<LogEntry>, LogError> {
    let failed = |error| LogError::failed(format!("scanning the log of shard {shard} from {from}")).because(error);
    let limit = limit.max(1);
    let mut first = from.max(SeqNo(1));
    // What was written before each probe begins: an entry that is absent beyond it may be written meanwhile.
    let mut written = newest_seen;
    for _ in 0..READ_ATTEMPTS_MAX {
        let mut entries = probe(store, shard, first, limit, newest_seen).await.map_err(failed)?;
        let boundary = boundary::boundary(store, shard).await.map_err(failed)?;
        let absent = (entries.len() < limit).then(|| SeqNo(first.0.saturating_add(entries.len() as u64)));
        if let Some(absent) = absent.filter(|absent| boundary <= *absent && *absent <= written) {
            return Err(LogError::missing(absent, written));
        }
        if boundary < first || boundary == first && absent != Some(first) {
            return Ok(entries);
        }
        // What stands at or above the boundary even now is no stray, and what was absent there was not truncated.
        entries.retain(|entry| entry.seqno >= boundary);
        if absent.is_some() && !entries.is_empty() {
            return Ok(entries);
        }
        // The entry at the boundary was written before that was raised.
        (first, written) = (boundary, written.max(boundary));
    }
    Err(LogError::failed(format!("the log of shard {shard} is truncated faster than it can be scanned from {from}")))
}

/// The objects from `first` up to the first position that has none, at most `limit`.
async fn probe(
    store: &dyn ObjectStore,
    shard: ShardId,
    first: SeqNo,
    limit: usize,
    newest_seen: SeqNo,
) -> object_store::Result<Vec<LogEntry>> {
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut next = Some(first.0);
    while let Some(start) = next {
        // What is known to be there and one more; otherwise 1, 1, 2, 4, ...: as many as were found so far.
        let known = usize::try_from(newest_seen.0.saturating_add(1).saturating_sub(start)).unwrap_or(usize::MAX);
        let window = match known {
            0 => entries.len().clamp(1, SCAN_FETCHES_MAX),
            known => known.saturating_add(1).min(SCAN_KNOWN_FETCHES_MAX),
        };
        let window = window.min(limit - entries.len());
        let end = start.saturating_add(window as u64);
        let fetched: Vec<(SeqNo, Option<Bytes>)> = stream::iter((start..end).map(SeqNo))
            .map(async |seqno| get(store, shard, seqno).await.map(|data| (seqno, data)))
            .buffered(SCAN_KNOWN_FETCHES_MAX)
            .try_collect()
            .await?;
        for (seqno, data) in fetched {
            let Some(data) = data else { return Ok(entries) };
            entries.push(LogEntry { seqno, data });
        }
        next = (entries.len() < limit && end < u64::MAX).then_some(end);
    }
    Ok(entries)
}

/// See [`crate::store::Consensus::head`]. `newest_seen` is known to have been committed.
pub(super) async fn head(
    store: &dyn ObjectStore,
    shard: ShardId,
    newest_seen: SeqNo,
) -> Result<Option<LogEntry>, LogError> {
    let failed = |error| LogError::failed(format!("reading the head of shard {shard}")).because(error);
    let mut before = None;
    for _ in 0..READ_ATTEMPTS_MAX {
        let listed = positions(store, shard, newest_seen).await.map_err(failed)?.into_iter().max();
        let data = match listed {
            Some(newest) => get(store, shard, newest).await.map_err(failed)?,
            None => None,
        };
        let boundary = boundary::boundary(store, shard).await.map_err(failed)?;
        match (listed, data) {
            (Some(seqno), Some(data)) if boundary <= seqno => return Ok(Some(LogEntry { seqno, data })),
            (None, _) if boundary == SeqNo::ZERO && newest_seen == SeqNo::ZERO => return Ok(None),
            // Twice the same: no truncation is at work, the newest entries are gone.
            (listed, _) if before == Some((listed, boundary)) => {
                return Err(LogError::missing(newest_seen.max(boundary).max(listed.unwrap_or_default()), SeqNo::ZERO));
            }
            // The listing was overtaken by commits and a truncation.
            (listed, _) => before = Some((listed, boundary)),
        }
    }
    Err(LogError::failed(format!("the log of shard {shard} is truncated faster than its head can be read")))
}

/// The positions at `from` and behind it that have an object, in no order.
pub(super) async fn positions(
    store: &dyn ObjectStore,
    shard: ShardId,
    from: SeqNo,
) -> object_store::Result<Vec<SeqNo>> {
    store
        .list_with_offset(Some(&keys::log_folder(shard)), &keys::log_entry(shard, from.previous()))
        .try_filter_map(async |object| Ok(object.location.filename().and_then(keys::parse_seqno)))
        .try_collect()
        .await
}
