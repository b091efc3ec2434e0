//! An object store as a distributed system sees it: requests take their time, fail before or after they took effect,
//! take effect after their caller has given up; and those of a process that has crashed do nothing.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::random::Random;

/// Whether a process still runs. Its requests have no effect once it does not.
#[derive(Clone, Debug, Default)]
pub struct Crashed(Arc<AtomicBool>);

impl Crashed {
    pub fn crash(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How bad things are for one process: so many of 600 requests fail before their effect, so many after it, and so many
/// take effect late.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub before: usize,
    pub after: usize,
    pub late: usize,
    /// How late, in milliseconds.
    pub late_ms: usize,
}

/// With all three rates at this no request comes through as it should.
pub const OUTAGE: usize = 200;

/// The rates of one process, which change.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Mutex<Rates>>);

impl Trouble {
    pub fn set(&self, rates: Rates) {
        *self.0.lock().unwrap() = rates;
    }

    fn now(&self) -> Rates {
        *self.0.lock().unwrap()
    }
}

/// One process's way to what it asks.
#[derive(Clone, Debug)]
pub struct Way {
    random: Arc<Mutex<Random>>,
    trouble: Trouble,
    crashed: Crashed,
}

impl Way {
    pub fn new(random: Random, trouble: Trouble, crashed: Crashed) -> Self {
        Self { random: Arc::new(Mutex::new(random)), trouble, crashed }
    }

    fn below(&self, bound: usize) -> usize {
        self.random.lock().unwrap().below(bound.max(1))
    }

    async fn pause(&self, most_ms: usize) {
        tokio::time::sleep(Duration::from_millis(self.below(most_ms) as u64)).await;
    }

    /// Carries out a request, as well as things stand; `failure` is what a caller hears who hears nothing of use.
    pub async fn run<R: Send + 'static, E: Send + 'static>(
        &self,
        effect: impl Future<Output = std::result::Result<R, E>> + Send + 'static,
        failure: impl Fn(&str) -> E,
    ) -> std::result::Result<R, E> {
        self.pause(20).await;
        let lot = self.below(3 * OUTAGE);
        let Rates { before, after, late, late_ms } = self.trouble.now();
        // A process that has crashed asks for nothing more.
        if self.crashed.is() {
            return std::future::pending().await;
        }
        let result = match lot {
            lot if lot < before => return Err(failure("before its effect")),
            lot if lot < before + after => {
                effect.await?;
                return Err(failure("after its effect"));
            }
            lot if lot < before + after + late => {
                // It was sent: it takes effect some time, whoever is left to hear of it.
                let late = Duration::from_millis(self.below(late_ms) as u64);
                let sent = tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    effect.await
                });
                sent.await.unwrap_or_else(|_| Err(failure("that nobody saw")))
            }
            _ => effect.await,
        };
        self.pause(10).await;
        if self.crashed.is() {
            return std::future::pending().await;
        }
        result
    }
}

/// The store at the end of one process's way.
#[derive(Clone, Debug)]
pub struct SimStore {
    store: Arc<dyn ObjectStore>,
    way: Way,
}

impl SimStore {
    pub fn new(store: Arc<dyn ObjectStore>, way: Way) -> Self {
        Self { store, way }
    }

    async fn run<R: Send + 'static>(&self, effect: impl Future<Output = Result<R>> + Send + 'static) -> Result<R> {
        self.way.run(effect, failure).await
    }
}

fn failure(when: &str) -> Error {
    Error::Generic { store: "SimStore", source: format!("simulated failure {when}").into() }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStore")
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, at: &Path, data: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (store, at) = (Arc::clone(&self.store), at.clone());
        self.run(async move { store.put_opts(&at, data, options).await }).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let (store, at) = (Arc::clone(&self.store), at.clone());
        self.run(async move { store.get_opts(&at, options).await }).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (store, at, ranges) = (Arc::clone(&self.store), at.clone(), ranges.to_vec());
        self.run(async move { store.get_ranges(&at, &ranges).await }).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let deleted = locations.then(move |at| {
            let this = this.clone();
            async move {
                let at = at?;
                let (store, path) = (Arc::clone(&this.store), at.clone());
                this.run(async move { store.delete(&path).await }).await.map(|()| at)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let store = Arc::clone(&this.store);
            let all = this.run(async move { Ok(store.list(prefix.as_ref()).collect::<Vec<_>>().await) }).await;
            futures::stream::iter(all.unwrap_or_else(|error| vec![Err(error)]))
        };
        listed.into_stream().flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (store, prefix) = (Arc::clone(&self.store), prefix.cloned());
        self.run(async move { store.list_with_delimiter(prefix.as_ref()).await }).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
