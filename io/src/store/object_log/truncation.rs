//! Removing the oldest entries of a log.
//!
//! The order is the safety: the boundary is durable before anything is deleted, and the marker that says so knows what
//! went. Everything after the boundary is tidying, which the next truncation does if this one is interrupted.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use super::boundary::{self, BOUNDARY_DIGESTS_MAX, Marker};
use super::read;
use crate::store::consensus::LogError;
use crate::store::keys;
use timely_persist_types::ids::{SeqNo, ShardId};

/// Markers that stay: the boundary, and the one before it, so that a listing which is no snapshot still sees one while
/// they are exchanged.
const MARKERS_KEPT: usize = 2;

/// See [`crate::store::Consensus::truncate`].
pub(super) async fn truncate(store: &dyn ObjectStore, shard: ShardId, below: SeqNo) -> Result<usize, LogError> {
    let doing = format!("truncating the log of shard {shard} below {below}");
    let failed = |error| LogError::failed(doing.clone()).because(error);
    let unknown = |error| LogError::unknown(doing.clone()).because(error);

    let mut positions = read::positions(store, shard, SeqNo::ZERO).await.map_err(failed)?;
    positions.sort_unstable();
    let Some(newest) = positions.last().copied() else { return Ok(0) };
    // An object seen here was committed, unless it is a stray: then the boundary is above it, and nothing is raised.
    let below = below.min(newest);
    let fetched = fetch_newest(store, shard, &positions, below).await.map_err(failed)?;

    let mut markers = boundary::markers(store, shard).await.map_err(failed)?;
    let current = markers.last().copied().unwrap_or(SeqNo::ZERO);
    if let Some(missing) = gap(&positions, current) {
        refuse_if_lost(store, shard, missing, newest).await?;
    }
    if below > current && below > SeqNo(1) {
        let before = match current {
            SeqNo::ZERO => Marker::default(),
            current => boundary::read(store, shard, current).await.map_err(failed)?,
        };
        let marker = remember(&before, &fetched, current, below);
        boundary::raise(store, shard, below, &marker).await.map_err(unknown)?;
        markers.push(below);
    }

    let below = below.max(current);
    let found: Vec<SeqNo> = positions.into_iter().take_while(|seqno| *seqno < below).collect();
    let old = markers.len().saturating_sub(MARKERS_KEPT);
    let gone = found.iter().map(|seqno| keys::log_entry(shard, *seqno));
    let gone = gone.chain(markers.into_iter().take(old).map(|marker| keys::boundary(shard, marker)));
    delete(store, gone.collect()).await.map_err(unknown)?;
    Ok(found.len())
}

/// The first position at or above the boundary `current` that has nothing, in front of one that has something.
fn gap(positions: &[SeqNo], current: SeqNo) -> Option<SeqNo> {
    let standing = positions.iter().skip_while(|seqno| **seqno < current);
    let expected = (current.0.max(1)..).map(SeqNo);
    standing.zip(expected).find(|(seqno, expected)| **seqno != *expected).map(|(_, expected)| expected)
}

/// An error if the entry was lost, and was neither written while the listing was made nor truncated since. What lies
/// behind a lost entry is needed to repair the log, and so is what it refers to.
async fn refuse_if_lost(
    store: &dyn ObjectStore,
    shard: ShardId,
    missing: SeqNo,
    newest: SeqNo,
) -> Result<(), LogError> {
    let failed =
        |error| LogError::failed(format!("looking for entry {missing} of the log of shard {shard}")).because(error);
    let standing = read::get(store, shard, missing).await.map_err(failed)?;
    let boundary = boundary::boundary(store, shard).await.map_err(failed)?;
    if standing.is_none() && boundary <= missing { Err(LogError::missing(missing, newest)) } else { Ok(()) }
}

