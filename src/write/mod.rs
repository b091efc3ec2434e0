//! Writing: handles that append at the upper, and batches staged before they are appended.
//!
//! Always: what is appended is in the shard once or not at all; bad input is refused before the log sees it; an object
//! whose append has an unknown outcome is never deleted. Reading knows nothing of this layer, nor the other way.

mod append_batches;
mod batch;
mod builder;
mod carried;
mod commits;
mod handle;
mod renewal;
mod upload;

pub use append_batches::AppendOutcome;
pub use batch::Batch;
pub use builder::BatchBuilder;
pub use commits::CommittedInterval;
pub use handle::{Appended, WriteHandle};
