//! Writing a file whole or not at all, into a folder that stands.
//!
//! As `object_store`'s own store does it, and under the same temporary names, which no listing shows; but that one makes
//! the folders that it does not find, all that lead there: a directory that is gone would be made anew.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use object_store::{PutMode, PutPayload};

use super::folders::sync_folder;

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
