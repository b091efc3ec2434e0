//! The file that says what kind of directory this is.
//!
//! It is looked for before anything is written, and is there, durably, before anything else is.

use std::fs::{self, File};
use std::io::ErrorKind as Io;
use std::path::Path;

use object_store::PutMode;

use super::publish::{publish, sync_folder};
use timely_persist_types::error::{Error, ErrorKind};

/// The name of the marker file.
pub const MARKER_NAME: &str = "timely-persist";

/// The layout of the directory that this version writes and reads (see `keys.rs`). It rises when an older version could
/// no longer read what is written.
pub const FORMAT_VERSION: u32 = 1;

/// What comes before the version in the marker file.
const PREAMBLE: &str = "timely-persist data directory, format ";

/// Longest marker that is looked at: many times what any version writes.
const MARKER_BYTES_MAX: u64 = 1024;

/// Makes sure that `path`, an absolute one, is a directory of ours, making it one if there is nothing yet.
pub(super) fn claim(path: &Path) -> Result<(), Error> {
    if is_ours(path)? {
        return Ok(());
    }
    match foreign_entry(path)? {
        // Another process may have made it ours since the first look.
        Some(name) if !is_ours(path)? => Err(Error::invalid(format!(
            "this directory has files already ({name:?} for one) and is no timely-persist data directory; name an \
             empty or a new one"
        ))),
        Some(_) => Ok(()),
        None => {
            create_folder(path).map_err(|error| refused("cannot create the data directory", error))?;
            write(path).map_err(|error| refused("cannot write to the data directory", error))
        }
    }
}

/// Whether the marker stands in `directory`, and names a format that can be read.
fn is_ours(directory: &Path) -> Result<bool, Error> {
    let text = match read(&directory.join(MARKER_NAME)) {
        Ok(text) => text,
        Err(error) if error.kind() == Io::NotFound => return Ok(false),
        Err(error) => return Err(refused("cannot read the data directory", error)),
    };
    // Later formats may say more on further lines.
    let first_line = text.lines().next().unwrap_or_default();
    let version = first_line.strip_prefix(PREAMBLE).and_then(|version| version.parse::<u32>().ok());
    match version {
        Some(version) if version <= FORMAT_VERSION => Ok(true),
        Some(version) => Err(Error::new(
            ErrorKind::Newer,
            format!("this data directory has format {version}; this version reads up to {FORMAT_VERSION}"),
        )),
        None => Err(Error::corrupt(format!("the file {MARKER_NAME:?} in it does not say which format it has"))
            .advise("restore that file from a backup, or copy it from a directory that the same version made")),
    }
}

fn read(marker: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(marker)?.take(MARKER_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A name in `directory` that neither we nor the file system put there; `None` too if there is no such directory.
fn foreign_entry(directory: &Path) -> Result<Option<String>, Error> {
    let failed = |error| refused("cannot read the data directory", error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == Io::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        // The first is what an interrupted first open leaves behind, the second what a fresh volume has.
        let harmless = name.starts_with(&format!("{MARKER_NAME}#")) || name == "lost+found";
        if !harmless {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Creates a folder and those above it, and makes their names durable.
fn create_folder(path: &Path) -> std::io::Result<()> {
    let existing = path.ancestors().skip(1).find(|above| above.is_dir());
    fs::create_dir_all(path)?;
    for above in path.ancestors().skip(1) {
        sync_folder(above)?;
        if Some(above) == existing {
            break;
        }
    }
    Ok(())
}

/// Writes the marker, whole or not at all, unless another process was faster: what it wrote says the same, and is what
/// it knows the directory by.
fn write(directory: &Path) -> std::io::Result<()> {
    let text = format!("{PREAMBLE}{FORMAT_VERSION}\n");
    match publish(&directory.join(MARKER_NAME), &text.into(), &PutMode::Create) {
        Err(error) if error.kind() != Io::AlreadyExists => Err(error),
        _ => sync_folder(directory),
    }
}

/// What the file system did not let us do at open. Mostly the path is to blame, not the disk.
pub(super) fn refused(doing: &'static str, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        Io::NotADirectory | Io::AlreadyExists | Io::InvalidInput | Io::InvalidFilename => ErrorKind::Invalid,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{doing}: {error}")).because(error)
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;
    use crate::store::directory::Directory;

    #[test]
    fn an_empty_or_new_directory_becomes_ours_and_stays_so() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let nested = temporary.path().join("a/b");
        for _ in 0..2 {
            Directory::open(&nested).expect("ours");
        }
        let text = fs::read_to_string(nested.join(MARKER_NAME)).expect("the marker");
        assert_eq!(text, "timely-persist data directory, format 1\n");
        // What an interrupted first open leaves behind.
        let empty = temporary.path().join("c");
        fs::create_dir(&empty).expect("a folder");
        fs::write(empty.join("timely-persist#17"), "timely-per").expect("a file");
        Directory::open(&empty).expect("ours");
    }

    /// Each knows the directory by the marker's file: one that replaced another's would put that one out.
    #[test]
    fn who_opens_a_new_directory_at_once_finds_one_marker() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        for round in 0..20 {
            let path = temporary.path().join(round.to_string());
            let start = std::sync::Barrier::new(4);
            let open = || {
                start.wait();
                Directory::open(&path).expect("ours")
            };
            let opened: Vec<Directory> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            for (index, directory) in opened.iter().enumerate() {
                let at = format!("object {index}").as_str().into();
                futures::executor::block_on(directory.put(&at, "1".into())).expect("it is the one that was opened");
            }
            assert_eq!(fs::read_dir(&path).expect("a folder").count(), 5, "nothing beside the marker and the objects");
        }
    }

    #[test]
    fn a_directory_of_another_kind_is_refused_untouched() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        fs::write(temporary.path().join("letters.txt"), "dear").expect("a file");
        let error = Directory::open(temporary.path()).expect_err("not ours");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("letters.txt"), "{error}");
        assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 1);

        let error = Directory::open(temporary.path().join("letters.txt")).expect_err("a file");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let error = Directory::open(temporary.path().join("letters.txt/below")).expect_err("below a file");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }

    #[test]
    fn a_later_format_and_a_damaged_marker_are_told_apart() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let marker = temporary.path().join(MARKER_NAME);
        fs::write(&marker, format!("{PREAMBLE}2\nand more in later versions")).expect("a file");
        let error = Directory::open(temporary.path()).expect_err("later");
        assert_eq!(error.kind(), ErrorKind::Newer);
        assert!(error.to_string().contains("format 2"), "{error}");
        fs::write(&marker, b"\xff\xff").expect("a file");
        assert_eq!(Directory::open(temporary.path()).expect_err("damaged").kind(), ErrorKind::Corrupt);
    }
}
