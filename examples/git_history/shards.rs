//! The shards of a data directory: their names, their types, and who keeps their history.
//!
//! The names are fixed, so that every run finds them: a data directory holds one history. [`Files`], [`Commits`] and
//! [`Kept`] say what the rows are; `store` says what they mean.

use timely_persist::{Client, CriticalReaderId, Shard, ShardId};

use crate::table::Count;

/// The collection of `(path, lines)`, at time = commit number.
pub(crate) type Files = Shard<String, u64, u64, i64>;
/// The rows `(commit number, commit id)`, each at the time of its number.
pub(crate) type Commits = Shard<u64, String, u64, i64>;
/// The table as rows `(extension, count)`, at time = commit number: what a dataflow computes of [`Files`] and keeps.
pub(crate) type Kept = Shard<String, Count, u64, i64>;

/// The shard of [`Files`] in a data directory.
pub(crate) fn files(client: &Client) -> Files {
    client.shard(ShardId::from_u128(u128::from_be_bytes(*b"git_history file")))
}

/// The shard of [`Commits`] in a data directory.
pub(crate) fn commits(client: &Client) -> Commits {
    client.shard(ShardId::from_u128(u128::from_be_bytes(*b"git_history comm")))
}

/// The shard of [`Kept`] in a data directory.
pub(crate) fn kept(client: &Client) -> Kept {
    client.shard(ShardId::from_u128(u128::from_be_bytes(*b"git_history tabl")))
}

/// The reader that keeps the history of each shard from its beginning.
///
/// A shard's since is where all its readers stand, and a reader that follows moves on: without this one, a run with
/// `--follow` would let go of the history behind it. It has no lease that could expire, and this program never moves it.
pub(crate) fn history() -> CriticalReaderId {
    CriticalReaderId::from_u128(u128::from_be_bytes(*b"git_history keep"))
}
