//! The memory that a compaction and a cursor take, as the allocator counts it.
//!
//! One at a time: in one process they would count each other's memory.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use object_store::local::LocalFileSystem;
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Compression, Config, CriticalReaderId, Shard, ShardId, SinceDowngrade};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const MIB: usize = 1 << 20;

/// What a merge is to keep to.
const COMPACTION_BYTES_MAX: usize = 8 * MIB;

/// What a cursor is to keep to.
const CURSOR_BYTES_MAX: usize = 6 * MIB;

/// The size of a compaction's parts. One is being stored, while the next is being written: its last block in builders that
/// grow by doubling, the old one beside the new, and the blocks before it encoded.
const PART_BYTES_MAX: usize = MIB;

type Rows = Shard<String, String, u64, i64>;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// Text that does not compress to nothing, and of which no two are the same.
fn text(bytes: usize, seed: u64) -> String {
    let mut word = seed;
    let letter = || {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        char::from(b'a' + (word >> 60) as u8)
    };
    std::iter::repeat_with(letter).take(bytes).collect()
}

/// A row of no text: its time, its diff, and where its key and value begin.
const ROW_BYTES_MIN: usize = 24;

struct Case {
    batches: u64,
    runs: u64,
    rows: u64,
    /// Zero for one and the same row, changed again and again.
    row_bytes: usize,
    compression: Compression,
}

impl Case {
    fn bytes(&self) -> usize {
        (self.batches * self.runs * self.rows) as usize * self.row_bytes.max(ROW_BYTES_MIN)
    }

    /// Appends the batches, each of several runs: keys of all runs alternate, so that all are read side by side.
    async fn append(&self, shard: &Rows) {
        if self.row_bytes == 0 {
            return self.append_hot(shard).await;
        }
        let mut writer = shard.open_writer("test").await.unwrap();
        for time in 0..self.batches {
            let mut staged = Vec::new();
            for run in 0..self.runs {
                let mut builder = writer.batch_builder(at(time));
                for index in 0..self.rows {
                    let key = format!("{index:08} {time} {run}");
                    let value = text(self.row_bytes, index << 32 | time << 16 | run);
                    builder.add(&key, &value, &time, &1).await.unwrap();
                }
                staged.push(builder.finish(at(time + 1)).await.unwrap());
            }
            let mut staged: Vec<_> = staged.iter_mut().collect();
            let appended = writer.compare_and_append_batch(&mut staged, at(time), at(time + 1)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
        }
    }

    /// Appends a single row, again and again, and lets the since pass it.
    async fn append_hot(&self, shard: &Rows) {
        let mut writer = shard.open_writer("test").await.unwrap();
        let mut since = shard.open_critical_since(CriticalReaderId::from_u128(1), 0).await.unwrap();
        for batch in 0..self.batches {
            let mut builder = writer.batch_builder(at(batch * self.rows));
            for time in batch * self.rows..(batch + 1) * self.rows {
                builder.add(&"hot".to_owned(), &String::new(), &time, &1).await.unwrap();
            }
            let mut staged = builder.finish(at((batch + 1) * self.rows)).await.unwrap();
            let (lower, upper) = (at(batch * self.rows), at((batch + 1) * self.rows));
            let appended = writer.compare_and_append_batch(&mut [&mut staged], lower, upper).await.unwrap();
            assert_eq!(appended, Appended::Committed);
        }
        let moved = since.compare_and_downgrade_since(0, (0, &at(self.batches * self.rows - 1))).await.unwrap();
        assert!(matches!(moved, SinceDowngrade::Downgraded { .. }), "{moved:?}");
    }

    /// A directory, the store there, and what the batches are written with: nothing merges them.
    fn place(&self) -> (tempfile::TempDir, Arc<LocalFileSystem>, Config) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalFileSystem::new_with_prefix(dir.path()).unwrap());
        let mut config = Config::default();
        (config.upkeep.compact, config.upkeep.maintain) = (false, false);
        (config.write.part_bytes_max, config.write.compression) = (12 * MIB, self.compression);
        (dir, store, config)
    }

    /// Compacts them; the most memory that was in use meanwhile, beyond what was before.
    async fn peak(&self) -> usize {
        let _turn = TURN.lock().await;
        let (_dir, store, mut config) = self.place();
        let shard = ShardId::new();
        let writing = Client::builder(store.clone()).config(config.clone()).open().await.unwrap();
        self.append(&writing.shard(shard)).await;
        writing.shutdown().await.unwrap();

        (config.upkeep.compact, config.upkeep.maintain) = (true, true);
        (config.upkeep.compaction_bytes_max, config.write.part_bytes_max) = (COMPACTION_BYTES_MAX, PART_BYTES_MAX);
        config.upkeep.compaction_fan_in = self.batches as usize;
        let client = Client::builder(store).config(config).open().await.unwrap();
        let compacted: Rows = client.shard(shard);
        let before = compacted.inspect().await.unwrap();
        assert_eq!(before.batches as u64, self.batches);
        let profiler = dhat::Profiler::builder().testing().trim_backtraces(Some(2)).build();
        compacted.settle().await.unwrap();
        let peak = dhat::HeapStats::get().max_bytes;
        drop(profiler);
        let after = compacted.inspect().await.unwrap();
        let hot = self.row_bytes == 0;
        assert_eq!((after.batches, after.rows), (1, if hot { 1 } else { before.rows }));
        peak
    }

    /// Reads them with a cursor, a piece at a time; the most memory that was in use meanwhile, beyond what was before.
    async fn cursor_peak(&self) -> usize {
        let _turn = TURN.lock().await;
        let (_dir, store, mut config) = self.place();
        config.read.cursor_bytes_max = CURSOR_BYTES_MAX;
        let client = Client::builder(store).config(config).open().await.unwrap();
        let shard: Rows = client.shard(ShardId::new());
        self.append(&shard).await;
        let reader = shard.open_reader("test").await.unwrap();
        let profiler = dhat::Profiler::builder().testing().trim_backtraces(Some(2)).build();
        let mut cursor = reader.snapshot_cursor(at(self.batches - 1), |_| true).await.unwrap();
        let mut rows = 0;
        while let Some(piece) = cursor.next().await.unwrap() {
            rows += piece.len() as u64;
        }
        let peak = dhat::HeapStats::get().max_bytes;
        drop(profiler);
        assert_eq!(rows, self.batches * self.runs * self.rows);
        peak
    }

    /// Beside what the bound speaks of: the rows that were found in so much memory once more, which are the caller's; and a
    /// block that is being read, and small change: 3 to 4 MiB were seen, so 6.
    async fn check_cursor(self) {
        let bound = 2 * CURSOR_BYTES_MAX + 6 * MIB;
        assert!(self.bytes() > 2 * bound, "too little to show anything");
        let peak = self.cursor_peak().await;
        assert!(peak <= bound, "{} KiB in use, {} KiB allowed", peak >> 10, bound >> 10);
    }

    /// Beside what the bound speaks of: a block that is being read, one part of output, and small change.
    async fn check(self) {
        let block = self.row_bytes.max(MIB);
        let bound = COMPACTION_BYTES_MAX + block + 5 * PART_BYTES_MAX.max(self.row_bytes) + MIB;
        assert!(self.bytes() > 3 * COMPACTION_BYTES_MAX, "too little to show anything");
        let peak = self.peak().await;
        assert!(peak <= bound, "{} KiB in use, {} KiB allowed", peak >> 10, bound >> 10);
    }
}

