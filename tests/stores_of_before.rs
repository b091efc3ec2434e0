//! Stores that an earlier version wrote: today's opens them, reads what was there, and goes on.
//!
//! `WRITE_GOLDEN=1` writes the newest of them anew, with today's code; those of versions before are never written again.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use timely::order::Product;
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Config, CriticalReaderId, Data, Diff, Serde, Shard, ShardId, Time};

/// The version whose store is written: all that were written before types had schemas.
const STORE: &str = "store_v1";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Stop {
    Depot,
    Station { line: u8, name: String },
}

type Pair = Product<u32, u32>;
type Plain = Shard<String, u64, u64, i64>;
type Nested = Shard<(u32, Option<String>), Vec<u8>, Pair, (i64, i64)>;
type Opaque = Shard<Serde<Stop>, (), i64, i32>;
type Rows<K, V, T, D> = Vec<((K, V), T, D)>;

const STEPS: u64 = 12;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(STORE)
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-R").arg(from).arg(to).status().unwrap().success());
}

/// Small parts are objects where `inline` is 0; rollups are frequent.
fn config(inline: usize, compact: bool) -> Config {
    let mut config = Config::default();
    config.write.inline_part_bytes_max = inline;
    config.upkeep.compact = compact;
    config.upkeep.rollup_interval = 4;
    config
}

fn plain(step: u64) -> Rows<String, u64, u64, i64> {
    let row = |n: u64| ((format!("key {}", n * 7 % 10), n % 3), step, if step % 4 == 3 { -1 } else { 1 });
    (0..step + 2).map(row).collect()
}

fn nested(step: u64) -> Rows<(u32, Option<String>), Vec<u8>, Pair, (i64, i64)> {
    let row = |n: u32| {
        let name = n.is_multiple_of(2).then(|| format!("name {n}"));
        (((n % 3, name), vec![n as u8; n as usize]), Pair::new(step as u32, n), (1, -i64::from(n)))
    };
    (0..4).map(row).collect()
}

fn opaque(step: u64) -> Rows<Serde<Stop>, (), i64, i32> {
    let station = |line: u8| Stop::Station { line, name: format!("station {line}") };
    vec![((Serde(Stop::Depot), ()), step as i64 - 5, 1), ((Serde(station(step as u8)), ()), step as i64 - 5, 2)]
}

/// Where step `step` begins, or where the step before ended.
trait Steps: Time {
    fn frontier(step: u64) -> Antichain<Self>;
}

impl Steps for u64 {
    fn frontier(step: u64) -> Antichain<Self> {
        Antichain::from_elem(step)
    }
}

impl Steps for Pair {
    fn frontier(step: u64) -> Antichain<Self> {
        Antichain::from_elem(Pair::new(step as u32, 0))
    }
}

impl Steps for i64 {
    /// From its minimum on.
    fn frontier(step: u64) -> Antichain<Self> {
        Antichain::from_elem(if step == 0 { i64::MIN } else { step as i64 - 5 })
    }
}

