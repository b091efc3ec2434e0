//! Reading objects that a store gives as files, into memory that was used before.
//!
//! A part takes megabytes, and memory that is fresh from the system costs more than the reading: each of its pages is
//! zeroed and entered on first touch, and several threads that do so get in each other's way. So a large buffer comes
//! back here when the last owner of its bytes is gone, and the next read takes it; and where the system has large pages,
//! it is asked for those.
//!
//! A system that gives no more maps has memory of the ordinary kind: slower, not kept, and said once.
//!
//! Always: bytes that were given out are not touched again; at most [`KEPT_BYTES_MAX`] bytes wait here unused. No file is
//! mapped into memory: one that shrinks under its reader would end the process.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use memmap2::MmapMut;
use object_store::{GetResult, GetResultPayload};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::life::lock;

/// Bytes of buffers that are kept for the next reads: as many parts as are read at once by default.
pub const KEPT_BYTES_MAX: usize = 64 << 20;

/// Smaller buffers, in bytes, are not worth keeping: the allocator has them at hand.
pub const KEPT_BUFFER_BYTES_MIN: u64 = 256 << 10;

/// Reads of [`KEPT_BUFFER_BYTES_MIN`] bytes and more, of parts that large and of ranges, that are under way at once. Each
/// keeps a processor busy with copying, so that more of them only make the first one end later; four keep a disk busy, too.
pub const LARGE_READS_MAX: usize = 4;

/// What reading files shares. Clones share it too.
#[derive(Clone, Debug)]
pub struct Files {
    buffers: Arc<Buffers>,
    turns: Arc<Semaphore>,
}

impl Default for Files {
    fn default() -> Self {
        Self { buffers: Arc::default(), turns: Arc::new(Semaphore::new(LARGE_READS_MAX)) }
    }
}

impl Files {
    /// All bytes of what a store found, whether it gives a file or not. Cancelling leaves nothing.
    pub async fn bytes(&self, found: GetResult) -> object_store::Result<Bytes> {
        let GetResultPayload::File(file, _path) = found.payload else { return found.bytes().await };
        let failed = |error: Error| object_store::Error::Generic { store: "a file", source: error.into() };
        let (files, range) = (self.clone(), found.range);
        // Held by who waits, not by the thread: a read that hangs keeps no turn once it is given up.
        let _turn = self.turn_for(range.end.saturating_sub(range.start)).await;
        tokio::task::spawn_blocking(move || files.read(&file, range).map_err(failed)).await?
    }

    /// The turn of who reads so many bytes, for as long as somebody waits for them; `None` if they are so few that they
    /// need none.
    pub async fn turn_for(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let turn = (bytes >= KEPT_BUFFER_BYTES_MIN).then(|| Arc::clone(&self.turns).acquire_owned());
        turn?.await.ok() // never closed
    }

    /// Reads a range of a file. Blocks.
    pub fn read(&self, file: &File, range: Range<u64>) -> std::io::Result<Bytes> {
        self.buffers.read(file, range)
    }
}

/// Buffers that wait for the next read.
#[derive(Debug, Default)]
struct Buffers {
    kept: Mutex<Vec<MmapMut>>,
    /// Whether it was said that there are no maps to be had.
    said: AtomicBool,
}

impl Buffers {
    fn read(self: &Arc<Self>, mut file: &File, range: Range<u64>) -> std::io::Result<Bytes> {
        let len = range.end.saturating_sub(range.start);
        let len = usize::try_from(len).map_err(|_| Error::from(ErrorKind::OutOfMemory))?;
        file.seek(SeekFrom::Start(range.start))?;
        if (len as u64) < KEPT_BUFFER_BYTES_MIN {
            let mut buffer = Vec::with_capacity(len);
            file.take(len as u64).read_to_end(&mut buffer)?;
            return match buffer.len() == len {
                true => Ok(Bytes::from(buffer)),
                false => Err(Error::new(ErrorKind::UnexpectedEof, format!("{} bytes of {len}", buffer.len()))),
            };
        }
        match self.take(len) {
            Ok(mut buffer) => {
                file.read_exact(&mut buffer[..len])?;
                Ok(Bytes::from_owner(Lent { buffer: Some(buffer), len, home: Arc::downgrade(self) }))
            }
            Err(error) => {
                if !self.said.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the system gives no maps for reading files: reading into plain memory");
                }
                let mut buffer = Vec::new();
                buffer.try_reserve_exact(len).map_err(|_| Error::from(ErrorKind::OutOfMemory))?;
                buffer.resize(len, 0);
                file.read_exact(&mut buffer)?;
                Ok(Bytes::from(buffer))
            }
        }
    }

    /// The smallest buffer that is large enough, or a new one.
    fn take(&self, len: usize) -> std::io::Result<MmapMut> {
        let mut kept = lock(&self.kept);
        let fitting = kept.iter().enumerate().filter(|(_, buffer)| buffer.len() >= len);
        if let Some((index, _)) = fitting.min_by_key(|(_, buffer)| buffer.len()) {
            return Ok(kept.swap_remove(index));
        }
        drop(kept);
        // Some more, which costs nothing while it is not touched: the blocks of a part differ by some bytes.
        let room = len.checked_next_multiple_of(KEPT_BUFFER_BYTES_MIN as usize).unwrap_or(len);
        let buffer = MmapMut::map_anon(room)?;
        #[cfg(target_os = "linux")]
        let _ = buffer.advise(memmap2::Advice::HugePage); // a kernel without them has small ones
        Ok(buffer)
    }

    /// Keeps a buffer, in the place of smaller ones if there is no room: those serve fewer reads.
    fn keep(&self, buffer: MmapMut) {
        if buffer.len() > KEPT_BYTES_MAX {
            return;
        }
        let mut kept = lock(&self.kept);
        let mut bytes: usize = kept.iter().map(|buffer| buffer.len()).sum();
        while bytes + buffer.len() > KEPT_BYTES_MAX {
            let smaller = kept.iter().enumerate().filter(|(_, other)| other.len() < buffer.len());
            let Some((index, _)) = smaller.min_by_key(|(_, other)| other.len()) else {
                return;
            };
            bytes -= kept.swap_remove(index).len();
        }
        kept.push(buffer);
    }
}

