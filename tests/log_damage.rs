//! Entries of the log that are gone, or are no entries: said by name, before anything is written or deleted.
//!
//! Hazard 43. Each test loses something of a real data directory, looks that nobody takes the rest for the whole, puts it
//! back, and goes on.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use timely::progress::Antichain;
use timely_persist::{Appended, Client, Config, Error, ErrorKind, SeqNo, Shard, ShardId};
use timely_persist_io::store::keys;

type Strings = Shard<String, u64, u64, i64>;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn rows(time: u64) -> Vec<((String, u64), u64, i64)> {
    vec![(("a".to_owned(), time), time, 1)]
}

/// A data directory with one shard, every part in an object.
struct Stage {
    directory: tempfile::TempDir,
    shard: ShardId,
}

fn config() -> Config {
    let mut config = Config::default();
    config.write.inline_part_bytes_max = 0;
    config.upkeep.compact = false;
    config.upkeep.rollup_interval = u64::MAX;
    config
}

fn rolling_up() -> Config {
    let mut config = config();
    config.upkeep.rollup_interval = 4;
    config
}

impl Stage {
    /// A shard with so many appends, each an entry of its own, by a process that has ended.
    async fn with(appends: u64, config: Config) -> Self {
        let stage = Self { directory: tempfile::tempdir().unwrap(), shard: ShardId::from_u128(1) };
        let (client, shard) = stage.open(config).await;
        append(&shard, 0, appends).await;
        if client.config().upkeep.rollup_interval < u64::MAX {
            shard.settle().await.unwrap();
        }
        client.shutdown().await.unwrap();
        stage
    }

    async fn open(&self, config: Config) -> (Client, Strings) {
        let url = format!("file://{}", self.directory.path().display());
        let client = Client::at(url).config(config).open().await.unwrap();
        let shard = client.shard(self.shard);
        (client, shard)
    }

    fn entry(&self, seqno: u64) -> PathBuf {
        self.directory.path().join(keys::log_entry(self.shard, SeqNo(seqno)).as_ref())
    }

    /// The positions that have an entry.
    fn entries(&self) -> Vec<u64> {
        let folder = self.directory.path().join(keys::log_folder(self.shard).as_ref());
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut positions: Vec<u64> = names.filter_map(|name| keys::parse_seqno(&name)).map(|seqno| seqno.0).collect();
        positions.sort_unstable();
        positions
    }

    fn lose(&self, seqnos: impl IntoIterator<Item = u64>) -> Vec<(PathBuf, Vec<u8>)> {
        let take = |seqno| {
            let path = self.entry(seqno);
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            (path, bytes)
        };
        seqnos.into_iter().map(take).collect()
    }

    /// All that a fresh process says of the shard is that this entry is missing, and it touches nothing.
    async fn refuses(&self, missing: u64) {
        let before = contents(self.directory.path());
        let (client, shard) = self.open(rolling_up()).await;
        assert_missing(shard.inspect().await.map(drop), missing);
        assert_missing(shard.open_writer("late").await.map(drop), missing);
        assert_missing(shard.open_reader("late").await.map(drop), missing);
        assert_missing(shard.maintain().await.map(drop), missing);
        assert_missing(shard.finalize().await, missing);
        client.shutdown().await.unwrap();
        assert_eq!(contents(self.directory.path()), before, "nothing is written, nothing deleted");
    }

    /// A fresh process finds these appends, and goes on.
    async fn goes_on(&self, appends: u64) {
        let (client, shard) = self.open(config()).await;
        assert_eq!(shard.inspect().await.unwrap().upper, at(appends));
        append(&shard, appends, appends + 1).await;
        let reader = shard.open_reader("reader").await.unwrap();
        let expected: Vec<_> = (0..=appends).map(|time| (("a".to_owned(), time), appends, 1)).collect();
        assert_eq!(reader.snapshot_and_fetch(at(appends)).await.unwrap(), expected);
        reader.expire().await.unwrap();
        client.shutdown().await.unwrap();
    }
}

