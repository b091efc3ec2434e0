//! A part whose object is open, read a piece at a time, so that its first rows are there before its last ones are read.
//!
//! A thread reads a piece of a file, verifies and decodes it while its bytes are in that processor's cache, and only when
//! it is asked for: what is read and not wanted yet takes memory that is fresh from the system, which costs more than the
//! reading. Of a store that gives no files the whole object is asked for at once; then a piece is decoded at a time.
//!
//! Always: a piece is verified before it is given out. Not here: opening it again after an error.

use timely_persist_core::part::{Blocks, Chunk};
use timely_persist_io::blobs::OpenBlob;
use timely_persist_io::life::guarded;
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;

use super::Source;
use super::part_reader::PartReader;

/// What a piece takes at most in memory, in bytes, unless a single block takes more: one block of large rows, several of
/// small ones. A processor's cache holds it, and it is large enough that handing it to another thread does not count.
const PIECE_BYTES_MAX: u64 = 1 << 20;

/// An open part, between two pieces.
#[derive(Debug)]
pub(crate) struct OpenPart<T: Time> {
    object: OpenBlob,
    reader: PartReader<T>,
    /// What was read and not decoded: an object that was read as a whole is decoded a piece at a time.
    blocks: Option<Blocks>,
}

impl<T: Time> OpenPart<T> {
    /// Opens a part, to be read from its block `block` on. One request to the store, none for an inline part. Errors as
    /// those of [`Source::decode_all`]; cancelling leaves nothing.
    pub(crate) async fn new(source: Source<T>, block: usize) -> Result<Self, Error> {
        let object = source.trust(source.open().await).await?;
        Ok(Self { object, reader: PartReader::new(source, block), blocks: None })
    }

    /// Whether all pieces were given out.
    pub(crate) fn is_finished(&self) -> bool {
        self.blocks.is_none() && self.reader.is_finished()
    }

    /// The next piece, and the part again: some blocks, in order; none behind the last. No request to the store.
    ///
    /// Errors as those of [`Source::decode_all`]. After one, and when cancelled, the part is closed.
    pub(crate) async fn next<K: Data, V: Data, D: Diff>(mut self) -> Result<(Vec<Chunk<K, V, T, D>>, Self), Error> {
        let source = self.reader.source().clone();
        if source.is_inline() {
            let piece = source.trust(guarded(|| self.read())).await?;
            return Ok((piece, self));
        }
        let turn = source.blobs().turn(&self.object, source.meta().encoded_bytes).await;
        let read = turn.run(move || self.read().map(|piece| (piece, self))).await;
        source.trust(read.flatten()).await
    }

    /// The next piece. Blocks for as long as a file does.
    fn read<K: Data, V: Data, D: Diff>(&mut self) -> Result<Vec<Chunk<K, V, T, D>>, Error> {
        if self.blocks.is_none() {
            self.blocks = self.reader.next_of(&self.object, PIECE_BYTES_MAX)?;
        }
        let Some(blocks) = &mut self.blocks else { return Ok(Vec::new()) };
        let chunks = blocks.decode(PIECE_BYTES_MAX)?;
        self.blocks.take_if(|blocks| blocks.first().is_none());
        Ok(chunks)
    }
}
