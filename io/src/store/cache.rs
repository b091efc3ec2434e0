//! A cache of objects that never change: in memory, and on disk where that was asked for.
//!
//! Always: what it gives is what was put in, under the name, and for the range, that is asked for; what does not match
//! its checksum on disk is as if it were not there. The weights of what it keeps add up to what it may keep, besides
//! what is being put in at the moment. A cache never fails its caller: what it cannot keep or give, it does not.
//!
//! Not here: what may be cached. A part and a rollup may, their names are used once; a log's entry may not.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use object_store::path::Path;

use timely_persist_types::config::CacheConfig;
use timely_persist_types::error::Error;

mod disk;
mod entries;

pub use disk::CACHE_SLOTS_MAX;

use disk::DiskCache;
use entries::{Entries, Key, object_number};

/// What is kept in memory beside the bytes of an entry, about: its name, and the cache's own record of it.
const ENTRY_BYTES: u64 = 256;

/// The cache of one client.
#[derive(Debug)]
pub struct ObjectCache {
    memory: Option<MemoryCache>,
    disk: Option<Arc<DiskCache>>,
}

impl ObjectCache {
    /// The cache that this configuration asks for; `None` if it asks for none. Blocks for a few file operations.
    ///
    /// `Invalid` for a directory that cannot be used, or that too many processes use already.
    pub fn open(config: &CacheConfig) -> Result<Option<Self>, Error> {
        let memory_bytes_max = config.memory_bytes_max as u64;
        let memory = (memory_bytes_max > 0).then(|| MemoryCache::new(memory_bytes_max));
        let disk = config.directory.as_ref().filter(|_| config.disk_bytes_max > 0);
        let disk = disk.map(|path| DiskCache::open(path, config.disk_bytes_max)).transpose()?.map(Arc::new);
        Ok((memory.is_some() || disk.is_some()).then_some(Self { memory, disk }))
    }

    /// The bytes of an object in this range (`None`: all), if they are here, or those of all of it are: `length` says
    /// how many that is, where the caller knows.
    pub async fn get(&self, object: &Path, range: Option<Range<u64>>, length: Option<u64>) -> Option<Bytes> {
        let exact = Key { object: object.clone(), range: range.clone() };
        if let Some(bytes) = self.get_exact(&exact).await {
            return Some(bytes);
        }
        let (range, whole) = (range?, 0..length?);
        if range == whole {
            return None;
        }
        let bytes = self.get_exact(&Key { object: object.clone(), range: Some(whole) }).await?;
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
    }

    async fn get_exact(&self, key: &Key) -> Option<Bytes> {
        if let Some(bytes) = self.memory.as_ref().and_then(|memory| memory.get(key)) {
            return Some(bytes);
        }
        let (disk, wanted) = (Arc::clone(self.disk.as_ref()?), key.clone());
        let bytes = blocking(move || disk.get(&wanted)).await??;
        self.keep_in_memory(key, bytes.clone());
        Some(bytes)
    }

    /// Keeps what was read of an object. Returns when it is kept; cancelled, it may be or not.
    pub async fn put(&self, object: &Path, range: Option<Range<u64>>, bytes: Bytes) {
        let key = Key { object: object.clone(), range };
        self.keep_in_memory(&key, bytes.clone());
        if let Some(disk) = self.disk.clone() {
            blocking(move || disk.put(&key, &bytes)).await;
        }
    }

    fn keep_in_memory(&self, key: &Key, bytes: Bytes) {
        if let Some(memory) = &self.memory {
            memory.put(key, bytes);
        }
    }

    /// Forgets all of an object: because it is deleted, or what was read of it is not what was written.
    pub async fn forget(&self, object: &Path) {
        let object = object_number(object);
        if let Some(memory) = &self.memory {
            memory.forget(object);
        }
        if let Some(disk) = self.disk.clone() {
            blocking(move || disk.forget(object)).await;
        }
    }

    /// The weight of what is kept in memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.as_ref().map_or(0, |memory| memory.entries.weighted_size())
    }

    /// The weight of what is kept on disk, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.bytes())
    }
}

/// The part of the cache that goes with the process.
#[derive(Debug)]
struct MemoryCache {
    /// By their keys' numbers, with their objects' numbers.
    entries: Cache<u128, (u64, Bytes)>,
    by_object: Arc<Entries>,
}

impl MemoryCache {
    fn new(bytes_max: u64) -> Self {
        let by_object = Arc::<Entries>::default();
        let known = Arc::clone(&by_object);
        let removed = move |entry: Arc<u128>, (object, _): (u64, Bytes), cause: RemovalCause| {
            if cause != RemovalCause::Replaced {
                known.remove(object, *entry);
            }
        };
        let weigh =
            |_: &u128, (_, bytes): &(u64, Bytes)| u32::try_from(bytes.len() as u64 + ENTRY_BYTES).unwrap_or(u32::MAX);
        let entries = Cache::builder().max_capacity(bytes_max).weigher(weigh).eviction_listener(removed).build();
        Self { entries, by_object }
    }

    fn get(&self, key: &Key) -> Option<Bytes> {
        self.entries.get(&key.number()).map(|(_, bytes)| bytes)
    }

    fn put(&self, key: &Key, bytes: Bytes) {
        let (entry, object) = (key.number(), object_number(&key.object));
        self.by_object.add(object, entry);
        self.entries.insert(entry, (object, bytes));
        self.entries.run_pending_tasks(); // what is too much goes now, not some time
    }

    fn forget(&self, object: u64) {
        for entry in self.by_object.of(object) {
            self.entries.invalidate(&entry);
        }
    }
}

/// Does what may wait for a disk where that holds nobody up; `None` if the runtime ends.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    tokio::task::spawn_blocking(work).await.ok()
}
