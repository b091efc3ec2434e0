//! A part that is fetched a piece at a time: each row once, whatever happens between two pieces.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectMeta, ObjectStore};
use serde::{Deserialize, Deserializer, Serialize};
use tempfile::TempDir;
use timely_persist::store::Directory;
use timely_persist::{
    Appended, Client, Config, Data, ErrorKind, LeasedPart, PartFetcher, PartPieces, ReadHandle, Serde, ShardId,
};
use timely_persist_testing::{CountingStore, Fault, Faults, FaultyStore, Operation, Rule};

use super::at;

/// Rows of the part: of 1 KiB, so that a piece has about a thousand of them.
const ROWS: u64 = 3_500;

/// A reader of a shard with one part, and that part.
struct Filled<K: Data> {
    client: Client,
    shard: ShardId,
    reader: ReadHandle<K, String, u64, i64>,
    fetcher: PartFetcher<K, String, u64, i64>,
    part: LeasedPart<u64>,
}

async fn filled<K: Data>(store: Arc<dyn ObjectStore>, key: impl Fn(u64) -> K) -> Filled<K> {
    let mut config = Config::default();
    (config.upkeep.compact, config.write.part_bytes_min) = (false, config.write.part_bytes_max);
    config.read.fetches_max = 1;
    (config.store.deadline, config.store.retry_pause_min) = (Duration::from_secs(3), Duration::from_millis(10));
    let client = Client::builder(store).config(config).open().await.unwrap();
    let id = ShardId::new();
    let shard = client.shard::<K, String, u64, i64>(id);
    let mut writer = shard.open_writer("test").await.unwrap();
    let rows = (0..ROWS).map(|number| ((key(number), format!("{number:01000}")), 0, 1));
    assert_eq!(writer.compare_and_append(rows, at(0), at(1)).await.unwrap(), Appended::Committed);
    let reader = shard.open_reader("test").await.unwrap();
    let mut parts = reader.snapshot(at(0)).await.unwrap();
    let part = parts.pop().unwrap();
    assert!(parts.is_empty(), "one part");
    Filled { client, shard: id, reader, fetcher: shard.fetcher(), part }
}

/// The values of the next piece, as numbers.
async fn next<K: Data>(pieces: &mut PartPieces<K, String, u64, i64>) -> Result<Vec<u64>, timely_persist::Error> {
    let piece = pieces.next().await?;
    Ok(piece.refs().map(|(_, value, _, _)| value.parse().unwrap()).collect())
}

/// The values of all that come, and how many pieces they come in.
async fn rest<K: Data>(pieces: &mut PartPieces<K, String, u64, i64>) -> (usize, Vec<u64>) {
    let (mut count, mut all) = (0, Vec::new());
    while !pieces.is_finished() {
        all.extend(next(pieces).await.unwrap());
        count += 1;
    }
    assert!(next(pieces).await.unwrap().is_empty(), "nothing behind the last");
    (count, all)
}

