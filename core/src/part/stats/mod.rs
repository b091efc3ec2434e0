//! What is known of a part's columns without fetching it: bounds and null counts, for predicates.
//!
//! Always: statistics are bounds, so a part may be left out only if they exclude what is asked for; whatever is
//! unknown, undecodable or of another type keeps the part. Their encoded size is bounded by [`STATS_BYTES_MAX`].

mod ask;
mod collect;
mod column;
mod encoding;
mod lens;

pub use collect::StatsCollector;
pub use column::{ColumnStats, PartStats};
pub use encoding::STATS_BYTES_MAX;
pub use lens::StatsLens;
