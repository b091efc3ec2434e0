//! Writing a file whole or not at all, into a folder that stands.
//!
//! As `object_store`'s own store does it, and under the same temporary names, which no listing shows; but that one makes
//! the folders that it does not find, all that lead there: a directory that is gone would be made anew.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use object_store::{PutMode, PutPayload};

/// Writes `data` to `file`, durably but for the names of the folders above its own; when, by the file system's clock.
///
/// `AlreadyExists` where the mode says that it must not. Blocks. Killed, it leaves a temporary file, which the sweep
/// (`staged.rs`) removes.
pub(super) fn publish(file: &Path, data: &PutPayload, mode: &PutMode) -> std::io::Result<Option<SystemTime>> {
    let says = |error: Error| Error::new(error.kind(), format!("writing {}: {error}", file.display()));
    let (staged, name) = stage(file).map_err(says)?;
    let published = write(staged, data).and_then(|written| name_it(&name, file, mode).map(|()| written));
    published.map_err(|error| {
        let _ = fs::remove_file(&name); // the sweep does it if this fails
        says(error)
    })
}

/// A fresh file beside `file`.
fn stage(file: &Path) -> std::io::Result<(File, PathBuf)> {
    for number in 1_u64.. {
        let mut name = file.as_os_str().to_owned();
        name.push(format!("#{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(staged) => return Ok((staged, name.into())),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {} // another writer's, or left by a kill
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

fn write(mut staged: File, data: &PutPayload) -> std::io::Result<Option<SystemTime>> {
    data.iter().try_for_each(|bytes| staged.write_all(bytes))?;
    staged.sync_all()?;
    Ok(staged.metadata()?.modified().ok())
}

/// Gives the staged file its name. If somebody removed it meanwhile this fails, and the name is not there.
fn name_it(staged: &Path, file: &Path, mode: &PutMode) -> std::io::Result<()> {
    match mode {
        PutMode::Create => {
            fs::hard_link(staged, file)?;
            let _ = fs::remove_file(staged); // the sweep does it if this fails
        }
        PutMode::Overwrite | PutMode::Update(_) => fs::rename(staged, file)?,
    }
    file.parent().map_or(Ok(()), sync_folder)
}

/// Makes a folder's names durable. Where folders cannot be opened as files there is nothing to do.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { std::fs::File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the sweep does, if a clock jumps under a living writer.
    #[test]
    fn what_is_removed_under_its_writer_is_not_published() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let file = temporary.path().join("object");
        for mode in [PutMode::Create, PutMode::Overwrite] {
            let (staged, name) = stage(&file).expect("a file");
            fs::remove_file(&name).expect("the file");
            write(staged, &"1".into()).expect("a file that has no name is a file");
            assert_eq!(name_it(&name, &file, &mode).expect_err("no such file").kind(), ErrorKind::NotFound);
            assert!(!file.exists());
        }
    }

    #[test]
    fn a_file_is_published_whole_or_not_at_all_and_leaves_nothing_beside_it() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let file = temporary.path().join("object");
        let count = || fs::read_dir(temporary.path()).expect("a folder").count();
        // Another writer's, or what a kill left: neither is touched.
        fs::write(temporary.path().join("object#1"), "half").expect("a file");
        publish(&file, &"1".into(), &PutMode::Create).expect("published").expect("a time");
        let error = publish(&file, &"2".into(), &PutMode::Create).expect_err("it exists");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).expect("a file"), "1");
        publish(&file, &"3".into(), &PutMode::Overwrite).expect("published");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "3");
        assert_eq!(count(), 2);
        publish(&temporary.path().join("no/folder"), &"1".into(), &PutMode::Create).expect_err("no such folder");
        assert_eq!(count(), 2, "no folder was made");
    }
}
