//! Durable, definite time-varying collections for timely and differential dataflow.
//!
#![doc = include_str!("../README.md")]
#![warn(unreachable_pub)]

mod client;
mod fetch;
pub mod ingest;
mod machine;
mod maintain;
mod read;
mod write;

pub use client::{Client, ClientBuilder, Hold, Holder, InflightHold, InflightPermit, InflightShare, Shard, ShardInfo};
pub use machine::Health;
pub use maintain::Maintainer;
pub use read::{
    Block, Cursor, ExchangeablePart, FetchedPart, FilterAudit, LeasedPart, Listen, ListenEvent, PartFetcher,
    PartPieces, PartRef, PartsStats, Pin, ReadHandle, Sifted, SinceDowngrade, SinceHandle, Subscribe,
};
pub use timely_persist_core::part::{Chunk, ColumnStats, PartStats, StatValue};
pub use timely_persist_core::state::glb;
pub use timely_persist_io::store::Consensus;
pub use timely_persist_types::codec::{Codec, Codec64, Data, Diff, Serde, Time, digest};
pub use timely_persist_types::config::{Compression, Config, StoreLimits};
pub use timely_persist_types::error::{EncodedFrontier, Error, ErrorKind};
pub use timely_persist_types::ids::{
    CriticalReaderId, LeaseId, LeasedReaderId, ParseIdError, SeqNo, ShardId, WriterId,
};
#[doc(inline)]
pub use timely_persist_types::record::{self, Recorder};
pub use write::{AppendOutcome, Appended, Batch, BatchBuilder, CommittedInterval, WriteHandle};

/// Time and randomness as values, for a program that simulates: see [`ClientBuilder::clock`] and
/// [`ClientBuilder::entropy`].
pub mod clock {
    #[doc(inline)]
    pub use timely_persist_types::clock::{Clock, Entropy, SystemClock, SystemEntropy};
}

/// How values become columns, and back: for who writes a [`Codec`] of his own, from these or beside them.
pub mod codec {
    #[doc(inline)]
    pub use timely_persist_types::codec::{
        BooleanBuilder, BooleanColumn, Builder, BytesBuilder, BytesColumn, Codec, Codec64, Column, Data, DecodeError,
        Diff, EncodeError, FixedBuilder, FixedCodec, FixedColumn, Integer, IntegerBuilder, IntegerColumn,
        OptionBuilder, OptionColumn, Serde, SerdeBuilder, SerdeColumn, TextBuilder, TextColumn, Time, TupleBuilder,
        TupleColumn, UnitBuilder, UnitColumn,
    };
    #[doc(inline)]
    pub use timely_persist_types::codec::{
        CONSTANT_BYTES_MAX, CONSTANT_COLUMN_BYTES_MAX, Constant, EnumShape, FIELD_ID, FieldShape, Incompatible, Leaf,
        Lens, NAME_BYTES_MAX, Refused, RetiredField, SHAPE_DEPTH_MAX, SHAPE_NODES_MAX, Shape, ShapeError, StructShape,
        VARIANTS_MAX, VariantShape,
    };
}

/// What an operator that merges sorted rows needs.
pub mod merge {
    #[doc(inline)]
    pub use timely_persist_core::part::Tournament;
}

/// Every limit, with its unit, its default and the reason for that default, in groups by what it limits.
pub mod config {
    #[doc(inline)]
    pub use timely_persist_types::config::{
        BucketConfig, CacheConfig, Compression, Config, LeaseConfig, LogConfig, ReadConfig, StoreConfig, StoreLimits,
        ThreadsConfig, UpkeepConfig, WriteConfig,
    };
}

/// The two seams to storage: a log per shard ([`Consensus`]) and objects (`object_store::ObjectStore` itself).
///
/// [`ObjectLog`](store::ObjectLog) keeps the log in an object store, [`Directory`](store::Directory) is a local directory as
/// an object store, `PostgresLog` (feature `postgres`) keeps the log in a database.
pub mod store {
    #[doc(inline)]
    pub use timely_persist_io::store::{
        CompareAndSet, Consensus, Damage, Directory, HedgingStore, LogEntry, LogError, LogWatch, ObjectLog, Verdict,
        qualify,
    };
    #[cfg(feature = "postgres")]
    pub use timely_persist_io::store::{PostgresLog, postgres::PostgresOptions};
}