#[tokio::test]
async fn a_compaction_of_many_batches_keeps_to_its_memory() {
    Case { batches: 20, runs: 1, rows: 1_000, row_bytes: 1_500, compression: Compression::None }.check().await;
}

#[tokio::test]
async fn a_compaction_of_batches_of_many_runs_keeps_to_its_memory() {
    Case { batches: 2, runs: 10, rows: 1_000, row_bytes: 1_500, compression: Compression::None }.check().await;
}

#[tokio::test]
async fn a_compaction_of_compressed_batches_keeps_to_its_memory() {
    Case { batches: 10, runs: 2, rows: 1_000, row_bytes: 1_500, compression: Compression::Zstd }.check().await;
}

#[tokio::test]
async fn a_compaction_of_wide_rows_keeps_to_its_memory() {
    Case { batches: 12, runs: 1, rows: 2, row_bytes: 2 * MIB, compression: Compression::None }.check().await;
}

#[tokio::test]
async fn a_compaction_of_a_row_that_changed_very_often_keeps_to_its_memory() {
    Case { batches: 8, runs: 1, rows: 150_000, row_bytes: 0, compression: Compression::None }.check().await;
}

#[tokio::test]
async fn a_cursor_over_many_runs_keeps_to_its_memory() {
    Case { batches: 20, runs: 1, rows: 1_500, row_bytes: 1_500, compression: Compression::None }.check_cursor().await;
}

#[tokio::test]
async fn a_cursor_over_one_run_keeps_to_its_memory() {
    Case { batches: 1, runs: 1, rows: 30_000, row_bytes: 1_500, compression: Compression::Zstd }.check_cursor().await;
}

/// What a builder collects of one run.
const RUN_BYTES_MAX: usize = 2 * MIB;

/// A hydration: the rows of one time, many times what fits into memory. One run is collected and one is sorted, in columns
/// that grew by doubling, and that one is encoded meanwhile: 4.6 times as much was seen.
#[tokio::test]
async fn a_builder_keeps_to_its_runs_however_many_rows_come() {
    const ROWS: u64 = 14_000;
    const ROW_BYTES: usize = 1_000;
    let _turn = TURN.lock().await;
    let case = Case { batches: 0, runs: 0, rows: 0, row_bytes: 0, compression: Compression::None };
    let (_dir, store, mut config) = case.place();
    (config.write.run_bytes_max, config.write.part_bytes_max) = (RUN_BYTES_MAX, MIB / 2);
    config.write.spare_rows_bytes_max = 0;
    let client = Client::builder(store).config(config).open().await.unwrap();
    let shard: Rows = client.shard(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    let profiler = dhat::Profiler::builder().testing().trim_backtraces(Some(2)).build();
    let mut builder = writer.batch_builder(at(0));
    let rows = (0..ROWS).map(|index| ((format!("{index:08}"), "x".repeat(ROW_BYTES)), 0, 1));
    builder.add_rows(rows).await.unwrap();
    let mut batch = builder.finish(at(1)).await.unwrap();
    let peak = dhat::HeapStats::get().max_bytes;
    drop(profiler);
    assert!(batch.bytes() > 6 * RUN_BYTES_MAX as u64, "too little to show anything");
    assert!(peak <= 5 * RUN_BYTES_MAX + MIB, "{} KiB in use", peak >> 10);
    let appended = writer.compare_and_append_batch(&mut [&mut batch], at(0), at(1)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    client.shutdown().await.unwrap();
}
