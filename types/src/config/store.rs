//! How long storage is waited for.

use std::time::Duration;

use super::check::{DEADLINE_MIN, DURATION_MAX, PAUSE_MIN, group};

group! {
    /// How long an object is waited for, and how long one waits before storage is asked again.
    #[derive(Copy)]
    StoreConfig at "config.store" {
        /// The deadline of reading or writing one object, retries included. Default 120 s: two requests to a bucket that
        /// take all of their time.
        deadline: Duration = Duration::from_secs(120), DEADLINE_MIN..=DURATION_MAX;
        /// The first pause between two tries, of the log too; doubled each time, jittered. Default 20 ms: about what a
        /// request takes.
        retry_pause_min: Duration = Duration::from_millis(20), PAUSE_MIN..=DURATION_MAX;
        /// The longest pause between two tries. Default 2 s: who waits hears soon that storage is back.
        retry_pause_max: Duration = Duration::from_secs(2), PAUSE_MIN..=DURATION_MAX;
    }
}
