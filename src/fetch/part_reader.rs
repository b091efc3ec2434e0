//! Reading one part, a stretch of blocks at a time: which bytes are wanted next, and what comes of them.
//!
//! Always: a stretch is as long as the reader allows, so that a slow store is asked seldom for much instead of often
//! for little; and never shorter than a block, which cannot be decoded in pieces. The tail is verified before any block
//! is asked for, and the header wherever its bytes cost no request: when the part is read as a whole, and from an object
//! that is open. Reading by ranges leaves the header alone, which decoding does not need.
//!
//! Not here: where the bytes come from. [`PartReader::next`] asks the store, [`PartReader::next_of`] an object that is
//! open, and both only do as the reader says.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use timely_persist_core::part::{Blocks, Chunk, PartTail};
use timely_persist_io::blobs::OpenBlob;
use timely_persist_io::life::guarded;
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;

use super::Source;

/// Parts up to this size, in bytes, are read with one request: about what a request costs in transfer.
pub(super) const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// What is asked for of a part that is read so.
#[derive(Clone, Copy, Debug)]
struct Policy {
    /// Whether all of it is asked for at once.
    whole: bool,
    /// Whether its header is asked for, too.
    header: bool,
    /// The memory that the blocks asked for should take at most, decoded or not.
    bytes_max: u64,
}

/// What is wanted next.
#[derive(Debug)]
enum Want {
    Whole,
    Tail(Range<u64>),
    Header(Arc<PartTail>),
    Blocks(Arc<PartTail>, Range<usize>),
}

/// Gives one part as blocks, in order.
#[derive(Debug)]
pub(super) struct PartReader<T: Time> {
    source: Source<T>,
    tail: Option<Arc<PartTail>>,
    is_header_verified: bool,
    /// The block to be read next.
    block: usize,
}

impl<T: Time> PartReader<T> {
    /// A reader of this part from its block `block` on.
    pub(super) fn new(source: Source<T>, block: usize) -> Self {
        Self { source, tail: None, is_header_verified: false, block }
    }

    /// Where it reads.
    pub(super) fn source(&self) -> &Source<T> {
        &self.source
    }

    /// Whether nothing is left.
    pub(super) fn is_finished(&self) -> bool {
        self.tail.as_ref().is_some_and(|tail| self.block >= tail.blocks().len())
    }

    /// Whether a part is read with one request, where one may be for so many bytes.
    pub(super) fn is_whole(source: &Source<T>, bytes_max: u64) -> bool {
        let small = source.meta().encoded_bytes <= WHOLE_BYTES_MAX.min(bytes_max);
        source.is_inline() || small || source.memory_bytes() <= bytes_max
    }

    /// The next blocks, of about so many bytes at most; `None` at the end. One request for a part that fits, otherwise one
    /// for its tail and one for each stretch. Cancelling leaves nothing undone that cannot be asked for again.
    pub(super) async fn next(&mut self, bytes_max: u64) -> Result<Option<Blocks>, Error> {
        let policy = Policy { whole: Self::is_whole(&self.source, bytes_max), header: false, bytes_max };
        while let Some(want) = self.wants(policy)? {
            let bytes = match want.range() {
                None => self.source.read_all().await?,
                Some(range) => self.source.read(range).await?,
            };
            let taken = self.take(want, bytes);
            if let Some(blocks) = self.source.trust(taken).await? {
                return Ok(Some(blocks));
            }
        }
        Ok(None)
    }

    /// The same out of the part's object, which is read as a whole if that is all. Blocks for as long as a file does; an
    /// error does not name the part.
    pub(super) fn next_of(&mut self, object: &OpenBlob, bytes_max: u64) -> Result<Option<Blocks>, Error> {
        let whole = object.bytes().is_some() || self.source.meta().encoded_bytes <= bytes_max;
        let policy = Policy { whole, header: true, bytes_max };
        while let Some(want) = self.wants(policy)? {
            let bytes = match (want.range(), object.bytes()) {
                (Some(range), _) => object.read(range)?,
                (None, Some(bytes)) => bytes.clone(),
                (None, None) => object.read(0..self.source.meta().encoded_bytes)?,
            };
            if let Some(blocks) = self.take(want, bytes)? {
                return Ok(Some(blocks));
            }
        }
        Ok(None)
    }

    fn wants(&self, policy: Policy) -> Result<Option<Want>, Error> {
        let Some(tail) = &self.tail else {
            return Ok(Some(if policy.whole { Want::Whole } else { Want::Tail(self.source.meta().tail_range()?) }));
        };
        if policy.header && !self.is_header_verified {
            return Ok(Some(Want::Header(Arc::clone(tail))));
        }
        let blocks = tail.within(self.block..tail.blocks().len(), policy.bytes_max);
        Ok((!blocks.is_empty()).then(|| Want::Blocks(Arc::clone(tail), blocks)))
    }

    /// The blocks, if the bytes are of some. An error leaves it where it was.
    fn take(&mut self, want: Want, bytes: Bytes) -> Result<Option<Blocks>, Error> {
        match want {
            Want::Whole => {
                let blocks = Blocks::of_object(bytes, self.source.meta(), self.source.lens())?.from(self.block);
                self.tail = Some(Arc::clone(blocks.tail()));
                (self.is_header_verified, self.block) = (true, blocks.tail().blocks().len());
                Ok(Some(blocks))
            }
            Want::Tail(_) => {
                self.tail = Some(Arc::new(PartTail::parse(bytes, self.source.meta())?.through(self.source.lens())));
                Ok(None)
            }
            Want::Header(tail) => {
                tail.verify_header(&bytes)?;
                self.is_header_verified = true;
                Ok(None)
            }
            Want::Blocks(tail, blocks) => {
                self.block = blocks.end;
                Ok(Some(Blocks::new(tail, blocks, bytes)))
            }
        }
    }
}

impl<T: Time> Source<T> {
    /// All rows of the part, sorted, in chunks. One request to the store, none for an inline part.
    ///
    /// Errors name the object: `Missing` or `Corrupt` if it is gone or damaged, `Invalid` if a codec panicked,
    /// `Unavailable` if the store did not answer. Cancelling leaves nothing.
    pub(crate) async fn decode_all<K: Data, V: Data, D: Diff>(&self) -> Result<Vec<Chunk<K, V, T, D>>, Error> {
        let mut reader = PartReader::new(self.clone(), 0);
        let Some(mut blocks) = reader.next(u64::MAX).await? else { return Ok(Vec::new()) };
        self.trust(guarded(|| blocks.decode(u64::MAX))).await
    }
}

impl Want {
    /// Where it lies; `None` for all there is.
    fn range(&self) -> Option<Range<u64>> {
        match self {
            Self::Whole => None,
            Self::Tail(range) => Some(range.clone()),
            Self::Header(tail) => Some(0..tail.header_bytes()),
            Self::Blocks(tail, blocks) => Some(tail.range(blocks)),
        }
    }
}
