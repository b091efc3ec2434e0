//! Reading, writing and deleting a shard's objects: with a deadline, retries and errors that name the object.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, GetResultPayload, ObjectStoreExt, PutPayload};
use tokio::time::timeout_at;

use crate::error::Error;
use crate::ids::ShardId;
use crate::store::keys;

use super::{Context, Retry};

impl Context {
    /// The bytes of an object in this range; `None` where there is no such object. Of such requests a client has
    /// `Config::fetches_max` under way at once: this one waits for its turn first, and its deadline begins behind that.
    ///
    /// `length` says how many bytes the object has. What a cache keeps of it is not asked for; what is read is kept
    /// there.
    ///
    /// Cancelling leaves nothing.
    pub async fn read_blob(
        &self,
        shard: ShardId,
        name: &str,
        range: std::ops::Range<u64>,
        length: u64,
    ) -> Result<Option<Bytes>, Error> {
        let path = keys::blob(shard, name);
        let Some(cache) = &self.cache else {
            return self.read_range(shard, name, range).await;
        };
        if let Some(bytes) = cache.get(&path, Some(range.clone()), Some(length)).await {
            return Ok(Some(bytes));
        }
        let read = self.read_range(shard, name, range.clone()).await?;
        if let Some(bytes) = &read {
            cache.put(&path, Some(range), bytes.clone()).await;
        }
        Ok(read)
    }

    /// An object to be read from its beginning, in pieces where that is possible; `None` where there is no such object.
    /// Otherwise as [`Context::read_blob`]: one request, all of it cached.
    pub async fn open_blob(&self, shard: ShardId, name: &str, length: u64) -> Result<Option<OpenBlob>, Error> {
        if self.cache.is_some() {
            let bytes = self.read_blob(shard, name, 0..length, length).await?;
            return Ok(bytes.map(OpenBlob::Bytes));
        }
        let found = self.get(shard, name, 0..length, |found| async move {
            match found.payload {
                GetResultPayload::File(file, _path) => Ok(Err(file)),
                _ => found.bytes().await.map(Ok),
            }
        });
        Ok(found.await?.map(|found| found.map_or_else(OpenBlob::File, OpenBlob::Bytes)))
    }

