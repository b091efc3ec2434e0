//! What a source says on its `errors` output.
//!
//! Errors are plain data that travels between workers and processes. Most are final: the source holds its frontier from
//! there on. `Stalled` and `Recovered` are notices: nothing is lost, it only takes longer. `FilterWrong` is a notice too,
//! but what it tells of is a mistake.

use std::fmt;

use serde::{Deserialize, Serialize};
use timely_persist::{EncodedFrontier, Error, ErrorKind, ShardId};

/// Something that a source has to say about itself, rather than about its collection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceError {
    kind: SourceErrorKind,
    message: String,
    shard: Option<ShardId>,
    object: Option<String>,
}

/// What kind of thing, and so what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// Storage does not answer. The source keeps trying; it says `Recovered` when it goes on. A notice.
    Stalled,
    /// Storage answers again. A notice.
    Recovered,
    /// The filter discarded a part that has rows it should have kept. A notice, of a mistake in the program: results are
    /// wrong without those rows.
    FilterWrong,
    /// The arguments do not make sense together.
    Invalid,
    /// The `as_of` asked for is no longer kept apart. Start again at `earliest` or later.
    Since {
        /// The smallest `as_of` that can still be read.
        earliest: EncodedFrontier,
    },
    /// The client was shut down under the source.
    Unavailable,
    /// The reader's lease has run out. Start again at `earliest` or later.
    LeaseExpired {
        /// The smallest `as_of` that a new reader can read.
        earliest: EncodedFrontier,
    },
    /// Bytes from storage are not what was written there, or are missing. Restore the object from a backup.
    Corrupt,
    /// The shard holds other types than those it was opened with.
    CodecMismatch,
    /// The shard was finalized: it is empty for ever.
    Finalized,
    /// The store does not keep the promises the library stands on.
    UnsafeStore,
}

impl SourceError {
    /// Says so.
    pub(crate) fn new(kind: SourceErrorKind, message: impl Into<String>, shard: ShardId) -> Self {
        Self { kind, message: message.into(), shard: Some(shard), object: None }
    }

    /// The error of the library, as a source says it.
    pub(crate) fn of(error: &Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Invalid => SourceErrorKind::Invalid,
            ErrorKind::Since { earliest } => SourceErrorKind::Since { earliest },
            ErrorKind::Unavailable => SourceErrorKind::Unavailable,
            ErrorKind::LeaseExpired { earliest } => SourceErrorKind::LeaseExpired { earliest },
            ErrorKind::Corrupt => SourceErrorKind::Corrupt,
            ErrorKind::CodecMismatch => SourceErrorKind::CodecMismatch,
            ErrorKind::Finalized => SourceErrorKind::Finalized,
            ErrorKind::UnsafeStore => SourceErrorKind::UnsafeStore,
            // A kind of a newer library: what it says is in the message.
            _ => SourceErrorKind::Invalid,
        };
        let message = error.with_causes();
        Self { kind, message, shard: error.shard(), object: error.object().map(str::to_owned) }
    }

    /// What is said of a try that failed and is repeated.
    pub(crate) fn stalled(error: &Error, shard: ShardId) -> Self {
        Self { kind: SourceErrorKind::Stalled, ..Self::of(error).of_shard(shard) }
    }

    /// What is said when the log, or the store, answers again.
    pub(crate) fn recovered(who: &str, shard: ShardId) -> Self {
        Self::new(SourceErrorKind::Recovered, format!("the {who} answers again"), shard)
    }

    /// The same, naming the shard if it names none.
    pub(crate) fn of_shard(mut self, shard: ShardId) -> Self {
        self.shard.get_or_insert(shard);
        self
    }

    /// Tells the log of the program, if it is more than a passing trouble.
    pub(crate) fn trace(&self) {
        match self.kind {
            SourceErrorKind::FilterWrong => tracing::error!(error = %self, "a wrong filter"),
            _ if self.is_final() => {
                tracing::error!(error = %self, "a source stopped with an error and holds its frontier");
            }
            _ => {}
        }
    }

    /// What to do about it.
    pub fn kind(&self) -> &SourceErrorKind {
        &self.kind
    }

    /// Whether the source has stopped here and holds its frontier until its buttons are released.
    pub fn is_final(&self) -> bool {
        use SourceErrorKind::{FilterWrong, Recovered, Stalled};
        !matches!(self.kind, Stalled | Recovered | FilterWrong)
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The shard concerned.
    pub fn shard(&self) -> Option<ShardId> {
        self.shard
    }

    /// The object concerned, if it is one: its name in the store.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}
