//! Types whose values are those of an Arrow primitive, or some of them: numbers, days, moments.
//!
//! Always: a column that was opened holds primitives of values only, so that [`Column::get`] converts without asking; and a
//! builder gives no array with a value that would not read back equal.

use std::fmt;
use std::sync::Arc;

use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};

use super::{Builder, Codec, Column, DecodeError, EncodeError, downcast, no_nulls};

/// The Rust type in which Arrow has the values of a [`PrimitiveCodec`].
type Native<P> = <<P as PrimitiveCodec>::Arrow as ArrowPrimitiveType>::Native;

/// A type that is stored as an Arrow primitive: each value that [`Codec::check`] allows has a primitive of its own.
pub trait PrimitiveCodec: Codec + Copy + Default {
    /// The Arrow primitive.
    type Arrow: ArrowPrimitiveType + fmt::Debug;

    /// The primitive of the value. Of one that [`Codec::check`] refuses, any, but no panic.
    fn to_native(self) -> <Self::Arrow as ArrowPrimitiveType>::Native;

    /// Whether the primitive is that of a value. It is asked of every one that is read.
    fn is_native(native: <Self::Arrow as ArrowPrimitiveType>::Native) -> bool;

    /// The value of a primitive. Of one that is none of a value, any, but no panic.
    fn from_native(native: <Self::Arrow as ArrowPrimitiveType>::Native) -> Self;
}

/// A column of primitives.
#[derive(Clone, Debug)]
pub struct PrimitiveColumn<P: PrimitiveCodec>(ScalarBuffer<Native<P>>);

impl<P: PrimitiveCodec> Column<P> for PrimitiveColumn<P>
where
    for<'a> P: Codec<Ref<'a> = P>,
{
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<PrimitiveArray<P::Arrow>>(array, &P::data_type(), present)?;
        no_nulls(array)?;
        let values = array.values();
        let is_present = |index: usize| present.is_none_or(|present| present.is_valid(index));
        match values.iter().enumerate().find(|(index, native)| !P::is_native(**native) && is_present(*index)) {
            None => Ok(Self(values.clone())),
            Some((_, native)) => Err(DecodeError(format!("{native:?} is no value of {}", P::name()))),
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn get(&self, index: usize) -> P {
        P::from_native(self.0[index])
    }
}

/// Collects values that become primitives.
#[derive(Debug)]
pub struct PrimitiveBuilder<P>(Vec<P>);

impl<P> Default for PrimitiveBuilder<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P: PrimitiveCodec> Builder<P> for PrimitiveBuilder<P>
where
    for<'a> P: Codec<Ref<'a> = P>,
{
    #[inline]
    fn push(&mut self, value: P) {
        self.0.push(value);
    }

    fn pad(&mut self) {
        self.0.push(P::default());
    }

    fn reserve(&mut self, rows: usize, _bytes: usize) {
        self.0.reserve(rows);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn get(&self, index: usize) -> P {
        self.0[index]
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        // Whoever writes a part has asked already; a builder may also be filled by others.
        self.0.iter().try_for_each(|value| P::check(*value))?;
        let data_type = P::data_type();
        if !PrimitiveArray::<P::Arrow>::is_compatible(&data_type) {
            return Err(EncodeError(format!("{data_type} as a column of another primitive")));
        }
        let values: ScalarBuffer<Native<P>> = self.0.drain(..).map(P::to_native).collect();
        let array = PrimitiveArray::<P::Arrow>::try_new(values, None);
        let array = array.map_err(|error| EncodeError(error.to_string()))?;
        Ok(Arc::new(array.with_data_type(data_type)))
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// What is the same in every [`Codec`] of a [`PrimitiveCodec`].
macro_rules! primitive_items {
    () => {
        type Ref<'a> = Self;
        type Column = $crate::codec::PrimitiveColumn<Self>;
        type Builder = $crate::codec::PrimitiveBuilder<Self>;

        #[inline]
        fn as_ref(&self) -> Self {
            *self
        }

        #[inline]
        fn from_ref(value: Self) -> Self {
            value
        }

        #[inline]
        fn reborrow<'b, 'a: 'b>(value: Self) -> Self {
            value
        }

        #[inline]
        fn size(_: Self) -> Result<usize, $crate::codec::EncodeError> {
            Ok(size_of_val(&<Self as $crate::codec::PrimitiveCodec>::to_native(Self::default())))
        }
    };
}

pub(super) use primitive_items;
