//! What stops the program: what happened, and what the user can do about it.
//!
//! Every failure that a user can cause or meet ends as one of these on standard error, with exit code 1.

use std::error::Error as _;
use std::fmt;
use std::path::Path;

use timely::progress::Antichain;
use timely_persist::{EncodedFrontier, Error, ErrorKind};
use timely_persist_operators::{SinkError, SourceError};

/// A failure told to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    what: String,
    advice: String,
}

impl Problem {
    /// What happened, and what to do about it: two sentences without a final full stop.
    pub(crate) fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into() }
    }

    /// What the library said of the data in `directory`.
    pub(crate) fn of_storage(directory: &Path, error: &Error) -> Self {
        let (place, said) = (directory.display(), with_causes(error));
        match error.kind() {
            ErrorKind::Since { earliest } => Self::no_longer_kept(directory, &earliest),
            ErrorKind::LeaseExpired { .. } => Self::new(
                format!("The data in {place} was not kept for this run, which stood still for too long: {said}"),
                "Run again",
            ),
            ErrorKind::Unavailable => Self::new(
                format!("The data directory {place} does not answer: {said}"),
                "See that its disk is there, has space and can be written to, then run again: it goes on where it was",
            ),
            ErrorKind::Corrupt | ErrorKind::Missing => Self::new(
                format!("The data in {place} is damaged: {said}"),
                format!("Restore {place} from a backup, or delete it: the next run reads the history again from git"),
            ),
            ErrorKind::UnsafeStore => Self::new(
                format!("The data directory {place} is not safe: {said}"),
                "Name a directory on a local file system with --data",
            ),
            ErrorKind::Newer => Self::new(
                format!("The data in {place} is of a later version of this program: {said}"),
                "Use that version, or name another directory with --data",
            ),
            ErrorKind::Closed => {
                Self::new(format!("The data in {place} was closed during the run: {said}"), "Run again")
            }
            ErrorKind::Bug => Self::new(
                format!("The data in {place} was not written: {said}"),
                "Please report it with what stands above",
            ),
            _ => Self::new(
                format!("The data directory {place} cannot be used: {said}"),
                "Name another directory with --data, or one that does not exist yet",
            ),
        }
    }

    /// What the source of a dataflow said of the data in `directory`; `None` if it goes on all the same.
    pub(crate) fn of_source(directory: &Path, error: &SourceError) -> Option<Self> {
        match error {
            SourceError::Failed(error) => Some(Self::of_storage(directory, error)),
            _ => None,
        }
    }

    /// What the sink of a dataflow said of the data in `directory`; `None` if it goes on all the same.
    pub(crate) fn of_sink(directory: &Path, error: &SinkError) -> Option<Self> {
        match error {
            SinkError::Failed(error) => Some(Self::of_storage(directory, error)),
            SinkError::Gap { .. } => Some(Self::new(
                format!("The data in {} was set back during the run: {error}", directory.display()),
                "Run again",
            )),
            SinkError::Diverged { .. } => Some(Self::inconsistent(directory, error)),
            _ => error.is_final().then(|| Self::inconsistent(directory, error)),
        }
    }

    /// The data in `directory` was made by something else, or by hand.
    pub(crate) fn inconsistent(directory: &Path, what: impl fmt::Display) -> Self {
        let place = directory.display();
        Self::new(
            format!("The data in {place} is not what this program writes: {what}"),
            format!("Restore {place} from a backup, or delete it: the next run reads the history again from git"),
        )
    }

    fn no_longer_kept(directory: &Path, earliest: &EncodedFrontier) -> Self {
        let what = format!("The data in {} does not keep the history of that commit any more", directory.display());
        match earliest.decode::<u64>().as_ref().and_then(Antichain::as_option) {
            Some(earliest) => Self::new(what, format!("The earliest possible one is {earliest}: --as-of {earliest}")),
            None => Self::new(what, "It keeps none: name another directory with --data"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what, self.advice)
    }
}

impl std::error::Error for Problem {}

/// An error and what it came from, as far as that says more.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: ErrorKind) -> String {
        let error = Error::new(kind, "what was found").because(std::io::Error::other("the disk said no"));
        Problem::of_storage(Path::new("/data"), &error).to_string()
    }

    #[test]
    fn storage_errors_say_what_to_do() {
        let damaged = said(ErrorKind::Corrupt);
        assert!(damaged.contains("what was found") && damaged.contains("the disk said no"), "{damaged}");
        assert!(damaged.contains("Restore /data from a backup, or delete it"), "{damaged}");
        let gone = said(ErrorKind::Since { earliest: EncodedFrontier::new(&Antichain::from_elem(7_u64)) });
        assert!(gone.ends_with("The earliest possible one is 7: --as-of 7"), "{gone}");
        let nothing = said(ErrorKind::Since { earliest: EncodedFrontier::new(&Antichain::<u64>::new()) });
        assert!(nothing.contains("It keeps none"), "{nothing}");
        assert!(said(ErrorKind::Unavailable).contains("run again"));
        assert!(said(ErrorKind::CodecMismatch).contains("--data"));
    }
}
