//! The qualification probe refuses each kind of careless store, and leaves nothing but its verdict in a careful one.
#![allow(clippy::unwrap_used)] // a test that panics fails

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload, Result};
use prost::Message;
use timely_persist::ErrorKind;
use timely_persist::store::{Directory, qualify};
use timely_persist_io::store::keys;
use timely_persist_io::store::probe::{self, ROUNDS};
use timely_persist_testing::{
    CountingStore, Fault, Faults, FaultyStore, HookedStore, Operation, Rule, StoreAnswer, StoreHook, StoreRequest,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    /// Looks whether a name is free, and writes a moment later: hazard 23.
    TwoWinners,
    IgnoresTheCondition,
    KnowsNoCondition,
    AllLose,
    WrongBytes,
    ListsLate,
    IgnoresTheOffset,
    IgnoresTheRange,
    NothingIsMissing,
    NeverDeletes,
    NoSuchBucket,
    /// Loses the answers of creates, which are sent again and meet themselves; then it is gone.
    VanishesAfterCreates,
}

fn careless(store: Arc<dyn ObjectStore>, flaw: Flaw) -> HookedStore<Flaw> {
    HookedStore::with_hook(store, flaw)
}

fn missing(at: &Path) -> Error {
    Error::NotFound { path: at.to_string(), source: "the bucket".into() }
}

#[async_trait]
impl StoreHook for Flaw {
    fn name(&self) -> &'static str {
        "Careless"
    }

    async fn ask(&self, store: &Arc<dyn ObjectStore>, mut request: StoreRequest) -> Result<StoreAnswer> {
        match &mut request {
            StoreRequest::Put(at, data, options) if options.mode == PutMode::Create => match self {
                Self::TwoWinners => {
                    let free = store.head(at).await.is_err();
                    tokio::task::yield_now().await;
                    options.mode = if free { PutMode::Overwrite } else { PutMode::Create };
                }
                Self::IgnoresTheCondition => options.mode = PutMode::Overwrite,
                Self::KnowsNoCondition => {
                    return Err(Error::NotImplemented { operation: "create".into(), implementer: "Careless".into() });
                }
                Self::AllLose => {
                    return Err(Error::AlreadyExists { path: at.to_string(), source: "not true".into() });
                }
                Self::WrongBytes => *data = "scrambled".into(),
                Self::NoSuchBucket => return Err(missing(at)),
                Self::VanishesAfterCreates => {
                    store.put_opts(at, data.clone(), PutMode::Overwrite.into()).await?;
                    let source = "Error performing PUT: Server returned non-2xx status code: 412".into();
                    return Err(Error::AlreadyExists { path: at.to_string(), source });
                }
                _ => {}
            },
            StoreRequest::Get(at, options) => match self {
                Self::NothingIsMissing => {
                    let verdict = keys::verdict(&careless(Arc::clone(store), *self).to_string());
                    if *at != verdict && store.head(at).await.is_err() {
                        *at = Path::from("empty");
                        *options = GetOptions::default();
                        store.put(at, PutPayload::default()).await?;
                    }
                }
                Self::VanishesAfterCreates if store.head(at).await.is_ok() => {
                    return Err(Error::Generic { store: "S3", source: "connection refused".into() });
                }
                Self::IgnoresTheRange => options.range = None,
                _ => {}
            },
            StoreRequest::List(_, offset) if *self == Self::IgnoresTheOffset => *offset = None,
            _ => {}
        }
        match request {
            StoreRequest::Delete(locations) if *self == Self::NeverDeletes => Ok(StoreAnswer::Deleted(locations)),
            StoreRequest::List(_, None) if *self == Self::ListsLate => match request.send(store).await? {
                StoreAnswer::Listing(objects) => Ok(StoreAnswer::Listing(objects.skip(1).boxed())),
                answer => Ok(answer),
            },
            request => request.send(store).await,
        }
    }
}

