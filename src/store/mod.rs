//! The two seams to storage: a log per shard ([`Consensus`]) and objects (`object_store::ObjectStore` itself).

pub mod consensus;
pub mod directory;
pub mod keys;
pub mod object_log;

pub use consensus::{CompareAndSet, Consensus, LogEntry, LogError, LogWatch};
pub use directory::Directory;
pub use object_log::ObjectLog;
