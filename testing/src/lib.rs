//! Faults to inject into the stores and logs of `timely-persist`, and counts of what is asked of them: for tests and
//! benchmarks of what is built upon it.

mod counting_log;
mod counting_store;
mod faults;
mod faulty_log;
mod faulty_store;

pub use counting_log::{CountingLog, LogCounts};
pub use counting_store::{CountingStore, OperationCounts};
pub use faults::{Fault, FaultRates, Faults, Gate, Operation, Rule};
pub use faulty_log::FaultyLog;
pub use faulty_store::FaultyStore;
