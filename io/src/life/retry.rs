//! Trying again: pauses that grow, with jitter, up to a deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::deadline::deadline_after;
use timely_persist_types::clock::Entropy;

/// How long what failed or panicked rests before it is tried again.
#[derive(Debug)]
pub(super) struct Pauses {
    /// At first.
    pub(super) min: Duration,
    /// At most.
    pub(super) max: Duration,
    pub(super) entropy: Arc<dyn Entropy>,
}

impl Pauses {
    pub(super) fn jittered(&self, pause: Duration, fraction_min: f64) -> Duration {
        pause.mul_f64(fraction_min + (1.0 - fraction_min) * self.entropy.fraction())
    }
}

/// The pauses of one operation that is tried until a deadline.
#[derive(Debug)]
pub struct Retry<'a> {
    pauses: &'a Pauses,
    deadline: Instant,
    pause: Duration,
}

impl<'a> Retry<'a> {
    /// An operation that may be tried for `limit` from now on.
    pub(super) fn within(pauses: &'a Pauses, limit: Duration) -> Self {
        Self { pauses, deadline: deadline_after(limit), pause: pauses.min }
    }

    /// When the next request must have answered: after `limit`, or at the deadline if that is sooner.
    pub fn request_deadline(&self, limit: Duration) -> Instant {
        self.deadline.min(deadline_after(limit))
    }

    /// Whether the deadline has passed.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Waits before another try; `false` where the deadline leaves no time for one.
    pub async fn pause(&mut self) -> bool {
        let pause = self.pauses.jittered(self.pause, 0.5);
        self.pause = self.pause.saturating_mul(2).min(self.pauses.max);
        if deadline_after(pause) >= self.deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
