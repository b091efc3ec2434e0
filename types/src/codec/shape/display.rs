//! A shape in a message: as Rust has it, in a few words, with types by their names.

use std::fmt::{self, Write};

use super::super::bounded;
use super::{Leaf, Shape};

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf(leaf) => leaf.fmt(f),
            Self::Option(some) => write!(f, "Option<{some}>"),
            Self::List(value) => write!(f, "Vec<{value}>"),
            Self::Tuple(shapes) => {
                f.write_char('(')?;
                for (index, shape) in shapes.iter().enumerate() {
                    write!(f, "{}{shape}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(if shapes.len() == 1 { ",)" } else { ")" })
            }
            Self::Struct(shape) => f.write_str(&bounded(format_args!("{}", shape.name))),
            Self::Enum(shape) => f.write_str(&bounded(format_args!("{}", shape.name))),
            // Without what a serde type looks like within.
            Self::Opaque(name) => {
                f.write_str(&bounded(format_args!("{}", name.split_once('{').map_or(&**name, |(name, _)| name))))
            }
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("()"),
            Self::Bool => f.write_str("bool"),
            Self::Unsigned(bits) => write!(f, "u{bits}"),
            Self::Signed(bits) => write!(f, "i{bits}"),
            Self::Float(bits) => write!(f, "f{bits}"),
            Self::Text => f.write_str("String"),
            Self::Bytes => f.write_str("bytes"),
            Self::Uuid => f.write_str("Uuid"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::DateTime => f.write_str("datetime"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
        }
    }
}
