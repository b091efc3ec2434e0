//! Fetching a part as a whole.

use crate::blobs::Blobs;
use crate::codec::{Data, Diff, Time};
use crate::error::Error;
use crate::ids::ShardId;
use crate::life::guarded;
use crate::part::{Chunk, decode_part};
use crate::state::{Location, Part};

use super::spans::read;

/// The rows of a part, sorted, in chunks. One request to the store, none for an inline part.
///
/// Errors name the object: `Corrupt` if it is missing or damaged, `Invalid` if a codec panicked, `Unavailable` if the
/// store did not answer. Cancelling leaves nothing.
pub async fn fetch_part<K: Data, V: Data, T: Time, D: Diff>(
    blobs: &Blobs,
    shard: ShardId,
    part: &Part<T>,
) -> Result<Vec<Chunk<K, V, T, D>>, Error> {
    let bytes = match &part.location {
        Location::Inline(bytes) => bytes.clone(),
        // By range, not whole: the length is known, so the bytes arrive in one buffer of the right size.
        Location::Blob(_) => read(blobs, shard, part, 0..part.meta.encoded_bytes).await?,
    };
    trusted(guarded(|| decode_part(bytes, &part.meta)), blobs, shard, part).await
}

/// What was made of a part's bytes. An error names the part, and no cache keeps the bytes any longer.
pub(super) async fn trusted<R, T: Time>(
    made: Result<R, Error>,
    blobs: &Blobs,
    shard: ShardId,
    part: &Part<T>,
) -> Result<R, Error> {
    if let (Err(_), Some(name)) = (&made, part.blob()) {
        blobs.distrust(shard, name).await;
    }
    made.map_err(|error| naming(error, shard, part))
}

/// The error, naming the shard and the object it concerns.
pub(super) fn naming<T: Time>(error: Error, shard: ShardId, part: &Part<T>) -> Error {
    error.of_shard(shard).of_object(part.blob().unwrap_or("(inline part)"))
}
