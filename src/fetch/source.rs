//! A part, and the way to its bytes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use timely_persist_core::part::{PartMeta, RowLens};
use timely_persist_core::state::{Location, Part};
use timely_persist_io::blobs::{Blobs, OpenBlob};
use timely_persist_types::codec::Time;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::ShardId;

/// Where a part's bytes are to be had.
#[derive(Clone, Debug)]
pub(crate) struct Source<T: Time> {
    blobs: Arc<Blobs>,
    shard: ShardId,
    part: Arc<Part<T>>,
    lens: Option<Arc<RowLens>>,
}

impl<T: Time> Source<T> {
    /// The way to this part of a shard. Nothing is asked of the store yet.
    pub(crate) fn new(blobs: Arc<Blobs>, shard: ShardId, part: Arc<Part<T>>) -> Self {
        Self { blobs, shard, part, lens: None }
    }

    /// The same, with its rows seen through a lens, if there is one.
    pub(crate) fn through(self, lens: Option<Arc<RowLens>>) -> Self {
        Self { lens, ..self }
    }

    pub(super) fn lens(&self) -> Option<Arc<RowLens>> {
        self.lens.clone()
    }

    pub(super) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    pub(super) fn meta(&self) -> &PartMeta<T> {
        &self.part.meta
    }

    pub(super) fn part(&self) -> &Part<T> {
        &self.part
    }

    pub(super) fn is_inline(&self) -> bool {
        self.part.blob().is_none()
    }

    /// The memory that it takes, decoded or not, beside the state.
    pub(super) fn memory_bytes(&self) -> u64 {
        if self.is_inline() { 0 } else { self.meta().encoded_bytes.max(self.meta().decoded_bytes) }
    }

    /// These of its bytes: one request, or none if it is inline.
    pub(super) async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        match &self.part.location {
            Location::Inline(bytes) => OpenBlob::in_memory(bytes.clone()).read(range).map_err(|error| self.name(error)),
            Location::Blob(name) => {
                let bytes = self.blobs.read(self.shard, name, range, self.meta().encoded_bytes).await?;
                bytes.ok_or_else(|| self.missing())
            }
        }
    }

    /// All of its bytes, as they are: an inline part may have others than it should.
    pub(super) async fn read_all(&self) -> Result<Bytes, Error> {
        match &self.part.location {
            Location::Inline(bytes) => Ok(bytes.clone()),
            // By range, not whole: the length is known, so the bytes arrive in one buffer of the right size.
            Location::Blob(_) => self.read(0..self.meta().encoded_bytes).await,
        }
    }

    /// The object, to be read from its beginning: one request, or none if it is inline.
    pub(super) async fn open(&self) -> Result<OpenBlob, Error> {
        match &self.part.location {
            Location::Inline(bytes) => Ok(OpenBlob::in_memory(bytes.clone())),
            Location::Blob(name) => {
                let opened = self.blobs.open(self.shard, name, self.meta().encoded_bytes).await?;
                opened.ok_or_else(|| self.missing())
            }
        }
    }

    /// What was made of its bytes. An error names the part, and no cache keeps the bytes any longer.
    pub(super) async fn trust<R>(&self, made: Result<R, Error>) -> Result<R, Error> {
        if let (Err(_), Some(name)) = (&made, self.part.blob()) {
            self.blobs.distrust(self.shard, name).await;
        }
        made.map_err(|error| self.name(error))
    }

    fn missing(&self) -> Error {
        self.name(Error::new(ErrorKind::Missing, "the object is missing"))
    }

    /// The error, naming the shard and the object it concerns.
    pub(super) fn name(&self, error: Error) -> Error {
        error.of_shard(self.shard).of_object(self.part.blob().unwrap_or("(inline part)"))
    }
}
