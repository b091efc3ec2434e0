//! Adjacent blocks of a part, with their bytes: what is left of them, from the first to the last.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::chunk::Chunk;
use super::format::BlockInfo;
use super::lens::RowLens;
use super::meta::PartMeta;
use super::tail::PartTail;
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;

/// Blocks that were read and not decoded yet.
#[derive(Debug)]
pub struct Blocks {
    tail: Arc<PartTail>,
    left: Range<usize>,
    /// Those of the blocks that are left, unless they were dropped.
    bytes: Bytes,
}

impl Blocks {
    /// All blocks of an object, whose tail and header are verified against `meta`, to be seen through a lens, if there is one.
    pub fn of_object<T: Time>(bytes: Bytes, meta: &PartMeta<T>, lens: Option<Arc<RowLens>>) -> Result<Self, Error> {
        if bytes.len() as u64 != meta.encoded_bytes {
            let (found, expected) = (bytes.len(), meta.encoded_bytes);
            return Err(Error::corrupt(format!("a part of {found} bytes that should have {expected}")));
        }
        let tail = PartTail::parse(bytes.slice(meta.tail_range()?.start as usize..), meta)?.through(lens);
        tail.verify_header(&bytes.slice(..tail.header_bytes() as usize))?;
        let bytes = bytes.slice(tail.header_bytes() as usize..);
        Ok(Self { left: 0..tail.blocks().len(), tail: Arc::new(tail), bytes })
    }

    /// Some of the blocks that a tail tells of, whose [`PartTail::range`] the caller fetched.
    pub fn new(tail: Arc<PartTail>, indices: Range<usize>, bytes: Bytes) -> Self {
        Self { tail, left: indices, bytes }
    }

    /// The same without those that are before the block `index` of the part.
    pub fn from(mut self, index: usize) -> Self {
        while self.left.start < index && self.first().is_some() {
            self.skip_first();
        }
        self
    }

    /// What tells of them.
    pub fn tail(&self) -> &Arc<PartTail> {
        &self.tail
    }

    /// The next block.
    pub fn first(&self) -> Option<&BlockInfo> {
        self.tail.blocks().get(self.left.clone())?.first()
    }

    /// The bytes of the next block, unless they were dropped.
    pub fn first_bytes(&self) -> Option<Bytes> {
        let len = usize::try_from(self.first()?.len).ok()?;
        (len <= self.bytes.len()).then(|| self.bytes.slice(..len))
    }

    /// Verifies and decodes the bytes of the next block, which stays the next. Errors as of [`PartTail::decode_block`].
    pub fn decode_first<K: Data, V: Data, T: Time, D: Diff>(&self, bytes: Bytes) -> Result<Chunk<K, V, T, D>, Error> {
        self.tail.decode_block(self.left.start, bytes)
    }

    /// Goes on behind the next block.
    pub fn skip_first(&mut self) {
        let Some(first) = self.first() else { return };
        let len = usize::try_from(first.len).unwrap_or(usize::MAX);
        self.bytes.advance(len.min(self.bytes.len()));
        self.left.start += 1;
    }

    /// Verifies and decodes the next blocks, as many as take so many bytes of memory; at least one, if there is one. After
    /// an error it stands where it stood.
    pub fn decode<K: Data, V: Data, T: Time, D: Diff>(
        &mut self,
        bytes_max: u64,
    ) -> Result<Vec<Chunk<K, V, T, D>>, Error> {
        let before = (self.left.clone(), self.bytes.clone());
        let now = self.tail.within(self.left.clone(), bytes_max);
        let mut chunks = Vec::with_capacity(now.len());
        for _ in now {
            match self.decode_first(self.first_bytes().unwrap_or_default()) {
                Ok(chunk) => chunks.push(chunk),
                Err(error) => {
                    (self.left, self.bytes) = before;
                    return Err(error);
                }
            }
            self.skip_first();
        }
        Ok(chunks)
    }

    /// Drops the bytes, if they are more than so many: the blocks are to be read again.
    pub fn drop_bytes(&mut self, bytes_max: usize) {
        if self.bytes.len() > bytes_max {
            self.bytes = Bytes::new();
        }
    }
}
