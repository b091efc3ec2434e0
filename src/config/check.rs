//! What each limit may be. Looked at when a client opens, before it writes anything or starts a thread.
//!
//! Always: a field without a range does not compile, because all of them are taken apart here. What passes works, though
//! perhaps slowly: `tests/limits.rs` opens clients at both ends of every range.
//!
//! Not here: whether the limits agree with the store's ([`StoreLimits`](super::StoreLimits)), and whether the system has
//! so many threads, or so much memory.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Config;

/// The longest duration of a limit: ten years, which is "never" for a process, and far from where clocks overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The shortest of what is waited for again and again: less would keep a thread busy with nothing else.
pub const PAUSE_MIN: Duration = Duration::from_micros(100);

/// The shortest of what is waited for before a folder is listed, or objects are taken for lost.
pub const LONG_MIN: Duration = Duration::from_secs(1);

/// The most threads of one kind in a client: more than any machine of today has processors for.
pub const THREADS_MAX: usize = 1_024;

/// The most bytes that a limit may be of: 1 TiB, which no process has, and sums of which do not overflow.
#[allow(clippy::cast_possible_truncation)] // it is the smaller of both
pub const BYTES_MAX: usize = if usize::BITS < 64 { usize::MAX >> 1 } else { (1u64 << 40) as usize };

/// The most bytes of inline parts that one log entry may come to, with all of `group_commits_max` in it: half of what
/// PostgreSQL takes in one row.
pub const ENTRY_INLINE_BYTES_MAX: usize = 512 << 20;

/// The largest part: what is encoded in memory, and a bucket takes in one request.
const PART_BYTES_MAX: usize = 1 << 30;

/// The most of anything that is counted: four billion is "all of them".
const COUNT_MAX: usize = u32::MAX as usize >> 1;

/// The shortest deadline: less than one answer of a disk takes would refuse everything.
const DEADLINE_MIN: Duration = Duration::from_millis(1);

/// The shortest duration that is none.
const INSTANT: Duration = Duration::from_nanos(1);

/// Appends that a writer may try again, each until its deadline, before its record may be dropped.
const COMMITS_PER_RETENTION: u32 = 2;

