//! What a mapped column is: a struct of the new shape's fields.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Fields};

use super::super::shape::{SOME, TAG, with_id};
use super::super::{DecodeError, EnumShape, FieldShape, Shape, StructShape};

/// The fields of a struct, as the codec of the new shape expects them.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// All of them; `None` if there is a type that only its own codec knows.
    known: Option<Fields>,
    fields: Vec<Name>,
}

/// What is known of a field in any case.
#[derive(Clone, Debug)]
struct Name {
    name: String,
    id: Option<u32>,
    nullable: Option<bool>,
}

impl Target {
    pub(super) fn option(some: &Shape) -> Self {
        let name = Name { name: SOME.to_owned(), id: None, nullable: some.is_nullable() };
        Self { known: some.field(SOME).map(|field| Fields::from(vec![field])), fields: vec![name] }
    }

    pub(super) fn tuple(shapes: &[Shape]) -> Self {
        let name =
            |(index, shape): (usize, &Shape)| Name { name: index.to_string(), id: None, nullable: shape.is_nullable() };
        Self { known: known(&Shape::Tuple(shapes.to_vec())), fields: shapes.iter().enumerate().map(name).collect() }
    }

    pub(super) fn structure(fields: &[FieldShape]) -> Self {
        let name = |field: &FieldShape| Name {
            name: field.name.clone(),
            id: Some(field.id),
            nullable: field.shape.is_nullable(),
        };
        let known = data_type(fields).and_then(struct_fields);
        Self { known, fields: fields.iter().map(name).collect() }
    }

    /// Of an enum with data.
    pub(super) fn variants(shape: &EnumShape) -> Self {
        let mut fields = vec![Name { name: TAG.to_owned(), id: None, nullable: Some(false) }];
        let with_data = shape.variants.iter().filter(|variant| !variant.fields.is_empty());
        fields.extend(with_data.map(|variant| Name {
            name: variant.name.clone(),
            id: Some(variant.id),
            nullable: Some(true),
        }));
        Self { known: known(&Shape::Enum(shape.clone())), fields }
    }

    /// The column of these columns. Each comes with whether it may hold nulls, where only it knows.
    pub(super) fn build(
        &self,
        columns: Vec<(ArrayRef, bool)>,
        nulls: Option<NullBuffer>,
        rows: usize,
    ) -> Result<ArrayRef, DecodeError> {
        let fields = self.known.clone().unwrap_or_else(|| {
            let field = |(name, (column, nullable)): (&Name, &(ArrayRef, bool))| {
                let field = Field::new(&name.name, column.data_type().clone(), name.nullable.unwrap_or(*nullable));
                if let Some(id) = name.id { with_id(field, id) } else { field }
            };
            self.fields.iter().zip(&columns).map(field).collect()
        });
        let columns = columns.into_iter().map(|(column, _)| column).collect();
        let array = StructArray::try_new_with_length(fields, columns, nulls, rows);
        Ok(Arc::new(array.map_err(|error| DecodeError(error.to_string()))?))
    }
}

/// The Arrow type of a struct of the fields; `None` as for [`Shape::data_type`].
pub(super) fn data_type(fields: &[FieldShape]) -> Option<DataType> {
    let (name, fields, retired) = (String::new(), fields.to_vec(), Vec::new());
    Shape::Struct(StructShape { name, fields, retired }).data_type()
}

fn known(shape: &Shape) -> Option<Fields> {
    shape.data_type().and_then(struct_fields)
}

fn struct_fields(data_type: DataType) -> Option<Fields> {
    match data_type {
        DataType::Struct(fields) => Some(fields),
        _ => None,
    }
}

/// The array as the concrete type that it must be.
pub(super) fn typed<A: Array + 'static>(array: &dyn Array) -> Result<&A, DecodeError> {
    let wrong = || DecodeError(format!("a column of {}, which is not what its shape says", array.data_type()));
    array.as_any().downcast_ref().ok_or_else(wrong)
}
