//! Fetching a part as a whole.

use bytes::Bytes;

use crate::codec::{Data, Diff, Time};
use crate::error::Error;
use crate::ids::ShardId;
use crate::machine::Context;
use crate::part::{Chunk, decode_part};
use crate::state::{Location, Part};

/// The rows of a part, sorted, in chunks. One request to the store, none for an inline part.
///
/// Errors name the object: `Corrupt` if it is missing or damaged, `Unavailable` if the store did not answer. Cancelling
/// leaves nothing.
pub async fn fetch_part<K: Data, V: Data, T: Time, D: Diff>(
    context: &Context,
    shard: ShardId,
    part: &Part<T>,
) -> Result<Vec<Chunk<K, V, T, D>>, Error> {
    let bytes = part_bytes(context, shard, part).await?;
    decode_part(bytes, &part.meta).map_err(|error| naming(error, shard, part))
}

async fn part_bytes<T: Time>(context: &Context, shard: ShardId, part: &Part<T>) -> Result<Bytes, Error> {
    match &part.location {
        Location::Inline(bytes) => Ok(bytes.clone()),
        // By range, not whole: the length is known, so the bytes arrive in one buffer of the right size.
        Location::Blob(name) => match context.read_blob(shard, name, 0..part.meta.encoded_bytes).await? {
            Some(bytes) => Ok(bytes),
            None => Err(naming(Error::missing(), shard, part)),
        },
    }
}

/// The error, naming the shard and the object it concerns.
pub(super) fn naming<T: Time>(error: Error, shard: ShardId, part: &Part<T>) -> Error {
    error.of_shard(shard).of_object(part.blob().unwrap_or("(inline part)"))
}
