//! What a writer wrote down beside the store: each append before it was tried, and what the library said to it.
//!
//! Always: a line is whole when it ends in ` .`; what is behind the last whole line was never acted on. A line is on
//! disk before the next step, so after any kill the journal knows of every append that can be in the store.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::rows::{Digest, Name};

/// An append that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub writer: u32,
    /// Its number, among those of its writer.
    pub number: u64,
    pub shard: u32,
    /// Of all its rows; the new upper is one more.
    pub time: u64,
    /// The marker included.
    pub rows: u32,
    pub padding: u32,
    /// An append of the same writer, to the same shard, whose rows but the marker it takes away.
    pub retracts: Option<u64>,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody was told: it is there, or not, or comes to be there.
    Unknown,
    Acknowledged,
    /// The library said that it wrote nothing.
    Refused,
}

impl Attempt {
    /// Row by row.
    pub fn row(&self, salt: u64, index: u32) -> (String, u64) {
        let Self { writer, number: append, time, .. } = *self;
        Name { writer, append, time, index }.row(salt, self.padding as usize)
    }

    /// Its own rows but the marker.
    pub fn rest(&self, salt: u64) -> impl Iterator<Item = (String, u64)> + '_ {
        (1..self.rows).map(move |index| self.row(salt, index))
    }

    /// The marker, and the rest.
    pub fn digests(&self, salt: u64) -> (Digest, Digest) {
        let (mut marker, mut rest) = (Digest::default(), Digest::default());
        marker.add(self.row(salt, 0).1, 1);
        self.rest(salt).for_each(|(_, value)| rest.add(value, 1));
        (marker, rest)
    }

    fn line(&self) -> String {
        let Self { number, shard, time, rows, padding, .. } = self;
        let retracts = self.retracts.map_or("-".to_owned(), |number| number.to_string());
        format!("intent {number} {shard} {time} {rows} {padding} {retracts} .\n")
    }

    fn parse(writer: u32, words: &[&str]) -> Option<Self> {
        let [number, shard, time, rows, padding, retracts] = words else { return None };
        let retracts = if *retracts == "-" { None } else { Some(retracts.parse().ok()?) };
        Some(Self {
            writer,
            number: number.parse().ok()?,
            shard: shard.parse().ok()?,
            time: time.parse().ok()?,
            rows: rows.parse().ok()?,
            padding: padding.parse().ok()?,
            retracts,
            outcome: Outcome::Unknown,
        })
    }
}

/// The journal of one writer, open at its end.
pub struct Journal {
    file: File,
}

impl Journal {
    /// Opens it, and what is in it.
    pub fn open(folder: &Path, writer: u32) -> std::io::Result<(Self, Vec<Attempt>)> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(writer.to_string());
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.seek(SeekFrom::End(0))?;
            file.write_all(b"\n")?; // what a kill cut off stays cut off
        }
        Ok((Self { file }, parse(writer, &text)))
    }

    /// This append is about to be tried.
    pub fn intend(&mut self, attempt: &Attempt) -> std::io::Result<()> {
        self.write(&attempt.line())
    }

    /// What the library said to it.
    pub fn settle(&mut self, attempt: &Attempt, outcome: Outcome) -> std::io::Result<()> {
        let word = match outcome {
            Outcome::Unknown => return Ok(()),
            Outcome::Acknowledged => "acknowledged",
            Outcome::Refused => "refused",
        };
        self.write(&format!("{word} {} .\n", attempt.number))
    }

    fn write(&mut self, line: &str) -> std::io::Result<()> {
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()
    }
}

/// All journals of a folder.
pub fn read_all(folder: &Path) -> std::io::Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(writer) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        attempts.extend(parse(writer, &std::fs::read_to_string(&path)?));
    }
    Ok(attempts)
}

/// What the whole lines of a journal say.
fn parse(writer: u32, text: &str) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_suffix(" .")) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["intent", ref words @ ..] => attempts.extend(Attempt::parse(writer, words)),
            [word @ ("acknowledged" | "refused"), number] => {
                // An answer comes soon behind its intent.
                let asked = attempts.iter_mut().rev().find(|attempt| Ok(attempt.number) == number.parse());
                if let Some(attempt) = asked {
                    let acknowledged = word == "acknowledged";
                    attempt.outcome = if acknowledged { Outcome::Acknowledged } else { Outcome::Refused };
                }
            }
            _ => {}
        }
    }
    attempts
}
