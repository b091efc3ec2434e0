//! The one text of a caller that lies in the shard's state: what a reader is for.

use timely_persist_types::config::PURPOSE_BYTES_MAX;
use timely_persist_types::error::Error;
use timely_persist_types::ids::ShardId;

/// Refuses a purpose that is too long to be carried by every commit of its owner, and by every rollup.
pub(crate) fn check_purpose(shard: ShardId, purpose: &str) -> Result<(), Error> {
    if purpose.len() <= PURPOSE_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a purpose of {} bytes; the most is PURPOSE_BYTES_MAX, {PURPOSE_BYTES_MAX}", purpose.len());
    Err(Error::invalid(message).of_shard(shard))
}
