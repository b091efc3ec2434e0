//! Booleans, one bit each.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;

use super::{Builder, Codec, Column, DecodeError, EncodeError, Leaf, Shape, downcast, no_nulls};

/// A column of booleans.
#[derive(Clone, Debug)]
pub struct BooleanColumn(BooleanBuffer);

impl Column<bool> for BooleanColumn {
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<BooleanArray>(array, &bool::data_type(), present)?;
        no_nulls(array)?;
        Ok(Self(array.values().clone()))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn get(&self, index: usize) -> bool {
        self.0.value(index)
    }
}

/// Collects booleans, a byte each until they are finished.
#[derive(Debug, Default)]
pub struct BooleanBuilder(Vec<bool>);

impl Builder<bool> for BooleanBuilder {
    #[inline]
    fn push(&mut self, value: bool) {
        self.0.push(value);
    }

    fn pad(&mut self) {
        self.0.push(false);
    }

    fn reserve(&mut self, rows: usize, _bytes: usize) {
        self.0.reserve(rows);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn get(&self, index: usize) -> bool {
        self.0[index]
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        Ok(Arc::new(BooleanArray::new(BooleanBuffer::from(std::mem::take(&mut self.0)), None)))
    }
}

impl Codec for bool {
    type Ref<'a> = bool;
    type Column = BooleanColumn;
    type Builder = BooleanBuilder;

    fn name() -> String {
        "bool".to_owned()
    }

    fn shape() -> Shape {
        Shape::Leaf(Leaf::Bool)
    }

    fn data_type() -> DataType {
        DataType::Boolean
    }

    fn as_ref(&self) -> bool {
        *self
    }

    fn from_ref(value: bool) -> bool {
        value
    }

    fn reborrow<'b, 'a: 'b>(value: bool) -> bool {
        value
    }

    fn size(_: bool) -> Result<usize, EncodeError> {
        Ok(1)
    }

    fn prefix(value: bool) -> u64 {
        u64::from(value) << 63
    }

    fn digest_bytes(value: bool, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(value));
    }
}
