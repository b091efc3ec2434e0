//! How a value of a shape lies in Arrow: what every codec of a known shape writes.
//!
//! | shape | column |
//! | --- | --- |
//! | integers of up to 64 bits, floats, `bool`, text, bytes, unit | the Arrow type of that name |
//! | integers of 128 bits, `Uuid` | 16 bytes, in the order of the values |
//! | date, timestamp, datetime, decimal | `Date32`, `Timestamp(µs, UTC)`, `Timestamp(µs)`, `Decimal128` |
//! | option | a nullable struct of one field, `some` |
//! | tuple | a struct of fields `0`, `1`, … |
//! | list | a list of `item` |
//! | struct | a struct of its fields, by their names, each with its id in its metadata |
//! | enum without data | `UInt8`, the place of the variant |
//! | enum with data | a struct of `tag: UInt8`, the place of the variant, and for each variant with fields, by its name and with its id, a nullable struct of these |

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, TimeUnit};

use super::{EnumShape, FieldShape, Leaf, Shape};

/// The key of a field's metadata under which its id is, or that of the variant whose data it is.
pub const FIELD_ID: &str = "timely_persist.id";

/// The field within an option.
pub(in super::super) const SOME: &str = "some";

/// The values of a list.
pub(in super::super) const VALUES: &str = "item";

/// Which variant it is.
pub(in super::super) const TAG: &str = "tag";

impl Shape {
    /// The Arrow type of a column: the `data_type` of every codec that has this shape. `None` if there is a type in it that
    /// only its own codec knows, other than those of serde.
    pub fn data_type(&self) -> Option<DataType> {
        let fields = |fields: Option<Vec<Field>>| fields.map(|fields| DataType::Struct(fields.into()));
        match self {
            Self::Leaf(leaf) => Some(leaf.data_type()),
            Self::Option(some) => fields(some.field(SOME).map(|some| vec![some])),
            Self::Tuple(shapes) => {
                fields(shapes.iter().enumerate().map(|(index, shape)| shape.field(&index.to_string())).collect())
            }
            Self::List(value) => value.field(VALUES).map(|value| DataType::List(Arc::new(value))),
            Self::Struct(shape) => struct_fields(&shape.fields).map(DataType::Struct),
            Self::Enum(shape) => shape.data_type(),
            Self::Opaque(name) => name.starts_with("serde(").then_some(DataType::Binary),
        }
    }

    /// The Arrow field of a column of it; `None` as for [`Shape::data_type`].
    pub fn field(&self, name: &str) -> Option<Field> {
        Some(Field::new(name, self.data_type()?, self.is_nullable()?))
    }

    /// Whether its column may hold Arrow nulls. `None` as for [`Shape::data_type`].
    pub(in super::super) fn is_nullable(&self) -> Option<bool> {
        match self {
            Self::Leaf(Leaf::Unit) | Self::Option(_) => Some(true),
            Self::Opaque(name) => name.starts_with("serde(").then_some(false),
            _ => Some(false),
        }
    }
}

impl Leaf {
    fn data_type(self) -> DataType {
        match self {
            Self::Unit => DataType::Null,
            Self::Bool => DataType::Boolean,
            Self::Unsigned(8) => DataType::UInt8,
            Self::Unsigned(16) => DataType::UInt16,
            Self::Unsigned(32) => DataType::UInt32,
            Self::Unsigned(64) => DataType::UInt64,
            Self::Signed(8) => DataType::Int8,
            Self::Signed(16) => DataType::Int16,
            Self::Signed(32) => DataType::Int32,
            Self::Signed(64) => DataType::Int64,
            Self::Unsigned(_) | Self::Signed(_) | Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Float(32) => DataType::Float32,
            Self::Float(_) => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::DateTime => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
        }
    }
}

impl EnumShape {
    /// Whether a variant has data, so that a column is a struct.
    pub(in super::super) fn has_data(&self) -> bool {
        self.variants.iter().any(|variant| !variant.fields.is_empty())
    }

    fn data_type(&self) -> Option<DataType> {
        if !self.has_data() {
            return Some(DataType::UInt8);
        }
        let mut fields = vec![Field::new(TAG, DataType::UInt8, false)];
        for variant in self.variants.iter().filter(|variant| !variant.fields.is_empty()) {
            let data_type = DataType::Struct(struct_fields(&variant.fields)?);
            fields.push(with_id(Field::new(&variant.name, data_type, true), variant.id));
        }
        Some(DataType::Struct(fields.into()))
    }
}

fn struct_fields(fields: &[FieldShape]) -> Option<Fields> {
    fields.iter().map(|field| Some(with_id(field.shape.field(&field.name)?, field.id))).collect()
}

/// The field, with its id in its metadata.
pub(in super::super) fn with_id(field: Field, id: u32) -> Field {
    field.with_metadata([(FIELD_ID.to_owned(), id.to_string())])
}
