//! What is merged and deleted, and when.

use std::time::Duration;

use super::check::{Any, BYTES_MAX, COUNT_MAX, DURATION_MAX, LONG_MIN, PART_BYTES_MAX, group};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

group! {
    /// Compaction, rollups, and the deletion of what nobody needs.
    #[derive(Copy)]
    UpkeepConfig at "config.upkeep" {
        /// Whether this client compacts, collects and writes rollups. Default true. Who must only read says false.
        maintain: bool = true, Any;
        /// Log entries between two rollups, three at least. Default 128: opening a shard applies at most about twice as
        /// many.
        rollup_interval: u64 = 128, Any; // a tiny one is made larger, the largest is never
        /// How often garbage is deleted, at most. Default 1 s: a busy shard records one deletion per second, not one per
        /// compaction.
        sweep_interval: Duration = Duration::from_secs(1), Duration::ZERO..=DURATION_MAX;
        /// Objects that one sweep step deletes before it records them as gone. Default 256: bounds a step after a long
        /// hold.
        sweep_step_objects_max: usize = 256, 1..=COUNT_MAX;
        /// How often a process looks in one shard for objects that no state knows. Default 6 hours: it lists the shard's
        /// folder.
        leak_sweep_interval: Duration = Duration::from_secs(6 * 60 * 60), LONG_MIN..=DURATION_MAX;
        /// Whether this client compacts, where it maintains: after its own appends, and those of others that it is to
        /// maintain (`Shard::maintain`). Default true.
        compact: bool = true, Any;
        /// How many adjacent batches of one size class are merged at once. Default 8: each row is rewritten about
        /// log8(rows per append) times, a reader merges at most 7 runs per class.
        compaction_fan_in: usize = 8, 2..=COUNT_MAX;
        /// The memory that one compaction may use for decoded blocks, in bytes, but at least two rows of the widest.
        /// Default 64 MiB: some 60 runs in one merge; more, or wider rows, are merged in groups. One part of output comes
        /// to it.
        compaction_bytes_max: usize = 64 * MIB, 1..=BYTES_MAX;
        /// Bytes that must become free, by estimate, before batches are merged for no other reason than that the since has
        /// moved on. Default 512 KiB: a merge costs some requests and a commit, as much as storing this for a while.
        collapse_bytes_min: usize = 512 * KIB, 1..=BYTES_MAX;
        /// The bytes of inline parts that a shard's state may hold before compaction moves them to objects. Default 1 MiB:
        /// what every opener of the shard reads along.
        inline_total_bytes_max: usize = MIB, 0..=PART_BYTES_MAX;
        /// The inline parts that a shard's state may hold before compaction moves them to an object. Default 256: a commit
        /// that compacts, and an object, for every so many small appends.
        inline_parts_max: usize = 256, 1..=COUNT_MAX;
    }
}
