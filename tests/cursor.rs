//! The cursor: a snapshot as consolidated rows, a piece at a time.
#![allow(clippy::unwrap_used)]

#[path = "cursor/trouble.rs"]
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Config, Cursor, PartStats, ReadHandle, Serde, ShardId, WriteHandle};
use timely_persist_testing::CountingStore;

type Row = ((String, u64), u64, i64);
type Rows = Cursor<String, u64, u64, i64>;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn row(key: &str, value: u64, time: u64, diff: i64) -> Row {
    ((key.to_owned(), value), time, diff)
}

struct Fixture {
    client: Client,
    store: CountingStore,
    shard: ShardId,
    writer: WriteHandle<String, u64, u64, i64>,
    upper: u64,
}

impl Fixture {
    /// A shard that nothing compacts and whose parts are all objects, unless the limits say otherwise.
    async fn new(limits: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        (config.upkeep.compact, config.write.inline_part_bytes_max) = (false, 0);
        limits(&mut config);
        let store = CountingStore::new(Arc::new(InMemory::new()));
        let client = Client::builder(Arc::new(store.clone())).config(config).open().await.unwrap();
        let shard = ShardId::new();
        let writer = client.shard(shard).open_writer("test").await.unwrap();
        Self { client, store, shard, writer, upper: 0 }
    }

    /// Appends at the next time.
    async fn append(&mut self, rows: Vec<((String, u64), i64)>) {
        let time = self.upper;
        let rows = rows.into_iter().map(|(data, diff)| (data, time, diff));
        let appended = self.writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        self.upper += 1;
    }

    async fn reader(&self) -> ReadHandle<String, u64, u64, i64> {
        self.client.shard(self.shard).open_reader("test").await.unwrap()
    }
}

async fn drain(mut cursor: Rows) -> Vec<Row> {
    let mut rows = Vec::new();
    while let Some(more) = cursor.next().await.unwrap() {
        assert!(!more.is_empty());
        rows.extend(more);
    }
    assert!(cursor.next().await.unwrap().is_none());
    assert!(rows.is_sorted_by(|a, b| (&a.0, a.1) < (&b.0, b.1)), "out of order, or not consolidated");
    rows
}

fn data(key: &str, value: u64, diff: i64) -> ((String, u64), i64) {
    ((key.to_owned(), value), diff)
}

#[tokio::test]
async fn rows_sum_and_vanish_within_a_part_and_across_parts() {
    let mut fixture = Fixture::new(|_| {}).await;
    fixture.append(vec![data("a", 1, 1), data("a", 1, 1), data("b", 1, 1), data("b", 1, -1), data("c", 1, 1)]).await;
    fixture.append(vec![data("a", 1, 3), data("c", 1, -1), data("d", 1, 5)]).await;
    fixture.append(vec![data("d", 1, -5), data("e", 2, 1), data("e", 1, 1)]).await;
    let reader = fixture.reader().await;
    let keep = |_: &PartStats| true;
    let cursor = reader.snapshot_cursor(at(2), keep).await.unwrap();
    let expected = vec![row("a", 1, 2, 5), row("e", 1, 2, 1), row("e", 2, 2, 1)];
    assert_eq!(drain(cursor).await, expected);
    assert_eq!(reader.snapshot_and_fetch(at(2)).await.unwrap(), expected);
    let cursor = reader.snapshot_cursor(at(1), keep).await.unwrap();
    assert_eq!(drain(cursor).await, vec![row("a", 1, 1, 5), row("d", 1, 1, 5)]);
    assert_eq!(reader.outstanding_leases(), 0);
}

#[tokio::test]
async fn more_runs_than_fit_are_merged_within_the_bound() {
    // Blocks of about 300 KiB and more, of which the bound has room for none.
    let mut fixture = Fixture::new(|config| config.read.cursor_bytes_max = 64 << 10).await;
    let mut expected: BTreeMap<(String, u64), i64> = BTreeMap::new();
    for run in 0..12u64 {
        let rows: Vec<_> = (0..8_000u64).map(|i| data(&format!("{:08}", (i * 7 + run) % 50_000), run % 2, 1)).collect();
        for (data, diff) in &rows {
            *expected.entry(data.clone()).or_default() += diff;
        }
        fixture.append(rows).await;
    }
    let reader = fixture.reader().await;
    let before = fixture.store.counts();
    let cursor = reader.snapshot_cursor(at(11), |_| true).await.unwrap();
    let rows = drain(cursor).await;
    let expected: Vec<Row> = expected.into_iter().map(|(data, diff)| (data, 11, diff)).collect();
    assert_eq!(rows, expected);
    let gets = (fixture.store.counts() - before).gets;
    assert!(gets > 3 * 12, "blocks are read more than once: {gets}");
    assert_eq!(reader.outstanding_leases(), 0);
}

/// Whoever waits may stop waiting at any moment, also while the runtime merges the next piece.
#[tokio::test]
async fn a_call_that_was_cancelled_loses_no_row() {
    for cursor_bytes_max in [64 << 10, 64 << 20] {
        let mut fixture = Fixture::new(|config| config.read.cursor_bytes_max = cursor_bytes_max).await;
        for run in 0..3 {
            fixture.append((0..20_000).map(|i| data(&format!("{:08}", i * 3 + run % 2), 0, 1)).collect()).await;
        }
        let reader = fixture.reader().await;
        let expected = reader.snapshot_and_fetch(at(2)).await.unwrap();
        assert_eq!(expected.len(), 40_000);
        let mut cursor = reader.snapshot_cursor(at(2), |_| true).await.unwrap();
        let (mut rows, mut cancelled) = (Vec::new(), 0);
        loop {
            tokio::select! {
                biased;
                more = cursor.next() => match more.unwrap() {
                    Some(more) => rows.extend(more),
                    None => break,
                },
                () = tokio::task::yield_now() => cancelled += 1,
            }
        }
        assert!(cancelled > 0);
        assert!(rows == expected, "{} rows with {cancelled} calls cancelled", rows.len());
    }
}

