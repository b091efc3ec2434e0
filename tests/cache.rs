//! The cache of objects: what it spares the store, what it keeps at most, and that it is never wrong.
#![allow(clippy::unwrap_used)]

#[path = "support/stage.rs"]
mod stage;

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use stage::{Row, Strings, at, quiet};
use timely_persist::store::ObjectLog;
use timely_persist::{Client, Config, ShardId};
use timely_persist_io::store::ObjectCache;
use timely_persist_operators::PersistSource;
use timely_persist_testing::CountingStore;

const PARTS: u64 = 8;
const ROWS: u64 = 100;

fn in_memory(bytes: usize) -> Config {
    let mut config = quiet();
    config.cache.memory_bytes_max = bytes;
    config
}

fn on_disk(directory: &FilePath, bytes: u64) -> Config {
    let mut config = quiet();
    (config.cache.directory, config.cache.disk_bytes_max) = (Some(directory.to_owned()), bytes);
    config
}

/// Objects that are counted, and a log beside them.
#[derive(Clone)]
struct Place {
    store: CountingStore,
    log: Arc<dyn ObjectStore>,
}

impl Place {
    fn new() -> Self {
        Self { store: CountingStore::new(Arc::new(InMemory::new())), log: Arc::new(InMemory::new()) }
    }

    async fn client(&self, config: Config) -> Client {
        let log = Arc::new(ObjectLog::new(Arc::clone(&self.log)));
        Client::builder(Arc::new(self.store.clone())).consensus(log).config(config).open().await.unwrap()
    }
}

/// Stops a client: nothing of it holds its slot any more.
async fn stop(client: Client) {
    client.shutdown().await.unwrap();
}

async fn fill(shard: &Strings, times: std::ops::Range<u64>) {
    stage::fill(shard, times, ROWS).await;
}

/// A shard of [`PARTS`] parts.
async fn filled() -> (Place, ShardId) {
    let (place, id) = (Place::new(), ShardId::new());
    let client = place.client(quiet()).await;
    fill(&client.shard(id), 0..PARTS).await;
    stop(client).await;
    (place, id)
}

/// The contents of the shard, and how many gets of parts they cost.
async fn read(client: &Client, place: &Place, id: ShardId) -> (Vec<Row>, u64) {
    let shard: Strings = client.shard(id);
    let reader = shard.open_reader("test").await.unwrap();
    let before = place.store.counts();
    let rows = reader.snapshot_and_fetch(at(PARTS - 1)).await.unwrap();
    (rows, (place.store.counts() - before).gets)
}

fn files(directory: &FilePath) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for slot in std::fs::read_dir(directory).unwrap() {
        let kept = std::fs::read_dir(slot.unwrap().path()).unwrap().map(|file| file.unwrap().path());
        files.extend(kept.filter(|path| path.extension().is_some_and(|kind| kind == "kept")));
    }
    files.sort();
    files
}

#[tokio::test]
async fn what_was_read_once_is_not_asked_for_again() {
    let (place, id) = filled().await;
    let without = place.client(quiet()).await;
    let (expected, gets) = read(&without, &place, id).await;
    assert_eq!((expected.len() as u64, gets), (PARTS * ROWS, PARTS));
    assert_eq!(read(&without, &place, id).await.1, PARTS, "no cache unless it is asked for");

    let client = place.client(in_memory(1 << 20)).await;
    assert_eq!(read(&client, &place, id).await, (expected.clone(), PARTS));
    assert_eq!(read(&client, &place, id).await, (expected, 0));
}

#[test]
fn a_second_hydration_of_a_source_asks_the_store_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (place, id) = runtime.block_on(filled());
    let client = runtime.block_on(place.client(in_memory(1 << 20)));
    let shard: Strings = client.shard(id);
    for (workers, expected) in [(1, PARTS), (1, 0), (2, 0)] {
        let (before, shard) = (place.store.counts(), shard.clone());
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let source = PersistSource::new(&shard).as_of(at(PARTS - 1)).until(at(PARTS)).map(|_, _, _, _| None::<()>);
            let _button = worker.dataflow::<u64, _, _>(|scope| source.build(scope).button);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        drop(guards.unwrap());
        assert_eq!((place.store.counts() - before).gets, expected, "{workers} workers");
    }
}

