//! What a limit may be, and how a group of limits is written down.
//!
//! Always: a limit without a range does not compile, because [`group`] asks for it behind the default. What passes works,
//! though perhaps slowly: `tests/limits.rs` opens clients at both ends of every range.
//!
//! Not here: what limits must be to each other ([`Config`](super::Config)), whether they agree with the store's
//! ([`StoreLimits`](super::StoreLimits)), and whether the system has so many threads, or so much memory.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest duration of a limit: ten years, which is "never" for a process, and far from where clocks overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The shortest of what is waited for again and again: less would keep a thread busy with nothing else.
pub const PAUSE_MIN: Duration = Duration::from_micros(100);

/// The shortest of what is waited for before a folder is listed, or objects are taken for lost.
pub const LONG_MIN: Duration = Duration::from_secs(1);

/// The most threads of one kind in a client: more than any machine of today has processors for.
pub const THREADS_MAX: usize = 1_024;

/// The most bytes that a limit may be of: 1 TiB, which no process has, and sums of which do not overflow.
#[allow(clippy::cast_possible_truncation)] // it is the smaller of both
pub const BYTES_MAX: usize = if usize::BITS < 64 { usize::MAX >> 1 } else { (1u64 << 40) as usize };

/// The most bytes of inline parts that one log entry may come to, with all of `group_commits_max` in it: half of what
/// PostgreSQL takes in one row.
pub const ENTRY_INLINE_BYTES_MAX: usize = 512 << 20;

/// The least that log entries may be limited to: what one part takes at most, statistics and some times included.
pub(super) const ENTRY_BYTES_MIN: usize = 64 << 10;

/// The largest part: what is encoded in memory, and a bucket takes in one request.
pub(super) const PART_BYTES_MAX: usize = 1 << 30;

/// The most of anything that is counted: four billion is "all of them".
pub(super) const COUNT_MAX: usize = u32::MAX as usize >> 1;

/// The shortest deadline: less than one answer of a disk takes would refuse everything.
pub(super) const DEADLINE_MIN: Duration = Duration::from_millis(1);

/// The values that a limit may have: a range, also of what may be `None`, or [`Any`].
pub(super) trait Allow<V> {
    /// Says what the limit of this name is, and what it may be, if it may not be that.
    fn check(&self, name: &str, value: &V) -> Result<(), String>;
}

/// All values: each of them works, or somebody else tells.
pub(super) struct Any;

impl<V> Allow<V> for Any {
    fn check(&self, _name: &str, _value: &V) -> Result<(), String> {
        Ok(())
    }
}

impl<V: PartialOrd + Debug> Allow<V> for RangeInclusive<V> {
    fn check(&self, name: &str, value: &V) -> Result<(), String> {
        if self.contains(value) {
            return Ok(()); // what is no number is in no range
        }
        Err(format!("{name} is {value:?}; it must be from {:?} to {:?}", self.start(), self.end()))
    }
}

impl<V: PartialOrd + Debug> Allow<Option<V>> for RangeInclusive<V> {
    fn check(&self, name: &str, value: &Option<V>) -> Result<(), String> {
        value.as_ref().map_or(Ok(()), |value| self.check(name, value))
    }
}

/// Makes a group of limits, and where a person finds it: of each limit its doc, name and type, its default, and what it
/// may be.
macro_rules! group {
    (
        $(#[$about:meta])*
        $group:ident at $path:literal {
            $($(#[$says:meta])* $limit:ident: $kind:ty = $default:expr, $allowed:expr;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct $group {
            $($(#[$says])* pub $limit: $kind,)*
        }

        impl Default for $group {
            fn default() -> Self {
                Self { $($limit: $default,)* }
            }
        }

        impl $group {
            /// Says which limit cannot be, what it is, and what it may be.
            pub(super) fn check(&self) -> Result<(), String> {
                use super::check::Allow;
                $(Allow::<$kind>::check(&$allowed, concat!($path, ".", stringify!($limit)), &self.$limit)?;)*
                Ok(())
            }
        }
    };
}

pub(super) use group;
