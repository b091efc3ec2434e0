//! The one way to add to the present.

use std::time::Duration;

use tokio::time::Instant;

/// The instant that is `limit` from now; far in the future where that cannot be told: an instant that overflows is a panic.
pub fn deadline_after(limit: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(limit).unwrap_or_else(|| now + FAR)
}

/// "Never", for a timer: some thirty years, as tokio has it.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_no_clock_can_tell_is_far_away() {
        let now = Instant::now();
        assert_eq!(deadline_after(Duration::from_secs(7)), now + Duration::from_secs(7));
        for far in [FAR, Duration::from_secs(u64::MAX / 2), Duration::MAX] {
            assert!(deadline_after(far) >= now + FAR);
            tokio::time::timeout_at(deadline_after(far), std::future::ready(())).await.expect("far away");
        }
    }
}
