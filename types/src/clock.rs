//! Time and randomness as values: the only place that reads either from the machine.
//!
//! A [`Clock`] tells the wall time that is written into shards (leases) and an [`Entropy`] the bits that name new
//! things. Both are given to the client, so a simulation replays exactly. Waiting is tokio's business: its clock can be
//! paused.

use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A duration as what is written of it: whole milliseconds, or the most that there are.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Wall time, as far as this process knows it. It may jump; the durable time of a shard never runs backwards all the
/// same, because each entry takes the larger of this and what stands there.
pub trait Clock: Debug + Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that reads the wall clock
    fn wall_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A source of bits nobody else has.
pub trait Entropy: Debug + Send + Sync {
    /// 128 fresh bits.
    fn bits(&self) -> u128;

    /// A number in `[0, 1)`, for jitter.
    fn fraction(&self) -> f64 {
        // 53 bits fill the mantissa of a double exactly; the two topmost of the word are fixed in a UUID.
        ((self.bits() as u64) << 2 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn bits(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }
}
