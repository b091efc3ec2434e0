//! Why the ingestion of partitions ended before its source did.

use std::fmt;
use std::ops::Range;

use timely_persist_types::error::Error;
use timely_persist_types::ids::ShardId;

/// Why [`IngestPartitions::run`](super::IngestPartitions::run) ended. What was committed before stays, and running it again
/// goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IngestPartitionsError<P, E> {
    /// The source failed. Ticks that were written before are in the data shard.
    Source {
        /// The data shard.
        shard: ShardId,
        /// What the source says.
        error: E,
    },
    /// The source does not have offsets any more that were bound to a tick, and their rows are not in the data shard.
    Gone {
        /// The data shard.
        shard: ShardId,
        /// The partition.
        partition: P,
        /// What is wanted of it.
        offsets: Range<u64>,
        /// The first offset that the source still has.
        earliest: u64,
    },
    /// A partition ends before what was bound of it: the source was set back. Nothing was bound or written for it.
    Back {
        /// The data shard.
        shard: ShardId,
        /// The partition.
        partition: P,
        /// Up to where it was bound.
        bound: u64,
        /// Where the source says that it ends.
        end: u64,
    },
    /// The source gave an offset that was not asked for, or not in ascending order. Nothing of its tick was written.
    Offset {
        /// The data shard.
        shard: ShardId,
        /// The partition.
        partition: P,
        /// What could be next.
        wanted: Range<u64>,
        /// What it gave.
        offset: u64,
    },
    /// A shard, or a row: `Invalid` for a row that cannot be written, which names what is wrong with it.
    Storage(Error),
}

impl<P, E> From<Error> for IngestPartitionsError<P, E> {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

impl<P: fmt::Debug, E: fmt::Display> fmt::Display for IngestPartitionsError<P, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { shard, error } => write!(
                f,
                "shard {shard}: the source failed: {error}; what it gave for ticks before this one is in the shard, run it \
                 again"
            ),
            Self::Gone { shard, partition, offsets, earliest } => write!(
                f,
                "shard {shard}: the source has partition {partition:?} from offset {earliest} on, and {offsets:?} are bound \
                 and not written; restore them in the source, or begin with an empty data shard and an empty remap shard"
            ),
            Self::Back { shard, partition, bound, end } => write!(
                f,
                "shard {shard}: partition {partition:?} is bound up to offset {bound}, and the source ends at {end}; if it \
                 lags, let it wait, and if it was set back, begin with an empty data shard and an empty remap shard"
            ),
            Self::Offset { shard, partition, wanted, offset } => write!(
                f,
                "shard {shard}: the source gave offset {offset} of partition {partition:?} where only {wanted:?} could come; \
                 give each offset that was asked for once, with all of its rows, in order"
            ),
            Self::Storage(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<P: fmt::Debug, E: std::error::Error + 'static> std::error::Error for IngestPartitionsError<P, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source { error, .. } => Some(error),
            Self::Storage(error) => error.source(),
            Self::Gone { .. } | Self::Back { .. } | Self::Offset { .. } => None,
        }
    }
}
