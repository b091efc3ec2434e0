//! Names of objects: the durable layout, in one place.
//!
//! Everything of a shard lies under `shards/<shard id>/`. Numbers are padded so that names sort as numbers do. Names
//! are built from ids and numbers only, so no name can leave its prefix.

use object_store::path::Path;

use timely_persist_types::ids::{PART_KIND, ROLLUP_KIND, SeqNo, ShardId, Token, blob_made_ms, blob_name};

/// The folder of a shard's log entries, one object each.
pub fn log_folder(shard: ShardId) -> Path {
    Path::from_iter(["shards".to_owned(), shard.to_string(), "log".to_owned()])
}

/// The log entry at a position.
pub fn log_entry(shard: ShardId, seqno: SeqNo) -> Path {
    log_folder(shard).join(padded(seqno))
}

/// The folder of truncation boundaries: an empty object each, the largest counts.
pub fn boundary_folder(shard: ShardId) -> Path {
    Path::from_iter(["shards".to_owned(), shard.to_string(), "boundary".to_owned()])
}

/// The boundary below which log entries are truncated.
pub fn boundary(shard: ShardId, below: SeqNo) -> Path {
    boundary_folder(shard).join(padded(below))
}

/// The folder of parts and rollups: what the state may refer to.
pub fn blob_folder(shard: ShardId) -> Path {
    Path::from_iter(["shards".to_owned(), shard.to_string(), "blob".to_owned()])
}

/// A blob by the name that the state knows it by.
pub fn blob(shard: ShardId, name: &str) -> Path {
    blob_folder(shard).join(name)
}

/// The folder of the limits that all processes on the store have alike, one object for each version of them: the largest
/// number counts.
pub fn limits_folder() -> Path {
    Path::from("limits")
}

/// A version of the store's limits.
pub fn limits(version: u64) -> Path {
    limits_folder().join(padded(SeqNo(version)))
}

/// The folder of the store's qualification, which concerns no shard.
pub fn qualification_folder() -> Path {
    Path::from("qualification")
}

/// What the last successful qualification of the store of this name found. Objects may be reached by several names, and
/// may be copied to another store, where nothing is known yet.
pub fn verdict(store: &str) -> Path {
    qualification_folder().join(format!("{VERDICT}{:016x}", xxhash_rust::xxh3::xxh3_64(store.as_bytes())))
}

/// The folder that one qualification makes its objects in, and removes them from.
pub fn qualification_attempt(attempt: Token) -> Path {
    qualification_folder().join(attempt.to_string())
}

/// Whether an object may have this last part of a name: any of the above, but for what a qualification removes.
pub fn is_of_an_object(name: &str) -> bool {
    let is_blob = [PART_KIND, ROLLUP_KIND].iter().any(|kind| name.starts_with(kind)) && blob_made_ms(name).is_some();
    parse_seqno(name).is_some() || is_blob || name.starts_with(VERDICT)
}

/// A name as long as the longest of the above, with what a directory adds to it while it is written.
pub fn longest() -> Path {
    let name = blob_name(ROLLUP_KIND, u64::MAX, 0);
    blob(ShardId::from_u128(0), &format!("{name}.arrow#{}", u64::MAX))
}

/// The position that a log entry's or boundary's file name stands for, or the version of limits.
pub fn parse_seqno(name: &str) -> Option<SeqNo> {
    let digits = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| name.parse().ok().map(SeqNo)).flatten()
}

/// What the name of a verdict begins with.
const VERDICT: &str = "verdict-";

/// Enough for every `u64`.
const DIGITS: usize = 20;

fn padded(seqno: SeqNo) -> String {
    format!("{:0width$}", seqno.0, width = DIGITS)
}