async fn gives_every_row_once_for_one_request(store: Arc<dyn ObjectStore>) {
    let counting = Arc::new(CountingStore::new(store));
    let Filled { client, reader, fetcher, part, .. } = filled(counting.clone(), |number| number).await;
    let before = counting.counts();
    let mut pieces = fetcher.fetch_pieces(&part);
    assert!(!pieces.is_finished());
    assert_eq!(counting.counts(), before, "nothing is asked before a piece is");
    let (count, all) = rest(&mut pieces).await;
    assert!((3..6).contains(&count), "{count} pieces");
    assert!(all.into_iter().eq(0..ROWS));
    assert_eq!((counting.counts().gets, counting.counts().operations()), (before.gets + 1, before.operations() + 1));
    drop((pieces, part));
    assert_eq!(reader.outstanding_leases(), 0);
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn from_memory() {
    gives_every_row_once_for_one_request(Arc::new(InMemory::new())).await;
}

#[tokio::test]
async fn from_a_directory() {
    let place = tempfile::tempdir().unwrap();
    gives_every_row_once_for_one_request(Arc::new(Directory::open(place.path()).unwrap())).await;
}

/// The same in a directory, and the file of the part.
async fn filled_directory() -> (TempDir, PathBuf, Filled<u64>) {
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(Directory::open(place.path()).unwrap());
    let filled = filled(store.clone(), |number| number).await;
    let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    let is_part = |object: &&ObjectMeta| object.location.filename().is_some_and(|name| name.starts_with("part-"));
    let part = store.root().join(objects.iter().find(is_part).unwrap().location.as_ref());
    (place, part, filled)
}

#[tokio::test]
async fn damage_in_the_middle_is_told_behind_the_rows_before_it_and_once_mended_they_go_on() {
    let (_place, path, Filled { client, shard, fetcher, part, .. }) = filled_directory().await;
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let (mut byte, middle) = ([0], file.metadata().unwrap().len() / 2);
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
    let mut pieces = fetcher.fetch_pieces(&part);
    let mut rows = next(&mut pieces).await.unwrap();
    let error = loop {
        match next(&mut pieces).await {
            Ok(more) => rows.extend(more),
            Err(error) => break error,
        }
    };
    assert!(!rows.is_empty() && (rows.len() as u64) < ROWS, "{} rows", rows.len());
    for error in [error, next(&mut pieces).await.unwrap_err()] {
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Corrupt, Some(shard)), "{error:?}");
        assert_eq!(error.object(), path.file_name().and_then(|name| name.to_str()));
    }
    file.write_all_at(&byte, middle).unwrap();
    rows.extend(rest(&mut pieces).await.1);
    assert!(rows.into_iter().eq(0..ROWS), "a row is missing, or was given twice");
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_cut_short_under_its_reader_is_corrupt() {
    let (_place, path, Filled { client, fetcher, part, .. }) = filled_directory().await;
    let mut pieces = fetcher.fetch_pieces(&part);
    assert!(!next(&mut pieces).await.unwrap().is_empty());
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 4).unwrap();
    for _ in 0..2 {
        let error = next(&mut pieces).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert_eq!(error.object(), path.file_name().and_then(|name| name.to_str()));
    }
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_piece_that_was_given_up_comes_when_it_is_asked_for_again() {
    let (_place, _, Filled { client, fetcher, part, .. }) = filled_directory().await;
    let mut pieces = fetcher.fetch_pieces(&part);
    let mut rows = Vec::new();
    let mut polls = 0;
    while !pieces.is_finished() {
        // Given up after more polls each time: while the object is opened, and while a piece is read.
        polls += 1;
        let mut asked = Box::pin(next(&mut pieces));
        for _ in 0..polls {
            if let std::task::Poll::Ready(piece) = futures::poll!(&mut asked) {
                rows.extend(piece.unwrap());
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(rows.into_iter().eq(0..ROWS), "a row is missing, or was given twice");
    assert!(polls > 1, "nothing was given up");
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_asked_again_for_the_same_piece() {
    let faults = Faults::scripted();
    let store = FaultyStore::new(Arc::new(InMemory::new()), faults.clone());
    let Filled { client, fetcher, part, .. } = filled(Arc::new(store), |number| number).await;
    let mut pieces = fetcher.fetch_pieces(&part);
    faults.add(Rule::every(Operation::Get, Fault::FailBefore));
    assert_eq!(next(&mut pieces).await.unwrap_err().kind(), ErrorKind::Unavailable);
    faults.clear();
    assert!(rest(&mut pieces).await.1.into_iter().eq(0..ROWS));
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn readers_that_stop_between_two_pieces_hold_nobody_up() {
    let (_place, _, Filled { client, fetcher, part, .. }) = filled_directory().await;
    let mut stopped: Vec<_> = (0..10).map(|_| fetcher.fetch_pieces(&part)).collect();
    let all = async {
        for pieces in &mut stopped {
            assert!(!next(pieces).await.unwrap().is_empty());
        }
        fetcher.fetch(&part).await.unwrap().rows().count() as u64
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), all).await.expect("a turn"), ROWS);
    drop(stopped);
    client.shutdown().await.unwrap();
}

/// Whether it is so: not while rows are written, which are read back.
static MEANINGLESS: AtomicBool = AtomicBool::new(false);

/// A number that cannot be decoded if it is in the middle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Fragile(u64);

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let meaningless = MEANINGLESS.load(Ordering::SeqCst) && number == ROWS / 2;
        assert!(!meaningless, "this number has no meaning");
        Ok(Self(number))
    }
}

#[tokio::test]
async fn a_codec_that_panics_is_not_to_be_tried_again() {
    let Filled { client, shard, fetcher, part, .. } =
        filled(Arc::new(InMemory::new()), |number| Serde(Fragile(number))).await;
    MEANINGLESS.store(true, Ordering::SeqCst);
    let mut pieces = fetcher.fetch_pieces(&part);
    assert!(!next(&mut pieces).await.unwrap().is_empty());
    let error = loop {
        if let Err(error) = next(&mut pieces).await {
            break error;
        }
    };
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Invalid, Some(shard)), "{error:?}");
    assert!(error.object().is_some_and(|object| object.starts_with("part-")), "{error:?}");
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_part_of_another_shard_is_refused() {
    let store = Arc::new(InMemory::new());
    let one = filled(store.clone(), |number| number).await;
    let other = filled(store, |number| number).await;
    let error = next(&mut one.fetcher.fetch_pieces(&other.part)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    one.client.shutdown().await.unwrap();
    other.client.shutdown().await.unwrap();
}
