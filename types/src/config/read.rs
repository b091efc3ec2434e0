//! What reading may take of memory and of the store.

use std::time::Duration;

use super::check::{Any, BYTES_MAX, COUNT_MAX, DURATION_MAX, PAUSE_MIN, group};

const MIB: usize = 1 << 20;

group! {
    /// What all readers of a client may take, and each of them.
    #[derive(Copy)]
    ReadConfig at "config.read" {
        /// Bytes of parts that all sources of a client may have in flight together, decoded size; a source's own bound and
        /// that of a stream are as large. Default 64 MiB: five parts of the usual size.
        inflight_bytes_max: usize = 64 * MIB, 1..=BYTES_MAX;
        /// Requests for parts that a client has under way at once; `inflight_bytes_max` bounds their bytes. Default 256:
        /// 5,500 requests per second, what a bucket answers to one prefix, at 45 ms each. A fetch beyond it waits its turn.
        fetches_max: usize = 256, 1..=COUNT_MAX;
        /// A second request is sent for an object, or a range of one, of which not all is there after this time; what
        /// comes first is taken. Default none: a directory has no use for it, and for a bucket it depends on the distance.
        /// About three times what most requests take is a good value. A read that is asked twice may take twice the memory.
        hedge_delay: Option<Duration> = None, PAUSE_MIN..=DURATION_MAX;
        /// The share of requests for objects that may be asked a second time, from 0 to 1. Default 0.05: one in twenty is
        /// more than are slow for a reason of their own; where all are slow, asking twice makes them slower.
        hedge_budget: f64 = 0.05, 0.0..=1.0;
        /// Parts that one reader step leases at most. Default 1,024.
        listen_parts_max: usize = 1_024, 1..=COUNT_MAX;
        /// The memory of a cursor, in bytes of decoded blocks. Default 64 MiB: above it a cursor reads smaller blocks.
        cursor_bytes_max: usize = 64 * MIB, 1..=BYTES_MAX;
        /// Of how many parts discarded by a filter one is fetched anyway to audit the filter. Default 1 in 1,000; 0 for
        /// none.
        filter_audit_one_in: u64 = 1_000, Any;
    }
}
