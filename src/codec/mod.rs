//! How a Rust type lies in a column.
//!
//! [`Codec`] maps a type to one Arrow array both ways and gives a borrowed row type, so that a scan allocates nothing.
//! [`Codec64`] is the eight-byte form of times and diffs. The aliases [`Data`], [`Time`] and [`Diff`] name the bounds
//! that the rest of the library asks for, once.
//!
//! Always: the order of `Codec::Ref` equals the order of the owned type; what an encoder wrote, the decoder of the same
//! name reads back equal; a decoder answers foreign arrays with an error, never a panic. This module does no I/O.

mod word;

use std::fmt;

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use differential_dataflow::difference::Semigroup;
use differential_dataflow::lattice::Lattice;
use timely::progress::Timestamp;

pub use word::Codec64;

/// A column that is not what the codec writes: why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(pub String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

/// A type that can be stored as an Arrow column.
///
/// The implementor guarantees that `Ref`'s order equals the owned order and that
/// `T::from_ref(column.get(i))` equals the value whose `as_ref` was pushed at `i`.
pub trait Codec: Ord + Clone + fmt::Debug + Send + Sync + Sized + 'static {
    /// A value borrowed from a column, cheap to copy and to compare.
    type Ref<'a>: Copy + Ord + fmt::Debug;
    /// A decoded column. Cloning shares the buffers.
    type Column: Column<Self>;
    /// Collects values into a column.
    type Builder: Builder<Self>;

    /// The name that a shard remembers: two types with one name must read each other's columns.
    fn name() -> String;

    /// The Arrow type of a column. Statistics and other tools see it.
    fn data_type() -> DataType;

    /// The borrowed form.
    fn as_ref(&self) -> Self::Ref<'_>;

    /// The owned form.
    fn from_ref(value: Self::Ref<'_>) -> Self;

    /// The first bits of the value, such that `a <= b` implies `prefix(a) <= prefix(b)`: a sort compares these first.
    /// Zero where the type has no cheap prefix.
    fn prefix(value: Self::Ref<'_>) -> u64 {
        let _ = value;
        0
    }
}

/// A decoded column of `C`.
pub trait Column<C: Codec>: Clone + Send + Sync + fmt::Debug + 'static {
    /// Views an Arrow array as a column, checking everything that [`Column::get`] relies on.
    fn try_new(array: &dyn Array) -> Result<Self, DecodeError>;

    /// The number of values.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `index`, which the caller keeps below [`Column::len`].
    fn get(&self, index: usize) -> C::Ref<'_>;
}

/// Collects values of `C` into an Arrow array.
pub trait Builder<C: Codec>: Default + Send + fmt::Debug {
    /// Adds a value.
    fn push(&mut self, value: C::Ref<'_>);

    /// The number of values so far.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `index`, which the caller keeps below [`Builder::len`]: rows are sorted where they were collected.
    fn get(&self, index: usize) -> C::Ref<'_>;

    /// The memory that the values take, in bytes, within a small factor.
    fn bytes(&self) -> usize;

    /// The array of type [`Codec::data_type`], and an empty builder again.
    fn finish(&mut self) -> ArrayRef;
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
