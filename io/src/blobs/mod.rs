//! The objects of a client's store: read, written, listed and deleted with a deadline, retries and errors that name them.
//!
//! Always: of the requests that read parts so many are under way as `config.read.fetches_max` says; an object that lies in a
//! file is read by so many threads at once as [`Files`] lets; what a cache keeps is not asked for, and what is read is kept
//! there until somebody says that it is not what was written. Nobody gets the store, or a file of it.
//!
//! Not here: what is in an object, and whether anyone still needs it.

mod agreed;
mod agreement;
mod copy;
mod open;
mod read;
mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};

pub use agreement::Agreement;
pub use copy::Copied;
pub use open::OpenBlob;

use crate::life::Life;
use crate::store::{Files, ObjectCache, keys};
use timely_persist_types::error::Error;
use timely_persist_types::ids::ShardId;
use timely_persist_types::record::{Deleted, Listed, ObjectKind, Outcome, Stored};

use agreed::Agreed;
use request::{Asked, Tried, is_final};

/// Deletions of one sweep under way at once: with 45 ms each, 350 per second, far more than a shard comes to leave behind,
/// and few beside what a bucket takes from everybody.
const DELETES_MAX: usize = 16;

/// The way to a client's objects.
#[derive(Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// What was read of objects before, if that is kept.
    cache: Option<ObjectCache>,
    life: Arc<Life>,
    /// Requests for parts that may still be begun.
    fetches: Semaphore,
    /// What reading shares where the store gives files.
    files: Files,
    /// For one operation, tries and pauses included.
    deadline: Duration,
    /// What the store says its limits are.
    agreed: Agreed,
}