    async fn read_range(
        &self,
        shard: ShardId,
        name: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Bytes>, Error> {
        self.get(shard, name, range, |found| self.files.bytes(found)).await
    }

    /// What `take` makes of this range of an object; `None` where there is no such object.
    async fn get<R, F: Future<Output = object_store::Result<R>>>(
        &self,
        shard: ShardId,
        name: &str,
        range: std::ops::Range<u64>,
        take: impl Fn(GetResult) -> F,
    ) -> Result<Option<R>, Error> {
        let path = keys::blob(shard, name);
        let _turn = self.fetches.acquire().await; // never closed
        // A range that the object does not have is no answer of a store's own kind: each says it in other words.
        let get = || async {
            let options = GetOptions { range: Some(range.clone().into()), ..GetOptions::default() };
            let read = async { take(self.store.get_opts(&path, options).await?).await };
            match read.await {
                Ok(read) => Ok(Ok(read)),
                Err(error) if is_final(&error) => Err(error),
                Err(error) => match self.store.head(&path).await {
                    Ok(object) if object.size < range.end => Ok(Err(object.size)),
                    _ => Err(error),
                },
            }
        };
        match self.persist(get).await {
            Ok(Ok(read)) => Ok(Some(read)),
            Ok(Err(size)) => {
                let message = format!("it has {size} bytes, and should have {} at least", range.end);
                Err(Error::corrupt(message).of_shard(shard).of_object(name.to_owned()))
            }
            Err(Tried::Failed(object_store::Error::NotFound { .. })) => Ok(None),
            Err(tried) => Err(tried.into_error("could not be read", shard, &path)),
        }
    }

    /// All bytes of an object; `None` where there is no such object.
    ///
    /// Cancelling leaves nothing.
    pub async fn read_whole_blob(&self, shard: ShardId, name: &str) -> Result<Option<Bytes>, Error> {
        let path = keys::blob(shard, name);
        if let Some(cache) = &self.cache
            && let Some(bytes) = cache.get(&path, None, None).await
        {
            return Ok(Some(bytes));
        }
        match self.persist(|| async { self.store.get(&path).await?.bytes().await }).await {
            Ok(bytes) => {
                if let Some(cache) = &self.cache {
                    cache.put(&path, None, bytes.clone()).await;
                }
                Ok(Some(bytes))
            }
            Err(Tried::Failed(object_store::Error::NotFound { .. })) => Ok(None),
            Err(tried) => Err(tried.into_error("could not be read", shard, &path)),
        }
    }

    /// Says that what was read of an object is not what was written: a cache reads it again the next time.
    pub async fn distrust_blob(&self, shard: ShardId, name: &str) {
        if let Some(cache) = &self.cache {
            cache.forget(&keys::blob(shard, name)).await;
        }
    }

    /// Writes an object of a name that nobody has used.
    ///
    /// Cancelling, and an error, leave the object there or not: the leak sweep finds it.
    pub async fn write_blob(&self, shard: ShardId, name: &str, bytes: Bytes) -> Result<(), Error> {
        let path = keys::blob(shard, name);
        let put = || self.store.put(&path, PutPayload::from_bytes(bytes.clone()));
        match self.persist(put).await {
            Ok(_) => Ok(()),
            Err(tried) => Err(tried.into_error("could not be written", shard, &path)),
        }
    }

    /// Deletes objects, as many at once as a sweep may. Errors as in [`Context::delete_blob`]: some may be gone then.
    pub async fn delete_blobs(self: &Arc<Self>, shard: ShardId, names: Vec<String>) -> Result<(), Error> {
        let delete = |name: String| {
            let context = Arc::clone(self);
            async move { context.delete_blob(shard, &name).await }
        };
        let deletions = stream::iter(names).map(delete);
        deletions.buffer_unordered(self.config.sweep_concurrency.max(1)).try_collect().await
    }

    /// Deletes an object, if it is there.
    ///
    /// Cancelling, and an error, leave the object there or not.
    pub async fn delete_blob(&self, shard: ShardId, name: &str) -> Result<(), Error> {
        let path = keys::blob(shard, name);
        if let Some(cache) = &self.cache {
            cache.forget(&path).await;
        }
        match self.persist(|| self.store.delete(&path)).await {
            Ok(()) | Err(Tried::Failed(object_store::Error::NotFound { .. })) => Ok(()),
            Err(tried) => Err(tried.into_error("could not be deleted", shard, &path)),
        }
    }

    /// Asks until the store gives an answer that asking again would not change, or the deadline has passed.
    pub(super) async fn persist<R, F>(&self, mut request: impl FnMut() -> F) -> Result<R, Tried>
    where
        F: Future<Output = object_store::Result<R>>,
    {
        let limit = self.config.store_deadline;
        let mut retry = Retry::within(self, limit);
        let mut failed = None; // the last that was told: a request that the deadline cuts off says nothing
        loop {
            match timeout_at(retry.request_deadline(limit), request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if is_final(&error) => return Err(Tried::Failed(error)),
                Ok(Err(error)) => failed = Some(error),
                Err(_elapsed) => {}
            }
            if !retry.pause().await {
                return Err(failed.map_or(Tried::NoAnswer, Tried::Failed));
            }
        }
    }
}

/// An object whose bytes can be read.
#[derive(Debug)]
pub enum OpenBlob {
    /// They are here.
    Bytes(Bytes),
    /// They are in this file. Whoever reads it waits for a turn of [`Context::fetches`] each time.
    File(File),
}

pub(super) enum Tried {
    Failed(object_store::Error),
    NoAnswer,
}

impl Tried {
    fn into_error(self, what: &'static str, shard: ShardId, path: &Path) -> Error {
        let named = |error: Error| error.of_shard(shard).of_object(path.to_string());
        match self {
            Tried::Failed(cause) if is_final(&cause) => {
                let error = named(Error::unavailable(format!("{what}: the store refuses it")));
                error.advise("see what the credentials, or the directory's owner and rights, allow").because(cause)
            }
            Tried::Failed(cause) => named(Error::unavailable(what)).because(cause),
            Tried::NoAnswer => named(Error::unavailable(format!("{what}: the store did not answer in time"))),
        }
    }
}

/// Whether asking again would bring the same answer.
pub(super) fn is_final(error: &object_store::Error) -> bool {
    use object_store::Error::{
        InvalidPath, NotFound, NotImplemented, NotSupported, PermissionDenied, Unauthenticated, UnknownConfigurationKey,
    };
    matches!(
        error,
        NotFound { .. }
            | InvalidPath { .. }
            | NotSupported { .. }
            | NotImplemented { .. }
            | PermissionDenied { .. }
            | Unauthenticated { .. }
            | UnknownConfigurationKey { .. }
    )
}