/// The objects just below `below`, as many as a marker remembers.
async fn fetch_newest(
    store: &dyn ObjectStore,
    shard: ShardId,
    positions: &[SeqNo],
    below: SeqNo,
) -> object_store::Result<Vec<(SeqNo, Bytes)>> {
    let newest = positions.iter().copied().filter(|seqno| *seqno < below).rev().take(BOUNDARY_DIGESTS_MAX);
    stream::iter(newest.collect::<Vec<_>>())
        .map(async |seqno| Ok(read::get(store, shard, seqno).await?.map(|data| (seqno, data))))
        .buffer_unordered(read::SCAN_FETCHES_MAX)
        .try_filter_map(async |found| Ok(found))
        .try_collect()
        .await
}

/// What the marker of `below` remembers: what the marker `before`, of the boundary `current`, did, and the entries
/// `fetched` from there on. What was fetched from below `current`, which was looked at later, may be strays.
fn remember(before: &Marker, fetched: &[(SeqNo, Bytes)], current: SeqNo, below: SeqNo) -> Marker {
    let span = BOUNDARY_DIGESTS_MAX as u64;
    let known = if before.digests.is_empty() { current.0.max(1) } else { before.first };
    let first = known.max(below.0.saturating_sub(span));
    let mut digests: Vec<u64> = (first..below.0).map(|seqno| before.digest_at(seqno)).collect();
    for (seqno, data) in fetched.iter().filter(|(seqno, _)| *seqno >= current) {
        let index = seqno.0.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| digests.get_mut(index)) {
            *slot = boundary::digest(data);
        }
    }
    Marker { first, digests }
}

/// Deletes the objects, in this order as far as the store keeps one. One that is gone already is no error.
async fn delete(store: &dyn ObjectStore, locations: Vec<Path>) -> object_store::Result<()> {
    let locations = stream::iter(locations.into_iter().map(Ok)).boxed();
    let mut deleted = store.delete_stream(locations);
    while let Some(result) = deleted.next().await {
        match result {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seqno: u64) -> (SeqNo, Bytes) {
        (SeqNo(seqno), Bytes::from(seqno.to_string()))
    }

    #[test]
    fn a_gap_is_what_is_missing_at_or_above_the_boundary() {
        let gap_of = |positions: &[u64], current| {
            gap(&positions.iter().copied().map(SeqNo).collect::<Vec<_>>(), SeqNo(current)).map(|seqno| seqno.0)
        };
        assert_eq!(gap_of(&[1, 2, 3], 0), None);
        assert_eq!(gap_of(&[2, 3], 0), Some(1));
        assert_eq!(gap_of(&[1, 2, 4], 0), Some(3));
        assert_eq!(gap_of(&[1, 5, 6], 5), None, "what is below is a stray");
        assert_eq!(gap_of(&[1, 6, 7], 5), Some(5));
        assert_eq!(gap_of(&[1, 2], 5), None, "no entry stands: others say so");
    }

    #[test]
    fn a_marker_carries_on_what_the_one_before_it_remembered() {
        let first = remember(&Marker::default(), &[entry(1), entry(2)], SeqNo::ZERO, SeqNo(3));
        // Position 2 is below the current boundary by now, so this is a stray and not what was committed there.
        let stray = (SeqNo(2), Bytes::from_static(b"stray"));
        let second = remember(&first, &[stray, entry(3), entry(4)], SeqNo(3), SeqNo(5));
        for seqno in 1..5 {
            assert_eq!(second.holds(SeqNo(seqno), seqno.to_string().as_bytes()), Some(true), "{seqno}");
        }
        assert_eq!(second.holds(SeqNo(5), b"5"), None);
    }

    #[test]
    fn a_marker_forgets_the_oldest_beyond_its_bound() {
        let below = BOUNDARY_DIGESTS_MAX as u64 + 10;
        let marker = remember(&Marker::default(), &[entry(9), entry(10), entry(below - 1)], SeqNo::ZERO, SeqNo(below));
        assert_eq!(marker.digests.len(), BOUNDARY_DIGESTS_MAX);
        assert_eq!(marker.holds(SeqNo(9), b"9"), None);
        assert_eq!(marker.holds(SeqNo(10), b"10"), Some(true));
        assert_eq!(marker.holds(SeqNo(11), b"11"), None, "not fetched, so not known");
        assert_eq!(marker.holds(SeqNo(below - 1), b"other"), Some(false));
    }
}
