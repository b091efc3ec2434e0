//! Code of a shard's types that panics on command: on every path, and on whichever thread, it is `Invalid` for the caller,
//! and once it does not panic any more everything goes on.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use futures::TryStreamExt;
use object_store::memory::InMemory;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Config, Error, ErrorKind, ReadHandle, Serde, Shard, ShardId, WriteHandle};

const ORD: u8 = 1;
const CLONE: u8 = 2;
const SERIALIZE: u8 = 4;
const DESERIALIZE: u8 = 8;

/// What panics now, for each test one of its own.
static COMMANDS: [AtomicU8; 8] = [const { AtomicU8::new(0) }; 8];

/// A number of the test `N`.
#[derive(Debug, PartialEq, Eq)]
struct Fragile<const N: usize>(u64);

impl<const N: usize> Fragile<N> {
    fn command(what: u8) {
        COMMANDS[N].store(what, SeqCst);
    }

    fn obey(what: u8) {
        assert!(COMMANDS[N].load(SeqCst) & what == 0, "told to panic");
    }
}

impl<const N: usize> Ord for Fragile<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        Self::obey(ORD);
        self.0.cmp(&other.0)
    }
}

impl<const N: usize> PartialOrd for Fragile<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> Clone for Fragile<N> {
    fn clone(&self) -> Self {
        Self::obey(CLONE);
        Self(self.0)
    }
}

impl<const N: usize> Serialize for Fragile<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::obey(SERIALIZE);
        self.0.serialize(serializer)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fragile<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Self::obey(DESERIALIZE);
        Ok(Self(number))
    }
}

type Fragiles<const N: usize> = Shard<Serde<Fragile<N>>, u64, u64, i64>;
type Writer<const N: usize> = WriteHandle<Serde<Fragile<N>>, u64, u64, i64>;
type Reader<const N: usize> = ReadHandle<Serde<Fragile<N>>, u64, u64, i64>;
type Row<const N: usize> = ((Serde<Fragile<N>>, u64), u64, i64);

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn rows<const N: usize>(time: u64) -> Vec<Row<N>> {
    (0..30).map(|number| ((Serde(Fragile(number)), 0), time, 1)).collect()
}

/// How large things must be to leave the log entry, and to be a run of their own: inline, an object, several.
const LIMITS: [(usize, usize); 3] = [(1 << 20, 1 << 20), (0, 1 << 20), (0, 100)];

struct Fixture<const N: usize> {
    client: Client,
    shard: Fragiles<N>,
    writer: Writer<N>,
    reader: Reader<N>,
}

