//! Faults to inject into the stores and logs of `timely-persist`, and counts of what is asked of them: for tests and
//! benchmarks of what is built upon it. [`HookedStore`] and [`HookedLog`] are for whatever else a test wants to happen
//! around a request.
//!
//! What a program does when an answer is lost shows above a store that loses it:
//!
//! ```
//! use std::sync::Arc;
//!
//! use object_store::memory::InMemory;
//! use timely::progress::Antichain;
//! use timely_persist::{Appended, Client, ShardId};
//! use timely_persist_testing::{Fault, Faults, FaultyStore, Operation, Rule};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let faults = Faults::scripted();
//! let store = FaultyStore::new(Arc::new(InMemory::new()), faults.clone());
//! let client = Client::builder(Arc::new(store)).open().await?;
//! let shard = client.shard::<u64, (), u64, i64>(ShardId::new());
//! let mut writer = shard.open_writer("test").await?;
//!
//! // The next entry of the log is written, and nobody is told so.
//! faults.add(Rule::next(Operation::Create, Fault::FailAfter).named("/log/"));
//! let (lower, upper) = (Antichain::from_elem(0), Antichain::from_elem(1));
//! let appended = writer.compare_and_append([((7, ()), 0, 1)], lower, upper).await?;
//! assert_eq!(appended, Appended::Committed);
//!
//! // The row is there once.
//! let reader = shard.open_reader("test").await?;
//! assert_eq!(reader.snapshot_and_fetch(Antichain::from_elem(0)).await?.len(), 1);
//! # Ok(())
//! # }
//! ```

#![warn(unreachable_pub)]

mod counting_log;
mod counting_store;
mod counts;
mod faults;
mod faulty_log;
mod faulty_store;
mod hooked_log;
mod hooked_store;

pub use counting_log::{CountingLog, LogCounts};
pub use counting_store::{CountingStore, OperationCounts};
pub use faults::{Fault, FaultRates, Faults, Gate, Operation, Rule};
pub use faulty_log::FaultyLog;
pub use faulty_store::FaultyStore;
pub use hooked_log::{HookedLog, LogAnswer, LogHook, LogRequest};
pub use hooked_store::{HookedStore, StoreAnswer, StoreHook, StoreRequest};
