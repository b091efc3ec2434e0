//! The boundary of a log: what stands below it is not in the log.
//!
//! Create-if-absent forgets: once an entry is deleted, a writer that stalled before creating its own at that position
//! succeeds. The boundary remembers. It is the largest number among the marker objects of a folder, so it only rises,
//! and raising it needs no conditional update.
//!
//! A writer that finds the boundary above its own fresh entry was either late (the position was taken and truncated
//! before) or merely slow to look (its entry was committed, read by others, and truncated since). Nothing in the log
//! itself tells the two apart any more. So a marker keeps a digest of the entries that went: its writer's question
//! "was it mine?" has an answer for the last [`BOUNDARY_DIGESTS_MAX`] positions, and "unknown" before them.

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use prost::Message;

use crate::store::keys;
use timely_persist_types::ids::{SeqNo, ShardId};

/// Digests of truncated entries that a boundary marker keeps: 8 bytes each, so 32 KiB. A writer would have to be
/// overtaken by this many commits between two requests to be left without an answer.
pub const BOUNDARY_DIGESTS_MAX: usize = 4096;

/// What a marker remembers of the entries below it. Durable.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Marker {
    /// The position of the first digest.
    #[prost(uint64, tag = "1")]
    pub(super) first: u64,
    /// One digest per position, without a gap; 0 where it is not known.
    #[prost(fixed64, repeated, tag = "2")]
    pub(super) digests: Vec<u64>,
}

/// The digest that a marker keeps of an entry.
pub(super) fn digest(data: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(data)
}

impl Marker {
    /// Whether the entry at `seqno` was `data`; `None` if the marker does not know.
    pub(super) fn holds(&self, seqno: SeqNo, data: &[u8]) -> Option<bool> {
        let index = usize::try_from(seqno.0.checked_sub(self.first)?).ok()?;
        let known = *self.digests.get(index)?;
        (known != 0).then(|| known == digest(data))
    }

    /// The digest kept for `seqno`, 0 if there is none.
    pub(super) fn digest_at(&self, seqno: u64) -> u64 {
        let index = seqno.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.digests.get(index).copied()).unwrap_or(0)
    }
}

/// The markers that stand, in ascending order; the last is the boundary.
pub(super) async fn markers(store: &dyn ObjectStore, shard: ShardId) -> object_store::Result<Vec<SeqNo>> {
    let mut markers: Vec<SeqNo> = store
        .list(Some(&keys::boundary_folder(shard)))
        .try_filter_map(async |object| Ok(object.location.filename().and_then(keys::parse_seqno)))
        .try_collect()
        .await?;
    markers.sort_unstable();
    Ok(markers)
}

/// The boundary; [`SeqNo::ZERO`] for a log that was never truncated.
pub(super) async fn boundary(store: &dyn ObjectStore, shard: ShardId) -> object_store::Result<SeqNo> {
    Ok(markers(store, shard).await?.last().copied().unwrap_or(SeqNo::ZERO))
}

/// What the marker of `boundary` remembers: nothing if it is gone, or if it is not what was written there (what it
/// would have told is then unknown, which is an answer everybody who asks can live with).
pub(super) async fn read(store: &dyn ObjectStore, shard: ShardId, boundary: SeqNo) -> object_store::Result<Marker> {
    let bytes = match store.get(&keys::boundary(shard, boundary)).await {
        Ok(found) => found.bytes().await?,
        Err(object_store::Error::NotFound { .. }) => return Ok(Marker::default()),
        Err(error) => return Err(error),
    };
    Ok(Marker::decode(bytes).unwrap_or_default())
}

/// Raises the boundary to `below`. It stands there, or higher, when this returns; a marker of that number that another
/// truncation wrote serves as well.
pub(super) async fn raise(
    store: &dyn ObjectStore,
    shard: ShardId,
    below: SeqNo,
    marker: &Marker,
) -> object_store::Result<()> {
    let location = keys::boundary(shard, below);
    match store.put_opts(&location, marker.encode_to_vec().into(), PutMode::Create.into()).await {
        Ok(_) => Ok(()),
        // Also a store that says so wrongly, or a lost answer: only what stands there counts, or stands above it, since
        // later truncations may have removed the marker that another one wrote here.
        Err(error) => match store.head(&location).await {
            Ok(_) => Ok(()),
            Err(_) => match boundary(store, shard).await {
                Ok(standing) if standing >= below => Ok(()),
                _ => Err(error),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use timely_persist_testing::{Fault, Faults, FaultyStore, Operation, Rule};

    #[test]
    fn a_marker_knows_what_it_covers_and_nothing_else() {
        let marker = Marker { first: 5, digests: vec![digest(b"five"), 0, digest(b"seven")] };
        assert_eq!(marker.holds(SeqNo(5), b"five"), Some(true));
        assert_eq!(marker.holds(SeqNo(5), b"other"), Some(false));
        assert_eq!(marker.holds(SeqNo(6), b"six"), None);
        assert_eq!(marker.holds(SeqNo(7), b"seven"), Some(true));
        assert_eq!(marker.holds(SeqNo(4), b"four"), None);
        assert_eq!(marker.holds(SeqNo(8), b"eight"), None);
        assert_eq!(Marker::default().holds(SeqNo(1), b""), None);
    }

    #[tokio::test]
    async fn a_marker_that_later_truncations_have_removed_was_raised() {
        let (shard, faults) = (ShardId::from_u128(1), Faults::scripted());
        let store = FaultyStore::new(Arc::new(InMemory::new()), faults.clone());
        let raise = async |below| raise(&store, shard, SeqNo(below), &Marker::default()).await;
        let exists = || faults.add(Rule::next(Operation::Create, Fault::ClaimExists));
        raise(13).await.expect("a marker");
        exists();
        raise(12).await.expect("a boundary above");
        exists();
        raise(14).await.expect_err("no boundary as high as that");
    }

    #[test]
    fn the_durable_form_of_a_marker_stays() {
        let marker = Marker { first: 300, digests: vec![1, 2] };
        let golden = b"\x08\xac\x02\x12\x10\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0";
        assert_eq!(marker.encode_to_vec(), golden);
        assert_eq!(Marker::decode(&golden[..]).ok(), Some(marker));
    }
}
