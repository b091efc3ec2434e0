//! How long a reader is believed to live.

use std::time::Duration;

use super::check::{DURATION_MAX, LONG_MIN, PAUSE_MIN, group};

/// The shortest duration that is none.
const INSTANT: Duration = Duration::from_nanos(1);

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

group! {
    /// The leases of readers, and when what a dead process left is removed.
    #[derive(Copy)]
    LeaseConfig at "config.lease" {
        /// A lapse of renewal after which others may expire a leased reader: they must have seen it stand still for so long
        /// themselves. Default 15 minutes: longer than a laptop's nap or a broker's failover.
        duration: Duration = minutes(15), INSTANT..=DURATION_MAX;
        /// How often the leases of a process are renewed, at most; jittered downwards, and never less than four times per
        /// lease. A process that maintains a shard looks so often for readers that lapsed. Default 4 minutes.
        heartbeat_interval: Duration = minutes(4), PAUSE_MIN..=DURATION_MAX;
        /// A reader stops trusting its lease this long before others may expire it, at most a quarter of the lease.
        /// Default 1 minute: more than clocks of a cluster differ by.
        margin: Duration = minutes(1), Duration::ZERO..=DURATION_MAX;
        /// A process removes a reader or a writer's record that it has not watched for a lease only if the last sign of it
        /// is older than this, by its own clock and by the shard's time. Default 30 days: clocks that are wrong are wrong
        /// by hours or days, or stand in the past, and what a process leaves that nobody outlives is kept no longer.
        lapse_age: Duration = minutes(30 * 24 * 60), LONG_MIN..=DURATION_MAX;
    }
}
