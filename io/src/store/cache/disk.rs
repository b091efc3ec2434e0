//! The part of the cache that outlives the process: a file per entry, in a folder of this process's own.
//!
//! Several processes may be given one directory. Each takes the first of its numbered folders, its *slot*, whose lock
//! nobody holds, and finds there what the last owner of the slot left. The lock is the operating system's: it goes with
//! the process, however that ends.
//!
//! A file holds the name and the range of what it keeps, the bytes, and a checksum of all that. It is written beside
//! its place and then moved there, and never synced: what a power cut leaves of it does not match its checksum.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use xxhash_rust::xxh3::xxh3_64;

use super::entries::{Entries, Key, object_number};
use timely_persist_types::error::Error;

/// Processes that may share one directory: each has a slot, and what is in it stays when the process is gone.
pub const CACHE_SLOTS_MAX: usize = 64;

/// What the file of an entry is called, behind its number.
const KEPT: &str = "kept";

/// The same of a file that is being written.
const UNFINISHED: &str = "unfinished";

/// Begins each file: what it is, and which version.
const MAGIC: &[u8] = b"tpcache1";

/// The length of a number in a file.
const WORD_BYTES: usize = 8;

/// The longest name that a file is believed to hold.
const NAME_BYTES_MAX: u64 = 64 << 10;

/// What a directory keeps for one file beside its bytes, about.
const FILE_BYTES: u64 = 4 << 10;

/// A process's own cache on disk.
#[derive(Debug)]
pub(super) struct DiskCache {
    folder: PathBuf,
    /// The files that are there, by the number that each is called after.
    files: Cache<u128, Kept>,
    by_object: Arc<Entries>,
    /// So that two who write one entry do not share an unfinished file.
    next: AtomicU64,
    /// Held for as long as this lives.
    _lock: File,
}

/// A file of the cache.
#[derive(Clone, Debug)]
struct Kept {
    bytes: u64,
    /// The object's number.
    object: u64,
}

impl DiskCache {
    /// Takes a slot of this directory, and knows what is in it.
    pub(super) fn open(directory: &FilePath, bytes_max: u64) -> Result<Self, Error> {
        let unusable = |error: io::Error| {
            let message = format!("the cache directory {} cannot be used", directory.display());
            Error::invalid(message).because(error)
        };
        let (folder, lock) = take_slot(directory).map_err(unusable)?.ok_or_else(|| {
            Error::invalid(format!("{CACHE_SLOTS_MAX} processes use the cache directory {}", directory.display()))
                .advise("name another for the next ones")
        })?;
        let by_object = Arc::<Entries>::default();
        let (place, known) = (folder.clone(), Arc::clone(&by_object));
        let removed = move |number: Arc<u128>, kept: Kept, cause: RemovalCause| {
            if cause != RemovalCause::Replaced {
                known.remove(kept.object, *number);
                remove(&place.join(file_name(*number)));
            }
        };
        let weigh = |_: &u128, kept: &Kept| u32::try_from(kept.bytes + FILE_BYTES).unwrap_or(u32::MAX);
        let files = Cache::builder().max_capacity(bytes_max).weigher(weigh).eviction_listener(removed).build();
        let disk = Self { folder, files, by_object, next: AtomicU64::new(0), _lock: lock };
        disk.find().map_err(unusable)?;
        Ok(disk)
    }

    /// Takes in the files that are there, and removes what was left unfinished.
    fn find(&self) -> io::Result<()> {
        for file in fs::read_dir(&self.folder)? {
            let path = file?.path();
            let is = |kind: &str| path.extension().is_some_and(|extension| extension == kind);
            if is(UNFINISHED) {
                remove(&path);
            } else if is(KEPT) {
                match (number(&path), read_head(&path)) {
                    (Some(number), Ok(kept)) => self.insert(number, kept),
                    _ => remove(&path),
                }
            }
        }
        self.files.run_pending_tasks();
        Ok(())
    }

    fn insert(&self, number: u128, kept: Kept) {
        self.by_object.add(kept.object, number);
        self.files.insert(number, kept);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.weighted_size()
    }

