//! Every limit, with its unit, its default and the reason for that default.
//!
//! A [`Config`] is read once, when the client opens; nothing changes under a running dataflow. Fields are plain values:
//! start from `Config::default()` and set what differs. Each has a range (`check.rs`); what lies outside is refused when
//! the client opens.
//!
//! Two kinds of limits:
//! * **The store's**, [`StoreLimits`]: one process relies on what another does by them, so all processes must have the
//!   same. They are kept in the store by whoever opens it first; a client with others is refused, or takes the store's
//!   ([`ClientBuilder::adopt_limits`](crate::ClientBuilder::adopt_limits)), or changes them.
//! * **The client's own**, all others: what they decide is recorded with what was decided (a reader's lease, whether a
//!   part is inline), or concerns nobody else. Processes on one store may differ in them.

use std::path::PathBuf;
use std::time::Duration;

mod check;
mod store_limits;

pub use check::{BYTES_MAX, DURATION_MAX, ENTRY_INLINE_BYTES_MAX, LONG_MIN, PAUSE_MIN, THREADS_MAX};
pub use store_limits::StoreLimits;

/// The longest purpose of a reader or writer, in bytes. Each commit of the reader, and every rollup, carries it: 1 KiB says
/// what somebody needs to find the owner, and costs no more than a few rows.
pub const PURPOSE_BYTES_MAX: usize = 1 << 10;

/// The most pieces that bytes are cut into, as long as those are small ([`PIECE_BYTES_ENOUGH`]): a run into parts, a batch
/// into runs. Each takes a request and some 200 bytes of the shard's state, and is read by itself.
pub const PIECES_MAX: usize = 1 << 10;

/// Pieces of so many bytes are not small. A limit of at least that is kept as it is.
pub const PIECE_BYTES_ENOUGH: usize = 1 << 20;

/// What a limit on the bytes of a piece comes to where so many bytes are cut: it may be tiny, and they may be many.
pub(crate) fn piece_bytes(bytes_max: usize, total: usize) -> usize {
    bytes_max.max((total / PIECES_MAX).min(PIECE_BYTES_ENOUGH))
}

/// How parts are compressed when they are written. Readers read every kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all: reading is zero-copy. For memory and local directories.
    #[default]
    None,
    /// LZ4 frames: cheap both ways.
    Lz4,
    /// Zstandard: smallest. For buckets, where bytes cost time.
    Zstd,
}

