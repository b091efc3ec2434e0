//! The two seams to storage: a log per shard ([`Consensus`]) and objects (`object_store::ObjectStore` itself).
//!
//! Implementations: [`ObjectLog`] keeps the log in an object store; [`Directory`] is a local directory as an object
//! store; `PostgresLog` (feature `postgres`) keeps the log in a database. Decorators count ([`CountingStore`],
//! [`CountingLog`]), ask again where an answer is slow ([`HedgingStore`]) and, for tests, let things go wrong
//! ([`FaultyStore`], [`FaultyLog`]). Beside them, an [`ObjectCache`] of what never changes.

pub mod cache;
pub mod consensus;
pub mod counting_log;
pub mod counting_store;
pub mod directory;
mod discreet;
pub mod faults;
pub mod faulty_log;
pub mod faulty_store;
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
pub use counting_log::{CountingLog, LogCounts};
pub use counting_store::{CountingStore, OperationCounts};
pub use directory::Directory;
pub(crate) use discreet::{DiscreetStore, Secrets};
pub use faults::{Fault, FaultRates, Faults, Gate, Operation, Rule};
pub use faulty_log::FaultyLog;
pub use faulty_store::FaultyStore;
pub use files::Files;
pub use hedging_store::HedgingStore;
pub use limits::KeptLimits;
pub use object_log::ObjectLog;
#[cfg(feature = "postgres")]
pub use postgres::PostgresLog;
pub use probe::{Verdict, qualify};