/// A buffer that comes home.
struct Lent {
    /// `None` once it went home.
    buffer: Option<MmapMut>,
    len: usize,
    home: Weak<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[..self.len])
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(home), Some(buffer)) = (self.home.upgrade(), self.buffer.take()) {
            home.keep(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::local::LocalFileSystem;
    use object_store::path::Path;

    use super::*;

    /// The lengths of the buffers that wait.
    fn lengths(buffers: &Buffers) -> Vec<usize> {
        buffers.kept.lock().expect("no test panics with it").iter().map(|buffer| buffer.len()).collect()
    }

    #[test]
    fn large_buffers_come_home_and_are_used_again() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let path = temporary.path().join("file");
        let written: Vec<u8> = (0..3 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
        std::fs::write(&path, &written).expect("a file");
        let buffers = Arc::new(Buffers::default());
        let read = |range| buffers.read(&File::open(&path).expect("the file"), range);
        let kept = || lengths(&buffers);
        let first = read(10..2 << 20).expect("there");
        assert_eq!(first, written[10..2 << 20]);
        let part = first.slice(5..10);
        drop(first);
        assert!(kept().is_empty(), "a slice is still in use");
        assert_eq!(part, written[15..20]);
        drop(part);
        assert_eq!(kept(), [2 << 20], "room for what is a little larger");
        let second = read(1..1 << 20 | 1).expect("there");
        assert!(kept().is_empty(), "taken");
        assert_eq!(second, written[1..1 << 20 | 1]);
        assert_eq!(read(0..10).expect("there"), written[..10]);
        assert_eq!(read(10..4 << 20).expect_err("too short").kind(), ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn large_reads_take_turns_and_small_ones_do_not_wait() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let store = LocalFileSystem::new_with_prefix(temporary.path()).expect("a directory");
        let (small, large) = (Path::from("small"), Path::from("large"));
        store.put(&small, "1".into()).await.expect("a file");
        store.put(&large, vec![1; KEPT_BUFFER_BYTES_MIN as usize].into()).await.expect("a file");
        let files = Files::default();
        let read = async |at: &Path| {
            let found = store.get(at).await.expect("the file");
            assert!(matches!(found.payload, GetResultPayload::File(..)));
            files.bytes(found).await.expect("its bytes").len() as u64
        };
        let mut turns = Vec::new();
        while let Ok(turn) = files.turns.try_acquire() {
            turns.push(turn);
        }
        assert_eq!(turns.len(), LARGE_READS_MAX);
        let mut waiting = std::pin::pin!(read(&large));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("it did not wait for its turn"),
            bytes = read(&small) => assert_eq!(bytes, 1),
        }
        turns.pop();
        assert_eq!(waiting.await, KEPT_BUFFER_BYTES_MIN);
        // What is given up, whether it waits or reads, leaves its turn to others.
        for _ in 0..2 {
            let mut given_up = Box::pin(read(&large));
            let _ = futures::poll!(&mut given_up);
        }
        assert_eq!(read(&large).await, KEPT_BUFFER_BYTES_MIN);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Buffers::default();
        for _ in 0..10 {
            buffers.keep(MmapMut::map_anon(KEPT_BYTES_MAX / 3).expect("memory"));
        }
        let kept = || lengths(&buffers);
        assert_eq!(kept(), [KEPT_BYTES_MAX / 3; 3]);
        let keep = |bytes| buffers.keep(MmapMut::map_anon(bytes).expect("memory"));
        keep(KEPT_BYTES_MAX / 4);
        assert_eq!(kept(), [KEPT_BYTES_MAX / 3; 3], "larger ones stay");
        keep(KEPT_BYTES_MAX / 2);
        assert_eq!(kept(), [KEPT_BYTES_MAX / 3, KEPT_BYTES_MAX / 2], "smaller ones go");
        keep(KEPT_BYTES_MAX + 1);
        assert_eq!(kept(), [KEPT_BYTES_MAX / 3, KEPT_BYTES_MAX / 2], "too large to be kept");
    }
}
