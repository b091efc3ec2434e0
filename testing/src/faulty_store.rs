//! An object store in which things go wrong as [`Faults`] say: for tests of what is built upon stores.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use crate::faults::{Fault, Faults, Operation};

/// The decorator. Operations that a gate holds run in tasks of the current tokio runtime; they end with it, or when the
/// gate opens.
#[derive(Clone)]
pub struct FaultyStore {
    store: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl FaultyStore {
    /// `store` with these faults.
    pub fn new(store: Arc<dyn ObjectStore>, faults: Faults) -> Self {
        Self { store, faults }
    }

    async fn run<R: Send + 'static>(
        &self,
        operation: Operation,
        at: &Path,
        effect: impl Future<Output = Result<R>> + Send + 'static,
    ) -> Result<R> {
        match self.faults.befall(operation, at.as_ref()) {
            None => effect.await,
            Some(Fault::FailBefore) => Err(injected("before its effect")),
            Some(Fault::FailAfter) => {
                effect.await?;
                Err(injected("after its effect"))
            }
            Some(Fault::ClaimExists) if operation == Operation::Create => {
                Err(Error::AlreadyExists { path: at.to_string(), source: "injected, and not true".into() })
            }
            Some(Fault::ClaimExists) => Err(injected("before its effect")),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                effect.await
            }
            Some(Fault::HoldBefore(gate)) => {
                // A task of its own: what was sent to a store is not called back by whoever sent it.
                let held = tokio::spawn(async move {
                    gate.pass().await;
                    effect.await
                });
                held.await?
            }
            Some(Fault::HoldAfter(gate)) => {
                let result = effect.await;
                gate.pass().await;
                result
            }
        }
    }

    /// A listing with the faults: of one that fails after its effect, the last item is an error.
    fn list_with_faults(
        &self,
        prefix: Option<&Path>,
        listing: impl FnOnce(Arc<dyn ObjectStore>, Option<Path>) -> BoxStream<'static, Result<ObjectMeta>> + Send + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let items = async move {
            let name = prefix.clone().unwrap_or_default();
            let fault = store.faults.befall(Operation::List, name.as_ref());
            let list = || listing(Arc::clone(&store.store), prefix);
            match fault {
                None => list(),
                Some(Fault::FailBefore | Fault::ClaimExists) => failure("before its effect"),
                Some(Fault::FailAfter) => list().chain(failure("after its effect")).boxed(),
                Some(Fault::Delay(time)) => {
                    tokio::time::sleep(time).await;
                    list()
                }
                Some(Fault::HoldBefore(gate)) => {
                    gate.pass().await;
                    list()
                }
                Some(Fault::HoldAfter(gate)) => {
                    let items: Vec<_> = list().collect().await;
                    gate.pass().await;
                    stream::iter(items).boxed()
                }
            }
        };
        items.into_stream().flatten().boxed()
    }
}

fn injected(when: &str) -> Error {
    Error::Generic { store: "FaultyStore", source: format!("injected failure {when}").into() }
}

fn failure<R: Send + 'static>(when: &'static str) -> BoxStream<'static, Result<R>> {
    stream::once(async move { Err(injected(when)) }).boxed()
}

/// Names the store: the `Debug` of a bucket may print its keys.
impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, at: &Path, data: PutPayload, options: PutOptions) -> Result<PutResult> {
        let operation = if options.mode == PutMode::Create { Operation::Create } else { Operation::Put };
        let (store, location) = (Arc::clone(&self.store), at.clone());
        self.run(operation, at, async move { store.put_opts(&location, data, options).await }).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let (store, location) = (Arc::clone(&self.store), at.clone());
        self.run(Operation::Put, at, async move { store.put_multipart_opts(&location, options).await }).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let (store, location) = (Arc::clone(&self.store), at.clone());
        self.run(Operation::Get, at, async move { store.get_opts(&location, options).await }).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (store, location, ranges) = (Arc::clone(&self.store), at.clone(), ranges.to_vec());
        self.run(Operation::Get, at, async move { store.get_ranges(&location, &ranges).await }).await
    }

    /// One by one, so that the faults of each deletion are its own.
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let faulty = self.clone();
        let deleted = locations.then(move |location| {
            let faulty = faulty.clone();
            async move {
                let location = location?;
                let (store, at) = (Arc::clone(&faulty.store), location.clone());
                faulty.run(Operation::Delete, &location, async move { store.delete(&at).await }).await?;
                Ok(location)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_with_faults(prefix, |store, prefix| store.list(prefix.as_ref()))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let offset = offset.clone();
        self.list_with_faults(prefix, move |store, prefix| store.list_with_offset(prefix.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (store, folder) = (Arc::clone(&self.store), prefix.cloned());
        let name = prefix.cloned().unwrap_or_default();
        self.run(Operation::List, &name, async move { store.list_with_delimiter(folder.as_ref()).await }).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (store, source, target) = (Arc::clone(&self.store), from.clone(), to.clone());
        self.run(Operation::Copy, to, async move { store.copy_opts(&source, &target, options).await }).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (store, source, target) = (Arc::clone(&self.store), from.clone(), to.clone());
        self.run(Operation::Copy, to, async move { store.rename_opts(&source, &target, options).await }).await
    }
}