async fn append(shard: &Strings, from: u64, to: u64) {
    let mut writer = shard.open_writer("writer").await.unwrap();
    for time in from..to {
        let appended = writer.compare_and_append(rows(time), at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
}

fn assert_missing(refused: Result<(), Error>, missing: u64) {
    let error = refused.expect_err("it must say that an entry is missing");
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    assert!(error.to_string().contains(&format!("log entry {missing} is missing")), "{error}");
}

/// All files below a directory and their contents, probes of its health apart.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.exists() {
                all.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    all
}

fn put_back(lost: Vec<(PathBuf, Vec<u8>)>) {
    for (path, bytes) in lost {
        fs::write(path, bytes).unwrap();
    }
}

#[tokio::test]
async fn a_lost_entry_in_the_middle_is_not_the_end_of_the_log() {
    let stage = Stage::with(10, config()).await;
    let lost = stage.lose([6]);
    stage.refuses(6).await;
    put_back(lost);
    stage.goes_on(10).await;
}

#[tokio::test]
async fn several_lost_entries_in_front_of_a_log_are_not_an_empty_shard() {
    let stage = Stage::with(5, config()).await;
    let lost = stage.lose([1, 2, 3]);
    stage.refuses(1).await;
    put_back(lost);
    stage.goes_on(5).await;
}

#[tokio::test]
async fn several_lost_entries_right_behind_the_rollup_are_not_the_end_of_the_log() {
    let stage = Stage::with(5, rolling_up()).await;
    let (client, shard) = stage.open(config()).await;
    append(&shard, 5, 10).await;
    let covered = shard.inspect().await.unwrap().rollup.0;
    assert!(covered >= 4, "there is a rollup");
    client.shutdown().await.unwrap();
    let lost = stage.lose(covered + 1..=covered + 3);
    stage.refuses(covered + 1).await;
    put_back(lost);
    stage.goes_on(10).await;
}

#[tokio::test]
async fn a_log_without_entries_is_not_new_while_its_boundary_stands() {
    let stage = Stage::with(10, rolling_up()).await;
    let entries = stage.entries();
    assert!(entries[0] > 1, "the log is truncated: {entries:?}");
    let lost = stage.lose(entries.iter().copied());
    stage.refuses(entries[0]).await;
    put_back(lost);
    stage.goes_on(10).await;
}

/// What stands in the place of an entry and cannot be read is as good as nothing.
#[tokio::test]
async fn a_folder_or_a_broken_link_in_the_place_of_an_entry_is_not_the_end_of_the_log() {
    let stage = Stage::with(10, config()).await;
    let lost = stage.lose([6]);
    fs::create_dir(stage.entry(6)).unwrap();
    stage.refuses(6).await;
    fs::remove_dir(stage.entry(6)).unwrap();
    std::os::unix::fs::symlink("nowhere", stage.entry(6)).unwrap();
    stage.refuses(6).await;
    fs::remove_file(stage.entry(6)).unwrap();
    put_back(lost);
    stage.goes_on(10).await;
}

/// In the place of the next entry it is in the way: that is said at once, and not after the deadline of a commit.
#[tokio::test]
async fn a_folder_or_a_broken_link_in_the_way_of_the_next_entry_is_said() {
    let stage = Stage::with(3, config()).await;
    let (client, shard) = stage.open(config()).await;
    let mut writer = shard.open_writer("writer").await.unwrap();
    fs::create_dir(stage.entry(4)).unwrap();
    for link in [false, true] {
        if link {
            fs::remove_dir(stage.entry(4)).unwrap();
            std::os::unix::fs::symlink("nowhere", stage.entry(4)).unwrap();
        }
        let error = writer.compare_and_append(rows(3), at(3), at(4)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("log entry 4"), "{error}");
    }
    fs::remove_file(stage.entry(4)).unwrap();
    assert_eq!(writer.compare_and_append(rows(3), at(3), at(4)).await.unwrap(), Appended::Committed);
    client.shutdown().await.unwrap();
    stage.goes_on(4).await;
}

/// A process that has read the lost entry goes on; what it does not do is truncate around the hole.
#[tokio::test]
async fn nothing_is_truncated_around_a_lost_entry() {
    let stage = Stage::with(1, config()).await;
    let (client, shard) = stage.open(rolling_up()).await;
    let (other, elsewhere) = stage.open(config()).await;
    append(&elsewhere, 1, 6).await;
    assert_eq!(shard.inspect().await.unwrap().upper, at(6));
    let lost = stage.lose([3]);
    let before = stage.entries();
    assert_missing(shard.settle().await, 3);
    let after = stage.entries();
    assert!(before.iter().all(|seqno| after.contains(seqno)), "{before:?}, then {after:?}");
    put_back(lost);
    append(&shard, 6, 10).await; // with the next rollup it is tried again
    shard.settle().await.unwrap();
    assert!(stage.entries()[0] > 3, "{:?}", stage.entries());
    other.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
    stage.goes_on(10).await;
}
