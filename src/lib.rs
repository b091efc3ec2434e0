//! Durable, definite time-varying collections for timely and differential dataflow.

pub mod clock;
pub mod codec;
pub mod config;
pub mod error;
pub mod ids;
pub mod machine;
pub mod part;
pub mod state;
pub mod store;

pub use codec::{Codec, Codec64, Data, Diff, Serde, Time};
pub use error::{Error, ErrorKind};
pub use ids::{CriticalReaderId, LeaseId, LeasedReaderId, SeqNo, ShardId, WriterId};
pub use part::{ColumnStats, PartStats, StatValue};
