//! How one request to a bucket is sent, below the library's own retries.

use std::time::Duration;

use super::check::{COUNT_MAX, DEADLINE_MIN, DURATION_MAX, group};

group! {
    /// One request to a bucket that a URL names, below the library's own retries.
    #[derive(Copy)]
    BucketConfig at "config.bucket" {
        /// The deadline of one request, its answer included, where no shorter one cuts it off. Default 60 s: a part of the
        /// largest size over a slow line.
        request_deadline: Duration = Duration::from_secs(60), DEADLINE_MIN..=DURATION_MAX;
        /// The longest wait for a connection. Default 5 s.
        connect_deadline: Duration = Duration::from_secs(5), DEADLINE_MIN..=DURATION_MAX;
        /// How often one request is sent again because the server said that it is busy or the connection failed.
        /// Default 2: what a load balancer drops in passing.
        retries_max: usize = 2, 0..=COUNT_MAX;
        /// No request is sent again later than this after it was sent first. Default 5 s.
        retry_limit: Duration = Duration::from_secs(5), Duration::ZERO..=DURATION_MAX;
    }
}