#[tokio::test]
async fn discarded_parts_are_not_fetched() {
    let mut fixture = Fixture::new(|config| config.read.filter_audit_one_in = 0).await;
    for key in ["a", "b", "c", "d"] {
        fixture.append(vec![data(key, 1, 1)]).await;
    }
    let reader = fixture.reader().await;
    let keep = |stats: &PartStats| stats.column("key").is_none_or(|keys| keys.may_contain_utf8("c"));
    let before = fixture.store.counts();
    let cursor = reader.snapshot_cursor(at(3), keep).await.unwrap();
    assert_eq!(drain(cursor).await, vec![row("c", 1, 3, 1)]);
    let counts = fixture.store.counts() - before;
    assert_eq!(counts.gets, 1, "a small part is read with one request");
    let cursor = reader.snapshot_cursor(at(3), |_| false).await.unwrap();
    assert_eq!(drain(cursor).await, vec![]);
    assert_eq!((fixture.store.counts() - before).gets, 1);
    assert_eq!(reader.outstanding_leases(), 0);
}

#[tokio::test]
async fn audited_parts_are_fetched_although_they_were_discarded() {
    let mut fixture = Fixture::new(|config| config.read.filter_audit_one_in = 1).await;
    fixture.append(vec![data("a", 1, 1)]).await;
    let reader = fixture.reader().await;
    let before = fixture.store.counts();
    let cursor = reader.snapshot_cursor(at(0), |_| false).await.unwrap();
    assert_eq!((fixture.store.counts() - before).gets, 1);
    assert_eq!(drain(cursor).await, vec![]);
}

#[tokio::test]
async fn a_cursor_abandoned_half_way_gives_its_leases_back() {
    let mut fixture = Fixture::new(|_| {}).await;
    for run in 0..3 {
        fixture.append((0..20_000).map(|i| data(&format!("{i:08}"), run, 1)).collect()).await;
    }
    let reader = fixture.reader().await;
    let mut cursor = reader.snapshot_cursor(at(2), |_| true).await.unwrap();
    let rows = cursor.next().await.unwrap().unwrap();
    assert!(rows.len() < 60_000);
    assert_eq!(reader.outstanding_leases(), 3);
    drop(cursor);
    assert_eq!(reader.outstanding_leases(), 0);
    let cursor = reader.snapshot_cursor(at(2), |_| true).await.unwrap();
    assert_eq!(drain(cursor).await.len(), 60_000);
}

#[tokio::test]
async fn inline_parts_and_compacted_ones_are_merged_alike() {
    let mut fixture = Fixture::new(|config| {
        (config.upkeep.compact, config.write.inline_part_bytes_max) = (true, 8 << 10);
        (config.upkeep.inline_parts_max, config.upkeep.compaction_fan_in) = (16, 4);
    })
    .await;
    for time in 0..100u64 {
        fixture.append(vec![data("count", 0, 1), data(&format!("{time:03}"), time, 1)]).await;
    }
    let reader = fixture.reader().await;
    let cursor = reader.snapshot_cursor(at(99), |_| true).await.unwrap();
    let mut expected: Vec<Row> = (0..100).map(|time| row(&format!("{time:03}"), time, 99, 1)).collect();
    expected.push(row("count", 0, 99, 100));
    assert_eq!(drain(cursor).await, expected);
}

/// A text whose capitals do not matter: equal values have unequal bytes.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Caseless(String);

impl Caseless {
    fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl PartialEq for Caseless {
    fn eq(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }
}

impl Eq for Caseless {}

impl PartialOrd for Caseless {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Caseless {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(&other.folded())
    }
}

/// Hazard 15: what is consolidated is values, in a part, in a merge of a reader and in a compaction.
#[tokio::test]
async fn equal_values_of_unequal_bytes_are_one_row() {
    for (compact, inline_part_bytes_max) in [(false, 0), (false, 8_192), (true, 0)] {
        let mut config = Config::default();
        (config.upkeep.compact, config.upkeep.compaction_fan_in, config.write.inline_part_bytes_max) =
            (compact, 2, inline_part_bytes_max);
        let client = Client::builder(Arc::new(InMemory::new())).config(config).open().await.unwrap();
        let shard = client.shard::<Serde<Caseless>, (), u64, i64>(ShardId::new());
        let mut writer = shard.open_writer("test").await.unwrap();
        let row = |text: &str, time, diff| ((Serde(Caseless(text.to_owned())), ()), time, diff);
        let batches = [
            vec![row("One", 0, 1), row("oNE", 0, 1), row("gone", 0, 1), row("GONE", 0, -1)],
            vec![row("ONE", 1, 1), row("two", 1, 1)],
            vec![row("TWO", 2, -1), row("three", 2, 1)],
        ];
        for (time, rows) in (0..).zip(batches) {
            assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
        }
        let mut reader = shard.open_reader("test").await.unwrap();
        reader.downgrade_since(&at(2)).await.unwrap();
        shard.settle().await.unwrap();
        let rows = reader.snapshot_and_fetch(at(2)).await.unwrap();
        assert_eq!(rows, [row("one", 2, 3), row("three", 2, 1)], "compacted: {compact}");
    }
}
