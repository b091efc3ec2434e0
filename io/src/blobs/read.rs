//! Reading a shard's objects: a range, all of one, or one piece after the other.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use object_store::{GetOptions, GetResult, GetResultPayload, ObjectStoreExt};

use crate::life::Stopwatch;
use crate::store::keys;
use timely_persist_types::error::Error;
use timely_persist_types::ids::ShardId;
use timely_persist_types::record::{Fetched, ObjectKind, Outcome};

use super::request::{Asked, Tried, is_final};
use super::{Blobs, OpenBlob};

impl Blobs {
    /// The bytes of an object in this range; `None` where there is no such object. Of such requests a client has
    /// `config.read.fetches_max` under way at once: this one waits for its turn first, and its deadline begins behind that.
    ///
    /// `length` says how many bytes the object has. What a cache keeps of it is not asked for; what is read is kept
    /// there.
    ///
    /// Cancelling leaves nothing.
    pub async fn read(
        &self,
        shard: ShardId,
        name: &str,
        range: Range<u64>,
        length: u64,
    ) -> Result<Option<Bytes>, Error> {
        let path = keys::blob(shard, name);
        let Some(cache) = &self.cache else {
            return self.read_range(shard, name, range).await;
        };
        let begun = self.life.stopwatch();
        if let Some(bytes) = cache.get(&path, Some(range.clone()), Some(length)).await {
            self.tell_cached(shard, name, &bytes, begun);
            return Ok(Some(bytes));
        }
        let read = self.read_range(shard, name, range.clone()).await?;
        if let Some(bytes) = &read {
            cache.put(&path, Some(range), bytes.clone()).await;
        }
        Ok(read)
    }

    /// An object to be read from its beginning, in pieces where that is possible; `None` where there is no such object.
    /// Otherwise as [`Blobs::read`]: one request, all of it cached.
    pub async fn open(&self, shard: ShardId, name: &str, length: u64) -> Result<Option<OpenBlob>, Error> {
        if self.cache.is_some() {
            let bytes = self.read(shard, name, 0..length, length).await?;
            return Ok(bytes.map(OpenBlob::in_memory));
        }
        let found = self.get(shard, name, 0..length, |found| async move {
            match found.payload {
                GetResultPayload::File(file, _path) => Ok(Err(file)),
                _ => found.bytes().await.map(Ok),
            }
        });
        Ok(found
            .await?
            .map(|found| found.map_or_else(|file| OpenBlob::in_file(file, self.files.clone()), OpenBlob::in_memory)))
    }

    async fn read_range(&self, shard: ShardId, name: &str, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        self.get(shard, name, range, |found| self.files.bytes(found)).await
    }

    /// What `take` makes of this range of an object; `None` where there is no such object.
    async fn get<R, F: Future<Output = object_store::Result<R>>>(
        &self,
        shard: ShardId,
        name: &str,
        range: Range<u64>,
        take: impl Fn(GetResult) -> F,
    ) -> Result<Option<R>, Error> {
        let (path, begun) = (keys::blob(shard, name), self.life.stopwatch());
        let _turn = self.fetches.acquire().await; // never closed
        let waited = begun.elapsed();
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
        let asked = self.persist(get).await;
        let outcome = if matches!(asked.answer, Ok(Err(_))) { Outcome::Failed } else { asked.outcome() };
        match self.tell_fetched(shard, name, asked, outcome, waited, |_read| range.end.saturating_sub(range.start)) {
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
    pub async fn read_whole(&self, shard: ShardId, name: &str) -> Result<Option<Bytes>, Error> {
        let (path, begun) = (keys::blob(shard, name), self.life.stopwatch());
        if let Some(cache) = &self.cache
            && let Some(bytes) = cache.get(&path, None, None).await
        {
            self.tell_cached(shard, name, &bytes, begun);
            return Ok(Some(bytes));
        }
        let asked = self.persist(|| async { self.store.get(&path).await?.bytes().await }).await;
        let outcome = asked.outcome();
        match self.tell_fetched(shard, name, asked, outcome, Duration::ZERO, |bytes| bytes.len() as u64) {
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

    /// Tells what became of reading an object; the answer.
    fn tell_fetched<R>(
        &self,
        shard: ShardId,
        name: &str,
        asked: Asked<R>,
        outcome: Outcome,
        waited: Duration,
        length: impl FnOnce(&R) -> u64,
    ) -> Result<R, Tried> {
        let Asked { answer, tries, elapsed } = asked;
        self.life.tell(|to| {
            let bytes = answer.as_ref().ok().filter(|_| outcome == Outcome::Done).map_or(0, length);
            let object = ObjectKind::of(name);
            to.fetched(shard, &Fetched { object, outcome, cached: false, bytes, tries, waited, elapsed });
        });
        answer
    }

    /// Tells that a cache had what was to be read of an object.
    fn tell_cached(&self, shard: ShardId, name: &str, bytes: &Bytes, begun: Stopwatch) {
        self.life.tell(|to| {
            let (object, outcome, cached) = (ObjectKind::of(name), Outcome::Done, true);
            let (bytes, waited, elapsed) = (bytes.len() as u64, Duration::ZERO, begun.elapsed());
            to.fetched(shard, &Fetched { object, outcome, cached, bytes, tries: 0, waited, elapsed });
        });
    }

    /// Says that what was read of an object is not what was written: a cache reads it again the next time.
    pub async fn distrust(&self, shard: ShardId, name: &str) {
        if let Some(cache) = &self.cache {
            cache.forget(&keys::blob(shard, name)).await;
        }
    }
}