#[tokio::test]
async fn a_cache_on_disk_outlives_the_process() {
    let (place, id) = filled().await;
    let directory = tempfile::tempdir().unwrap();
    let config = || on_disk(directory.path(), 1 << 20);
    let first = place.client(config()).await;
    let (expected, gets) = read(&first, &place, id).await;
    assert_eq!(gets, PARTS);
    assert_eq!(read(&first, &place, id).await, (expected.clone(), 0));
    stop(first).await;
    let second = place.client(config()).await;
    assert_eq!(read(&second, &place, id).await, (expected, 0));
}

#[tokio::test]
async fn what_is_damaged_on_disk_is_read_from_the_store_again() {
    let (place, id) = filled().await;
    let directory = tempfile::tempdir().unwrap();
    let config = || on_disk(directory.path(), 1 << 20);
    let first = place.client(config()).await;
    let (expected, _) = read(&first, &place, id).await;
    stop(first).await;
    let damages: [fn(Vec<u8>) -> Vec<u8>; 7] = [
        |_| Vec::new(),
        |mut file| {
            file.truncate(10);
            file
        },
        |mut file| {
            file.pop();
            file
        },
        |mut file| {
            let middle = file.len() / 2;
            file[middle] ^= 1;
            file
        },
        |mut file| {
            file[8..16].fill(0xff); // the length of the name
            file
        },
        |mut file| {
            file[16] ^= 1; // the range
            file
        },
        |file| [&file[..], b"more"].concat(),
    ];
    // While the process runs, and before it begins.
    for running in [true, false] {
        let opened = place.client(config()).await;
        assert_eq!(read(&opened, &place, id).await, (expected.clone(), 0));
        let before = match running {
            true => Some(opened),
            false => {
                stop(opened).await;
                None
            }
        };
        let kept = files(directory.path());
        assert_eq!(kept.len() as u64, PARTS);
        for (path, damage) in kept.iter().zip(damages) {
            std::fs::write(path, damage(std::fs::read(path).unwrap())).unwrap();
        }
        let client = match before {
            Some(client) => client,
            None => place.client(config()).await,
        };
        assert_eq!(read(&client, &place, id).await, (expected.clone(), damages.len() as u64), "running: {running}");
        assert_eq!(read(&client, &place, id).await, (expected.clone(), 0));
        stop(client).await;
    }
    // One file in the place of another.
    let kept = files(directory.path());
    std::fs::copy(&kept[0], &kept[1]).unwrap();
    // And all of it gone under a running process.
    let client = place.client(config()).await;
    assert_eq!(read(&client, &place, id).await, (expected.clone(), 1));
    std::fs::remove_dir_all(directory.path()).unwrap();
    assert_eq!(read(&client, &place, id).await, (expected.clone(), PARTS));
    assert_eq!(read(&client, &place, id).await, (expected, PARTS), "it cannot keep anything, and says so in an event");
}

#[tokio::test]
async fn processes_share_a_directory_each_with_a_slot_of_its_own() {
    let (place, id) = filled().await;
    let directory = tempfile::tempdir().unwrap();
    let config = || on_disk(directory.path(), 1 << 20);
    let (one, two) = (place.client(config()).await, place.client(config()).await);
    let both = futures::future::join_all([&one, &two].map(|client| read(client, &place, id))).await;
    assert_eq!(both[0].0, both[1].0);
    assert_eq!(files(directory.path()).len() as u64, 2 * PARTS);
    assert_eq!((read(&one, &place, id).await.1, read(&two, &place, id).await.1), (0, 0));
    drop(one);
    // The third takes over what the first left, as soon as that is gone.
    let waited = async {
        loop {
            let three = place.client(config()).await;
            if read(&three, &place, id).await.1 == 0 {
                return;
            }
            drop(three);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), waited).await.expect("a slot stays locked");
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_refused_when_the_client_opens() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let opened = Client::builder(Arc::new(InMemory::new())).config(on_disk(&file, 1 << 20)).open().await;
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), timely_persist::ErrorKind::Invalid);
    assert!(error.to_string().contains("file"), "{error}");
}

