//! The shape that a codec's name tells: a shard from before there were shapes remembers names only.

use super::check::SHAPE_DEPTH_MAX;
use super::{Leaf, Shape};

impl Shape {
    /// The shape of the codec of this library that has this name; `Opaque` for a name of another.
    pub fn of_name(name: &str) -> Self {
        match parse(name, SHAPE_DEPTH_MAX) {
            Some((shape, "")) => shape,
            _ => Self::Opaque(name.to_owned()),
        }
    }
}

/// The shape of the name that `text` begins with, and what is behind that. `None` where brackets do not close, or are
/// deeper in one another than shapes go.
fn parse(text: &str, depth: usize) -> Option<(Shape, &str)> {
    let depth = depth.checked_sub(1)?;
    if let Some(rest) = text.strip_prefix('(') {
        let (shapes, rest) = many(rest, depth)?;
        return Some((Shape::Tuple(shapes), rest));
    }
    let end = end(text)?;
    let (name, rest) = text.split_at(end);
    let within = |open| name.strip_prefix(open).and_then(|name: &str| name.strip_suffix(')'));
    let one = |inner| parse(inner, depth).filter(|(_, rest)| rest.is_empty()).map(|(shape, _)| Box::new(shape));
    let shape = if let Some(some) = within("option(") {
        Shape::Option(one(some)?)
    } else if let Some(value) = within("list(") {
        Shape::List(one(value)?)
    } else {
        leaf(name).map_or_else(|| Shape::Opaque(name.to_owned()), Shape::Leaf)
    };
    (!name.is_empty()).then_some((shape, rest))
}

/// Names between commas, up to the bracket that closes them.
fn many(mut rest: &str, depth: usize) -> Option<(Vec<Shape>, &str)> {
    let mut shapes = Vec::new();
    loop {
        let (shape, behind) = parse(rest, depth)?;
        shapes.push(shape);
        match behind.strip_prefix(',') {
            Some(behind) => rest = behind,
            None => return behind.strip_prefix(')').map(|rest| (shapes, rest)),
        }
    }
}

/// Where a name ends: before a comma or a closing bracket that is in none of its own brackets.
fn end(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    for (index, c) in text.char_indices() {
        match c {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ',' if open.is_empty() => return Some(index),
            ')' | ']' | '}' if open.pop() != Some(c) => return None,
            _ => {}
        }
    }
    open.is_empty().then_some(text.len())
}

fn leaf(name: &str) -> Option<Leaf> {
    let bits = |prefix, known: &[u8]| {
        let bits = name.strip_prefix(prefix)?;
        known.iter().copied().find(|known| known.to_string() == bits)
    };
    Some(match name {
        "unit" => Leaf::Unit,
        "bool" => Leaf::Bool,
        "string" => Leaf::Text,
        "bytes" => Leaf::Bytes,
        "uuid" => Leaf::Uuid,
        "date" => Leaf::Date,
        "timestamp(us)" => Leaf::Timestamp,
        "datetime(us)" => Leaf::DateTime,
        _ => {
            let unsigned = bits('u', &[8, 16, 32, 64, 128]).map(Leaf::Unsigned);
            let signed = || bits('i', &[8, 16, 32, 64, 128]).map(Leaf::Signed);
            let float = || bits('f', &[32, 64]).map(Leaf::Float);
            return unsigned.or_else(signed).or_else(float).or_else(|| decimal(name));
        }
    })
}

fn decimal(name: &str) -> Option<Leaf> {
    let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale): (u8, i8) = (precision.parse().ok()?, scale.parse().ok()?);
    // What is written in another way than it would be is the name of another codec.
    (name == format!("decimal({precision},{scale})")).then_some(Leaf::Decimal { precision, scale })
}