    /// What is kept under this key.
    pub(super) fn get(&self, key: &Key) -> Option<Bytes> {
        let (name, number) = (key.bytes(), key.number());
        self.files.get(&number)?;
        let found = fs::read(self.folder.join(file_name(number))).ok().and_then(|file| check(file, &name));
        if found.is_none() {
            tracing::warn!(object = %key.object, "a damaged file of the cache is removed");
            self.files.invalidate(&number); // and the file with it
        }
        found
    }

    /// Keeps these bytes, if the disk lets us.
    pub(super) fn put(&self, key: &Key, bytes: &Bytes) {
        let (name, number) = (key.bytes(), key.number());
        match self.write(number, &name, bytes) {
            Ok(bytes) => {
                self.insert(number, Kept { bytes, object: object_number(&key.object) });
                self.files.run_pending_tasks(); // what is too much goes now, not some time
            }
            Err(error) => tracing::warn!(%error, object = %key.object, "the cache could not keep an object on disk"),
        }
    }

    /// Removes all files of the object of this number.
    pub(super) fn forget(&self, object: u64) {
        for number in self.by_object.of(object) {
            self.files.invalidate(&number);
        }
        self.files.run_pending_tasks();
    }

    /// Writes a file; its length.
    fn write(&self, number: u128, name: &[u8], bytes: &Bytes) -> io::Result<u64> {
        let unfinished = self.folder.join(format!("{}.{UNFINISHED}", self.next.fetch_add(1, Ordering::Relaxed)));
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(&(name.len() as u64).to_le_bytes())?;
            file.write_all(name)?;
            file.write_all(bytes)?;
            file.write_all(&checksum(name, bytes).to_le_bytes())?;
            fs::rename(&unfinished, self.folder.join(file_name(number)))?;
            file.metadata().map(|file| file.len())
        });
        written.inspect_err(|_| remove(&unfinished))
    }
}

/// The first folder that no other process has locked, and the lock on it.
fn take_slot(directory: &FilePath) -> io::Result<Option<(PathBuf, File)>> {
    for slot in 0..CACHE_SLOTS_MAX {
        let folder = directory.join(format!("slot-{slot}"));
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => return Ok(Some((folder, lock))),
            Err(fs::TryLockError::WouldBlock) => {}
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

fn file_name(number: u128) -> String {
    format!("{number:032x}.{KEPT}")
}

fn number(path: &FilePath) -> Option<u128> {
    u128::from_str_radix(path.file_stem()?.to_str()?, 16).ok()
}

/// The file is gone, or whoever looks at it next finds it damaged.
fn remove(path: &FilePath) {
    let _ = fs::remove_file(path);
}

fn checksum(name: &[u8], bytes: &[u8]) -> u64 {
    xxh3_64(bytes) ^ xxh3_64(name).rotate_left(1)
}

/// The bytes in a file, if it is one of ours, whole, and under this name.
fn check(file: Vec<u8>, name: &[u8]) -> Option<Bytes> {
    let file = Bytes::from(file);
    let name_start = MAGIC.len() + WORD_BYTES;
    let start = name_start.checked_add(name.len())?;
    let end = file.len().checked_sub(WORD_BYTES).filter(|end| *end >= start)?;
    let word = |range: Range| file.get(range)?.try_into().ok().map(u64::from_le_bytes);
    let bytes = file.slice(start..end);
    let named = file.get(..MAGIC.len())? == MAGIC
        && word(MAGIC.len()..name_start)? == name.len() as u64
        && file.get(name_start..start)? == name;
    (named && word(end..file.len())? == checksum(name, &bytes)).then_some(bytes)
}

type Range = std::ops::Range<usize>;

/// What a file keeps, by its beginning. The rest is looked at when it is wanted.
fn read_head(path: &FilePath) -> io::Result<Kept> {
    let mut file = File::open(path)?;
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    let mut length = [0; WORD_BYTES];
    file.read_exact(&mut length)?;
    let (length, range_bytes) = (u64::from_le_bytes(length), 2 * WORD_BYTES);
    if magic != MAGIC || !(range_bytes as u64..=NAME_BYTES_MAX).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut name = Vec::new();
    Read::by_ref(&mut file).take(length).read_to_end(&mut name)?;
    let object = xxh3_64(name.get(range_bytes..).unwrap_or_default());
    Ok(Kept { bytes: file.metadata()?.len(), object })
}
