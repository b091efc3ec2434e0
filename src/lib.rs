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
/// #[codec(retired(id = 4, type = "u8"))]
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
///
/// Most types derive theirs, and have columns of their fields. A type whose values are those of an Arrow primitive implements
/// [`PrimitiveCodec`](codec::PrimitiveCodec), which has a column and a builder already:
///
/// ```
/// use timely_persist::codec::arrow::{DataType, types::UInt32Type};
/// use timely_persist::codec::{Codec, EncodeError, PrimitiveBuilder, PrimitiveCodec, PrimitiveColumn};
///
/// /// Of the internet, version 4.
/// #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
/// struct Address([u8; 4]);
///
/// impl PrimitiveCodec for Address {
///     type Arrow = UInt32Type;
///
///     fn to_native(self) -> u32 {
///         u32::from_be_bytes(self.0) // in the order of the addresses
///     }
///
///     fn is_native(_: u32) -> bool {
///         true
///     }
///
///     fn from_native(native: u32) -> Self {
///         Self(native.to_be_bytes())
///     }
/// }
///
/// impl Codec for Address {
///     type Ref<'a> = Self;
///     type Column = PrimitiveColumn<Self>;
///     type Builder = PrimitiveBuilder<Self>;
///
///     fn name() -> String {
///         "address".to_owned()
///     }
///
///     fn data_type() -> DataType {
///         DataType::UInt32
///     }
///
///     fn as_ref(&self) -> Self {
///         *self
///     }
///
///     fn from_ref(value: Self) -> Self {
///         value
///     }
///
///     fn reborrow<'b, 'a: 'b>(value: Self) -> Self {
///         value
///     }
///
///     fn size(_: Self) -> Result<usize, EncodeError> {
///         Ok(4)
///     }
/// }
/// ```
///
/// Any other has a column and a builder of its own, made of what is in [`arrow`](codec::arrow): so there is no Arrow in the
/// manifest of the program, whose version would have to be this library's. It may be a key, a value, or a field of a type that
/// derives its codec.
///
/// ```
/// use std::sync::Arc;
///
/// use timely::progress::Antichain;
/// use timely_persist::codec::arrow::{Array, ArrayRef, Buffer, DataType, FixedSizeBinaryArray, NullBuffer};
/// use timely_persist::codec::{Builder, Column, DecodeError, EncodeError};
/// use timely_persist::{Client, Codec, ShardId};
///
/// /// Red, green and blue.
/// #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
/// struct Color([u8; 3]);
///
/// #[derive(Clone, Debug)]
/// struct ColorColumn(FixedSizeBinaryArray);
///
/// impl Column<Color> for ColorColumn {
///     // Arrays come from storage: one that is none of colors is an error.
///     fn try_new(array: &dyn Array, _: Option<&NullBuffer>) -> Result<Self, DecodeError> {
///         let colors = array.as_any().downcast_ref::<FixedSizeBinaryArray>();
///         match colors.filter(|colors| colors.value_length() == 3 && colors.null_count() == 0) {
///             Some(colors) => Ok(Self(colors.clone())),
///             None => Err(DecodeError(format!("{} is no column of colors", array.data_type()))),
///         }
///     }
///
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///
///     fn get(&self, index: usize) -> Color {
///         let bytes = self.0.value(index);
///         Color([bytes[0], bytes[1], bytes[2]])
///     }
/// }
///
/// #[derive(Debug, Default)]
/// struct ColorBuilder(Vec<[u8; 3]>);
///
/// impl Builder<Color> for ColorBuilder {
///     fn push(&mut self, value: Color) {
///         self.0.push(value.0);
///     }
///
///     fn pad(&mut self) {
///         self.0.push([0; 3]);
///     }
///
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///
///     fn get(&self, index: usize) -> Color {
///         Color(self.0[index])
///     }
///
///     fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
///         let bytes = Buffer::from_vec(std::mem::take(&mut self.0).into_flattened());
///         let array = FixedSizeBinaryArray::try_new(3, bytes, None);
///         Ok(Arc::new(array.map_err(|error| EncodeError(error.to_string()))?))
///     }
/// }
///
/// impl Codec for Color {
///     type Ref<'a> = Self;
///     type Column = ColorColumn;
///     type Builder = ColorBuilder;
///
///     fn name() -> String {
///         "color".to_owned() // what a shard remembers: another layout needs another name
///     }
///
///     fn data_type() -> DataType {
///         DataType::FixedSizeBinary(3)
///     }
///
///     fn as_ref(&self) -> Self {
///         *self
///     }
///
///     fn from_ref(value: Self) -> Self {
///         value
///     }
///
///     fn reborrow<'b, 'a: 'b>(value: Self) -> Self {
///         value
///     }
///
///     fn size(_: Self) -> Result<usize, EncodeError> {
///         Ok(3)
///     }
/// }
///
/// #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
/// #[codec(name = "pixel")]
/// struct Pixel {
///     #[codec(id = 1)]
///     place: (u32, u32),
///     #[codec(id = 2)]
///     color: Option<Color>,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), timely_persist::Error> {
/// let client = Client::open("memory:").await?;
/// let shard = client.shard::<Color, Pixel, u64, i64>(ShardId::new());
/// let color = Color([255, 0, 9]);
/// let rows = vec![
///     ((color, Pixel { place: (1, 2), color: None }), 0, 1),
///     ((color, Pixel { place: (1, 3), color: Some(color) }), 0, 1),
/// ];
/// let mut writer = shard.open_writer("example").await?;
/// writer.compare_and_append(rows.clone(), Antichain::from_elem(0), Antichain::from_elem(1)).await?;
/// let reader = shard.open_reader("example").await?;
/// assert_eq!(reader.snapshot_and_fetch(Antichain::from_elem(0)).await?, rows);
/// # client.shutdown().await
/// # }
/// ```
pub mod codec {
    #[doc(inline)]
    pub use timely_persist_types::codec::arrow;
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