impl Config {
    /// Says which limit cannot be, what it is, and what it may be.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_memory()?;
        self.check_time()?;
        self.check_relations()
    }

    /// Counts and bytes. The durations are [`Config::check_time`]'s.
    fn check_memory(&self) -> Result<(), String> {
        let Config {
            orphan_age_min: _,
            writer_retention: _,
            runtime_threads,
            blocking_threads_max,
            compression: _, // all of its values
            part_bytes_max,
            part_bytes_min,
            run_bytes_max,
            spare_rows_bytes_max,
            inline_part_bytes_max,
            inline_total_bytes_max,
            inline_parts_max,
            uploads_max,
            row_bytes_max,
            reader_lease: _,
            heartbeat_interval: _,
            lease_margin: _,
            lapse_age: _,
            commit_deadline: _,
            log_request_deadline: _,
            store_deadline: _,
            bucket_request_deadline: _,
            bucket_connect_deadline: _,
            bucket_retries_max,
            bucket_retry_limit: _,
            retry_pause_min: _,
            retry_pause_max: _,
            watch_fallback: _,
            rollup_interval: _, // a tiny one is made larger, the largest is never
            scan_entries_max,
            group_commits_max,
            sweep_interval: _,
            sweep_step_objects_max,
            leak_sweep_interval: _,
            maintain: _,
            compact: _,
            compaction_fan_in,
            collapse_bytes_min,
            compaction_bytes_max,
            compaction_threads,
            inflight_bytes_max,
            fetches_max,
            hedge_delay: _,
            hedge_budget,
            cache_memory_bytes_max,
            cache_directory: _, // opening it tells
            cache_disk_bytes_max,
            listen_parts_max,
            cursor_bytes_max,
            filter_audit_one_in: _, // 0 is none, and the rest is rare
        } = self;
        within("runtime_threads", runtime_threads, 1..=THREADS_MAX)?;
        within("blocking_threads_max", blocking_threads_max, 1..=THREADS_MAX)?;
        within("compaction_threads", compaction_threads, 1..=THREADS_MAX)?;
        within("part_bytes_max", part_bytes_max, 1..=PART_BYTES_MAX)?;
        within("part_bytes_min", part_bytes_min, 0..=PART_BYTES_MAX)?;
        within("run_bytes_max", run_bytes_max, 1..=BYTES_MAX)?;
        within("spare_rows_bytes_max", spare_rows_bytes_max, 0..=BYTES_MAX)?;
        within("inline_part_bytes_max", inline_part_bytes_max, 0..=ENTRY_INLINE_BYTES_MAX)?;
        within("inline_total_bytes_max", inline_total_bytes_max, 0..=PART_BYTES_MAX)?;
        within("inline_parts_max", inline_parts_max, 1..=COUNT_MAX)?;
        within("uploads_max", uploads_max, 1..=THREADS_MAX)?;
        within("row_bytes_max", row_bytes_max, 1..=PART_BYTES_MAX)?;
        within("bucket_retries_max", bucket_retries_max, 0..=COUNT_MAX)?;
        within("scan_entries_max", scan_entries_max, 1..=COUNT_MAX)?;
        within("group_commits_max", group_commits_max, 1..=COUNT_MAX)?;
        within("sweep_step_objects_max", sweep_step_objects_max, 1..=COUNT_MAX)?;
        within("compaction_fan_in", compaction_fan_in, 2..=COUNT_MAX)?;
        within("collapse_bytes_min", collapse_bytes_min, 1..=BYTES_MAX)?;
        within("compaction_bytes_max", compaction_bytes_max, 1..=BYTES_MAX)?;
        within("inflight_bytes_max", inflight_bytes_max, 1..=BYTES_MAX)?;
        within("fetches_max", fetches_max, 1..=COUNT_MAX)?;
        within("hedge_budget", hedge_budget, 0.0..=1.0)?; // what is no number is in no range
        within("cache_memory_bytes_max", cache_memory_bytes_max, 0..=BYTES_MAX)?;
        within("cache_disk_bytes_max", cache_disk_bytes_max, 0..=u64::MAX >> 1)?;
        within("listen_parts_max", listen_parts_max, 1..=COUNT_MAX)?;
        within("cursor_bytes_max", cursor_bytes_max, 1..=BYTES_MAX)
    }

    /// Durations.
    fn check_time(&self) -> Result<(), String> {
        let at_least = |shortest: Duration| shortest..=DURATION_MAX;
        for (name, duration, shortest) in [
            ("orphan_age_min", self.orphan_age_min, LONG_MIN),
            ("writer_retention", self.writer_retention, LONG_MIN),
            ("reader_lease", self.reader_lease, INSTANT),
            ("heartbeat_interval", self.heartbeat_interval, PAUSE_MIN),
            ("lease_margin", self.lease_margin, Duration::ZERO),
            ("lapse_age", self.lapse_age, LONG_MIN),
            ("commit_deadline", self.commit_deadline, DEADLINE_MIN),
            ("log_request_deadline", self.log_request_deadline, DEADLINE_MIN),
            ("store_deadline", self.store_deadline, DEADLINE_MIN),
            ("bucket_request_deadline", self.bucket_request_deadline, DEADLINE_MIN),
            ("bucket_connect_deadline", self.bucket_connect_deadline, DEADLINE_MIN),
            ("bucket_retry_limit", self.bucket_retry_limit, Duration::ZERO),
            ("retry_pause_min", self.retry_pause_min, PAUSE_MIN),
            ("retry_pause_max", self.retry_pause_max, PAUSE_MIN),
            ("watch_fallback", self.watch_fallback, DEADLINE_MIN),
            ("sweep_interval", self.sweep_interval, Duration::ZERO),
            ("leak_sweep_interval", self.leak_sweep_interval, LONG_MIN),
        ] {
            within(name, &duration, at_least(shortest))?;
        }
        self.hedge_delay.as_ref().map_or(Ok(()), |delay| within("hedge_delay", delay, at_least(PAUSE_MIN)))
    }

    /// What limits must be to each other.
    pub(crate) fn check_relations(&self) -> Result<(), String> {
        if self.retry_pause_min > self.retry_pause_max {
            let (least, most) = (self.retry_pause_min, self.retry_pause_max);
            return Err(format!("retry_pause_min is {least:?}; it must be at most retry_pause_max, {most:?}"));
        }
        // The sweep must not be faster than what it might take away: an upload, and the commit behind it.
        let taken = self.store_deadline.saturating_add(self.commit_deadline);
        if self.orphan_age_min / 2 < taken {
            return Err(format!(
                "orphan_age_min is {:?}; half of it must be at least store_deadline and commit_deadline together, \
                 {taken:?}: what is uploaded must be committed before it is taken for lost",
                self.orphan_age_min
            ));
        }
        let tried = self.commit_deadline.saturating_mul(COMMITS_PER_RETENTION);
        if self.writer_retention < tried {
            return Err(format!(
                "writer_retention is {:?}; it must be at least {COMMITS_PER_RETENTION} times commit_deadline, \
                 {tried:?}: an append that is tried again must find whether it happened",
                self.writer_retention
            ));
        }
        let entry = self.inline_part_bytes_max.saturating_mul(self.group_commits_max);
        if self.inline_part_bytes_max > 0 && self.group_commits_max > 1 && entry > ENTRY_INLINE_BYTES_MAX {
            return Err(format!(
                "inline_part_bytes_max is {}; with a group_commits_max of {} it must be at most {}: together they \
                 are {ENTRY_INLINE_BYTES_MAX} bytes of one log entry at most",
                self.inline_part_bytes_max,
                self.group_commits_max,
                ENTRY_INLINE_BYTES_MAX / self.group_commits_max
            ));
        }
        Ok(())
    }
}

/// Whether a limit is one of those that it may be.
fn within<V: PartialOrd + Debug + Copy>(name: &str, value: &V, range: RangeInclusive<V>) -> Result<(), String> {
    if range.contains(value) {
        return Ok(());
    }
    Err(format!("{name} is {value:?}; it must be from {:?} to {:?}", range.start(), range.end()))
}
