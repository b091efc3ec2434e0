//! What of Arrow a codec is written with: what the traits beside it name, and what the codecs of this library are made of.
//!
//! Always of the version that this library has, so nobody needs Arrow in a manifest of his own. Who derives a codec names
//! nothing of it.

pub use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray, StringArray,
    StructArray, types,
};
pub use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
pub use arrow_schema::{DataType, Field, Fields, TimeUnit};
