//! What stops a process: what happened, and what to do about it.

use std::fmt;

use timely_persist::{Error, ErrorKind};
use timely_persist_operators::{SinkError, SourceError};

/// A failure told to the user.
#[derive(Clone, Debug)]
pub(crate) struct Problem(String);

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// What a source said; `None` if it goes on all the same.
    pub(crate) fn of_source(error: &SourceError) -> Option<Self> {
        match error {
            SourceError::Failed(error) => Some(error.clone().into()),
            SourceError::FilterWrong(_) => Some(Self::new(error.to_string())),
            SourceError::Stalled(_) | SourceError::Recovered { .. } => None, // it tries again by itself
            _ => error.is_final().then(|| Self::new(error.to_string())),
        }
    }

    /// What a sink said; `None` if it goes on all the same.
    pub(crate) fn of_sink(error: &SinkError) -> Option<Self> {
        match error {
            SinkError::Failed(error) => Some(error.clone().into()),
            // The directory was set back to an older copy while we ran.
            SinkError::Gap { .. } => {
                Some(Self::new(format!("{error}\nRun again: it goes on where the shard ends now")))
            }
            // Somebody else writes the same shard, and not the same rows.
            SinkError::Diverged { .. } => {
                Some(Self::new(format!("{error}\nDoes another version of this program run?")))
            }
            SinkError::Stalled(_) | SinkError::Recovered(_) => None, // it tries again by itself
            // A source stopped, which has said why; or rows are left over at the end.
            _ => error.is_final().then(|| Self::new(error.to_string())),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let said = error.with_causes();
        Self(match error.kind() {
            ErrorKind::Unavailable => format!("{said}\nSee that the disk is there and has space, then run again"),
            ErrorKind::CodecMismatch | ErrorKind::Invalid => format!("{said}\nName another directory with --data"),
            _ => said,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
