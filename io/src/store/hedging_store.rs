//! An object store that asks a second time for what is slow to come, and takes the answer that is there first.
//!
//! For stores of objects that never change: either answer is right. Of a bucket's requests some take a hundred times as
//! long as most, and the next one, on another connection to another machine, rarely does.
//!
//! Always: the second requests are at most the named share of all; nothing is asked a third time; whoever gives up asks
//! for nothing any more. An answer is here when all of its bytes are.

use std::fmt;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{Either, select};
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Second requests that quiet times may save up: so many may follow each other when a store becomes slow.
pub const SAVED_HEDGES_MAX: u64 = 16;

/// What one second request costs, in the unit that the budget is counted in.
const HEDGE: u64 = 1_000_000;

/// The decorator. Clones share their budget.
#[derive(Clone, Debug)]
pub struct HedgingStore {
    store: Arc<dyn ObjectStore>,
    delay: Duration,
    budget: Arc<Budget>,
}

/// What may still be asked a second time.
#[derive(Debug)]
struct Budget {
    /// What each request adds.
    share: u64,
    saved: AtomicU64,
}

impl Budget {
    fn earn(&self) {
        let add = |saved: u64| Some(saved.saturating_add(self.share).min(SAVED_HEDGES_MAX * HEDGE));
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add); // it always gives a value
    }

    fn spend(&self) -> bool {
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(HEDGE)).is_ok()
    }
}

impl HedgingStore {
    /// `store`, asked again for an object, or a range of one, of which not all is there after `delay`; such requests
    /// are at most the share `budget` of all (0.05: one in twenty).
    pub fn new(store: Arc<dyn ObjectStore>, delay: Duration, budget: f64) -> Self {
        let share = (budget.clamp(0.0, 1.0) * HEDGE as f64) as u64; // no number is none

        Self { store, delay, budget: Arc::new(Budget { share, saved: AtomicU64::new(0) }) }
    }

    /// The first answer of one request, or of two.
    async fn first<R, F: Future<Output = Result<R>>>(&self, ask: impl Fn() -> F) -> Result<R> {
        self.budget.earn();
        let first = pin!(ask());
        let first = match select(first, pin!(tokio::time::sleep(self.delay))).await {
            Either::Left((answer, _)) => return answer,
            Either::Right(((), first)) => first,
        };
        if !self.budget.spend() {
            return first.await;
        }
        // A failure is no answer while there may be another.
        match select(first, pin!(ask())).await {
            Either::Left((Err(error), second)) => second.await.map_err(|_| error),
            Either::Right((Err(_), first)) => first.await,
            Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
        }
    }

    /// What was found, with all of its bytes.
    async fn read(&self, at: &Path, options: &GetOptions) -> Result<GetResult> {
        let found = self.store.get_opts(at, options.clone()).await?;
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let extensions = found.extensions.clone();
        let bytes = found.bytes().await?;
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }
}

impl fmt::Display for HedgingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HedgingStore({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for HedgingStore {
    async fn put_opts(&self, at: &Path, data: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.store.put_opts(at, data, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head {
            return self.store.get_opts(at, options).await; // no object is read
        }
        self.first(|| self.read(at, &options)).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.first(|| self.store.get_ranges(at, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.store.rename_opts(from, to, options).await
    }
}
