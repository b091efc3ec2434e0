//! How rows become parts.

use super::check::{Any, BYTES_MAX, ENTRY_INLINE_BYTES_MAX, PART_BYTES_MAX, THREADS_MAX, group};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The most pieces that bytes are cut into, as long as those are small ([`PIECE_BYTES_ENOUGH`]): a run into parts, a batch
/// into runs. Each takes a request and some 200 bytes of the shard's state, and is read by itself.
pub const PIECES_MAX: usize = 1 << 10;

/// Pieces of so many bytes are not small. A limit of at least that is kept as it is.
pub const PIECE_BYTES_ENOUGH: usize = 1 << 20;

/// What a limit on the bytes of a piece comes to where so many bytes are cut: it may be tiny, and they may be many.
pub fn piece_bytes(bytes_max: usize, total: usize) -> usize {
    bytes_max.max((total / PIECES_MAX).min(PIECE_BYTES_ENOUGH))
}

/// How parts are compressed when they are written. Readers read every kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: reading is zero-copy. For memory and local directories.
    #[default]
    None,
    /// LZ4 frames: cheap both ways.
    Lz4,
    /// Zstandard: smallest. For buckets, where bytes cost time.
    Zstd,
}

group! {
    /// How rows become parts, and how those get into the store. Compaction, which writes parts too, goes by the same
    /// sizes.
    #[derive(Copy)]
    WriteConfig at "config.write" {
        /// How parts are compressed when written. Default none.
        compression: Compression = Compression::None, Any;
        /// A part is closed when its rows take this many bytes in memory. Default 12 MiB: a few fit in flight at once
        /// within `config.read.inflight_bytes_max`, and one request per part still fills a disk or network pipe. Where
        /// it is tiny, see [`PIECES_MAX`].
        part_bytes_max: usize = 12 * MIB, 1..=PART_BYTES_MAX;
        /// A run that would be fewer parts than are uploaded at once is cut into more, of this many bytes in memory at
        /// least. Default 3 MiB: enough that a request does not count, and all of `uploads_max` work on a batch of 12 MiB.
        /// Where it is larger than `part_bytes_max`, that counts.
        part_bytes_min: usize = 3 * MIB, 0..=PART_BYTES_MAX;
        /// Rows of one batch are sorted together, as one run of parts, up to this many bytes in memory. Default 48 MiB: a
        /// reader merges one run per append of that size, and a builder takes about three times as much. Where it is
        /// tiny, see [`PIECES_MAX`].
        run_bytes_max: usize = 48 * MIB, 1..=BYTES_MAX;
        /// The memory in which the rows of a batch were collected is kept for the next batch, if they took no more than
        /// this many bytes; and as many bytes of that in which parts were encoded. Default 32 MiB, once per client: fresh
        /// memory of that size costs as much time as sorting the rows.
        spare_rows_bytes_max: usize = 32 * MIB, 0..=BYTES_MAX;
        /// The largest part, in encoded bytes, that is kept inside the log entry. Default 8 KiB: less than a round trip's
        /// worth of transfer.
        inline_part_bytes_max: usize = 8 * KIB, 0..=ENTRY_INLINE_BYTES_MAX;
        /// The statistics of all parts that one commit adds, in encoded bytes: what is more is shortened, to the bounds of keys
        /// first, and then left out of some parts, which filters keep and fetch. Default 4 MiB: those of 20,000 parts of few
        /// columns, which every opener of the shard reads along.
        entry_stats_bytes_max: usize = 4 * MIB, 0..=ENTRY_INLINE_BYTES_MAX;
        /// Parts of one run that are encoded and uploaded at once. Default 4: as many threads as that work for one batch.
        uploads_max: usize = 4, 1..=THREADS_MAX;
        /// The largest row, in bytes of its columns. Default 64 MiB: a row is never split, so it bounds every buffer from
        /// below.
        row_bytes_max: usize = 64 * MIB, 1..=PART_BYTES_MAX;
    }
}
