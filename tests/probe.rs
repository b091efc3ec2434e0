//! The qualification probe refuses each kind of careless store, and leaves nothing but its verdict in a careful one.
#![allow(clippy::unwrap_used)] // a test that panics fails

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use prost::Message;
use timely_persist::ErrorKind;
use timely_persist::store::{Directory, qualify};
use timely_persist_io::store::keys;
use timely_persist_io::store::probe::{self, ROUNDS};
use timely_persist_testing::{CountingStore, Fault, Faults, FaultyStore, Operation, Rule};

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

#[derive(Clone, Debug)]
struct Careless {
    store: Arc<InMemory>,
    flaw: Flaw,
}

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.flaw)
    }
}

fn missing(at: &Path) -> Error {
    Error::NotFound { path: at.to_string(), source: "the bucket".into() }
}

#[async_trait]
impl ObjectStore for Careless {
    async fn put_opts(&self, at: &Path, data: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if options.mode == PutMode::Create {
            match self.flaw {
                Flaw::TwoWinners => {
                    let free = self.store.head(at).await.is_err();
                    tokio::task::yield_now().await;
                    options.mode = if free { PutMode::Overwrite } else { PutMode::Create };
                }
                Flaw::IgnoresTheCondition => options.mode = PutMode::Overwrite,
                Flaw::KnowsNoCondition => {
                    return Err(Error::NotImplemented { operation: "create".into(), implementer: self.to_string() });
                }
                Flaw::AllLose => {
                    return Err(Error::AlreadyExists { path: at.to_string(), source: "not true".into() });
                }
                Flaw::WrongBytes => return self.store.put_opts(at, "scrambled".into(), options).await,
                Flaw::NoSuchBucket => return Err(missing(at)),
                Flaw::VanishesAfterCreates => {
                    self.store.put_opts(at, data, PutMode::Overwrite.into()).await?;
                    let source = "Error performing PUT: Server returned non-2xx status code: 412".into();
                    return Err(Error::AlreadyExists { path: at.to_string(), source });
                }
                _ => {}
            }
        }
        self.store.put_opts(at, data, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, mut options: GetOptions) -> Result<GetResult> {
        if self.flaw == Flaw::NothingIsMissing
            && self.store.head(at).await.is_err()
            && *at != keys::verdict(&self.to_string())
        {
            self.store.put(&Path::from("empty"), PutPayload::default()).await?;
            return self.store.get(&Path::from("empty")).await;
        }
        if self.flaw == Flaw::VanishesAfterCreates && self.store.head(at).await.is_ok() {
            return Err(Error::Generic { store: "S3", source: "connection refused".into() });
        }
        if self.flaw == Flaw::IgnoresTheRange {
            options.range = None;
        }
        self.store.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.flaw == Flaw::NeverDeletes { locations } else { self.store.delete_stream(locations) }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let late = self.flaw == Flaw::ListsLate;
        self.store.list(prefix).skip(usize::from(late)).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.flaw {
            Flaw::IgnoresTheOffset => self.store.list(prefix),
            _ => self.store.list_with_offset(prefix, offset),
        }
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
    let careless = Careless { store: Arc::clone(&memory), flaw: Flaw::TwoWinners };
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
        let store = Careless { store: Arc::default(), flaw };
        let error = qualify(&store).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{flaw:?}: {error:?}");
        let left = names(&*store.store).await;
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
