//! The limits that all processes on one store must have alike.
//!
//! Which, and why: one process deletes by them what another still counts on.
//! * `orphan_age_min`: a leak sweep deletes an object that no state knows once it is older, and a commit may begin to
//!   refer to objects up to half as old. A sweep with a smaller one deletes what a healthy writer is about to commit.
//! * `writer_retention`: whoever commits drops records of writers that are older. A process with a smaller one drops the
//!   record by which another's repeated append is known to have happened.
//!
//! And which not: a lease is recorded with its reader, and judged by that record; its margin and heartbeat are judged by
//! the holder alone. What is inline, and how large parts and rows are, is said by each entry and each part, and read
//! whatever the reader's own limits are. When to compact, to sweep, or to write a rollup changes what it costs, never
//! what is there. Deadlines bound how long the own process waits.

use std::time::Duration;

use crate::clock::millis;

use super::check::{DURATION_MAX, LONG_MIN, group};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

group! {
    /// The limits of a store, the same for all processes on it. They are stored in whole milliseconds.
    #[derive(Copy, PartialEq, Eq)]
    StoreLimits at "config.limits" {
        /// An object that no state refers to is removed when it is older than this, and a part older than half of this is
        /// refused at commit. Default 1 day: half of it is longer than any upload and its commit, and the other half is
        /// what clocks may differ by.
        orphan_age_min: Duration = DAY, LONG_MIN..=DURATION_MAX;
        /// A lapse after which the record that a writer keeps for settling lost answers is dropped, by whoever commits
        /// next. Default 1 day: far longer than any commit's deadline.
        writer_retention: Duration = DAY, LONG_MIN..=DURATION_MAX;
    }
}

/// Staged objects get other names so many times in the age that a commit takes. Four: one round that fails, or comes late,
/// leaves time for two more.
const RENEWALS_PER_AGE: u32 = 4;

impl StoreLimits {
    /// How old an object may be when a commit begins to refer to it. Older ones may have been taken for lost, and deleted:
    /// half of the age at which a sweep does so, because clocks may differ by the other half.
    pub fn commit_age_max(&self) -> Duration {
        self.orphan_age_min / 2
    }

    /// How old a staged object is when it is to get another name, so that it is young enough for its commit.
    pub fn renewal_age(&self) -> Duration {
        self.commit_age_max() / RENEWALS_PER_AGE
    }

    /// Both, in milliseconds, as they are written.
    pub fn from_millis(orphan_age_min: u64, writer_retention: u64) -> Self {
        Self {
            orphan_age_min: Duration::from_millis(orphan_age_min),
            writer_retention: Duration::from_millis(writer_retention),
        }
    }

    /// For each limit the larger of both.
    pub fn max(self, other: Self) -> Self {
        Self {
            orphan_age_min: self.orphan_age_min.max(other.orphan_age_min),
            writer_retention: self.writer_retention.max(other.writer_retention),
        }
    }

    /// Where they differ: the limit's name, the value here, the value there.
    pub fn differences(&self, other: &Self) -> Vec<(&'static str, Duration, Duration)> {
        let Self { orphan_age_min, writer_retention } = *self;
        let pairs = [
            ("config.limits.orphan_age_min", orphan_age_min, other.orphan_age_min),
            ("config.limits.writer_retention", writer_retention, other.writer_retention),
        ];
        pairs.into_iter().filter(|(_, here, there)| here != there).collect()
    }

    /// As they are stored.
    pub fn in_whole_millis(self) -> Self {
        let whole = |duration| Duration::from_millis(millis(duration));
        Self { orphan_age_min: whole(self.orphan_age_min), writer_retention: whole(self.writer_retention) }
    }
}
