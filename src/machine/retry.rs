//! Trying again: pauses that grow, with jitter, up to a deadline.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::deadline_after;

use super::Context;

/// The pauses of one operation that is tried until a deadline.
#[derive(Debug)]
pub struct Retry<'a> {
    context: &'a Context,
    deadline: Instant,
    pause: Duration,
}

impl<'a> Retry<'a> {
    /// An operation that may be tried for `limit` from now on.
    pub fn within(context: &'a Context, limit: Duration) -> Self {
        Self { context, deadline: deadline_after(limit), pause: context.config.retry_pause_min }
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
        let pause = self.pause.mul_f64(0.5 + 0.5 * self.context.entropy.fraction());
        self.pause = self.pause.saturating_mul(2).min(self.context.config.retry_pause_max);
        if deadline_after(pause) >= self.deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
