//! What readers wrote down: what they saw of a shard, in one word.
//!
//! A reader that has seen all up to a frontier notes the digest of it. Any two that stood at the same frontier must
//! have seen the same, and it must be what the journals say; `truth` compares.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::rows::Digest;

/// All that a reader saw at times from `from` on (from the beginning, if that is zero) and before `upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    pub shard: u32,
    pub from: u64,
    pub upto: u64,
    pub digest: Digest,
}

/// The notes of one process.
pub struct Notes(File);

impl Notes {
    pub fn open(folder: &Path, name: &str) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut file = OpenOptions::new().append(true).create(true).open(folder.join(name))?;
        file.write_all(b"\n")?; // behind what a kill cut off
        Ok(Self(file))
    }

    pub fn note(&mut self, note: &Note) -> std::io::Result<()> {
        let Note { shard, from, upto, digest: Digest { sum, rows } } = note;
        self.0.write_all(format!("{shard} {from} {upto} {sum} {rows} .\n").as_bytes())
    }
}

/// All notes of a folder, with the file that each is in.
pub fn read_all(folder: &Path) -> std::io::Result<Vec<(String, Note)>> {
    let mut notes = Vec::new();
    if !folder.exists() {
        return Ok(notes);
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(entry.path())?;
        notes.extend(text.lines().filter_map(parse).map(|note| (name.clone(), note)));
    }
    Ok(notes)
}

fn parse(line: &str) -> Option<Note> {
    let words: Vec<&str> = line.strip_suffix(" .")?.split(' ').collect();
    let [shard, from, upto, sum, rows] = words[..] else { return None };
    let digest = Digest { sum: sum.parse().ok()?, rows: rows.parse().ok()? };
    Some(Note { shard: shard.parse().ok()?, from: from.parse().ok()?, upto: upto.parse().ok()?, digest })
}
