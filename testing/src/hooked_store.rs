//! A store with a hook: what is asked of it goes through one function, which says what becomes of it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// What is asked of a store: each variant is the method of [`ObjectStore`] that it names, with its arguments.
pub enum StoreRequest {
    /// `put_opts`, answered by [`StoreAnswer::Put`].
    Put(Path, PutPayload, PutOptions),
    /// `put_multipart_opts`, answered by [`StoreAnswer::Upload`].
    Upload(Path, PutMultipartOptions),
    /// `get_opts`, answered by [`StoreAnswer::Found`].
    Get(Path, GetOptions),
    /// `get_ranges`, answered by [`StoreAnswer::Ranges`].
    GetRanges(Path, Vec<Range<u64>>),
    /// `delete_stream`, answered by [`StoreAnswer::Deleted`].
    Delete(BoxStream<'static, Result<Path>>),
    /// `list` below a prefix, or with an offset `list_with_offset`; answered by [`StoreAnswer::Listing`].
    List(Option<Path>, Option<Path>),
    /// `list_with_delimiter`, answered by [`StoreAnswer::Folder`].
    ListFolder(Option<Path>),
    /// `copy_opts`, answered by [`StoreAnswer::Copied`].
    Copy(Path, Path, CopyOptions),
    /// `rename_opts`, answered by [`StoreAnswer::Copied`].
    Rename(Path, Path, RenameOptions),
}

/// What a store answers.
pub enum StoreAnswer {
    /// An object was put.
    Put(PutResult),
    /// A multipart upload was begun.
    Upload(Box<dyn MultipartUpload>),
    /// An object, or its metadata.
    Found(GetResult),
    /// The ranges of an object.
    Ranges(Vec<Bytes>),
    /// The locations that are deleted, as they are.
    Deleted(BoxStream<'static, Result<Path>>),
    /// A listing.
    Listing(BoxStream<'static, Result<ObjectMeta>>),
    /// What stands in a folder.
    Folder(ListResult),
    /// An object was copied or renamed.
    Copied,
}

impl StoreRequest {
    /// Asks `store`.
    pub async fn send(self, store: &dyn ObjectStore) -> Result<StoreAnswer> {
        Ok(match self {
            Self::Put(at, data, options) => StoreAnswer::Put(store.put_opts(&at, data, options).await?),
            Self::Upload(at, options) => StoreAnswer::Upload(store.put_multipart_opts(&at, options).await?),
            Self::Get(at, options) => StoreAnswer::Found(store.get_opts(&at, options).await?),
            Self::GetRanges(at, ranges) => StoreAnswer::Ranges(store.get_ranges(&at, &ranges).await?),
            Self::Delete(locations) => StoreAnswer::Deleted(store.delete_stream(locations)),
            Self::List(prefix, None) => StoreAnswer::Listing(store.list(prefix.as_ref())),
            Self::List(prefix, Some(offset)) => StoreAnswer::Listing(store.list_with_offset(prefix.as_ref(), &offset)),
            Self::ListFolder(prefix) => StoreAnswer::Folder(store.list_with_delimiter(prefix.as_ref()).await?),
            Self::Copy(from, to, options) => {
                store.copy_opts(&from, &to, options).await?;
                StoreAnswer::Copied
            }
            Self::Rename(from, to, options) => {
                store.rename_opts(&from, &to, options).await?;
                StoreAnswer::Copied
            }
        })
    }
}

impl StoreAnswer {
    /// The same, with a listing that is read to its end: it has its effect when it is read.
    pub async fn settled(self) -> Self {
        match self {
            Self::Listing(objects) => Self::Listing(stream::iter(objects.collect::<Vec<_>>().await).boxed()),
            answer => answer,
        }
    }
}

/// What becomes of the requests to a [`HookedStore`]. Clones are the same hook.
#[async_trait]
pub trait StoreHook: Clone + Send + Sync + 'static {
    /// Names the hook, for the store's `Display`.
    fn name(&self) -> &'static str;

    /// Answers `request`: asks `store` before, after or instead of what it does itself. An answer to something else is
    /// an error to whoever asked. Cancelling is the caller's, at any await.
    async fn ask(&self, store: &Arc<dyn ObjectStore>, request: StoreRequest) -> Result<StoreAnswer>;
}

/// Awaits an answer of this kind.
macro_rules! answer {
    ($asked:expr, $kind:path) => {
        match $asked.await? {
            $kind(answer) => Ok(answer),
            _ => Err(Error::Generic { store: "HookedStore", source: "the hook answers something else".into() }),
        }
    };
}

/// A store whose hook decides what becomes of each request. Listings and deletions begin when they are first polled.
#[derive(Clone)]
pub struct HookedStore<H> {
    store: Arc<dyn ObjectStore>,
    pub(crate) hook: H,
}

impl<H: StoreHook> HookedStore<H> {
    /// `store` with this hook.
    pub fn with_hook(store: Arc<dyn ObjectStore>, hook: H) -> Self {
        Self { store, hook }
    }

    async fn ask(&self, request: StoreRequest) -> Result<StoreAnswer> {
        self.hook.ask(&self.store, request).await
    }

    fn listing(&self, prefix: Option<&Path>, offset: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (hooked, request) = (self.clone(), StoreRequest::List(prefix.cloned(), offset.cloned()));
        async move { answer!(hooked.ask(request), StoreAnswer::Listing) }.try_flatten_stream().boxed()
    }
}

/// Names the store: the `Debug` of a bucket may print its keys.
impl<H: StoreHook> fmt::Debug for HookedStore<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<H: StoreHook> fmt::Display for HookedStore<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.hook.name(), self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<H: StoreHook> ObjectStore for HookedStore<H> {
    async fn put_opts(&self, at: &Path, data: PutPayload, options: PutOptions) -> Result<PutResult> {
        answer!(self.ask(StoreRequest::Put(at.clone(), data, options)), StoreAnswer::Put)
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        answer!(self.ask(StoreRequest::Upload(at.clone(), options)), StoreAnswer::Upload)
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        answer!(self.ask(StoreRequest::Get(at.clone(), options)), StoreAnswer::Found)
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        answer!(self.ask(StoreRequest::GetRanges(at.clone(), ranges.to_vec())), StoreAnswer::Ranges)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let hooked = self.clone();
        let deleted = async move { answer!(hooked.ask(StoreRequest::Delete(locations)), StoreAnswer::Deleted) };
        deleted.try_flatten_stream().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        answer!(self.ask(StoreRequest::ListFolder(prefix.cloned())), StoreAnswer::Folder)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.ask(StoreRequest::Copy(from.clone(), to.clone(), options)).await.map(drop)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.ask(StoreRequest::Rename(from.clone(), to.clone(), options)).await.map(drop)
    }
}
