//! What tells a file or a folder from every other, and the error where one is not what it was.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::marker::MARKER_NAME;

/// A file or folder, whatever it is called. A number is used again once its file is gone, a moment of birth is not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// Device and inode, where there is such a thing.
    number: Option<(u64, u64)>,
    /// Where the file system keeps it.
    born: Option<SystemTime>,
}

impl Identity {
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { number: Some((metadata.dev(), metadata.ino())), born: metadata.created().ok() }
    }

    #[cfg(not(unix))]
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { number: None, born: metadata.created().ok() }
    }

    /// Whether both are the same, by all that is known of both.
    pub(super) fn is(&self, other: &Self) -> bool {
        let both_born = self.born.zip(other.born);
        self.number == other.number && both_born.is_none_or(|(one, other)| one == other)
    }
}

/// Who finds out whether the directory is still the one that was opened.
#[derive(Debug)]
pub(super) struct Presence {
    /// Where the marker stands: below the path that is written to, and below the one that was asked for if a link is on
    /// its way, which may be switched.
    markers: Vec<PathBuf>,
    identity: Identity,
    /// Open for as long as it is compared with: no other file gets its number. It also keeps its name, and those of the
    /// folders that lead to it, in the system's memory, so that looking them up reads nothing from a disk.
    _held: File,
}

impl Presence {
    /// Of the directory at `root`, without links, that was asked for as `asked`. Its marker stands.
    pub(super) fn of(root: &Path, asked: &Path) -> std::io::Result<Self> {
        let mut markers = vec![root.join(MARKER_NAME)];
        if asked != root {
            markers.push(asked.join(MARKER_NAME));
        }
        let held = File::open(&markers[0])?;
        let identity = Identity::of(&held.metadata()?);
        Ok(Self { markers, identity, _held: held })
    }

    /// Fails where the directory is away, or is another one.
    pub(super) fn look(&self) -> Result<(), Gone> {
        self.markers.iter().try_for_each(|marker| match std::fs::metadata(marker) {
            Ok(metadata) if self.identity.is(&Identity::of(&metadata)) => Ok(()),
            Ok(_) => Err(Gone::replaced(marker)),
            Err(error) => Err(Gone::refused(marker, error)),
        })
    }
}

/// The directory, or a folder of it, is not what it was. It may come back.
#[derive(Debug)]
pub(super) struct Gone {
    path: PathBuf,
    /// `None` where another one stands in its place.
    cause: Option<Error>,
}

impl Gone {
    pub(super) fn replaced(path: &Path) -> Self {
        Self { path: path.to_owned(), cause: None }
    }

    pub(super) fn refused(path: &Path, cause: Error) -> Self {
        Self { path: path.to_owned(), cause: Some(cause) }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the data directory was replaced or removed under this process: {} ", self.path.display())?;
        match &self.cause {
            None => f.write_str("is another one than before")?,
            Some(error) if error.kind() == ErrorKind::NotFound => f.write_str("is not there any more")?,
            Some(error) => write!(f, "cannot be looked at ({error})")?,
        }
        f.write_str("; put back what was there and this process goes on, or restart it to use what is there now")
    }
}

impl std::error::Error for Gone {}

impl From<Gone> for object_store::Error {
    fn from(gone: Gone) -> Self {
        object_store::Error::Generic { store: "Directory", source: gone.into() }
    }
}
