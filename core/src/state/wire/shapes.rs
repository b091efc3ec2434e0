//! The durable shapes of schemas: protobuf messages, tagged by hand, and what they stand for.
//!
//! A tag, or the number of a kind of leaf, is never used twice. Who reads an unknown one has an older version of the library.

use std::sync::Arc;

use prost::{Message, Oneof};

use crate::state::Schema;
use timely_persist_types::codec::{
    Constant, EnumShape, FieldShape, Leaf, RetiredField, Shape, StructShape, VariantShape,
};
use timely_persist_types::error::Error;

use super::refusals::{missing, newer};

#[derive(Clone, PartialEq, Message)]
pub(super) struct SchemaMessage {
    #[prost(message, optional, tag = "1")]
    key: Option<ShapeMessage>,
    #[prost(message, optional, tag = "2")]
    value: Option<ShapeMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ShapeMessage {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Leaf(LeafMessage),
    #[prost(message, boxed, tag = "2")]
    Option(Box<ShapeMessage>),
    #[prost(message, tag = "3")]
    Tuple(TupleMessage),
    #[prost(message, boxed, tag = "4")]
    List(Box<ShapeMessage>),
    #[prost(message, tag = "5")]
    Struct(StructMessage),
    #[prost(message, tag = "6")]
    Enum(EnumMessage),
    #[prost(string, tag = "7")]
    Opaque(String),
}

#[derive(Clone, PartialEq, Message)]
struct LeafMessage {
    #[prost(uint32, tag = "1")]
    kind: u32,
    /// Bits, or digits.
    #[prost(uint32, tag = "2")]
    size: u32,
    #[prost(sint32, tag = "3")]
    scale: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TupleMessage {
    #[prost(message, repeated, tag = "1")]
    components: Vec<ShapeMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct StructMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    fields: Vec<FieldMessage>,
    #[prost(message, repeated, tag = "3")]
    retired: Vec<FieldMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct EnumMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    variants: Vec<VariantMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct VariantMessage {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    fields: Vec<FieldMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldMessage {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    shape: Option<ShapeMessage>,
    #[prost(message, optional, tag = "4")]
    default: Option<ConstantMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ConstantMessage {
    #[prost(bytes = "vec", tag = "1")]
    digest: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    column: Vec<u8>,
}

pub(super) fn schema_to_proto(schema: &Schema) -> SchemaMessage {
    SchemaMessage { key: Some(shape_to_proto(&schema.key)), value: Some(shape_to_proto(&schema.value)) }
}

pub(super) fn schema_from_proto(message: SchemaMessage) -> Result<Arc<Schema>, Error> {
    let (key, value) = (shape_from_proto(message.key)?, shape_from_proto(message.value)?);
    for shape in [&key, &value] {
        shape.check().map_err(|error| Error::corrupt("a schema that no type has").because(error))?;
    }
    Ok(Arc::new(Schema { key, value }))
}

fn shape_to_proto(shape: &Shape) -> ShapeMessage {
    let kind = match shape {
        Shape::Leaf(leaf) => Kind::Leaf(leaf_to_proto(*leaf)),
        Shape::Option(some) => Kind::Option(Box::new(shape_to_proto(some))),
        Shape::Tuple(components) => {
            Kind::Tuple(TupleMessage { components: components.iter().map(shape_to_proto).collect() })
        }
        Shape::List(item) => Kind::List(Box::new(shape_to_proto(item))),
        Shape::Struct(StructShape { name, fields, retired }) => Kind::Struct(StructMessage {
            name: name.clone(),
            fields: fields.iter().map(field_to_proto).collect(),
            retired: retired
                .iter()
                .map(|field| FieldMessage {
                    id: field.id,
                    name: String::new(),
                    shape: Some(shape_to_proto(&field.shape)),
                    default: None,
                })
                .collect(),
        }),
        Shape::Enum(EnumShape { name, variants }) => {
            let variant = |variant: &VariantShape| VariantMessage {
                id: variant.id,
                name: variant.name.clone(),
                fields: variant.fields.iter().map(field_to_proto).collect(),
            };
            Kind::Enum(EnumMessage { name: name.clone(), variants: variants.iter().map(variant).collect() })
        }
        Shape::Opaque(name) => Kind::Opaque(name.clone()),
    };
    ShapeMessage { kind: Some(kind) }
}

fn shape_from_proto(message: Option<ShapeMessage>) -> Result<Shape, Error> {
    let unknown = || newer("a shape");
    Ok(match message.ok_or_else(missing)?.kind.ok_or_else(unknown)? {
        Kind::Leaf(leaf) => Shape::Leaf(leaf_from_proto(&leaf).ok_or_else(unknown)?),
        Kind::Option(some) => Shape::Option(Box::new(shape_from_proto(Some(*some))?)),
        Kind::Tuple(tuple) => {
            let components = tuple.components.into_iter().map(|component| shape_from_proto(Some(component)));
            Shape::Tuple(components.collect::<Result<_, _>>()?)
        }
        Kind::List(item) => Shape::List(Box::new(shape_from_proto(Some(*item))?)),
        Kind::Struct(StructMessage { name, fields, retired }) => {
            let fields = fields.into_iter().map(field_from_proto).collect::<Result<_, _>>()?;
            let retired = retired.into_iter().map(field_from_proto);
            let retired = retired.map(|field| field.map(|FieldShape { id, shape, .. }| RetiredField { id, shape }));
            Shape::Struct(StructShape { name, fields, retired: retired.collect::<Result<_, _>>()? })
        }
        Kind::Enum(EnumMessage { name, variants }) => {
            let variant = |VariantMessage { id, name, fields }: VariantMessage| -> Result<VariantShape, Error> {
                let fields = fields.into_iter().map(field_from_proto).collect::<Result<_, _>>()?;
                Ok(VariantShape { id, name, fields })
            };
            let variants = variants.into_iter().map(variant).collect::<Result<_, _>>()?;
            Shape::Enum(EnumShape { name, variants })
        }
        Kind::Opaque(name) => Shape::Opaque(name),
    })
}

fn field_to_proto(field: &FieldShape) -> FieldMessage {
    let constant =
        |Constant { digest, column }: &Constant| ConstantMessage { digest: digest.clone(), column: column.clone() };
    FieldMessage {
        id: field.id,
        name: field.name.clone(),
        shape: Some(shape_to_proto(&field.shape)),
        default: field.default.as_ref().map(constant),
    }
}

fn field_from_proto(message: FieldMessage) -> Result<FieldShape, Error> {
    let FieldMessage { id, name, shape, default } = message;
    let default = default.map(|ConstantMessage { digest, column }| Constant { digest, column });
    Ok(FieldShape { id, name, shape: shape_from_proto(shape)?, default })
}

/// Kinds of leaves, each with a number that is its for ever.
fn leaf_to_proto(leaf: Leaf) -> LeafMessage {
    let (kind, size, scale) = match leaf {
        Leaf::Unit => (1, 0, 0),
        Leaf::Bool => (2, 0, 0),
        Leaf::Unsigned(bits) => (3, bits, 0),
        Leaf::Signed(bits) => (4, bits, 0),
        Leaf::Float(bits) => (5, bits, 0),
        Leaf::Text => (6, 0, 0),
        Leaf::Bytes => (7, 0, 0),
        Leaf::Uuid => (8, 0, 0),
        Leaf::Date => (9, 0, 0),
        Leaf::Timestamp => (10, 0, 0),
        Leaf::Decimal { precision, scale } => (11, precision, scale),
        Leaf::DateTime => (12, 0, 0),
    };
    LeafMessage { kind, size: size.into(), scale: scale.into() }
}

fn leaf_from_proto(message: &LeafMessage) -> Option<Leaf> {
    let (size, scale) = (u8::try_from(message.size).ok()?, i8::try_from(message.scale).ok()?);
    Some(match message.kind {
        1 => Leaf::Unit,
        2 => Leaf::Bool,
        3 => Leaf::Unsigned(size),
        4 => Leaf::Signed(size),
        5 => Leaf::Float(size),
        6 => Leaf::Text,
        7 => Leaf::Bytes,
        8 => Leaf::Uuid,
        9 => Leaf::Date,
        10 => Leaf::Timestamp,
        11 => Leaf::Decimal { precision: size, scale },
        12 => Leaf::DateTime,
        _ => return None,
    })
}
