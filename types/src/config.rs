//! Every limit, with its unit, its default and the reason for that default, in groups by what they limit.
//!
//! A [`Config`] is read once, when the client opens; nothing changes under a running dataflow. Limits are plain values:
//! start from `Config::default()` and set what differs. Each has a range, beside its default; what lies outside is
//! refused when the client opens, by the name that one writes, such as `config.write.part_bytes_max`.
//!
//! ```
//! let mut config = timely_persist::Config::default();
//! config.write.part_bytes_max = 1 << 20;
//! ```
//!
//! Two kinds of limits:
//! * **The store's**, [`StoreLimits`]: one process relies on what another does by them, so all processes must have the
//!   same. They are kept in the store by whoever opens it first; a client with others is refused, or takes the store's
//!   (`ClientBuilder::adopt_limits`), or changes them.
//! * **The client's own**, all others: what they decide is recorded with what was decided (a reader's lease, whether a
//!   part is inline), or concerns nobody else. Processes on one store may differ in them.

mod bucket;
mod cache;
mod check;
mod lease;
mod log;
mod read;
mod store;
mod store_limits;
mod threads;
mod upkeep;
mod write;

pub use bucket::BucketConfig;
pub use cache::CacheConfig;
pub use check::{BYTES_MAX, DURATION_MAX, ENTRY_INLINE_BYTES_MAX, LONG_MIN, PAUSE_MIN, THREADS_MAX};
pub use lease::LeaseConfig;
pub use log::LogConfig;
pub use read::ReadConfig;
pub use store::StoreConfig;
pub use store_limits::StoreLimits;
pub use threads::ThreadsConfig;
pub use upkeep::UpkeepConfig;
pub use write::{Compression, PIECE_BYTES_ENOUGH, PIECES_MAX, WriteConfig, piece_bytes};

/// The longest purpose of a reader or writer, in bytes. Each commit of the reader, and every rollup, carries it: 1 KiB says
/// what somebody needs to find the owner, and costs no more than a few rows.
pub const PURPOSE_BYTES_MAX: usize = 1 << 10;

/// Appends that a writer may try again, each until its deadline, before its record may be dropped.
const COMMITS_PER_RETENTION: u32 = 2;

/// The limits of a client, and what it takes those of its store to be: see the [module](self).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// **The store's**: the same for all processes on it.
    pub limits: StoreLimits,
    /// How many threads there are.
    pub threads: ThreadsConfig,
    /// How rows become parts.
    pub write: WriteConfig,
    /// What reading may take.
    pub read: ReadConfig,
    /// How long a reader is believed to live.
    pub lease: LeaseConfig,
    /// Commits, and what else is asked of a shard's log.
    pub log: LogConfig,
    /// How long storage is waited for.
    pub store: StoreConfig,
    /// How one request to a bucket is sent.
    pub bucket: BucketConfig,
    /// What is merged and deleted, and when.
    pub upkeep: UpkeepConfig,
    /// A cache of objects.
    pub cache: CacheConfig,
}

impl Config {
    /// Says which limit cannot be, what it is, and what it may be. Before anything is written or a thread is started.
    pub fn check(&self) -> Result<(), String> {
        // All taken apart: a group that is not checked does not compile.
        let Self { limits, threads, write, read, lease, log, store, bucket, upkeep, cache } = self;
        limits.check()?;
        threads.check()?;
        write.check()?;
        read.check()?;
        lease.check()?;
        log.check()?;
        store.check()?;
        bucket.check()?;
        upkeep.check()?;
        cache.check()?;
        self.check_relations()
    }

    /// What limits must be to each other.
    pub fn check_relations(&self) -> Result<(), String> {
        let Self { limits, write, log, store, .. } = self;
        if store.retry_pause_min > store.retry_pause_max {
            return Err(format!(
                "config.store.retry_pause_min is {:?}; it must be at most config.store.retry_pause_max, {:?}",
                store.retry_pause_min, store.retry_pause_max
            ));
        }
        // The sweep must not be faster than what it might take away: an upload, and the commit behind it.
        let taken = store.deadline.saturating_add(log.commit_deadline);
        if limits.orphan_age_min / 2 < taken {
            return Err(format!(
                "config.limits.orphan_age_min is {:?}; half of it must be at least config.store.deadline and \
                 config.log.commit_deadline together, {taken:?}: what is uploaded must be committed before it is taken for \
                 lost",
                limits.orphan_age_min
            ));
        }
        let tried = log.commit_deadline.saturating_mul(COMMITS_PER_RETENTION);
        if limits.writer_retention < tried {
            return Err(format!(
                "config.limits.writer_retention is {:?}; it must be at least {COMMITS_PER_RETENTION} times \
                 config.log.commit_deadline, {tried:?}: an append that is tried again must find whether it happened",
                limits.writer_retention
            ));
        }
        let entry = write.inline_part_bytes_max.saturating_mul(log.group_commits_max);
        if write.inline_part_bytes_max > 0 && log.group_commits_max > 1 && entry > ENTRY_INLINE_BYTES_MAX {
            return Err(format!(
                "config.write.inline_part_bytes_max is {}; with a config.log.group_commits_max of {} it must be at most {}: \
                 together they are {ENTRY_INLINE_BYTES_MAX} bytes of one log entry at most",
                write.inline_part_bytes_max,
                log.group_commits_max,
                ENTRY_INLINE_BYTES_MAX / log.group_commits_max
            ));
        }
        let least = write.inline_part_bytes_max.saturating_add(write.entry_stats_bytes_max);
        if log.entry_bytes_max / 2 < least {
            return Err(format!(
                "config.log.entry_bytes_max is {}; half of it must be at least config.write.inline_part_bytes_max and \
                 config.write.entry_stats_bytes_max together, {least}",
                log.entry_bytes_max
            ));
        }
        Ok(())
    }
}
