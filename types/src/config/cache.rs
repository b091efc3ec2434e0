//! A cache of objects.

use std::path::PathBuf;

use super::check::{Any, BYTES_MAX, group};

group! {
    /// A cache of objects, in memory and on disk. By default there is none.
    CacheConfig at "config.cache" {
        /// What it may keep in memory, in bytes. Default 0: nothing. It comes on top of `config.read.inflight_bytes_max`.
        memory_bytes_max: usize = 0, 0..=BYTES_MAX;
        /// A local directory for what it keeps on disk. Default none: nothing. Processes may share it: each keeps a folder
        /// of its own there, and takes over one that another left.
        directory: Option<PathBuf> = None, Any; // opening it tells
        /// What each process may keep in `directory`, in bytes. Default 10 GiB.
        disk_bytes_max: u64 = 10 << 30, 0..=u64::MAX >> 1;
    }
}
