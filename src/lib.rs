//! Durable, definite time-varying collections for timely and differential dataflow.
//!
#![doc = include_str!("../README.md")]

mod blobs;
mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod error;
mod fetch;
pub mod ids;
mod life;
mod machine;
mod maintain;
pub mod part;
mod read;
pub mod state;
pub mod store;
mod write;

pub use client::{Client, ClientBuilder, Hold, Holder, InflightPermit, InflightShare, Shard, ShardInfo};
pub use codec::{Codec, Codec64, Data, Diff, Serde, Time};
pub use config::{Compression, Config, StoreLimits};
pub use error::{EncodedFrontier, Error, ErrorKind};
pub use ids::{CriticalReaderId, LeaseId, LeasedReaderId, ParseIdError, SeqNo, ShardId, WriterId};
pub use machine::Health;
pub use maintain::Maintainer;
pub use part::{ColumnStats, PartStats, StatValue};
pub use read::{
    Block, Cursor, ExchangeablePart, FetchedPart, FilterAudit, LeasedPart, Listen, ListenEvent, PartFetcher,
    PartPieces, PartRef, PartsStats, Pin, ReadHandle, Sifted, SinceDowngrade, SinceHandle, Subscribe,
};
pub use store::Consensus;
pub use write::{Appended, Batch, BatchBuilder, WriteHandle};
