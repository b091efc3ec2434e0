//! An object that is open, to be read a piece at a time.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use tokio::time::timeout;

use crate::store::Files;
use timely_persist_types::error::Error;

use super::Blobs;

/// An object whose bytes can be read, wherever they lie.
#[derive(Debug)]
pub struct OpenBlob(Place);

#[derive(Debug)]
enum Place {
    Memory(Bytes),
    File(File, Files),
}

impl OpenBlob {
    /// An object whose bytes are here.
    pub fn in_memory(bytes: Bytes) -> Self {
        Self(Place::Memory(bytes))
    }

    pub(super) fn in_file(file: File, files: Files) -> Self {
        Self(Place::File(file, files))
    }

    /// All its bytes, if they are here.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Place::Memory(bytes) => Some(bytes),
            Place::File(..) => None,
        }
    }

    /// Some of its bytes: `Corrupt` if it ends before them. Blocks for as long as a file does: see [`Blobs::turn`].
    pub fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let ends_early = || Error::corrupt("a part that ends too early");
        match &self.0 {
            Place::Memory(bytes) => slice(bytes, range).ok_or_else(ends_early),
            Place::File(file, files) => files.read(file, range).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => ends_early().because(error),
                _ => Error::unavailable("could not be read").because(error),
            }),
        }
    }
}

/// These of the bytes, if there are so many.
fn slice(bytes: &Bytes, range: Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}

/// The right to read from an object that is open, on a thread for that.
#[must_use]
pub struct Turn<'a> {
    blobs: &'a Blobs,
    _request: Option<SemaphorePermit<'a>>,
    _large: Option<OwnedSemaphorePermit>,
}

impl Blobs {
    /// Waits for its turn to read from this object, of which so many bytes are wanted in all. Cancelling leaves nothing.
    ///
    /// The turn is held by who waits, not by the thread: a read that hangs keeps none once it is given up. And not from one
    /// read to the next: who asked for the first may never ask for another.
    pub async fn turn(&self, object: &OpenBlob, bytes: u64) -> Turn<'_> {
        let _request = match object.0 {
            Place::Memory(_) => None,
            Place::File(..) => self.fetches.acquire().await.ok(), // never closed
        };
        Turn { blobs: self, _request, _large: self.files.turn_for(bytes).await }
    }
}

impl Turn<'_> {
    /// What `read` comes to: `Unavailable` if that takes longer than the deadline, `Closed` if the client ends meanwhile;
    /// `Invalid` if it panics. Cancelling leaves the thread to end by itself.
    pub async fn run<R: Send + 'static>(self, read: impl FnOnce() -> R + Send + 'static) -> Result<R, Error> {
        let thread = self.blobs.life.block("reading a part was stopped", read);
        let read = timeout(self.blobs.deadline, thread).await;
        read.map_err(|elapsed| Error::unavailable("could not be read").because(elapsed))?
    }
}
