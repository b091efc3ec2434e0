//! Pauses between tries.

use std::time::Duration;

use timely_persist::Config;

/// Pauses between tries: they grow up to a longest one.
#[derive(Clone, Debug)]
pub(crate) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// Pauses of the lengths that the client's configuration says.
    pub(crate) fn of(config: &Config) -> Self {
        Self { next: config.store.retry_pause_min, longest: config.store.retry_pause_max }
    }

    /// Waits. Cancelled, it has not counted.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = self.next.saturating_mul(2).min(self.longest);
    }
}