async fn append<K: Data, V: Data, T: Steps, D: Diff>(
    shard: &Shard<K, V, T, D>,
    rows: fn(u64) -> Rows<K, V, T, D>,
    steps: std::ops::Range<u64>,
    generation: u64,
) {
    let mut writer = shard.open_writer_in("steps", generation).await.unwrap();
    for step in steps {
        let appended = writer.compare_and_append(rows(step), T::frontier(step), T::frontier(step + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
}

/// What the steps before `end` come to at its end.
fn expected<K: Data, V: Data, T: Steps, D: Diff>(
    rows: fn(u64) -> Rows<K, V, T, D>,
    end: u64,
    as_of: &Antichain<T>,
) -> Rows<K, V, T, D> {
    let mut all: Rows<K, V, T, D> = (0..end).flat_map(rows).collect();
    all.iter_mut().for_each(|(_, time, _)| time.advance_by(as_of.borrow()));
    all.sort();
    all.dedup_by(|row, kept| {
        let same = row.0 == kept.0 && row.1 == kept.1;
        if same {
            kept.2.plus_equals(&row.2);
        }
        same
    });
    all.retain(|row| !row.2.is_zero());
    all
}

/// The last time of the last step before `end`.
trait Last: Steps {
    fn last(end: u64) -> Antichain<Self>;
}

impl Last for u64 {
    fn last(end: u64) -> Antichain<Self> {
        Antichain::from_elem(end - 1)
    }
}

impl Last for Pair {
    fn last(end: u64) -> Antichain<Self> {
        Antichain::from_elem(Pair::new(end as u32 - 1, 9))
    }
}

impl Last for i64 {
    fn last(end: u64) -> Antichain<Self> {
        Antichain::from_elem(end as i64 - 6)
    }
}

async fn check<K: Data, V: Data, T: Last, D: Diff>(
    shard: &Shard<K, V, T, D>,
    rows: fn(u64) -> Rows<K, V, T, D>,
    end: u64,
) {
    let as_of = T::last(end);
    let reader = shard.open_reader("check").await.unwrap();
    let mut read = reader.snapshot_and_fetch(as_of.clone()).await.unwrap();
    read.sort();
    assert!(read == expected(rows, end, &as_of), "{}: {read:?}", shard.id());
}

fn shards(client: &Client) -> (Plain, Nested, Opaque) {
    let [one, two, three] = [1, 2, 3].map(ShardId::from_u128);
    (client.shard(one), client.shard(two), client.shard(three))
}

/// Writes the store: parts in objects and in the log, some merged; rollups, a critical reader, a generation, garbage.
async fn write(place: &Path) {
    let client = Client::in_directory(place).config(config(0, true)).open().await.unwrap();
    let (plain_shard, nested_shard, opaque_shard) = shards(&client);
    append(&plain_shard, plain, 0..9, 0).await;
    let id = CriticalReaderId::from_u128(7);
    let mut critical = plain_shard.open_critical_since_as(id, 5, "backup").await.unwrap();
    let _ = critical.compare_and_downgrade_since(5, (6, &Antichain::from_elem(6))).await.unwrap();
    append(&opaque_shard, opaque, 0..STEPS, 3).await;
    plain_shard.settle().await.unwrap();
    client.shutdown().await.unwrap();
    let client = Client::in_directory(place).config(config(64 << 10, false)).open().await.unwrap();
    let (plain_shard, nested_again, _) = shards(&client);
    append(&plain_shard, plain, 9..STEPS, 0).await;
    append(&nested_again, nested, 0..STEPS, 0).await;
    drop(nested_shard);
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_store_of_before_is_read_and_goes_on() {
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        let _ = fs::remove_dir_all(golden());
        write(&golden()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("data");
    copy(&golden(), &place);
    // As it is, by a client that changes nothing but its leases; then by one that goes on.
    for (inline, compact) in [(64 << 10, false), (0, true)] {
        let client = Client::in_directory(&place).config(config(inline, compact)).open().await.unwrap();
        let (plain_shard, nested_shard, opaque_shard) = shards(&client);
        check(&plain_shard, plain, STEPS).await;
        check(&nested_shard, nested, STEPS).await;
        check(&opaque_shard, opaque, STEPS).await;
        let info = plain_shard.inspect().await.unwrap();
        assert_eq!((info.since, info.critical_readers), (Antichain::from_elem(6), 1));
        assert_eq!(opaque_shard.inspect().await.unwrap().generation, 3);
        client.shutdown().await.unwrap();
    }
    let client = Client::in_directory(&place).config(config(0, true)).open().await.unwrap();
    let (plain_shard, nested_shard, opaque_shard) = shards(&client);
    append(&plain_shard, plain, STEPS..STEPS + 12, 0).await;
    append(&nested_shard, nested, STEPS..STEPS + 12, 0).await;
    append(&opaque_shard, opaque, STEPS..STEPS + 12, 4).await;
    plain_shard.settle().await.unwrap();
    nested_shard.settle().await.unwrap();
    opaque_shard.settle().await.unwrap();
    check(&plain_shard, plain, STEPS + 12).await;
    check(&nested_shard, nested, STEPS + 12).await;
    check(&opaque_shard, opaque, STEPS + 12).await;
    let info = plain_shard.inspect().await.unwrap();
    assert!(info.batches < 24, "nothing was merged: {info:?}");
    client.shutdown().await.unwrap();
}
