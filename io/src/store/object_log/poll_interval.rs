//! How often those look at a log by themselves who are not told that it grew.

use std::time::Duration;

/// How long a polling watch first waits. A few times the latency of a bucket's request, so that polling a busy shard
/// adds little to it.
pub const POLL_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// How long a polling watch waits at most: what an idle reader costs per hour (3600 looks) against how late it may
/// notice.
pub const POLL_INTERVAL_MAX: Duration = Duration::from_secs(1);
