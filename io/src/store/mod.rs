//! The two seams to storage: a log per shard ([`Consensus`]) and objects (`object_store::ObjectStore` itself).
//!
//! Implementations: [`ObjectLog`] keeps the log in an object store; [`Directory`] is a local directory as an object
//! store; `PostgresLog` (feature `postgres`) keeps the log in a database. A decorator asks again where an answer is slow
//! ([`HedgingStore`]). Beside them, an [`ObjectCache`] of what never changes.

pub mod cache;
pub mod consensus;
pub mod directory;
mod discreet;
pub mod files;
pub mod hedging_store;
pub mod keys;
pub mod limits;
pub mod object_log;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod probe;
mod signals;

pub use cache::ObjectCache;
pub use consensus::{CompareAndSet, Consensus, Damage, LogEntry, LogError, LogWatch};
pub use directory::Directory;
pub use discreet::{DiscreetStore, Secrets};
pub use files::Files;
pub use hedging_store::HedgingStore;
pub use limits::KeptLimits;
pub use object_log::ObjectLog;
#[cfg(feature = "postgres")]
pub use postgres::PostgresLog;
pub use probe::{Verdict, qualify};