/// A shard with the rows at time 0 and at time 1.
async fn filled<const N: usize>((inline, run): (usize, usize), configure: impl FnOnce(&mut Config)) -> Fixture<N> {
    let mut config = Config::default();
    (config.write.inline_part_bytes_max, config.write.run_bytes_max, config.upkeep.compact) = (inline, run, false);
    configure(&mut config);
    let client = Client::builder(Arc::new(InMemory::new())).config(config).open().await.unwrap();
    let shard: Fragiles<N> = client.shard(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    let reader = shard.open_reader("test").await.unwrap();
    for time in 0..2 {
        let appended = writer.compare_and_append(rows(time), at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
    Fixture { client, shard, writer, reader }
}

fn check<R: fmt::Debug>(shard: ShardId, outcome: Result<R, Error>) {
    let error = outcome.unwrap_err();
    // Not `Unavailable`: whoever tries again would do so for ever.
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Invalid, Some(shard)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("told to panic") && text.contains("correct what panics"), "{text}");
}

#[tokio::test]
async fn an_append_whose_types_panic_is_invalid_whatever_its_size() {
    type Panicky = Fragile<0>;
    for limits in LIMITS {
        let Fixture { client, shard, mut writer, reader } = filled::<0>(limits, |_| {}).await;
        for what in [ORD, CLONE, SERIALIZE, DESERIALIZE] {
            let later = rows(2);
            Panicky::command(what);
            check(shard.id(), writer.compare_and_append(later, at(2), at(3)).await);
            Panicky::command(0);
        }
        let appended = writer.compare_and_append(rows(2), at(2), at(3)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        let contents = reader.snapshot_and_fetch(at(2)).await.unwrap();
        assert!(contents.iter().all(|(_, time, diff)| (*time, *diff) == (2, 3)) && contents.len() == 30);
        client.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_builder_whose_types_panic_is_invalid() {
    type Panicky = Fragile<1>;
    for limits in LIMITS {
        let Fixture { client, shard, mut writer, .. } = filled::<1>(limits, |_| {}).await;
        let (key, many) = (Serde(Fragile(7)), rows::<1>(2));
        for what in [ORD, CLONE, SERIALIZE, DESERIALIZE] {
            let mut builder = writer.batch_builder(at(2));
            Panicky::command(what);
            check(shard.id(), builder.add(&key, &1, &2, &1).await);
            Panicky::command(0);
            // What it was in the middle of is not to be trusted, and it says so.
            let error = builder.add(&key, &1, &2, &1).await.unwrap_err();
            assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("panicked"), "{error:?}");
            assert_eq!(builder.finish(at(3)).await.unwrap_err().kind(), ErrorKind::Invalid);
            // While it sorts, in the end.
            let mut builder = writer.batch_builder(at(2));
            for ((key, value), time, diff) in &many[..3] {
                builder.add(key, value, time, diff).await.unwrap();
            }
            Panicky::command(what);
            let finished = builder.finish(at(3)).await;
            Panicky::command(0);
            match what {
                DESERIALIZE => drop(finished.unwrap()), // each row was read back before
                _ => check(shard.id(), finished),
            }
        }
        let mut builder = writer.batch_builder(at(2));
        builder.add(&key, &1, &2, &1).await.unwrap();
        let mut batch = builder.finish(at(3)).await.unwrap();
        let appended = writer.compare_and_append_batch(&mut [&mut batch], at(2), at(3)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        client.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_and_a_cursor_whose_types_panic_are_invalid_from_the_first_piece_on() {
    type Panicky = Fragile<2>;
    for limits in LIMITS {
        let Fixture { client, shard, reader, .. } = filled::<2>(limits, |_| {}).await;
        for what in [ORD, CLONE, DESERIALIZE] {
            Panicky::command(what);
            check(shard.id(), reader.snapshot_and_fetch(at(1)).await);
            let mut cursor = reader.snapshot_cursor(at(1), |_| true).await.unwrap();
            check(shard.id(), cursor.next().await);
            Panicky::command(0);
            assert_eq!((cursor.next().await.unwrap(), reader.outstanding_leases()), (None, 0));
            assert_eq!(reader.snapshot_and_fetch(at(1)).await.unwrap().len(), 30);
        }
        client.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_fetch_whose_types_panic_is_invalid() {
    type Panicky = Fragile<3>;
    for limits in LIMITS {
        let Fixture { client, shard, reader, .. } = filled::<3>(limits, |_| {}).await;
        let fetcher = reader.fetcher();
        let part = reader.snapshot(at(0)).await.unwrap().pop().unwrap();
        let mut pieces = fetcher.fetch_pieces(&part);
        Panicky::command(DESERIALIZE);
        check(shard.id(), fetcher.fetch(&part).await);
        check(shard.id(), pieces.next().await);
        Panicky::command(0);
        assert_eq!(pieces.next().await.unwrap().rows().count(), fetcher.fetch(&part).await.unwrap().rows().count());
        client.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_listener_and_a_stream_whose_types_panic_are_invalid() {
    type Panicky = Fragile<4>;
    for limits in LIMITS {
        let Fixture { client, shard, reader, .. } = filled::<4>(limits, |_| {}).await;
        for what in [CLONE, DESERIALIZE] {
            let mut listen = reader.fork("test").await.unwrap().subscribe(at(1)).await.unwrap();
            Panicky::command(what);
            check(shard.id(), listen.fetch_next().await);
            let stream = reader.snapshot_and_stream(at(1)).await.unwrap();
            check(shard.id(), stream.try_collect::<Vec<_>>().await);
            Panicky::command(0);
            let stream = reader.snapshot_and_stream(at(1)).await.unwrap();
            assert_eq!(stream.try_collect::<Vec<_>>().await.unwrap().len(), 60);
        }
        client.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn an_audit_whose_types_panic_is_invalid() {
    type Panicky = Fragile<5>;
    let Fixture { client, reader, .. } = filled::<5>(LIMITS[0], |config| config.read.filter_audit_one_in = 1).await;
    Panicky::command(SERIALIZE);
    let error = reader.snapshot_cursor(at(1), |_| false).await.unwrap_err();
    Panicky::command(0);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    client.shutdown().await.unwrap();
}

/// The task that compacts lives on, says what is wrong to who asks, and goes on when nothing is.
#[tokio::test]
async fn a_compaction_whose_types_panic_is_said_and_the_upkeep_goes_on() {
    type Panicky = Fragile<6>;
    let few = |config: &mut Config| (config.upkeep.compact, config.upkeep.compaction_fan_in) = (true, 4);
    let Fixture { client, shard, mut writer, reader } = filled::<6>(LIMITS[1], few).await;
    for what in [ORD, CLONE, SERIALIZE, DESERIALIZE] {
        let first = shard.inspect().await.unwrap().upper.elements()[0];
        for time in first..first + 4 {
            let appended = writer.compare_and_append(rows(time), at(time), at(time + 1)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
        }
        shard.settle().await.unwrap();
        let batches = shard.inspect().await.unwrap().batches;
        assert!(batches <= 4, "{batches} batches");
        // Enough for a merge once more, and now it cannot.
        let first = shard.inspect().await.unwrap().upper.elements()[0];
        let mut staged = Vec::new();
        for time in first..first + 6 {
            let mut builder = writer.batch_builder(at(time));
            for ((key, value), time, diff) in &rows::<6>(time) {
                builder.add(key, value, time, diff).await.unwrap();
            }
            staged.push((time, builder.finish(at(time + 1)).await.unwrap()));
        }
        Panicky::command(what);
        for (time, mut batch) in staged {
            let appended = writer.compare_and_append_batch(&mut [&mut batch], at(time), at(time + 1)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
        }
        check(shard.id(), shard.settle().await);
        Panicky::command(0);
        // Whoever asks may still hear of a try that began before.
        while let Err(error) = shard.settle().await {
            check(shard.id(), Err::<(), _>(error));
        }
        let batches = shard.inspect().await.unwrap().batches;
        assert!(batches <= 4, "{batches} batches");
    }
    let upper = shard.inspect().await.unwrap().upper.elements()[0];
    let contents = reader.snapshot_and_fetch(at(upper - 1)).await.unwrap();
    assert!(contents.len() == 30 && contents.iter().all(|(_, _, diff)| *diff == upper as i64), "{contents:?}");
    client.shutdown().await.unwrap();
}
