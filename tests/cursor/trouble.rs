//! What goes wrong while the client's threads find the rows that a cursor, or a listener, gives next: always an error that
//! says what to do, after the rows before it.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Deserializer, Serialize};
use timely_persist::{Appended, Client, Config, Cursor, Error, ErrorKind, ReadHandle, Serde, ShardId};
use timely_persist_testing::{Fault, Faults, FaultyStore, Gate, Operation, Rule};

use super::at;

/// Rows of each of the two runs: four blocks and more.
const ROWS: u64 = 30_000;

/// A piece is no larger, so more of them were found by the client's threads.
const FIRST_PIECE: usize = 8_192;

/// Whoever waits longer waits for nothing.
const LIMIT: Duration = Duration::from_secs(60);

/// Numbers that cannot be compared, or decoded, from when they are set: tests of one process have different ones.
static NOT_COMPARED: AtomicU64 = AtomicU64::new(u64::MAX);
static NOT_DECODED: AtomicU64 = AtomicU64::new(u64::MAX);
static NOT_DECODED_BY_LISTENER: AtomicU64 = AtomicU64::new(u64::MAX);

/// A number whose code panics at some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Fragile(u64);

impl Ord for Fragile {
    fn cmp(&self, other: &Self) -> Ordering {
        assert!(self.0 != NOT_COMPARED.load(SeqCst), "this number has no order");
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Fragile {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let decoded = [&NOT_DECODED, &NOT_DECODED_BY_LISTENER].iter().all(|not| not.load(SeqCst) != number);
        assert!(decoded, "this number has no meaning");
        Ok(Self(number))
    }
}

type Reader = ReadHandle<Serde<Fragile>, String, u64, i64>;
type Rows = Cursor<Serde<Fragile>, String, u64, i64>;

struct Filled {
    client: Client,
    shard: ShardId,
    reader: Reader,
}

/// A shard of two runs with every other number each, from `first` on.
async fn filled(store: Arc<dyn ObjectStore>, first: u64) -> Filled {
    let mut config = Config::default();
    (config.upkeep.compact, config.write.inline_part_bytes_max) = (false, 0);
    config.read.cursor_bytes_max = 16 << 20; // so that not all is read before it is wanted
    let client = Client::builder(store).config(config).open().await.unwrap();
    let id = ShardId::new();
    let shard = client.shard::<Serde<Fragile>, String, u64, i64>(id);
    let mut writer = shard.open_writer("test").await.unwrap();
    for run in 0..2 {
        let row = |number| ((Serde(Fragile(first + 2 * number + run)), "x".repeat(100)), run, 1);
        let appended = writer.compare_and_append((0..ROWS).map(row), at(run), at(run + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
    let reader = shard.open_reader("test").await.unwrap();
    Filled { client, shard: id, reader }
}

/// The numbers that come, which are those from `first` on, and the error behind them.
async fn drain(cursor: &mut Rows, first: u64) -> (usize, Option<Error>) {
    let mut rows = Vec::new();
    let error = loop {
        match cursor.next().await {
            Ok(Some(more)) => rows.extend(more.into_iter().map(|((Serde(Fragile(number)), _), _, _)| number)),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(rows.iter().copied().eq(first..first + rows.len() as u64), "rows are missing or out of order");
    assert!(cursor.next().await.unwrap().is_none(), "after an error it has ended");
    (rows.len(), error)
}

/// Reads rows of whose types some code panics.
async fn panicking(first: u64, not: &AtomicU64, says: &str) {
    let Filled { client, shard, reader } = filled(Arc::new(InMemory::new()), first).await;
    not.store(first + 2 * ROWS - 2, SeqCst);
    let mut cursor = reader.snapshot_cursor(at(1), |_| true).await.unwrap();
    let (rows, error) = drain(&mut cursor, first).await;
    let error = error.unwrap();
    // Not `Unavailable`: whoever tries again would do so for ever.
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert_eq!(error.shard(), Some(shard));
    let message = error.to_string();
    assert!(message.contains(says) && message.contains("correct"), "{message}");
    assert!(rows >= FIRST_PIECE && rows < 2 * ROWS as usize, "{rows} rows came before");
    assert_eq!(reader.outstanding_leases(), 0);
    not.store(u64::MAX, SeqCst);
    let mut cursor = reader.snapshot_cursor(at(1), |_| true).await.unwrap();
    let (rows, error) = drain(&mut cursor, first).await;
    assert!(error.is_none() && rows == 2 * ROWS as usize, "{rows} rows, {error:?}");
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_order_that_panics_is_not_to_be_tried_again() {
    panicking(0, &NOT_COMPARED, "this number has no order").await;
}

#[tokio::test]
async fn a_codec_that_panics_is_not_to_be_tried_again() {
    panicking(1 << 32, &NOT_DECODED, "this number has no meaning").await;
}

#[tokio::test]
async fn a_listener_whose_codec_panics_is_told_of_which_part() {
    let first = 3 << 32;
    let Filled { client, shard, reader } = filled(Arc::new(InMemory::new()), first).await;
    NOT_DECODED_BY_LISTENER.store(first, SeqCst);
    let mut listen = reader.subscribe(at(1)).await.unwrap();
    let error = listen.fetch_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert_eq!(error.shard(), Some(shard));
    assert!(error.object().is_some_and(|object| object.starts_with("part-")), "{error:?}");
    drop(listen);
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn rows_before_the_damage_are_given_and_the_error_names_the_object() {
    let (store, first) = (Arc::new(InMemory::new()), 2 << 32);
    let Filled { client, shard, reader } = filled(store.clone(), first).await;
    let objects: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    let is_part = |object: &&ObjectMeta| object.location.filename().is_some_and(|name| name.starts_with("part-"));
    let part = objects.iter().find(is_part).unwrap().location.clone();
    let mut bytes = store.get(&part).await.unwrap().bytes().await.unwrap().to_vec();
    let place = bytes.len() / 8 * 7;
    bytes[place] ^= 1;
    store.put(&part, bytes.into()).await.unwrap();
    let mut cursor = reader.snapshot_cursor(at(1), |_| true).await.unwrap();
    let (rows, error) = drain(&mut cursor, first).await;
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!((error.shard(), error.object()), (Some(shard), part.filename()));
    assert!(rows >= FIRST_PIECE && rows < 2 * ROWS as usize, "{rows} rows came before");
    assert_eq!(reader.outstanding_leases(), 0);
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_shut_down_ends_its_cursors() {
    let faults = Faults::scripted();
    let store = FaultyStore::new(Arc::new(InMemory::new()), faults.clone());
    let Filled { client, reader, .. } = filled(Arc::new(store), 0).await;
    let mut cursor = reader.snapshot_cursor(at(1), |_| true).await.unwrap();
    assert_eq!(cursor.next().await.unwrap().map(|rows| rows.len()), Some(FIRST_PIECE));
    let gate = Gate::closed();
    faults.add(Rule::every(Operation::Get, Fault::HoldBefore(gate.clone())));
    let reading = tokio::spawn(async move { drain(&mut cursor, FIRST_PIECE as u64).await });
    tokio::time::timeout(LIMIT, gate.arrived(1)).await.expect("the cursor to read on");
    tokio::time::timeout(LIMIT, client.shutdown()).await.expect("the client to stop").unwrap();
    let (rows, error) = tokio::time::timeout(LIMIT, reading).await.expect("the cursor to end").unwrap();
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Closed), "after {rows} rows");
}
