//! Reading files into memory that was used before.
//!
//! A part takes megabytes, and memory that is fresh from the system costs more than the reading: each of its pages is
//! zeroed and entered on first touch, and several threads that do so get in each other's way. So a large buffer comes
//! back here when the last owner of its bytes is gone, and the next read takes it; and where the system has large pages,
//! it is asked for those.
//!
//! Always: bytes that were given out are not touched again; at most [`KEPT_BYTES_MAX`] bytes wait here unused.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use memmap2::MmapMut;

/// Bytes of buffers that are kept for the next reads: as many parts as are read at once by default.
pub const KEPT_BYTES_MAX: usize = 64 << 20;

/// Smaller buffers are not worth keeping: the allocator has them at hand.
pub const KEPT_BUFFER_BYTES_MIN: usize = 1 << 20;

/// Buffers that wait for the next read.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<MmapMut>>);

impl Buffers {
    /// Reads a range of a file. Blocks.
    pub(super) fn read(self: &Arc<Self>, mut file: File, range: Range<u64>) -> std::io::Result<Bytes> {
        let len = range.end.saturating_sub(range.start);
        let len = usize::try_from(len).map_err(|_| Error::from(ErrorKind::OutOfMemory))?;
        file.seek(SeekFrom::Start(range.start))?;
        if len < KEPT_BUFFER_BYTES_MIN {
            let mut buffer = Vec::with_capacity(len);
            file.take(len as u64).read_to_end(&mut buffer)?;
            return match buffer.len() == len {
                true => Ok(Bytes::from(buffer)),
                false => Err(Error::new(ErrorKind::UnexpectedEof, format!("{} bytes of {len}", buffer.len()))),
            };
        }
        let mut buffer = self.take(len)?;
        file.read_exact(&mut buffer[..len])?;
        Ok(Bytes::from_owner(Lent { buffer: Some(buffer), len, home: Arc::downgrade(self) }))
    }

    /// The smallest buffer that is large enough, or a new one.
    fn take(&self, len: usize) -> std::io::Result<MmapMut> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = kept.iter().enumerate().filter(|(_, buffer)| buffer.len() >= len);
        if let Some((index, _)) = fitting.min_by_key(|(_, buffer)| buffer.len()) {
            return Ok(kept.swap_remove(index));
        }
        drop(kept);
        let buffer = MmapMut::map_anon(len)?;
        #[cfg(target_os = "linux")]
        let _ = buffer.advise(memmap2::Advice::HugePage); // a kernel without them has small ones
        Ok(buffer)
    }

    /// Keeps a buffer, in the place of smaller ones if there is no room: those serve fewer reads.
    fn keep(&self, buffer: MmapMut) {
        if buffer.len() > KEPT_BYTES_MAX {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
    use super::*;

    /// The lengths of the buffers that wait.
    fn lengths(buffers: &Buffers) -> Vec<usize> {
        buffers.0.lock().expect("no test panics with it").iter().map(|buffer| buffer.len()).collect()
    }

    #[test]
    fn large_buffers_come_home_and_are_used_again() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let path = temporary.path().join("file");
        let written: Vec<u8> = (0..3 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
        std::fs::write(&path, &written).expect("a file");
        let buffers = Arc::new(Buffers::default());
        let read = |range| buffers.read(File::open(&path).expect("the file"), range);
        let kept = || lengths(&buffers);
        let first = read(10..2 << 20).expect("there");
        assert_eq!(first, written[10..2 << 20]);
        let part = first.slice(5..10);
        drop(first);
        assert!(kept().is_empty(), "a slice is still in use");
        assert_eq!(part, written[15..20]);
        drop(part);
        assert_eq!(kept(), [(2 << 20) - 10]);
        let second = read(1..1 << 20 | 1).expect("there");
        assert!(kept().is_empty(), "taken");
        assert_eq!(second, written[1..1 << 20 | 1]);
        assert_eq!(read(0..10).expect("there"), written[..10]);
        assert_eq!(read(10..4 << 20).expect_err("too short").kind(), ErrorKind::UnexpectedEof);
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
