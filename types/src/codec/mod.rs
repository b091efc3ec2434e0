//! How a Rust type lies in a column.
//!
//! [`Codec`] maps a type to one Arrow array both ways and gives a borrowed row type, so that a scan allocates nothing.
//! [`Codec64`] is the eight-byte form of times and diffs. The aliases [`Data`], [`Time`] and [`Diff`] name the bounds
//! that the rest of the library asks for, once.
//!
//! Always: the order and the hash of `Codec::Ref` equal those of the owned type; what an encoder wrote, the decoder of the same
//! name reads back equal; a decoder answers foreign arrays with an error, never a panic. This module does no I/O.

pub mod arrow;
mod boolean;
mod bounded;
#[cfg(any(feature = "chrono", feature = "jiff"))]
mod calendar;
#[cfg(feature = "chrono")]
mod chrono;
mod decimal;
#[doc(hidden)]
pub mod derive_support;
mod digest;
mod fixed;
#[cfg(feature = "ordered-float")]
mod float;
mod integer;
#[cfg(feature = "jiff")]
mod jiff;
mod lengths;
mod lens;
mod list;
mod misfit;
mod names;
mod option;
mod pair;
mod pointer;
mod primitive;
mod serde;
mod shape;
mod text;
mod tuple;
mod unit;
mod word;

use std::fmt;
use std::io::Write;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};
use differential_dataflow::difference::Semigroup;
use differential_dataflow::lattice::Lattice;
use timely::progress::Timestamp;

pub use self::serde::{Serde, SerdeBuilder, SerdeColumn};
pub use boolean::{BooleanBuilder, BooleanColumn};
pub use decimal::{Decimal, DecimalError};
pub use digest::{Digest, digest};
pub use fixed::{FixedBuilder, FixedCodec, FixedColumn};
pub use integer::{Integer, IntegerBuilder, IntegerColumn};
pub use lens::{Incompatible, Lens, Refused};
pub use list::{Element, ListBuilder, ListColumn, ListRef};
pub use misfit::{DecodeError, EncodeError};
pub use names::{SHAPE_BYTES_MAX, difference, untraced};
pub use option::{OptionBuilder, OptionColumn};
pub use pointer::{PointerBuilder, PointerColumn};
pub use primitive::{PrimitiveBuilder, PrimitiveCodec, PrimitiveColumn};
pub use shape::{
    CONSTANT_BYTES_MAX, CONSTANT_COLUMN_BYTES_MAX, Constant, EnumShape, FIELD_ID, FieldShape, Leaf, NAME_BYTES_MAX,
    RetiredField, SHAPE_DEPTH_MAX, SHAPE_NODES_MAX, Shape, ShapeError, StructShape, VARIANTS_MAX, VariantShape,
};
pub use text::{BytesBuilder, BytesColumn, TextBuilder, TextColumn};
pub use tuple::{TupleBuilder, TupleColumn};
pub use unit::{UnitBuilder, UnitColumn};
pub use word::Codec64;

pub use bounded::bounded;

/// A type that can be stored as an Arrow column. Structs and enums derive it.
///
/// | type | its column |
/// | --- | --- |
/// | `bool`, integers up to 64 bits | the same in Arrow |
/// | `u128`, `i128`, `Uuid` | sixteen bytes in the order of the values |
/// | `OrderedFloat<f32>`, `OrderedFloat<f64>` (feature `ordered-float`) | `Float32`, `Float64`; a zero without its sign, and one NaN |
/// | [`Decimal<P, S>`](Decimal) | `Decimal128(P, S)` |
/// | `chrono::NaiveDate`, `jiff::civil::Date` (features `chrono`, `jiff`) | `Date32` |
/// | `chrono::DateTime<Utc>`, `jiff::Timestamp` | a timestamp in microseconds, of UTC; what is finer is refused |
/// | `chrono::NaiveDateTime`, `jiff::civil::DateTime` | the same of no time zone |
/// | `String`, `Arc<str>` | `Utf8` |
/// | `Vec<u8>`, `Bytes` | `Binary` |
/// | `Vec` of any other [`Element`] | a list |
/// | `()`, `Option`, `Box`, tuples up to twelve | nothing, a nullable struct, what is in the box, a struct |
/// | [`Serde<T>`](Serde) | its bincode, in `Binary` |
///
/// The implementor guarantees that `Ref`'s order equals the owned order and that
/// `T::from_ref(column.get(i))` equals the value whose `as_ref` was pushed at `i`. Where `Ref` is [`Hash`](std::hash::Hash), which
/// an arranged source asks of keys, it hashes as the owned type does: both give the hasher the same, as for
/// [`Borrow`](std::borrow::Borrow). Else rows of one key are on two workers, and a join misses them.
pub trait Codec: Ord + Clone + fmt::Debug + Send + Sync + Sized + 'static {
    /// A value borrowed from a column, cheap to copy and to compare.
    type Ref<'a>: Copy + Ord + fmt::Debug;
    /// A decoded column. Cloning shares the buffers.
    type Column: Column<Self>;
    /// Collects values into a column.
    type Builder: Builder<Self>;

    /// Whether a column of the type may hold Arrow nulls.
    const NULLABLE: bool = false;

    /// The name that a shard remembers: two types with one name must read each other's columns.
    fn name() -> String;

    /// What the type looks like in a column: by it a shard tells what a change of the type does to what is stored. By default the
    /// name, which says nothing: such a type never changes.
    fn shape() -> Shape {
        Shape::Opaque(Self::name())
    }

    /// The Arrow type of a column. Statistics and other tools see it.
    fn data_type() -> DataType;

    /// The borrowed form.
    fn as_ref(&self) -> Self::Ref<'_>;

    /// The owned form.
    fn from_ref(value: Self::Ref<'_>) -> Self;

    /// The same value, borrowed for less long: values from two sources can be compared once they have one lifetime.
    fn reborrow<'b, 'a: 'b>(value: Self::Ref<'a>) -> Self::Ref<'b>;

    /// The memory that the value takes in a column, in bytes, within a small factor; exact where it varies. Whoever
    /// fills a column keeps the sum below 2 GiB, which is what Arrow's 32-bit offsets can address.
    fn size(value: Self::Ref<'_>) -> Result<usize, EncodeError>;

    /// Whether the value reads back equal once it is written: an error says why not. It is asked of every row that is
    /// written, before it is. By default, that is where the type alone makes sure of it, nothing is asked.
    fn check(value: Self::Ref<'_>) -> Result<(), EncodeError> {
        let _ = value;
        Ok(())
    }

    /// The first bits of the value, such that `a <= b` implies `prefix(a) <= prefix(b)`: a sort compares these first.
    /// Zero where the type has no cheap prefix.
    fn prefix(value: Self::Ref<'_>) -> u64 {
        let _ = value;
        0
    }

    /// Adds the bytes that stand for the value in the digest of its row ([`digest`](digest())): equal ones for equal
    /// values, on every machine and in every version of the program, because a shard remembers the digest. They must tell
    /// where they end: none are the beginning of those of another value.
    ///
    /// By default its `Debug` form behind its length, which is right for every type that shows all of itself there, and
    /// slow. Where that form changes, with a version of the type or of Rust, rows that are equal look different to whoever
    /// compares digests across the change; nothing else depends on them. The types of this library have bytes of their own.
    fn digest_bytes(value: Self::Ref<'_>, bytes: &mut Vec<u8>) {
        // A vector takes every byte: only the value's own code could fail, and then what it wrote stands for it.
        lengths::with_length(bytes, |bytes| drop(write!(bytes, "{value:?}")));
    }
}

