//! The directory that a history is kept in.
//!
//! It holds a directory of the library's, [`STORE`], and one file of this program's, [`MARKER`], which says whose it is.
//! The program never writes into a directory that has files but not that one.
//!
//! The marker is made under another name and renamed, before anything else: a run that is killed leaves an empty
//! directory, one with the unfinished marker alone, or one that is marked.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use url::Url;

use crate::problem::Problem;

/// The file that says what the directory is.
const MARKER: &str = "git_history.format";
/// The marker in the making.
const MARKER_UNFINISHED: &str = "git_history.format.unfinished";
/// What the marker contains. The number counts the formats of this program's shards.
const FORMAT: &str = "timely-persist git_history 1\n";

/// The library's own directory in it.
const STORE: &str = "store";

/// Which file a marker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
}

impl Identity {
    #[cfg(unix)]
    fn of(metadata: fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device_and_inode: (metadata.dev(), metadata.ino()) }
    }

    #[cfg(not(unix))]
    fn of(_: fs::Metadata) -> Self {
        Self {}
    }
}

/// A directory that is this program's, or can become it.
#[derive(Clone, Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    /// Which one it is, if that was remembered.
    seen: OnceLock<Identity>,
}

impl DataDirectory {
    /// Looks at the directory, which need not exist, and writes nothing.
    pub(crate) fn inspect(path: &Path) -> Result<Self, Problem> {
        let names = match fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let names = names.map_err(|error| cannot("read", path, &error))?;
        let found = Self { path: path.to_owned(), seen: OnceLock::new() };
        if names.iter().any(|name| name == MARKER) {
            let format = fs::read(path.join(MARKER)).map_err(|error| cannot("read", path, &error))?;
            if format == FORMAT.as_bytes() {
                return Ok(found);
            }
            return Err(Problem::new(
                format!("The data directory {} has another format: {:?}", path.display(), excerpt(&format)),
                "Use the version of this program that wrote it, or name another directory with --data",
            ));
        }
        if names.iter().any(|name| name != MARKER_UNFINISHED) {
            return Err(Problem::new(
                format!("{} holds files that are not this program's", path.display()),
                "Name an empty directory, or one that does not exist yet, with --data",
            ));
        }
        Ok(found)
    }

    /// Makes the directory and marks it, unless that is done.
    pub(crate) fn create(&self) -> Result<(), Problem> {
        self.mark().map_err(|error| cannot("write", &self.path, &error))
    }

    fn mark(&self) -> io::Result<()> {
        let marker = self.path.join(MARKER);
        if marker.try_exists()? {
            return Ok(());
        }
        fs::create_dir_all(&self.path)?;
        let unfinished = self.path.join(MARKER_UNFINISHED);
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(FORMAT.as_bytes())?;
        file.sync_all()?;
        match fs::rename(&unfinished, &marker) {
            // Another run has marked the directory meanwhile, with this very file.
            Err(_) if marker.try_exists()? => Ok(()),
            result => result,
        }
    }

    /// Remembers which directory it is, whatever comes to stand in its place.
    pub(crate) fn remember(&self) -> Result<(), Problem> {
        let identity = self.path.join(MARKER).metadata().map(Identity::of);
        let _ = self.seen.set(identity.map_err(|error| cannot("read", &self.path, &error))?); // once is enough
        Ok(())
    }

    /// Makes sure that it is the one that was remembered.
    pub(crate) fn is_still_there(&self) -> Result<(), Problem> {
        if self.path.join(MARKER).metadata().ok().map(Identity::of).as_ref() == self.seen.get() {
            return Ok(());
        }
        Err(Problem::new(
            format!("The data directory {} was removed or replaced while this run used it", self.path.display()),
            "Put it back, or leave it: the next run reads the history again from git",
        ))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a run has begun to keep something in it.
    pub(crate) fn has_store(&self) -> bool {
        self.path.join(STORE).exists()
    }

    /// Where the shards lie, as the library wants to be told.
    pub(crate) fn store_url(&self) -> Result<String, Problem> {
        let absolute = std::path::absolute(&self.path).map_err(|error| cannot("find", &self.path, &error))?;
        let shards = absolute.join(STORE);
        let url = Url::from_file_path(&shards).map_err(|()| {
            Problem::new(
                format!("The name of the data directory {} cannot be written as a URL", self.path.display()),
                "Name another with --data",
            )
        })?;
        Ok(url.into())
    }
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Problem {
    Problem::new(
        format!("Cannot {verb} the data directory {}: {error}", path.display()),
        "Name a directory that you may write to with --data",
    )
}

/// The first line of a file that may be anything.
fn excerpt(bytes: &[u8]) -> String {
    let start = bytes.get(..60).unwrap_or(bytes);
    String::from_utf8_lossy(start).lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_made_and_found_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("new/deeper");
        let directory = DataDirectory::inspect(&path).unwrap();
        assert!(!path.exists(), "looking writes nothing");
        directory.create().unwrap();
        DataDirectory::inspect(&path).unwrap().create().unwrap();
        assert_eq!(fs::read_to_string(path.join(MARKER)).unwrap(), FORMAT);
    }

    #[test]
    fn a_killed_run_leaves_a_directory_that_can_be_used() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(MARKER_UNFINISHED), "time").unwrap();
        DataDirectory::inspect(place.path()).unwrap().create().unwrap();
        assert_eq!(fs::read_to_string(place.path().join(MARKER)).unwrap(), FORMAT);
    }

    #[test]
    fn foreign_directories_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let notes = place.path().join("notes.txt");
        fs::write(&notes, "mine").unwrap();
        let problem = DataDirectory::inspect(place.path()).unwrap_err().to_string();
        assert!(problem.contains("not this program's") && problem.contains("--data"), "{problem}");
        let problem = DataDirectory::inspect(&notes).unwrap_err().to_string();
        assert!(problem.starts_with("Cannot read the data directory"), "{problem}");
        fs::write(place.path().join(MARKER), "timely-persist git_history 9\n").unwrap();
        let problem = DataDirectory::inspect(place.path()).unwrap_err().to_string();
        assert!(problem.contains("git_history 9"), "{problem}");
    }
}