/// Many times as much as may be kept.
#[tokio::test]
async fn what_is_kept_stays_within_its_bound() {
    const BYTES_MAX: u64 = 64 << 10;
    let directory = tempfile::tempdir().unwrap();
    let mut both = on_disk(directory.path(), BYTES_MAX);
    both.cache.memory_bytes_max = BYTES_MAX as usize;
    let cache = Arc::new(ObjectCache::open(&both.cache).unwrap().unwrap());
    let put = |number: u64| {
        let cache = Arc::clone(&cache);
        async move {
            let (object, bytes) = (Path::from(format!("object {number}")), vec![number as u8; 4_000]);
            cache.put(&object, Some(0..4_000), bytes.clone().into()).await;
            if let Some(found) = cache.get(&object, Some(10..20), Some(4_000)).await {
                assert_eq!(found, bytes[10..20], "a range of the whole");
            }
            assert!(cache.memory_bytes() <= BYTES_MAX && cache.disk_bytes() <= BYTES_MAX);
        }
    };
    for number in 0..200 {
        put(number).await;
    }
    let hot = tokio::task::JoinSet::from_iter((200..400).map(put));
    hot.join_all().await;
    // A file may be on its way out while its weight is gone.
    put(400).await;
    let on_disk: u64 = files(directory.path()).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(on_disk <= BYTES_MAX, "{on_disk} bytes of files");
    assert!(cache.memory_bytes() > BYTES_MAX / 2 && cache.disk_bytes() > BYTES_MAX / 2, "it keeps something");
    // Larger than all: not kept, and no harm done.
    let huge = Path::from("huge");
    cache.put(&huge, None, vec![1; 2 * BYTES_MAX as usize].into()).await;
    assert!(cache.get(&huge, None, None).await.is_none());
    assert!(cache.memory_bytes() <= BYTES_MAX && cache.disk_bytes() <= BYTES_MAX);
}

#[tokio::test]
async fn an_object_that_is_deleted_leaves_the_cache_and_its_shard_is_read_right() {
    let place = Place::new();
    let directory = tempfile::tempdir().unwrap();
    let mut merging = on_disk(directory.path(), 1 << 20);
    (merging.upkeep.compact, merging.upkeep.compaction_fan_in, merging.cache.memory_bytes_max) = (true, 2, 1 << 20);
    (merging.upkeep.sweep_interval, merging.upkeep.rollup_interval) = (std::time::Duration::ZERO, 4);
    let client = place.client(merging).await;
    let shard: Strings = client.shard(ShardId::new());
    let mut previous: Vec<Row> = Vec::new();
    for time in 0..PARTS {
        fill(&shard, time..time + 1).await;
        let reader = shard.open_reader_at("test", at(time)).await.unwrap();
        let rows = reader.snapshot_and_fetch(at(time)).await.unwrap();
        assert_eq!(rows.len() as u64, (time + 1) * ROWS);
        assert!(previous.iter().all(|(data, _, _)| rows.binary_search_by(|row| row.0.cmp(data)).is_ok()));
        previous = rows;
        reader.expire().await.unwrap();
        shard.settle().await.unwrap();
    }
    let info = shard.inspect().await.unwrap();
    assert!(info.parts < PARTS && info.garbage == 0, "{info:?}");
    // What is still kept is of objects that are still there, a rollup among them perhaps.
    let kept: Vec<String> = files(directory.path()).iter().map(|file| name_in(file)).collect();
    assert!(!kept.is_empty());
    for object in kept {
        let object = Path::from(object);
        assert!(
            object_store::ObjectStoreExt::head(&place.store, &object).await.is_ok(),
            "{object} is gone from the store"
        );
    }
}

/// The object that a file of the cache is of.
fn name_in(file: &FilePath) -> String {
    let bytes = std::fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as usize;
    String::from_utf8(bytes[32..16 + length].to_vec()).unwrap()
}