async fn names(store: &dyn ObjectStore) -> Vec<Path> {
    store.list(None).map_ok(|object| object.location).try_collect().await.unwrap()
}

#[tokio::test]
async fn a_careful_store_passes_and_keeps_the_verdict() {
    let temporary = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn ObjectStore>; 2] =
        [Arc::new(InMemory::new()), Arc::new(Directory::open(temporary.path()).unwrap())];
    for store in stores {
        let before = names(&*store).await;
        let counted = CountingStore::new(Arc::clone(&store));
        let verdict = qualify(&counted).await.unwrap();
        assert_eq!(verdict.races as usize, ROUNDS);
        let left: Vec<_> = names(&*store).await.into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(left, [keys::verdict(&counted.to_string())]);
        let first = counted.counts();
        assert_eq!(qualify(&counted).await.unwrap(), verdict);
        assert_eq!((counted.counts() - first).operations(), 1, "the verdict is read, nothing is raced");
    }
}

#[tokio::test]
async fn a_verdict_of_another_store_or_a_damaged_one_does_not_count() {
    let memory = Arc::new(InMemory::new());
    qualify(&memory).await.unwrap();
    // The objects of a careful store, copied to a careless one, verdict included.
    let careless = careless(Arc::clone(&memory) as _, Flaw::TwoWinners);
    assert_eq!(qualify(&careless).await.unwrap_err().kind(), ErrorKind::UnsafeStore);
    // One that is damaged, and one that is another's.
    let counted = CountingStore::new(Arc::clone(&memory) as _);
    let place = keys::verdict(&counted.to_string());
    let other = qualify(&memory).await.unwrap().encode_to_vec();
    for kept in [b"\xff\xff".to_vec(), other] {
        memory.put(&place, kept.into()).await.unwrap();
        let before = counted.counts();
        qualify(&counted).await.unwrap();
        assert!((counted.counts() - before).creates > 0);
    }
}

#[tokio::test]
async fn careless_stores_are_refused() {
    for (flaw, kind) in [
        (Flaw::TwoWinners, ErrorKind::UnsafeStore),
        (Flaw::IgnoresTheCondition, ErrorKind::UnsafeStore),
        (Flaw::KnowsNoCondition, ErrorKind::UnsafeStore),
        (Flaw::AllLose, ErrorKind::Unavailable),
        (Flaw::WrongBytes, ErrorKind::UnsafeStore),
        (Flaw::ListsLate, ErrorKind::UnsafeStore),
        (Flaw::IgnoresTheOffset, ErrorKind::UnsafeStore),
        (Flaw::IgnoresTheRange, ErrorKind::UnsafeStore),
        (Flaw::NothingIsMissing, ErrorKind::UnsafeStore),
        (Flaw::NeverDeletes, ErrorKind::UnsafeStore),
        (Flaw::NoSuchBucket, ErrorKind::Invalid),
        (Flaw::VanishesAfterCreates, ErrorKind::Unavailable),
    ] {
        let store = Arc::new(InMemory::new());
        let error = qualify(&careless(Arc::clone(&store) as _, flaw)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{flaw:?}: {error:?}");
        let left = names(&*store).await;
        if flaw != Flaw::NeverDeletes {
            assert!(left.iter().all(|name| *name == Path::from("empty")), "{flaw:?} left {left:?}");
        }
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unavailable_not_unsafe() {
    for operation in [Operation::Create, Operation::Get, Operation::List, Operation::Delete, Operation::Put] {
        let faults = Faults::scripted();
        let memory = Arc::new(InMemory::new());
        let store = FaultyStore::new(memory, faults.clone());
        faults.add(Rule::every(operation, Fault::FailBefore));
        let error = probe::probe(&store).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{operation:?}: {error:?}");
    }
    // One lost answer in a race is no proof of anything.
    let faults = Faults::scripted();
    faults.add(Rule::next(Operation::Create, Fault::FailAfter));
    qualify(&FaultyStore::new(Arc::new(InMemory::new()), faults)).await.unwrap();
}
