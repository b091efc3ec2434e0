//! Integers of 8 to 64 bits, as the Arrow primitive of the same width.
//!
//! Always: the prefix is the whole value, so a sort of integers never looks further.

use std::fmt;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use super::{Builder, Codec, Column, DecodeError, EncodeError, Leaf, Shape, downcast, no_nulls};

/// An integer that is an Arrow primitive. Implemented for those that are; not for anything else.
pub trait Integer: Codec + Copy + arrow_buffer::ArrowNativeType {
    /// The Arrow primitive.
    type Arrow: ArrowPrimitiveType<Native = Self> + fmt::Debug;
}

/// A column of integers.
#[derive(Clone, Debug)]
pub struct IntegerColumn<I: Integer>(ScalarBuffer<I>);

impl<I: Integer> Column<I> for IntegerColumn<I>
where
    for<'a> I: Codec<Ref<'a> = I>,
{
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<PrimitiveArray<I::Arrow>>(array, &I::data_type(), present)?;
        no_nulls(array)?;
        Ok(Self(array.values().clone()))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn get(&self, index: usize) -> I {
        self.0[index]
    }
}

/// Collects integers.
#[derive(Debug)]
pub struct IntegerBuilder<I>(Vec<I>);

impl<I> Default for IntegerBuilder<I> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<I: Integer> Builder<I> for IntegerBuilder<I>
where
    for<'a> I: Codec<Ref<'a> = I>,
{
    #[inline]
    fn push(&mut self, value: I) {
        self.0.push(value);
    }

    fn pad(&mut self) {
        self.0.push(I::default());
    }

    fn reserve(&mut self, rows: usize, _bytes: usize) {
        self.0.reserve(rows);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn get(&self, index: usize) -> I {
        self.0[index]
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        let values = ScalarBuffer::from(std::mem::take(&mut self.0));
        let array = PrimitiveArray::<I::Arrow>::try_new(values, None);
        Ok(Arc::new(array.map_err(|error| EncodeError(error.to_string()))?))
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// `flip` is the sign bit: with it inverted, the bits of a signed integer are in the order of its values.
macro_rules! integer {
    ($($type:ident $leaf:ident $unsigned:ident $arrow:ident $data_type:ident $flip:expr;)*) => {$(
        impl Integer for $type {
            type Arrow = $arrow;
        }

        impl Codec for $type {
            type Ref<'a> = $type;
            type Column = IntegerColumn<$type>;
            type Builder = IntegerBuilder<$type>;

            fn name() -> String {
                stringify!($type).to_owned()
            }

            fn shape() -> Shape {
                Shape::Leaf(Leaf::$leaf($type::BITS as u8)) // at most 64
            }

            fn data_type() -> DataType {
                DataType::$data_type
            }

            #[inline]
            fn as_ref(&self) -> $type {
                *self
            }

            #[inline]
            fn from_ref(value: $type) -> $type {
                value
            }

            #[inline]
            fn reborrow<'b, 'a: 'b>(value: $type) -> $type {
                value
            }

            #[inline]
            fn size(_: $type) -> Result<usize, EncodeError> {
                Ok(size_of::<$type>())
            }

            #[inline]
            fn prefix(value: $type) -> u64 {
                u64::from(value as $unsigned ^ $flip) << (64 - $type::BITS)
            }

            #[inline]
            fn digest_bytes(value: $type, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    )*};
}

integer! {
    u8 Unsigned u8 UInt8Type UInt8 0;
    u16 Unsigned u16 UInt16Type UInt16 0;
    u32 Unsigned u32 UInt32Type UInt32 0;
    u64 Unsigned u64 UInt64Type UInt64 0;
    i8 Signed u8 Int8Type Int8 1 << 7;
    i16 Signed u16 Int16Type Int16 1 << 15;
    i32 Signed u32 Int32Type Int32 1 << 31;
    i64 Signed u64 Int64Type Int64 1 << 63;
}
