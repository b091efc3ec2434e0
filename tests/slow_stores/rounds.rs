//! A store that answers in rounds: it waits until as many requests for parts have come as are expected at once, and then
//! answers all of them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::watch;

/// The decorator. Clones share their rounds.
#[derive(Clone, Debug)]
pub struct Rounds {
    store: Arc<dyn ObjectStore>,
    progress: Arc<watch::Sender<Progress>>,
    /// Requests of one round; the last has the rest.
    window: u64,
    parts: u64,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Requests that came.
    pub asked: u64,
    /// Of these, answered.
    pub answered: u64,
    /// Rounds that were answered.
    pub rounds: u64,
}

impl Rounds {
    /// `parts` requests for parts, `window` of them at once.
    pub fn new(store: Arc<dyn ObjectStore>, parts: u64, window: u64) -> Self {
        Self { store, progress: Arc::default(), window, parts }
    }

    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    async fn come(&self) {
        let mut number = 0;
        self.progress.send_modify(|progress| {
            number = progress.asked;
            progress.asked += 1;
            if progress.asked - progress.answered == self.window.min(self.parts - progress.answered) {
                progress.answered = progress.asked;
                progress.rounds += 1;
            }
        });
        self.progress.subscribe().wait_for(|progress| progress.answered > number).await.unwrap();
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rounds({})", self.store)
    }
}

#[async_trait]
impl ObjectStore for Rounds {
    async fn put_opts(&self, at: &Path, data: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.store.put_opts(at, data, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        if at.as_ref().contains("/part-") {
            self.come().await;
        }
        self.store.get_opts(at, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
