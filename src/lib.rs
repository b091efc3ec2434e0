//! Durable, definite time-varying collections for timely and differential dataflow.
//!
#![doc = include_str!("../README.md")]

mod client;
mod fetch;
mod machine;
mod maintain;
mod read;
mod write;

use timely_persist_core::{part, state};
use timely_persist_io::{blobs, life};
#[doc(inline)]
pub use timely_persist_types::{clock, codec, config, error, ids, record};

pub use client::{Client, ClientBuilder, Hold, Holder, InflightPermit, InflightShare, Shard, ShardInfo};
pub use codec::{Codec, Codec64, Data, Diff, Serde, Time};
pub use config::{Compression, Config, StoreLimits};
pub use error::{EncodedFrontier, Error, ErrorKind};
pub use ids::{CriticalReaderId, LeaseId, LeasedReaderId, ParseIdError, SeqNo, ShardId, WriterId};
pub use machine::Health;
pub use maintain::Maintainer;
pub use part::{Chunk, ColumnStats, PartStats, StatValue};
pub use read::{
    Block, Cursor, ExchangeablePart, FetchedPart, FilterAudit, LeasedPart, Listen, ListenEvent, PartFetcher,
    PartPieces, PartRef, PartsStats, Pin, ReadHandle, Sifted, SinceDowngrade, SinceHandle, Subscribe,
};
pub use record::Recorder;
pub use timely_persist_core::state::glb;
pub use timely_persist_io::store::Consensus;
pub use write::{Appended, Batch, BatchBuilder, WriteHandle};

/// The two seams to storage: a log per shard ([`Consensus`]) and objects (`object_store::ObjectStore` itself).
///
/// [`ObjectLog`](store::ObjectLog) keeps the log in an object store, [`Directory`](store::Directory) is a local directory as
/// an object store, `PostgresLog` (feature `postgres`) keeps the log in a database.
pub mod store {
    #[doc(inline)]
    pub use timely_persist_io::store::{
        CompareAndSet, Consensus, Directory, HedgingStore, LogEntry, LogError, LogWatch, ObjectLog, Verdict, qualify,
    };
    #[cfg(feature = "postgres")]
    pub use timely_persist_io::store::{PostgresLog, postgres::PostgresOptions};
}
