//! How a shard's log is asked and written to.

use std::time::Duration;

use super::check::{COUNT_MAX, DEADLINE_MIN, DURATION_MAX, ENTRY_BYTES_MIN, ENTRY_INLINE_BYTES_MAX, group};

group! {
    /// Commits, and what else is asked of a shard's log.
    #[derive(Copy)]
    LogConfig at "config.log" {
        /// The deadline of one commit, retries, read-backs and tries lost to other writers included. Default 60 s: then the
        /// caller hears that it may have happened, or that it did not.
        commit_deadline: Duration = Duration::from_secs(60), DEADLINE_MIN..=DURATION_MAX;
        /// The deadline of one request to the log. Default 10 s; after it the outcome is settled by reading back.
        request_deadline: Duration = Duration::from_secs(10), DEADLINE_MIN..=DURATION_MAX;
        /// How often a waiting reader looks at the log although nothing woke it. Default 15 s: wake-ups may be lost, but
        /// rarely are.
        watch_fallback: Duration = Duration::from_secs(15), DEADLINE_MIN..=DURATION_MAX;
        /// Log entries fetched by one scan. Default 256: twice what lies between two rollups.
        scan_entries_max: usize = 256, 1..=COUNT_MAX;
        /// Changes that one log entry may carry when several handles commit at once. Default 64: with the inline parts of
        /// all of them it is half a megabyte.
        group_commits_max: usize = 64, 1..=COUNT_MAX;
        /// The parts of one log entry, in bytes of it: an append of more is refused before it is written, and commands that
        /// come to more together wait for the next entry. Default 64 MiB: some 200,000 parts, and what a line of 50 Mbit/s
        /// takes within `request_deadline`. The most is half of what PostgreSQL takes in one row.
        entry_bytes_max: usize = 64 << 20, ENTRY_BYTES_MIN..=ENTRY_INLINE_BYTES_MAX;
    }
}
