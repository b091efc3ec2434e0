//! What a type looks like in a column: what a shard remembers of it, and what a change of it is judged by.
//!
//! Always: a shape is plain data, and knows no type of a program. What fields and variants are is told by their ids, for ever;
//! their names, and those of types, are for people and other tools.

mod check;
mod constant;
mod display;
mod layout;
mod named;

use std::fmt;

pub use check::{
    CONSTANT_BYTES_MAX, CONSTANT_COLUMN_BYTES_MAX, NAME_BYTES_MAX, SHAPE_DEPTH_MAX, SHAPE_NODES_MAX, ShapeError,
    VARIANTS_MAX,
};
pub use layout::FIELD_ID;

pub(super) use layout::{SOME, TAG, VALUES, with_id};

/// The shape of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A value without parts.
    Leaf(Leaf),
    /// A value that may be missing.
    Option(Box<Shape>),
    /// Values by their places.
    Tuple(Vec<Shape>),
    /// Any number of values.
    List(Box<Shape>),
    /// Values by their ids, in the order by which rows are compared.
    Struct(StructShape),
    /// One of several kinds of value, in the order by which rows are compared.
    Enum(EnumShape),
    /// A type that only its own codec knows, by its name.
    Opaque(String),
}

/// A value without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// `()`.
    Unit,
    /// `bool`.
    Bool,
    /// An unsigned integer of so many bits.
    Unsigned(u8),
    /// A signed integer of so many bits.
    Signed(u8),
    /// A floating-point number of so many bits, in its total order.
    Float(u8),
    /// `String`.
    Text,
    /// Bytes.
    Bytes,
    /// A `Uuid`.
    Uuid,
    /// A day.
    Date,
    /// A moment, in microseconds.
    Timestamp,
    /// A day and a time of day, in microseconds, of no time zone.
    DateTime,
    /// A decimal of so many digits, so many of them behind the point.
    Decimal {
        /// All digits.
        precision: u8,
        /// Those behind the point.
        scale: i8,
    },
}

/// The shape of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructShape {
    /// What it is called.
    pub name: String,
    /// Its fields, in their order.
    pub fields: Vec<FieldShape>,
    /// The ids of fields that it had, which no other may take.
    pub retired: Vec<RetiredField>,
}

/// The shape of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumShape {
    /// What it is called.
    pub name: String,
    /// Its variants, in their order.
    pub variants: Vec<VariantShape>,
}

/// The shape of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldShape {
    /// What it is, for ever.
    pub id: u32,
    /// What it is called.
    pub name: String,
    /// What it holds.
    pub shape: Shape,
    /// What rows have there that were written before there was such a field: part of the schema, for ever.
    pub default: Option<Constant>,
}

/// A field that a struct had, whose rows all held its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredField {
    /// Its id.
    pub id: u32,
    /// What it held.
    pub shape: Shape,
}

/// The shape of a variant: of no fields, if it has no data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantShape {
    /// What it is, for ever.
    pub id: u32,
    /// What it is called.
    pub name: String,
    /// Its fields, in their order.
    pub fields: Vec<FieldShape>,
}

/// A value that is part of a shape.
///
/// Two are equal if their digests are: what Arrow makes of them may change with its version.
#[derive(Clone)]
pub struct Constant {
    /// [`Codec::digest_bytes`](super::Codec::digest_bytes) of the value.
    pub digest: Vec<u8>,
    /// An Arrow IPC stream of one batch of one column of one row.
    pub column: Vec<u8>,
}

impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Constant {}

/// The digest is enough, and short.
impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constant(")?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
