//! An object store that counts what is asked of it: for tests, benchmarks and whoever wants to know what a bucket
//! costs.
//!
//! It counts what its caller asks for. What the store below makes of it (retries, pages of a listing, bulk deletions)
//! is not seen here.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use object_store::{MultipartUpload, ObjectStore, PutMode, PutPayload, PutResult, Result, UploadPart};

use crate::counts::{Counter, counts};
use crate::hooked_store::{HookedStore, StoreAnswer, StoreHook, StoreRequest};

counts! {
    /// How often each operation was asked for, since the store was made. Failed ones count too.
    OperationCounts {
        /// Objects put with any mode but create.
        puts,
        /// Objects put if absent.
        creates,
        /// Multipart uploads begun.
        uploads,
        /// Parts of multipart uploads.
        upload_parts,
        /// Bytes of all objects put and parts uploaded.
        bytes_written,
        /// Objects asked for, whole or one range.
        gets,
        /// Objects whose metadata was asked for.
        heads,
        /// Requests for several ranges of an object.
        multi_range_gets,
        /// Bytes of all objects and ranges found.
        bytes_read,
        /// Objects whose deletion was asked for.
        deletes,
        /// Listings begun, of any kind.
        lists,
        /// Objects that listings returned.
        objects_listed,
        /// Objects copied or renamed.
        copies,
    }
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

/// A store that counts. Clones count together.
pub type CountingStore = HookedStore<Counter<OperationCounts>>;

impl CountingStore {
    /// Counts what is asked of `store` from here on.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self::with_hook(store, Counter::default())
    }

    /// What was counted so far.
    pub fn counts(&self) -> OperationCounts {
        self.hook.counts()
    }
}

#[async_trait]
impl StoreHook for Counter<OperationCounts> {
    fn name(&self) -> &'static str {
        "CountingStore"
    }

    async fn ask(&self, store: &Arc<dyn ObjectStore>, request: StoreRequest) -> Result<StoreAnswer> {
        self.count(|counts| counts.add_asked(&request));
        let is_head = matches!(&request, StoreRequest::Get(_, options) if options.head);
        let request = match request {
            StoreRequest::Delete(locations) => {
                let counter = self.clone();
                let each = move |at: &Result<_>| counter.count(|counts| counts.deletes += u64::from(at.is_ok()));
                StoreRequest::Delete(locations.inspect(each).boxed())
            }
            request => request,
        };
        let answer = request.send(store).await?;
        if !is_head {
            self.count(|counts| counts.add_answer(&answer));
        }
        let counts = self.clone();
        Ok(match answer {
            StoreAnswer::Upload(upload) => StoreAnswer::Upload(Box::new(CountingUpload { upload, counts })),
            StoreAnswer::Listing(objects) => {
                let each = move |found: &Result<_>| {
                    counts.count(|counts| counts.objects_listed += u64::from(found.is_ok()));
                };
                StoreAnswer::Listing(objects.inspect(each).boxed())
            }
            answer => answer,
        })
    }
}

impl OperationCounts {
    fn add_asked(&mut self, request: &StoreRequest) {
        let kind = match request {
            StoreRequest::Put(_, data, options) => {
                self.bytes_written += data.content_length() as u64;
                if options.mode == PutMode::Create { &mut self.creates } else { &mut self.puts }
            }
            StoreRequest::Upload(..) => &mut self.uploads,
            StoreRequest::Get(_, options) if options.head => &mut self.heads,
            StoreRequest::Get(..) => &mut self.gets,
            StoreRequest::GetRanges(..) => &mut self.multi_range_gets,
            StoreRequest::List(..) | StoreRequest::ListFolder(_) => &mut self.lists,
            StoreRequest::Copy(..) | StoreRequest::Rename(..) => &mut self.copies,
            // Each is counted when it is asked for.
            StoreRequest::Delete(_) => return,
        };
        *kind += 1;
    }

    fn add_answer(&mut self, answer: &StoreAnswer) {
        match answer {
            StoreAnswer::Found(found) => self.bytes_read += found.range.end.saturating_sub(found.range.start),
            StoreAnswer::Ranges(found) => self.bytes_read += found.iter().map(|bytes| bytes.len() as u64).sum::<u64>(),
            StoreAnswer::Folder(found) => self.objects_listed += found.objects.len() as u64,
            _ => {}
        }
    }
}

#[derive(Debug)]
struct CountingUpload {
    upload: Box<dyn MultipartUpload>,
    counts: Counter<OperationCounts>,
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
