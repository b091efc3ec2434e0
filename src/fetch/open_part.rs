//! Fetching a part a piece at a time, so that its first rows are there before its last ones are read.
//!
//! A thread reads a piece of a file, verifies and decodes it while its bytes are in that processor's cache, and only when
//! it is asked for: what is read and not wanted yet takes memory that is fresh from the system, which costs more than the
//! reading. Of a store that gives no files the whole object is asked for at once; then a piece is decoded at a time.
//!
//! Always: a piece is verified before it is given out, and each row is given out once, also where the object had to be
//! opened again in between.

use std::marker::PhantomData;

use crate::blobs::OpenBlob;
use crate::codec::{Data, Diff, Time};
use crate::error::Error;
use crate::life::guarded;
use crate::part::{Blocks, Chunk};

use super::{PartReader, Source};

/// What a piece takes at most in memory, in bytes, unless a single block takes more: one block of large rows, several of
/// small ones. A processor's cache holds it, and it is large enough that handing it to another thread does not count.
pub const PIECE_BYTES_MAX: u64 = 1 << 20;

/// The pieces of one part.
#[derive(Debug)]
pub struct Pieces<K: Data, V: Data, T: Time, D: Diff> {
    source: Source<T>,
    /// The blocks that were given out.
    given: usize,
    finished: bool,
    /// Where it goes on.
    open: Option<OpenPart<T>>,
    marker: PhantomData<fn() -> (K, V, D)>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Pieces<K, V, T, D> {
    /// Those of this part. Nothing is asked of the store yet.
    pub fn new(source: Source<T>) -> Self {
        Self { source, given: 0, finished: false, open: None, marker: PhantomData }
    }

    /// Whether all pieces were given out.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The next piece: some blocks, in order; none behind the last. One request to the store for all of them, none for
    /// an inline part.
    ///
    /// Errors as those of [`PartReader::decode_all`]; asked again, it opens the object again and goes on with the piece
    /// that failed. Cancelling leaves nothing undone that cannot be asked for again; dropping it stops what was begun.
    pub async fn next(&mut self) -> Result<Vec<Chunk<K, V, T, D>>, Error> {
        if self.finished {
            return Ok(Vec::new());
        }
        let piece = self.read().await;
        let (chunks, open) = self.source.trust(piece).await?;
        self.given += chunks.len();
        self.finished = open.is_finished();
        self.open = Some(open).filter(|_| !self.finished);
        Ok(chunks)
    }

    async fn read(&mut self) -> Result<(Vec<Chunk<K, V, T, D>>, OpenPart<T>), Error> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let reader = PartReader::new(self.source.clone(), self.given);
                OpenPart { object: self.source.open().await?, reader, blocks: None }
            }
        };
        if self.source.is_inline() {
            return Ok((guarded(|| open.next())?, open));
        }
        let turn = self.source.blobs().turn(&open.object, self.source.meta().encoded_bytes).await;
        turn.run(move || open.next().map(|chunks| (chunks, open))).await?
    }
}

/// Reads and decodes, wherever it is called.
#[derive(Debug)]
struct OpenPart<T: Time> {
    object: OpenBlob,
    reader: PartReader<T>,
    /// What was read and not decoded: an object that was read as a whole is decoded a piece at a time.
    blocks: Option<Blocks>,
}

impl<T: Time> OpenPart<T> {
    fn is_finished(&self) -> bool {
        self.blocks.is_none() && self.reader.is_finished()
    }

    /// The next piece. Blocks for as long as a file does.
    fn next<K: Data, V: Data, D: Diff>(&mut self) -> Result<Vec<Chunk<K, V, T, D>>, Error> {
        if self.blocks.is_none() {
            self.blocks = self.reader.next_of(&self.object, PIECE_BYTES_MAX)?;
        }
        let Some(blocks) = &mut self.blocks else { return Ok(Vec::new()) };
        let chunks = blocks.decode(PIECE_BYTES_MAX)?;
        self.blocks.take_if(|blocks| blocks.first().is_none());
        Ok(chunks)
    }
}
