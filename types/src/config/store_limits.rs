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

use super::Config;

/// The limits of a store: in a [`Config`], the fields of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreLimits {
    /// [`Config::orphan_age_min`], in whole milliseconds.
    pub orphan_age_min: Duration,
    /// [`Config::writer_retention`], in whole milliseconds.
    pub writer_retention: Duration,
}

impl StoreLimits {
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

    /// Where they differ: the field's name, the value here, the value there.
    pub fn differences(&self, other: &Self) -> Vec<(&'static str, Duration, Duration)> {
        let Self { orphan_age_min, writer_retention } = *self;
        let pairs = [
            ("orphan_age_min", orphan_age_min, other.orphan_age_min),
            ("writer_retention", writer_retention, other.writer_retention),
        ];
        pairs.into_iter().filter(|(_, here, there)| here != there).collect()
    }
}

impl Config {
    /// Those of the limits that are the store's.
    pub fn store_limits(&self) -> StoreLimits {
        StoreLimits {
            orphan_age_min: whole_millis(self.orphan_age_min),
            writer_retention: whole_millis(self.writer_retention),
        }
    }

    /// Takes these for the store's.
    pub fn set_store_limits(&mut self, limits: StoreLimits) {
        let StoreLimits { orphan_age_min, writer_retention } = limits;
        (self.orphan_age_min, self.writer_retention) = (orphan_age_min, writer_retention);
    }
}

/// As it is stored.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration))
}
