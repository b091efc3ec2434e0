//! One value for many rows: the default of a field, or a placeholder.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, ListArray, PrimitiveArray, StructArray, UInt8Array, new_empty_array, new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef};

use super::super::{Constant, DecodeError, EnumShape, FieldShape, Leaf, Shape};
use super::target::data_type;

/// A value, as often as it is asked for. Clones share what was made so far.
#[derive(Clone)]
pub(super) struct Repeated {
    field: FieldRef,
    one: ArrayRef,
    /// The most rows that were asked for so far: fewer are a slice of them.
    many: Arc<Mutex<ArrayRef>>,
}

impl fmt::Debug for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.one.fmt(f)
    }
}

impl Repeated {
    /// The value of a constant, which must be one of the shape.
    pub(super) fn of(constant: &Constant, shape: &Shape) -> Result<Self, DecodeError> {
        let (one, field) = constant.decode(shape.data_type().as_ref())?;
        Ok(Self::new(one, field))
    }

    /// What stands in a struct of the fields where there is none.
    pub(super) fn absent(fields: &[FieldShape]) -> Option<Self> {
        let one = variant(fields, false)?;
        let field = Arc::new(Field::new("", one.data_type().clone(), true));
        Some(Self::new(one, field))
    }

    fn new(one: ArrayRef, field: FieldRef) -> Self {
        Self { field, many: Arc::new(Mutex::new(ArrayRef::clone(&one))), one }
    }

    pub(super) fn one(&self) -> &ArrayRef {
        &self.one
    }

    pub(super) fn is_nullable(&self) -> bool {
        self.field.is_nullable()
    }

    /// So many rows of it.
    pub(super) fn rows(&self, rows: usize) -> Result<ArrayRef, DecodeError> {
        // Held while more are made: else all threads that decode make them at once.
        let mut many = self.many.lock().unwrap_or_else(PoisonError::into_inner);
        if many.len() < rows {
            let indices = PrimitiveArray::<Int32Type>::from_value(0, rows);
            let taken = arrow_select::take::take(&self.one, &indices, None);
            *many = taken.map_err(|error| DecodeError(format!("a default cannot stand in {rows} rows: {error}")))?;
        }
        Ok(many.slice(0, rows))
    }
}

/// A row of the shape that nobody asks for, as codecs write it; `None` if only its own codec knows it.
fn placeholder(shape: &Shape) -> Option<ArrayRef> {
    Some(match shape {
        Shape::Leaf(Leaf::Unit) => new_null_array(&DataType::Null, 1),
        Shape::Leaf(_) | Shape::Opaque(_) => zero(&shape.data_type()?)?,
        Shape::Option(some) => structure(&shape.data_type()?, vec![placeholder(some)?], false)?,
        Shape::Tuple(shapes) => {
            let columns = shapes.iter().map(placeholder).collect::<Option<_>>()?;
            structure(&shape.data_type()?, columns, true)?
        }
        Shape::List(value) => {
            let values = new_empty_array(&value.data_type()?);
            let DataType::List(field) = shape.data_type()? else { return None };
            Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths([0]), values, None).ok()?)
        }
        Shape::Struct(fields) => {
            let columns = fields.fields.iter().map(|field| placeholder(&field.shape)).collect::<Option<_>>()?;
            structure(&shape.data_type()?, columns, true)?
        }
        Shape::Enum(variants) => first_variant(shape, variants)?,
    })
}

/// The first variant of an enum.
fn first_variant(shape: &Shape, variants: &EnumShape) -> Option<ArrayRef> {
    let tag: ArrayRef = Arc::new(UInt8Array::from(vec![0]));
    if !variants.has_data() {
        return Some(tag);
    }
    let with_data = variants.variants.iter().enumerate().filter(|(_, variant)| !variant.fields.is_empty());
    let data = with_data.map(|(index, of)| variant(&of.fields, index == 0));
    let columns: Option<Vec<_>> = std::iter::once(Some(tag)).chain(data).collect();
    structure(&shape.data_type()?, columns?, true)
}

/// The data of a variant: of the one that it is, or of another.
fn variant(fields: &[FieldShape], present: bool) -> Option<ArrayRef> {
    let columns = fields.iter().map(|field| placeholder(&field.shape)).collect::<Option<_>>()?;
    structure(&data_type(fields)?, columns, present)
}

fn structure(data_type: &DataType, columns: Vec<ArrayRef>, present: bool) -> Option<ArrayRef> {
    let DataType::Struct(fields) = data_type else { return None };
    let nulls = (!present).then(|| NullBuffer::new_null(1));
    Some(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, 1).ok()?))
}

/// A row of zeros.
fn zero(data_type: &DataType) -> Option<ArrayRef> {
    // Under a null there are zeros.
    let null = new_null_array(data_type, 1).to_data();
    let zero = null.into_builder().nulls(None).null_count(0).build().ok()?;
    Some(arrow_array::make_array(zero))
}
