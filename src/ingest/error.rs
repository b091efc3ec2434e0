//! Why ingestion ended before its source did.

use std::fmt;

use timely_persist_types::error::Error;
use timely_persist_types::ids::ShardId;

/// Why [`Ingest::run`](super::Ingest::run) ended. What was committed before stays, and running it again goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IngestError<T, E> {
    /// The source failed. What it gave before is in the shard.
    Source {
        /// The shard that was written.
        shard: ShardId,
        /// What the source says.
        error: E,
    },
    /// The source gave a position that is not beyond the one before. The source contradicts itself, so what had not been
    /// committed by then is not in the shard.
    NotBeyond {
        /// The shard that was written.
        shard: ShardId,
        /// The position.
        position: T,
        /// The position that the source gave before it.
        previous: T,
    },
    /// The source gave the last position that its type has. To write it would close the shard. What came before it is in
    /// the shard.
    Last {
        /// The shard that was written.
        shard: ShardId,
        /// The position.
        position: T,
    },
    /// The shard, or a row: `Invalid` for a row that cannot be written, which names what is wrong with it. Nothing of its
    /// position is in the shard.
    Storage(Error),
}

impl<T, E> From<Error> for IngestError<T, E> {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

impl<T: fmt::Debug, E: fmt::Display> fmt::Display for IngestError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { shard, error } => {
                write!(
                    f,
                    "shard {shard}: the source failed: {error}; what it gave before is in the shard, run it again"
                )
            }
            Self::NotBeyond { shard, position, previous } => write!(
                f,
                "shard {shard}: the source gave position {position:?} behind {previous:?}; give each position once, with \
                 all of its rows, in order"
            ),
            Self::Last { shard, position } => write!(
                f,
                "shard {shard}: position {position:?} is the last that there is, and nothing could follow it; use positions \
                 that have a next one"
            ),
            Self::Storage(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<T: fmt::Debug, E: std::error::Error + 'static> std::error::Error for IngestError<T, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source { error, .. } => Some(error),
            Self::Storage(error) => error.source(),
            Self::NotBeyond { .. } | Self::Last { .. } => None,
        }
    }
}
