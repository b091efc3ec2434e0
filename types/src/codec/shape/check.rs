//! Whether a shape is well-formed: it may come from storage, or from a codec that somebody wrote.
//!
//! Always: what passes is small enough for everything that recurses over it, and within what a column can say.

use std::collections::BTreeSet;
use std::fmt;

use super::super::bounded;
use super::layout::TAG;
use super::{EnumShape, FieldShape, Leaf, Shape, StructShape};

/// Shapes within one another: what walks a shape recurses so deep, and so do Arrow's readers, which give up at 64.
pub const SHAPE_DEPTH_MAX: usize = 32;

/// Shapes, fields and variants of one shape together: every copy of a shard's state has the shape, in some ten bytes for each.
pub const SHAPE_NODES_MAX: usize = 4096;

/// Variants of an enum: the tag is a byte.
pub const VARIANTS_MAX: usize = 256;

/// Bytes of the name of a type, a field or a variant: more than anyone types, little for the state.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a constant's value, by its digest: every row from before the field takes as many in memory, so a block of 8,192
/// rows 32 MiB.
pub const CONSTANT_BYTES_MAX: usize = 4 << 10;

/// Bytes of a constant's column. Arrow says its type in it, some hundred bytes for each field of that.
pub const CONSTANT_COLUMN_BYTES_MAX: usize = 64 << 10;

/// Why a shape is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError(pub String);

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ShapeError {}

impl Shape {
    /// Whether the shape is well-formed: ids are not zero, and unique among the fields of a struct with those it had; names
    /// too; numbers are of widths that there are; and nothing is larger than the limits above.
    pub fn check(&self) -> Result<(), ShapeError> {
        Checker { nodes: 0 }.shape(self, 0)
    }
}

/// How much of a shape was seen.
struct Checker {
    nodes: usize,
}

impl Checker {
    fn shape(&mut self, shape: &Shape, depth: usize) -> Result<(), ShapeError> {
        self.count(1)?;
        let depth = depth + 1;
        if depth > SHAPE_DEPTH_MAX {
            return Err(ShapeError(format!("types more than {SHAPE_DEPTH_MAX} deep in one another")));
        }
        match shape {
            Shape::Leaf(leaf) => leaf.check(),
            Shape::Option(inner) | Shape::List(inner) => self.shape(inner, depth),
            Shape::Tuple(shapes) if shapes.is_empty() => Err(ShapeError("a tuple of nothing".to_owned())),
            Shape::Tuple(shapes) => shapes.iter().try_for_each(|shape| self.shape(shape, depth)),
            Shape::Struct(shape) => self.structure(shape, depth),
            Shape::Enum(shape) => self.variants(shape, depth),
            Shape::Opaque(_) => Ok(()),
        }
    }

    fn structure(&mut self, shape: &StructShape, depth: usize) -> Result<(), ShapeError> {
        let within = bounded(format_args!("struct `{}`", shape.name));
        name(&shape.name, "the name of a struct")?;
        self.fields(&shape.fields, &within, depth)?;
        self.count(shape.retired.len())?;
        shape.retired.iter().try_for_each(|field| self.shape(&field.shape, depth))?;
        let ids = shape.fields.iter().map(|field| field.id).chain(shape.retired.iter().map(|field| field.id));
        unique_ids(ids, &within)
    }

    fn variants(&mut self, shape: &EnumShape, depth: usize) -> Result<(), ShapeError> {
        let within = bounded(format_args!("enum `{}`", shape.name));
        name(&shape.name, "the name of an enum")?;
        if shape.variants.is_empty() || shape.variants.len() > VARIANTS_MAX {
            let variants = shape.variants.len();
            return Err(ShapeError(format!("{within} has {variants} variants, not 1 to {VARIANTS_MAX}")));
        }
        self.count(shape.variants.len())?;
        for variant in &shape.variants {
            name(&variant.name, &within)?;
            if variant.name == TAG && !variant.fields.is_empty() {
                return Err(ShapeError(format!(
                    "{within} has a variant `{TAG}` with data, which is what its tag is called"
                )));
            }
            let within = bounded(format_args!("{within}::{}", variant.name));
            self.fields(&variant.fields, &within, depth + 1)?;
            unique_ids(variant.fields.iter().map(|field| field.id), &within)?;
        }
        unique_ids(shape.variants.iter().map(|variant| variant.id), &within)?;
        unique_names(shape.variants.iter().map(|variant| &*variant.name), &within)
    }

    fn fields(&mut self, fields: &[FieldShape], within: &str, depth: usize) -> Result<(), ShapeError> {
        self.count(fields.len())?;
        for field in fields {
            name(&field.name, within)?;
            self.shape(&field.shape, depth)?;
            let Some(default) = &field.default else { continue };
            if default.column.is_empty() {
                return Err(ShapeError(format!("the default of field `{}` of {within} cannot be encoded", field.name)));
            }
            let sizes = [(default.digest.len(), CONSTANT_BYTES_MAX), (default.column.len(), CONSTANT_COLUMN_BYTES_MAX)];
            if let Some((bytes, max)) = sizes.into_iter().find(|(bytes, max)| bytes > max) {
                return Err(ShapeError(format!(
                    "the default of field `{}` of {within} takes {bytes} bytes, more than {max}",
                    field.name
                )));
            }
        }
        unique_names(fields.iter().map(|field| &*field.name), within)
    }

    fn count(&mut self, nodes: usize) -> Result<(), ShapeError> {
        self.nodes = self.nodes.saturating_add(nodes);
        match self.nodes <= SHAPE_NODES_MAX {
            true => Ok(()),
            false => Err(ShapeError(format!("a type of more than {SHAPE_NODES_MAX} fields and variants"))),
        }
    }
}

impl Leaf {
    fn check(self) -> Result<(), ShapeError> {
        let known = match self {
            Self::Unsigned(bits) | Self::Signed(bits) => [8, 16, 32, 64, 128].contains(&bits),
            Self::Float(bits) => [32, 64].contains(&bits),
            // What Arrow's decimals of 128 bits hold.
            Self::Decimal { precision, scale } => {
                (1..=38).contains(&precision) && (0..=precision as i8).contains(&scale)
            }
            _ => true,
        };
        if known { Ok(()) } else { Err(ShapeError(format!("there are no numbers of type {self}"))) }
    }
}

fn name(name: &str, within: &str) -> Result<(), ShapeError> {
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(()),
        bytes => Err(ShapeError(format!("a name of {bytes} bytes, not 1 to {NAME_BYTES_MAX}: {within}"))),
    }
}

fn unique_ids(mut ids: impl Iterator<Item = u32>, within: &str) -> Result<(), ShapeError> {
    let mut seen = BTreeSet::from([0]);
    match ids.find(|id| !seen.insert(*id)) {
        None => Ok(()),
        Some(0) => Err(ShapeError(format!("{within} has an id of 0: ids begin at 1"))),
        Some(id) => Err(ShapeError(format!("{within} has id {id} twice: an id is never used again"))),
    }
}

fn unique_names<'a>(mut names: impl Iterator<Item = &'a str>, within: &str) -> Result<(), ShapeError> {
    let mut seen = BTreeSet::new();
    match names.find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(ShapeError(format!("{within} has the name `{name}` twice"))),
    }
}