/// The Arrow field of a column of `C`.
pub fn field<C: Codec>(name: &str) -> Field {
    Field::new(name, C::data_type(), C::NULLABLE)
}

/// A decoded column of `C`.
pub trait Column<C: Codec>: Clone + Send + Sync + fmt::Debug + 'static {
    /// Views an Arrow array as a column, checking everything that [`Column::get`] relies on. Where `present` is given
    /// (of the array's length), values at other positions are placeholders: they are not checked and never asked for.
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError>;

    /// The number of values.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `index`, which the caller keeps below [`Column::len`] and at a position that is present.
    fn get(&self, index: usize) -> C::Ref<'_>;
}

/// Collects values of `C` into an Arrow array.
pub trait Builder<C: Codec>: Default + Send + Sync + fmt::Debug + 'static {
    /// Adds a value.
    fn push(&mut self, value: C::Ref<'_>);

    /// Adds a placeholder, where an outer [`Option`] is `None`. Nobody will ask for it.
    fn pad(&mut self);

    /// Makes room for so many more values, of so many bytes where these vary. Only a hint, and by default nothing.
    fn reserve(&mut self, rows: usize, bytes: usize) {
        let _ = (rows, bytes);
    }

    /// The memory that the values so far take, in bytes, within a small factor. By default the size of as many owned values.
    fn bytes(&self) -> usize {
        self.len() * size_of::<C>()
    }

    /// The number of values so far, placeholders included.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `index`, which the caller keeps below [`Builder::len`] and at a position that was pushed, not
    /// padded: rows are sorted where they were collected.
    fn get(&self, index: usize) -> C::Ref<'_>;

    /// The array of type [`Codec::data_type`], and an empty builder again. An error if the sum of the sizes is
    /// beyond what [`Codec::size`] says, or a value's own encoding fails.
    fn finish(&mut self) -> Result<ArrayRef, EncodeError>;

    /// Forgets all values. What is used for many rows keeps its memory for the next.
    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The array as the concrete type that a codec writes, with its length checked against the mask.
fn downcast<'a, A: Array + 'static>(
    array: &'a dyn Array,
    data_type: &DataType,
    present: Option<&NullBuffer>,
) -> Result<&'a A, DecodeError> {
    if array.data_type() != data_type {
        return Err(DecodeError(format!("a column of {} where {data_type} was expected", array.data_type())));
    }
    if let Some(present) = present
        && present.len() != array.len()
    {
        return Err(DecodeError(format!("a mask of {} for a column of {}", present.len(), array.len())));
    }
    let concrete = array.as_any().downcast_ref::<A>();
    concrete.ok_or_else(|| DecodeError(format!("an unknown array of {data_type}")))
}

/// Refuses nulls: only [`Option`] writes any.
fn no_nulls(array: &dyn Array) -> Result<(), DecodeError> {
    match array.null_count() {
        0 => Ok(()),
        nulls => Err(DecodeError(format!("{nulls} nulls in a column that has none"))),
    }
}

/// What keys and values must be. Implemented for every type that qualifies.
pub trait Data: Codec {}
impl<C: Codec> Data for C {}

/// What times must be: any timely timestamp that is a lattice and packs into eight bytes. Not necessarily totally
/// ordered. Implemented for every type that qualifies.
pub trait Time: Timestamp + Lattice + Codec64 + Sync {}
impl<T: Timestamp + Lattice + Codec64 + Sync> Time for T {}

/// What diffs must be. Implemented for every type that qualifies.
pub trait Diff: Semigroup + Codec64 + Ord + Send + Sync + 'static {}
impl<D: Semigroup + Codec64 + Ord + Send + Sync + 'static> Diff for D {}