/// The limits of a client, and what it takes those of its store to be: see the [module](self).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    // ---- the store's: see `StoreLimits`
    /// **The store's.** An object that no state refers to is removed when it is older than this, and a part older than
    /// half of this is refused at commit. Default 1 day: half of it is longer than any upload and its commit, and the
    /// other half is what clocks may differ by.
    pub orphan_age_min: Duration,
    /// **The store's.** A lapse after which the record that a writer keeps for settling lost answers is dropped, by
    /// whoever commits next. Default 1 day: far longer than any commit's deadline.
    pub writer_retention: Duration,

    // ---- the client's own
    /// Threads of the client's own runtime, which does all storage work. Default 2: one can decode while one waits.
    pub runtime_threads: usize,
    /// Threads that each of the client's three runtimes (work, upkeep, pulse) may have beside those, for what blocks:
    /// reading and writing files, sorting and encoding. Default 128: as many requests as a disk or a file server takes at
    /// once. One is there from the beginning; a thread that was needed once stays until the client ends, so that there is
    /// always one, also when the system gives no more.
    pub blocking_threads_max: usize,

    /// How parts are compressed when written. Default none.
    pub compression: Compression,
    /// A part is closed when its rows take this many bytes in memory. Default 12 MiB: a few fit in flight at once
    /// within `inflight_bytes_max`, and one request per part still fills a disk or network pipe. Where
    /// it is tiny, see [`PIECES_MAX`].
    pub part_bytes_max: usize,
    /// A run that would be fewer parts than are uploaded at once is cut into more, of this many bytes in memory at least.
    /// Default 3 MiB: enough that a request does not count, and all of `uploads_max` work on a batch of 12 MiB. Where it
    /// is larger than `part_bytes_max`, that counts.
    pub part_bytes_min: usize,
    /// Rows of one batch are sorted together, as one run of parts, up to this many bytes in memory. Default 48 MiB: a
    /// reader merges one run per append of that size, and a builder takes about three times as much. Where it is tiny, see
    /// [`PIECES_MAX`].
    pub run_bytes_max: usize,
    /// The memory in which the rows of a batch were collected is kept for the next batch, if they took no more than this
    /// many bytes. Default 32 MiB, once per client: fresh memory of that size costs as much time as sorting the rows.
    pub spare_rows_bytes_max: usize,
    /// The largest part, in encoded bytes, that is kept inside the log entry. Default 8 KiB: less than a round trip's
    /// worth of transfer.
    pub inline_part_bytes_max: usize,
    /// The bytes of inline parts that a shard's state may hold before compaction moves them to objects. Default 1 MiB:
    /// what every opener of the shard reads along.
    pub inline_total_bytes_max: usize,
    /// The inline parts that a shard's state may hold before compaction moves them to an object. Default 256: a commit
    /// that compacts, and an object, for every so many small appends.
    pub inline_parts_max: usize,
    /// Parts of one run that are encoded and uploaded at once. Default 4: as many threads as that work for one batch.
    pub uploads_max: usize,
    /// The largest row, in bytes of its columns. Default 64 MiB: a row is never split, so it bounds every buffer from
    /// below.
    pub row_bytes_max: usize,

    /// A lapse of renewal after which others may expire a leased reader: they must have seen it stand still for so long
    /// themselves. Default 15 minutes: longer than a laptop's nap or a broker's failover.
    pub reader_lease: Duration,
    /// How often the leases of a process are renewed, at most; jittered downwards, and never less than four times per
    /// lease. Default 4 minutes.
    pub heartbeat_interval: Duration,
    /// A reader stops trusting its lease this long before others may expire it, at most a quarter of the lease. Default
    /// 1 minute: more than clocks of a cluster differ by.
    pub lease_margin: Duration,
    /// A process removes a reader or a writer's record that it has not watched for a lease only if the last sign of it
    /// is older than this, by its own clock and by the shard's time. Default 30 days: clocks that are wrong are wrong by
    /// hours or days, or stand in the past, and what a process leaves that nobody outlives is kept no longer.
    pub lapse_age: Duration,

    /// The deadline of one commit, retries, read-backs and tries lost to other writers included. Default 60 s: then the
    /// caller hears that it may have happened, or that it did not.
    pub commit_deadline: Duration,
    /// The deadline of one request to the log. Default 10 s; after it the outcome is settled by reading back.
    pub log_request_deadline: Duration,
    /// The deadline of reading or writing one object, retries included. Default 120 s.
    pub store_deadline: Duration,
    /// The deadline of one request to a bucket, its answer included, where no shorter one cuts it off. Default 60 s: a
    /// part of the largest size over a slow line.
    pub bucket_request_deadline: Duration,
    /// The longest wait for a connection to a bucket. Default 5 s.
    pub bucket_connect_deadline: Duration,
    /// How often one request to a bucket is sent again below the library's own retries, because the server said that it
    /// is busy or the connection failed. Default 2: what a load balancer drops in passing.
    pub bucket_retries_max: usize,
    /// No request is sent again below the library's own retries later than this after it was sent first. Default 5 s.
    pub bucket_retry_limit: Duration,
    /// The first pause between two tries; doubled each time, jittered. Default 20 ms.
    pub retry_pause_min: Duration,
    /// The longest pause between two tries. Default 2 s.
    pub retry_pause_max: Duration,
    /// How often a waiting reader looks at the log although nothing woke it. Default 15 s: wake-ups may be lost, but
    /// rarely are.
    pub watch_fallback: Duration,

    /// Log entries between two rollups, three at least. Default 128: opening a shard applies at most about twice as many.
    pub rollup_interval: u64,
    /// Log entries fetched by one scan. Default 256.
    pub scan_entries_max: usize,
    /// Changes that one log entry may carry when several handles commit at once. Default 64.
    pub group_commits_max: usize,
    /// How often garbage is deleted, at most. Default 1 s: a busy shard records one deletion per second, not one per
    /// compaction.
    pub sweep_interval: Duration,
    /// Objects that one sweep step deletes before it records them as gone. Default 256: bounds a step after a long
    /// hold.
    pub sweep_step_objects_max: usize,
    /// How often a process looks for such objects in one shard. Default 6 hours: it lists the shard's folder.
    pub leak_sweep_interval: Duration,
    /// Whether this client compacts, collects and writes rollups. Default true. Who must only read says false.
    pub maintain: bool,
    /// Whether this client compacts, where it maintains: after its own appends, and those of others that it is to
    /// maintain (`Shard::maintain`). Default true.
    pub compact: bool,
    /// How many adjacent batches of one size class are merged at once. Default 8: each row is rewritten about
    /// log8(rows per append) times, a reader merges at most 7 runs per class.
    pub compaction_fan_in: usize,
    /// Bytes that must become free, by estimate, before batches are merged for no other reason than that the since has
    /// moved on. Default 512 KiB: a merge costs some requests and a commit, as much as storing this for a while.
    pub collapse_bytes_min: usize,
    /// The memory that one compaction may use for decoded blocks, in bytes, but at least two rows of the widest.
    /// Default 64 MiB: some 60 runs in one merge; more, or wider rows, are merged in groups. One part of output comes
    /// to it.
    pub compaction_bytes_max: usize,
    /// Threads that compact, for the whole client. Default 1.
    pub compaction_threads: usize,

    /// Bytes of parts that all sources of a client may have in flight together, decoded size. Default 64 MiB.
    pub inflight_bytes_max: usize,
    /// Requests for parts that a client has under way at once; `inflight_bytes_max` bounds their bytes. Default 256:
    /// 5,500 requests per second, what a bucket answers to one prefix, at 45 ms each. A fetch beyond it waits its turn.
    pub fetches_max: usize,
    /// A second request is sent for an object, or a range of one, of which not all is there after this time; what comes
    /// first is taken. Default none: a directory has no use for it, and for a bucket it depends on the distance. About
    /// three times what most requests take is a good value. A read that is asked twice may take twice the memory.
    pub hedge_delay: Option<Duration>,
    /// The share of requests for objects that may be asked a second time, from 0 to 1. Default 0.05: one in twenty is
    /// more than are slow for a reason of their own; where all are slow, asking twice makes them slower.
    pub hedge_budget: f64,
    /// What a cache of objects may keep in memory, in bytes. Default 0: no cache. It comes on top of
    /// `inflight_bytes_max`.
    pub cache_memory_bytes_max: usize,
    /// A local directory for a cache of objects on disk. Default none: no such cache. Processes may share it: each
    /// keeps a folder of its own there, and takes over one that another left.
    pub cache_directory: Option<PathBuf>,
    /// What each process may keep in `cache_directory`, in bytes. Default 10 GiB.
    pub cache_disk_bytes_max: u64,
    /// Parts that one reader step leases at most. Default 1,024.
    pub listen_parts_max: usize,
    /// The memory of a cursor, in bytes of decoded blocks. Default 64 MiB: above it a cursor reads smaller blocks.
    pub cursor_bytes_max: usize,
    /// Of how many parts discarded by a filter one is fetched anyway to audit the filter. Default 1 in 1,000; 0 for none.
    pub filter_audit_one_in: u64,
}