impl Blobs {
    /// The way to the objects of this store, with a deadline for each, and so many requests for parts at once. No I/O.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        cache: Option<ObjectCache>,
        life: Arc<Life>,
        deadline: Duration,
        fetches_max: usize,
    ) -> Self {
        Self {
            store,
            cache,
            life,
            fetches: Semaphore::new(fetches_max.clamp(1, Semaphore::MAX_PERMITS)),
            files: Files::default(),
            deadline,
            agreed: Agreed::default(),
        }
    }

    /// The life of the client.
    pub fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// What the store calls itself: no credentials are in it.
    pub fn store_name(&self) -> String {
        self.store.to_string()
    }

    /// Writes an object of a name that nobody has used.
    ///
    /// Cancelling, and an error, leave the object there or not: the leak sweep finds it.
    pub async fn write(&self, shard: ShardId, name: &str, bytes: Bytes) -> Result<(), Error> {
        let path = keys::blob(shard, name);
        let put = || self.store.put(&path, PutPayload::from_bytes(bytes.clone()));
        let asked = self.persist(put).await;
        self.life.tell(|to| {
            let (object, outcome, bytes) = (ObjectKind::of(name), asked.outcome(), bytes.len() as u64);
            to.stored(shard, &Stored { object, outcome, bytes, tries: asked.tries, elapsed: asked.elapsed });
        });
        match asked.answer {
            Ok(_) => Ok(()),
            Err(tried) => Err(tried.into_error("could not be written", shard, &path)),
        }
    }

    /// Deletes objects, as many at once as a sweep may. Errors as in [`Blobs::delete`]: some may be gone then.
    pub async fn delete_all(&self, shard: ShardId, names: Vec<String>) -> Result<(), Error> {
        let delete = |name: String| async move { self.delete(shard, &name).await };
        let deletions = stream::iter(names).map(delete);
        deletions.buffer_unordered(DELETES_MAX).try_collect().await
    }

    /// Deletes an object, if it is there.
    ///
    /// Cancelling, and an error, leave the object there or not.
    pub async fn delete(&self, shard: ShardId, name: &str) -> Result<(), Error> {
        let path = keys::blob(shard, name);
        if let Some(cache) = &self.cache {
            cache.forget(&path).await;
        }
        let asked = self.persist(|| self.store.delete(&path)).await;
        self.life.tell(|to| {
            let (object, outcome) = (ObjectKind::of(name), asked.outcome());
            to.deleted(shard, &Deleted { object, outcome, tries: asked.tries, elapsed: asked.elapsed });
        });
        match asked.answer {
            Ok(()) | Err(Tried::Failed(object_store::Error::NotFound { .. })) => Ok(()),
            Err(tried) => Err(tried.into_error("could not be deleted", shard, &path)),
        }
    }

    /// Has the runtime delete objects that nothing refers to. Best effort: the leak sweep finds what stays.
    pub fn delete_later(self: &Arc<Self>, shard: ShardId, names: Vec<String>) {
        if names.is_empty() {
            return;
        }
        let blobs = Arc::clone(self);
        self.life.note(async move {
            for name in names {
                if let Err(error) = blobs.delete(shard, &name).await {
                    tracing::debug!(%error, "an unused object could not be removed; the leak sweep will");
                }
            }
        });
    }

    /// The names of a shard's objects, behind the one named `behind` if that is given, in no order that one can count on.
    /// Each next one comes within the deadline, or is `Unavailable`; nothing is tried again.
    pub fn list(&self, shard: ShardId, behind: Option<&str>) -> impl Stream<Item = Result<String, Error>> + use<> {
        let folder = keys::blob_folder(shard);
        let listing = match behind {
            Some(name) => self.store.list_with_offset(Some(&folder), &keys::blob(shard, name)),
            None => self.store.list(Some(&folder)),
        };
        let failed = move || Error::unavailable("the objects could not be listed").of_shard(shard);
        let (deadline, life, begun) = (self.deadline, Arc::clone(&self.life), self.life.stopwatch());
        let tell = move |outcome, objects| {
            life.tell(|to| to.listed(shard, &Listed { outcome, objects, elapsed: begun.elapsed() }));
        };
        stream::unfold(Some((listing, tell, 0)), move |listing| async move {
            let (mut listing, tell, objects) = listing?;
            let listed = match timeout(deadline, listing.try_next()).await {
                Ok(Ok(Some(object))) => return Some((Ok(object), Some((listing, tell, objects + 1)))),
                Ok(Ok(None)) => None,
                Ok(Err(error)) => Some(failed().because(error)),
                Err(elapsed) => Some(failed().because(elapsed)),
            };
            tell(if listed.is_none() { Outcome::Done } else { Outcome::Failed }, objects);
            listed.map(|error| (Err(error), None))
        })
        .try_filter_map(|object| async move { Ok(object.location.filename().map(str::to_owned)) })
    }

    /// Asks until the store gives an answer that asking again would not change, or the deadline has passed.
    async fn persist<R, F>(&self, mut request: impl FnMut() -> F) -> Asked<R>
    where
        F: Future<Output = object_store::Result<R>>,
    {
        let (limit, begun) = (self.deadline, self.life.stopwatch());
        let mut retry = self.life.retry(limit);
        let mut failed = None; // the last that was told: a request that the deadline cuts off says nothing
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            match timeout_at(retry.request_deadline(limit), request()).await {
                Ok(Ok(answer)) => break Ok(answer),
                Ok(Err(error)) if is_final(&error) => break Err(Tried::Failed(error)),
                Ok(Err(error)) => failed = Some(error),
                Err(_elapsed) => {}
            }
            if !retry.pause().await {
                break Err(failed.map_or(Tried::NoAnswer, Tried::Failed));
            }
        };
        Asked { answer, tries, elapsed: begun.elapsed() }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use tokio::runtime::Handle;
    use tokio::time::Instant;

    use super::*;
    use crate::life::start_threads;
    use timely_persist_testing::{Fault, Faults, FaultyStore, Gate, Operation, Rule};
    use timely_persist_types::clock::SystemEntropy;
    use timely_persist_types::config::Config;
    use timely_persist_types::error::ErrorKind;

    /// Upkeep that waits for ever for a listing would hang whoever waits for the upkeep.
    #[tokio::test(start_paused = true)]
    async fn a_listing_that_is_never_answered_is_given_up() {
        let config = Config::default();
        let (_, threads) = start_threads(Some(Handle::current()), &config.threads).expect("a runtime that is there");
        let life = Life::new(threads, &config.store, Arc::new(SystemEntropy), None);
        let faults = Faults::default();
        let store = Arc::new(FaultyStore::new(Arc::new(InMemory::new()), faults.clone()));
        let deadline = config.store.deadline;
        let (blobs, shard) = (Blobs::new(store, None, life, deadline, 1), ShardId::from_u128(1));
        blobs.write(shard, "name", Bytes::from_static(b"x")).await.expect("it is written");
        let names = || blobs.list(shard, None).try_collect::<Vec<_>>();
        assert_eq!(names().await.expect("it is listed"), ["name"]);
        faults.add(Rule::every(Operation::List, Fault::HoldBefore(Gate::default())));
        let begun = Instant::now();
        let error = names().await.expect_err("nobody answers");
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Unavailable, Some(shard)));
        assert!(begun.elapsed() >= deadline && begun.elapsed() < 2 * deadline);
    }
}
