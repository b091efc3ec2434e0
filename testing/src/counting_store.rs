//! An object store that counts what is asked of it: for tests, benchmarks and whoever wants to know what a bucket
//! costs.
//!
//! It counts what its caller asks for. What the store below makes of it (retries, pages of a listing, bulk deletions)
//! is not seen here.

use std::fmt;
use std::ops::{Range, Sub};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use timely_persist_io::life::lock;

/// How often each operation was asked for, since the store was made. Failed ones count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OperationCounts {
    /// Objects put with any mode but create.
    pub puts: u64,
    /// Objects put if absent.
    pub creates: u64,
    /// Multipart uploads begun.
    pub uploads: u64,
    /// Parts of multipart uploads.
    pub upload_parts: u64,
    /// Bytes of all objects put and parts uploaded.
    pub bytes_written: u64,
    /// Objects asked for, whole or one range.
    pub gets: u64,
    /// Objects whose metadata was asked for.
    pub heads: u64,
    /// Requests for several ranges of an object.
    pub multi_range_gets: u64,
    /// Bytes of all objects and ranges found.
    pub bytes_read: u64,
    /// Objects whose deletion was asked for.
    pub deletes: u64,
    /// Listings begun, of any kind.
    pub lists: u64,
    /// Objects that listings returned.
    pub objects_listed: u64,
    /// Objects copied or renamed.
    pub copies: u64,
}

impl OperationCounts {
    /// All requests together, parts of uploads and each deletion included.
    pub fn operations(&self) -> u64 {
        self.puts
            + self.creates
            + self.uploads
            + self.upload_parts
            + self.gets
            + self.heads
            + self.multi_range_gets
            + self.deletes
            + self.lists
            + self.copies
    }
}

/// What was counted between two snapshots of one store, the later minus the earlier.
impl Sub for OperationCounts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            puts: self.puts - earlier.puts,
            creates: self.creates - earlier.creates,
            uploads: self.uploads - earlier.uploads,
            upload_parts: self.upload_parts - earlier.upload_parts,
            bytes_written: self.bytes_written - earlier.bytes_written,
            gets: self.gets - earlier.gets,
            heads: self.heads - earlier.heads,
            multi_range_gets: self.multi_range_gets - earlier.multi_range_gets,
            bytes_read: self.bytes_read - earlier.bytes_read,
            deletes: self.deletes - earlier.deletes,
            lists: self.lists - earlier.lists,
            objects_listed: self.objects_listed - earlier.objects_listed,
            copies: self.copies - earlier.copies,
        }
    }
}

/// The decorator. Clones count together.
#[derive(Clone)]
pub struct CountingStore {
    store: Arc<dyn ObjectStore>,
    counts: Counts,
}

#[derive(Clone, Debug, Default)]
struct Counts(Arc<Mutex<OperationCounts>>);

impl Counts {
    fn count(&self, count: impl FnOnce(&mut OperationCounts)) {
        count(&mut lock(&self.0));
    }
}

impl CountingStore {
    /// Counts what is asked of `store` from here on.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, counts: Counts::default() }
    }

    /// What was counted so far.
    pub fn counts(&self) -> OperationCounts {
        *lock(&self.counts.0)
    }
}

/// Names the store: the `Debug` of a bucket may print its keys.
impl fmt::Debug for CountingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for CountingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountingStore({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for CountingStore {
    async fn put_opts(&self, at: &Path, data: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.counts.count(|counts| {
            let kind = if options.mode == PutMode::Create { &mut counts.creates } else { &mut counts.puts };
            *kind += 1;
            counts.bytes_written += data.content_length() as u64;
        });
        self.store.put_opts(at, data, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.counts.count(|counts| counts.uploads += 1);
        let upload = self.store.put_multipart_opts(at, options).await?;
        Ok(Box::new(CountingUpload { upload, counts: self.counts.clone() }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        self.counts.count(|counts| *(if head { &mut counts.heads } else { &mut counts.gets }) += 1);
        let found = self.store.get_opts(at, options).await?;
        if !head {
            self.counts.count(|counts| counts.bytes_read += found.range.end.saturating_sub(found.range.start));
        }
        Ok(found)
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.counts.count(|counts| counts.multi_range_gets += 1);
        let found = self.store.get_ranges(at, ranges).await?;
        self.counts.count(|counts| counts.bytes_read += found.iter().map(|bytes| bytes.len() as u64).sum::<u64>());
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let counts = self.counts.clone();
        let counted = locations.inspect(move |location| {
            if location.is_ok() {
                counts.count(|counts| counts.deletes += 1);
            }
        });
        self.store.delete_stream(counted.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted_list(self.store.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted_list(self.store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.counts.count(|counts| counts.lists += 1);
        let found = self.store.list_with_delimiter(prefix).await?;
        self.counts.count(|counts| counts.objects_listed += found.objects.len() as u64);
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.counts.count(|counts| counts.copies += 1);
        self.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.counts.count(|counts| counts.copies += 1);
        self.store.rename_opts(from, to, options).await
    }
}

impl CountingStore {
    fn counted_list(&self, listing: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counts.count(|counts| counts.lists += 1);
        let counts = self.counts.clone();
        let counted = listing.inspect(move |object| {
            if object.is_ok() {
                counts.count(|counts| counts.objects_listed += 1);
            }
        });
        counted.boxed()
    }
}

#[derive(Debug)]
struct CountingUpload {
    upload: Box<dyn MultipartUpload>,
    counts: Counts,
}

#[async_trait]
impl MultipartUpload for CountingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.counts.count(|counts| {
            counts.upload_parts += 1;
            counts.bytes_written += data.content_length() as u64;
        });
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