impl Default for Config {
    fn default() -> Self {
        const KIB: usize = 1 << 10;
        const MIB: usize = 1 << 20;
        Self {
            runtime_threads: 2,
            blocking_threads_max: 128,
            compression: Compression::None,
            part_bytes_max: 12 * MIB,
            part_bytes_min: 3 * MIB,
            run_bytes_max: 48 * MIB,
            spare_rows_bytes_max: 32 * MIB,
            inline_part_bytes_max: 8 * KIB,
            inline_total_bytes_max: MIB,
            inline_parts_max: 256,
            uploads_max: 4,
            row_bytes_max: 64 * MIB,
            reader_lease: Duration::from_secs(15 * 60),
            heartbeat_interval: Duration::from_secs(4 * 60),
            lease_margin: Duration::from_secs(60),
            writer_retention: Duration::from_secs(24 * 60 * 60),
            lapse_age: Duration::from_secs(30 * 24 * 60 * 60),
            commit_deadline: Duration::from_secs(60),
            log_request_deadline: Duration::from_secs(10),
            store_deadline: Duration::from_secs(120),
            bucket_request_deadline: Duration::from_secs(60),
            bucket_connect_deadline: Duration::from_secs(5),
            bucket_retries_max: 2,
            bucket_retry_limit: Duration::from_secs(5),
            retry_pause_min: Duration::from_millis(20),
            retry_pause_max: Duration::from_secs(2),
            watch_fallback: Duration::from_secs(15),
            rollup_interval: 128,
            scan_entries_max: 256,
            group_commits_max: 64,
            sweep_interval: Duration::from_secs(1),
            sweep_step_objects_max: 256,
            orphan_age_min: Duration::from_secs(24 * 60 * 60),
            leak_sweep_interval: Duration::from_secs(6 * 60 * 60),
            maintain: true,
            compact: true,
            compaction_fan_in: 8,
            collapse_bytes_min: 512 * KIB,
            compaction_bytes_max: 64 * MIB,
            compaction_threads: 1,
            inflight_bytes_max: 64 * MIB,
            fetches_max: 256,
            hedge_delay: None,
            hedge_budget: 0.05,
            cache_memory_bytes_max: 0,
            cache_directory: None,
            cache_disk_bytes_max: 10 << 30,
            listen_parts_max: 1_024,
            cursor_bytes_max: 64 * MIB,
            filter_audit_one_in: 1_000,
        }
    }
}
