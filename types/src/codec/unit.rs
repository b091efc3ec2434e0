//! The unit type: a column of nothing but a length.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, NullArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

use super::{Builder, Codec, Column, DecodeError, EncodeError, Leaf, Shape, downcast};

/// A column of units.
#[derive(Clone, Debug)]
pub struct UnitColumn(usize);

impl Column<()> for UnitColumn {
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        Ok(Self(downcast::<NullArray>(array, &DataType::Null, present)?.len()))
    }

    fn len(&self) -> usize {
        self.0
    }

    fn get(&self, _: usize) {}
}

/// Counts units.
#[derive(Debug, Default)]
pub struct UnitBuilder(usize);

impl Builder<()> for UnitBuilder {
    fn push(&mut self, (): ()) {
        self.0 += 1;
    }

    fn pad(&mut self) {
        self.0 += 1;
    }

    fn len(&self) -> usize {
        self.0
    }

    fn get(&self, _: usize) {}

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        Ok(Arc::new(NullArray::new(std::mem::take(&mut self.0))))
    }
}

impl Codec for () {
    type Ref<'a> = ();
    type Column = UnitColumn;
    type Builder = UnitBuilder;

    /// Arrow's null type is all nulls, by its definition.
    const NULLABLE: bool = true;

    fn name() -> String {
        "unit".to_owned()
    }

    fn shape() -> Shape {
        Shape::Leaf(Leaf::Unit)
    }

    fn data_type() -> DataType {
        DataType::Null
    }

    fn as_ref(&self) {}

    fn from_ref((): ()) {}

    fn reborrow<'b, 'a: 'b>((): ()) {}

    fn size((): ()) -> Result<usize, EncodeError> {
        Ok(0)
    }

    fn digest_bytes((): (), _: &mut Vec<u8>) {}
}
