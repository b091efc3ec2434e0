//! Values of sixteen bytes: uuids and the 128-bit integers.
//!
//! Always: the sixteen bytes are in the order of the values, so other tools and statistics may compare them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_schema::DataType;
use uuid::Uuid;

use super::{Builder, Codec, Column, DecodeError, EncodeError, Leaf, Shape, downcast, no_nulls};

const WIDTH: usize = 16;

/// A type with an order-preserving form of sixteen bytes, any of which is a value.
pub trait FixedCodec: Codec + Copy {
    /// The bytes: `a <= b` exactly if `a.to_bytes() <= b.to_bytes()`.
    fn to_bytes(self) -> [u8; 16];

    /// The value of the bytes.
    fn from_bytes(bytes: [u8; 16]) -> Self;
}

/// A column of sixteen-byte values.
#[derive(Clone, Debug)]
pub struct FixedColumn<F> {
    /// The bytes of all values, one after the other: a multiple of the width.
    bytes: Buffer,
    marker: PhantomData<fn() -> F>,
}

impl<F: FixedCodec> Column<F> for FixedColumn<F>
where
    for<'a> F: Codec<Ref<'a> = F>,
{
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<FixedSizeBinaryArray>(array, &F::data_type(), present)?;
        no_nulls(array)?;
        let values = array.values();
        let bytes = (values.len() >= array.len() * WIDTH).then(|| values.slice_with_length(0, array.len() * WIDTH));
        let bytes = bytes.ok_or_else(|| DecodeError("a column shorter than its values".to_owned()))?;
        Ok(Self { bytes, marker: PhantomData })
    }

    fn len(&self) -> usize {
        self.bytes.len() / WIDTH
    }

    #[inline]
    fn get(&self, index: usize) -> F {
        F::from_bytes(self.bytes.as_slice().as_chunks().0[index])
    }
}

/// Collects sixteen-byte values.
#[derive(Debug)]
pub struct FixedBuilder<F> {
    values: Vec<[u8; WIDTH]>,
    marker: PhantomData<fn() -> F>,
}

impl<F> Default for FixedBuilder<F> {
    fn default() -> Self {
        Self { values: Vec::new(), marker: PhantomData }
    }
}

impl<F: FixedCodec + fmt::Debug> Builder<F> for FixedBuilder<F>
where
    for<'a> F: Codec<Ref<'a> = F>,
{
    #[inline]
    fn push(&mut self, value: F) {
        self.values.push(value.to_bytes());
    }

    fn pad(&mut self) {
        self.values.push([0; WIDTH]);
    }

    fn reserve(&mut self, rows: usize, _bytes: usize) {
        self.values.reserve(rows);
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    #[inline]
    fn get(&self, index: usize) -> F {
        F::from_bytes(self.values[index])
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        let bytes = Buffer::from_vec(std::mem::take(&mut self.values).into_flattened());
        let array = FixedSizeBinaryArray::try_new(WIDTH as i32, bytes, None);
        Ok(Arc::new(array.map_err(|error| EncodeError(error.to_string()))?))
    }

    fn clear(&mut self) {
        self.values.clear();
    }
}

impl FixedCodec for Uuid {
    fn to_bytes(self) -> [u8; 16] {
        self.into_bytes()
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        Uuid::from_bytes(bytes)
    }
}

impl FixedCodec for u128 {
    fn to_bytes(self) -> [u8; 16] {
        self.to_be_bytes()
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        u128::from_be_bytes(bytes)
    }
}

/// With the sign bit inverted, so that the bytes are in the order of the values.
impl FixedCodec for i128 {
    fn to_bytes(self) -> [u8; 16] {
        (self as u128 ^ (1 << 127)).to_be_bytes()
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        (u128::from_be_bytes(bytes) ^ (1 << 127)) as i128
    }
}

macro_rules! fixed {
    ($($type:ident $name:literal $leaf:expr;)*) => {$(
        impl Codec for $type {
            type Ref<'a> = $type;
            type Column = FixedColumn<$type>;
            type Builder = FixedBuilder<$type>;

            fn name() -> String {
                $name.to_owned()
            }

            fn shape() -> Shape {
                Shape::Leaf($leaf)
            }

            fn data_type() -> DataType {
                DataType::FixedSizeBinary(WIDTH as i32)
            }

            fn as_ref(&self) -> $type {
                *self
            }

            fn from_ref(value: $type) -> $type {
                value
            }

            fn reborrow<'b, 'a: 'b>(value: $type) -> $type {
                value
            }

            fn size(_: $type) -> Result<usize, EncodeError> {
                Ok(WIDTH)
            }

            fn prefix(value: $type) -> u64 {
                (u128::from_be_bytes(value.to_bytes()) >> 64) as u64
            }

            fn digest_bytes(value: $type, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&value.to_bytes());
            }
        }
    )*};
}

fixed! {
    Uuid "uuid" Leaf::Uuid;
    u128 "u128" Leaf::Unsigned(128);
    i128 "i128" Leaf::Signed(128);
}
