//! Fetching a part a piece at a time, so that its first rows are there before its last ones are read.
//!
//! A thread reads a piece of a file, verifies and decodes it while its bytes are in that processor's cache, and only when
//! it is asked for: what is read and not wanted yet takes memory that is fresh from the system, which costs more than the
//! reading. Of a store that gives no files the whole object is asked for at once; then a piece is decoded at a time.
//!
//! Always: a piece is verified before it is given out, and each row is given out once, also where the object had to be
//! opened again in between.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::blobs::{Blobs, OpenBlob, slice};
use crate::codec::{Data, Diff, Time};
use crate::error::Error;
use crate::ids::ShardId;
use crate::life::guarded;
use crate::part::{Chunk, PartMeta, PartTail};
use crate::state::{Location, Part};

use super::spans::{blocks_within, missing, range};
use super::whole::trusted;

/// What a piece takes at most in memory, in bytes, unless a single block takes more: one block of large rows, several of
/// small ones. A processor's cache holds it, and it is large enough that handing it to another thread does not count.
pub const PIECE_BYTES_MAX: u64 = 1 << 20;

/// The pieces of one part.
#[derive(Debug)]
pub struct Pieces<K: Data, V: Data, T: Time, D: Diff> {
    blobs: Arc<Blobs>,
    shard: ShardId,
    part: Part<T>,
    /// The blocks that were given out.
    given: usize,
    finished: bool,
    /// Where it goes on.
    open: Option<PieceReader<T>>,
    marker: PhantomData<fn() -> (K, V, D)>,
}

/// Some blocks, and whether they are the last.
type Piece<K, V, T, D> = (Vec<Chunk<K, V, T, D>>, bool);

impl<K: Data, V: Data, T: Time, D: Diff> Pieces<K, V, T, D> {
    /// Those of this part. Nothing is asked of the store yet.
    pub fn new(blobs: Arc<Blobs>, shard: ShardId, part: Part<T>) -> Self {
        Self { blobs, shard, part, given: 0, finished: false, open: None, marker: PhantomData }
    }

    /// Whether all pieces were given out.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The next piece: some blocks, in order; none behind the last. One request to the store for all of them, none for
    /// an inline part.
    ///
    /// Errors as those of [`fetch_part`](super::fetch_part); asked again, it opens the object again and goes on with
    /// the piece that failed. Cancelling leaves nothing undone that cannot be asked for again; dropping it stops what
    /// was begun.
    pub async fn next(&mut self) -> Result<Vec<Chunk<K, V, T, D>>, Error> {
        if self.finished {
            return Ok(Vec::new());
        }
        let piece = self.read().await;
        let (chunks, last) = trusted(piece, &self.blobs, self.shard, &self.part).await?;
        self.given += chunks.len();
        if last {
            (self.finished, self.open) = (true, None);
        }
        Ok(chunks)
    }

    async fn read(&mut self) -> Result<Piece<K, V, T, D>, Error> {
        let mut reader = match self.open.take() {
            Some(reader) => reader,
            None => self.begin().await?,
        };
        let piece = match self.part.location {
            Location::Inline(_) => guarded(|| reader.next())?,
            Location::Blob(_) => {
                let turn = self.blobs.turn(&reader.object, self.part.meta.encoded_bytes).await;
                let (piece, again) = turn.run(move || (reader.next(), reader)).await?;
                reader = again;
                piece?
            }
        };
        self.open = Some(reader);
        Ok(piece)
    }

    async fn begin(&self) -> Result<PieceReader<T>, Error> {
        let meta = &self.part.meta;
        let object = match &self.part.location {
            Location::Inline(bytes) => OpenBlob::in_memory(bytes.clone()),
            Location::Blob(name) => {
                let opened = self.blobs.open(self.shard, name, meta.encoded_bytes).await?;
                opened.ok_or_else(|| missing(self.shard, &self.part))?
            }
        };
        Ok(PieceReader { object, meta: meta.clone(), tail: None, block: self.given })
    }
}

/// Reads and decodes, wherever it is called.
#[derive(Debug)]
struct PieceReader<T: Time> {
    object: OpenBlob,
    meta: PartMeta<T>,
    tail: Option<PartTail>,
    /// The block to be read next.
    block: usize,
}

impl<T: Time> PieceReader<T> {
    /// The next piece. Blocks for as long as a file does.
    fn next<K: Data, V: Data, D: Diff>(&mut self) -> Result<Piece<K, V, T, D>, Error> {
        let tail = match &self.tail {
            Some(tail) => tail,
            None => {
                let tail = self.begin()?;
                self.tail.insert(tail)
            }
        };
        let rest = tail.blocks().get(self.block..).unwrap_or_default();
        let blocks = self.block..self.block + blocks_within(rest, PIECE_BYTES_MAX).min(rest.len());
        let place = range(tail, &blocks);
        let bytes = self.object.read(place.clone())?;
        let decode = |index: usize| {
            let block = tail.blocks().get(index).map(|block| block.range()).unwrap_or_default();
            let bytes = slice(&bytes, block.start - place.start..block.end - place.start);
            tail.decode_block(index, bytes.unwrap_or_default())
        };
        let chunks = blocks.clone().map(decode).collect::<Result<_, _>>()?;
        self.block = blocks.end;
        Ok((chunks, self.block == tail.blocks().len()))
    }

    /// Verifies what is around the blocks. Reads all of an object that is small.
    fn begin(&mut self) -> Result<PartTail, Error> {
        let length = self.meta.encoded_bytes;
        if self.object.bytes().is_none() && length <= PIECE_BYTES_MAX {
            self.object = OpenBlob::in_memory(self.object.read(0..length)?);
        }
        if let Some(bytes) = self.object.bytes()
            && bytes.len() as u64 != length
        {
            let found = bytes.len();
            return Err(Error::corrupt(format!("a part of {found} bytes that should have {length}")));
        }
        let tail = PartTail::parse(self.object.read(self.meta.tail_range()?)?, &self.meta)?;
        tail.verify_header(&self.object.read(0..tail.header_bytes())?)?;
        Ok(tail)
    }
}
