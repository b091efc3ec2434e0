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

pub use client::{
    Client, ClientBuilder, Evolution, Evolved, Hold, Holder, InflightHold, InflightPermit, InflightShare, Rewrite,
    Shard, ShardInfo, ShardSchema,
};
pub use machine::Health;
pub use maintain::Maintainer;
pub use read::{
    Block, Cursor, ExchangeablePart, FetchedPart, FilterAudit, LeasedPart, Listen, ListenEvent, PartFetcher,
    PartPieces, PartRef, PartsStats, Pin, ReadHandle, Sifted, SinceDowngrade, SinceHandle, Subscribe,
};
pub use timely_persist_core::part::{Chunk, ColumnStats, PartStats, StatValue};
pub use timely_persist_core::state::glb;
/// Stores a struct or an enum as columns of its fields.
///
/// ```
/// use timely_persist::Codec;
///
/// #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
/// #[codec(name = "order")]
/// struct Order {
///     #[codec(id = 1)]
///     id: u64,
///     #[codec(id = 2)]
///     customer: String,
///     #[codec(id = 3, default)]
///     note: Option<String>,
///     #[codec(id = 5, default = 1)]
///     priority: u32,
///     #[codec(id = 6)]
///     sent: Sent,
/// }
///
/// #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
/// #[codec(name = "sent")]
/// enum Sent {
///     #[codec(id = 1)]
///     No,
///     #[codec(id = 2)]
///     Parcel {
///         #[codec(id = 1)]
///         number: String,
///     },
/// }
///
/// let sent = Sent::Parcel { number: "x7".to_owned() };
/// let order = Order { id: 7, customer: "ada".to_owned(), note: None, priority: 1, sent };
/// let row: OrderRef<'_> = order.as_ref();
/// assert_eq!((row.id, row.customer, row.note), (7, "ada", None));
/// assert!(matches!(row.sent, SentRef::Parcel { number: "x7" }));
/// assert_eq!(Order::from_ref(row), order);
/// ```
///
/// It lies in Arrow as
///
/// ```text
/// {id: UInt64, customer: Utf8, note: {some: Utf8}?, priority: UInt32, sent: {tag: UInt8, Parcel: {number: Utf8}?}}
/// ```
///
/// A default is of the field's type:
///
/// ```compile_fail,E0308
/// # use timely_persist::Codec;
/// #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
/// #[codec(name = "order")]
/// struct Order {
///     #[codec(id = 1, default = 1)]
///     customer: String,
/// }
/// ```
///
/// # In words
///
#[cfg(feature = "derive")]
#[doc(inline)]
pub use timely_persist_derive::Codec;
pub use timely_persist_io::store::Consensus;
pub use timely_persist_types::codec::{Codec, Codec64, Data, Diff, Serde, Time, digest};
pub use timely_persist_types::config::{Compression, Config, StoreLimits};
pub use timely_persist_types::error::{EncodedFrontier, Error, ErrorKind};
pub use timely_persist_types::ids::{
    CriticalReaderId, LeaseId, LeasedReaderId, ParseIdError, SchemaId, SeqNo, ShardId, WriterId,
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
    #[doc(hidden)]
    pub use timely_persist_types::codec::derive_support;
    #[doc(inline)]
    pub use timely_persist_types::codec::{
        BooleanBuilder, BooleanColumn, Builder, BytesBuilder, BytesColumn, Codec, Codec64, Column, Data, Decimal,
        DecimalError, DecodeError, Diff, Element, EncodeError, FixedBuilder, FixedCodec, FixedColumn, Integer,
        IntegerBuilder, IntegerColumn, ListBuilder, ListColumn, ListRef, OptionBuilder, OptionColumn, PointerBuilder,
        PointerColumn, PrimitiveBuilder, PrimitiveCodec, PrimitiveColumn, Serde, SerdeBuilder, SerdeColumn,
        TextBuilder, TextColumn, Time, TupleBuilder, TupleColumn, UnitBuilder, UnitColumn,
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
