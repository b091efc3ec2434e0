//! What a source says on its `errors` output.
//!
//! Plain data that travels between workers and processes. `Failed` is final: the source holds its frontier from there on.
//! All else are notices: nothing is lost, it only takes longer. `FilterWrong` is a notice too, but what it tells of is a
//! mistake.

use std::fmt;

use serde::{Deserialize, Serialize};
use timely_persist::{Error, ShardId};

/// Something that a source has to say about itself, rather than about its collection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SourceError {
    /// Storage does not answer, for this reason. The source keeps trying; it says `Recovered` when it goes on. A notice.
    Stalled(Error),
    /// Storage answers again. A notice.
    Recovered {
        /// The shard that is read.
        shard: ShardId,
        /// Which part of storage: the log, or the store.
        who: String,
    },
    /// The filter discarded a part of this shard that has rows it should have kept. A notice, of a mistake in the program:
    /// results are wrong without those rows.
    FilterWrong(ShardId),
    /// The source has stopped here, for this reason, and holds its frontier until its buttons are released. What to do
    /// says the error's [`kind`](Error::kind).
    Failed(Error),
}

impl SourceError {
    /// What is said when the log, or the store, answers again.
    pub(crate) fn recovered(who: &str, shard: ShardId) -> Self {
        Self::Recovered { shard, who: who.to_owned() }
    }

    /// Tells the log of the program, if it is more than a passing trouble.
    pub(crate) fn trace(&self) {
        match self {
            Self::FilterWrong(_) => tracing::error!(error = %self, "a wrong filter"),
            Self::Failed(_) => {
                tracing::error!(error = %self, "a source stopped with an error and holds its frontier");
            }
            Self::Stalled(_) | Self::Recovered { .. } => {}
        }
    }

    /// What the library said, if that is why.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Stalled(error) | Self::Failed(error) => Some(error),
            Self::Recovered { .. } | Self::FilterWrong(_) => None,
        }
    }

    /// Whether the source has stopped here and holds its frontier until its buttons are released.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// The shard concerned.
    pub fn shard(&self) -> Option<ShardId> {
        match self {
            Self::Stalled(error) | Self::Failed(error) => error.shard(),
            Self::Recovered { shard, .. } | Self::FilterWrong(shard) => Some(*shard),
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled(error) | Self::Failed(error) => f.write_str(&error.with_causes()),
            Self::Recovered { who, .. } => write!(f, "the {who} answers again"),
            Self::FilterWrong(_) => f.write_str("the filter discarded a part with rows that the source keeps"),
        }
    }
}

impl std::error::Error for SourceError {}
