//! Optional values: a nullable struct with one child, `some`.
//!
//! Always: one-to-one at any nesting. A nullable column of the child itself could not tell `None` from `Some(None)`,
//! nor `Some(())` from `None`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Fields};

use super::{Builder, Codec, Column, DecodeError, EncodeError, Shape, downcast, field};

/// The name of the child.
const SOME: &str = "some";

/// A column of optional values.
#[derive(Clone, Debug)]
pub struct OptionColumn<C: Codec> {
    /// Where there is a value; `None` where there is one everywhere.
    present: Option<NullBuffer>,
    some: C::Column,
}

impl<C: Codec> Column<Option<C>> for OptionColumn<C> {
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<StructArray>(array, &Option::<C>::data_type(), present)?;
        let present = NullBuffer::union(present, array.nulls());
        let [some] = array.columns() else {
            return Err(DecodeError(format!("an optional column with {} children", array.num_columns())));
        };
        let some = C::Column::try_new(some, present.as_ref())?;
        if some.len() != array.len() {
            return Err(DecodeError(format!("{} values for {} options", some.len(), array.len())));
        }
        Ok(Self { present, some })
    }

    fn len(&self) -> usize {
        self.some.len()
    }

    #[inline]
    fn get(&self, index: usize) -> Option<C::Ref<'_>> {
        let present = self.present.as_ref().is_none_or(|present| present.is_valid(index));
        present.then(|| self.some.get(index))
    }
}

/// Collects optional values.
#[derive(Debug)]
pub struct OptionBuilder<C: Codec> {
    present: Vec<bool>,
    some: C::Builder,
}

impl<C: Codec> Default for OptionBuilder<C> {
    fn default() -> Self {
        Self { present: Vec::new(), some: C::Builder::default() }
    }
}

impl<C: Codec> Builder<Option<C>> for OptionBuilder<C> {
    fn push(&mut self, value: Option<C::Ref<'_>>) {
        self.present.push(value.is_some());
        match value {
            Some(value) => self.some.push(value),
            None => self.some.pad(),
        }
    }

    fn pad(&mut self) {
        self.push(None);
    }

    fn reserve(&mut self, rows: usize, bytes: usize) {
        self.present.reserve(rows);
        self.some.reserve(rows, bytes);
    }

    fn bytes(&self) -> usize {
        self.present.len() + self.some.bytes()
    }

    fn len(&self) -> usize {
        self.present.len()
    }

    #[inline]
    fn get(&self, index: usize) -> Option<C::Ref<'_>> {
        self.present[index].then(|| self.some.get(index))
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        let present = NullBuffer::from(std::mem::take(&mut self.present));
        let nulls = (present.null_count() > 0).then_some(present);
        let array = StructArray::try_new(fields::<C>(), vec![self.some.finish()?], nulls);
        Ok(Arc::new(array.map_err(|error| EncodeError(error.to_string()))?))
    }

    fn clear(&mut self) {
        self.present.clear();
        self.some.clear();
    }
}

fn fields<C: Codec>() -> Fields {
    Fields::from(vec![field::<C>(SOME)])
}

impl<C: Codec> Codec for Option<C> {
    type Ref<'a> = Option<C::Ref<'a>>;
    type Column = OptionColumn<C>;
    type Builder = OptionBuilder<C>;

    const NULLABLE: bool = true;

    fn name() -> String {
        format!("option({})", C::name())
    }

    fn shape() -> Shape {
        Shape::Option(Box::new(C::shape()))
    }

    fn data_type() -> DataType {
        DataType::Struct(fields::<C>())
    }

    #[inline]
    fn as_ref(&self) -> Option<C::Ref<'_>> {
        self.as_ref().map(C::as_ref)
    }

    #[inline]
    fn from_ref(value: Option<C::Ref<'_>>) -> Self {
        value.map(C::from_ref)
    }

    #[inline]
    fn reborrow<'b, 'a: 'b>(value: Option<C::Ref<'a>>) -> Option<C::Ref<'b>> {
        value.map(C::reborrow)
    }

    fn size(value: Option<C::Ref<'_>>) -> Result<usize, EncodeError> {
        // A placeholder is at most an offset or a fixed width.
        Ok(1 + value.map_or(Ok(size_of::<C::Ref<'_>>()), C::size)?)
    }

    fn check(value: Option<C::Ref<'_>>) -> Result<(), EncodeError> {
        value.map_or(Ok(()), C::check)
    }

    /// One bit goes to the variant.
    #[inline]
    fn prefix(value: Option<C::Ref<'_>>) -> u64 {
        value.map_or(0, |value| 1 << 63 | C::prefix(value) >> 1)
    }

    fn digest_bytes(value: Option<C::Ref<'_>>, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(value.is_some()));
        if let Some(value) = value {
            C::digest_bytes(value, bytes);
        }
    }
}
