//! The two seams to storage: a log per shard ([`Consensus`]) and objects (`object_store::ObjectStore` itself).

pub mod consensus;
pub mod keys;

pub use consensus::{CompareAndSet, Consensus, LogEntry, LogError, LogWatch};
