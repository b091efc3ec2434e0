//! Shapes, rows and safe changes, from a seed.

use timely_persist_types::codec::{EnumShape, FieldShape, Leaf, Shape, StructShape, VariantShape};

use crate::model::{Float, OWN, Value, constant, upgrade};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An id that nobody has.
    fn id(&mut self) -> u32 {
        (self.next() as u32) | 1
    }

    fn name(&mut self) -> String {
        format!("n{:08x}", self.next() as u32)
    }
}

pub fn shape(random: &mut Random, depth: usize) -> Shape {
    let kinds = if depth == 0 { 6 } else { 12 };
    match random.below(kinds) {
        0..=3 => Shape::Leaf(leaf(random)),
        4 => Shape::Opaque(["serde(Odd){u8}", "serde(Even){u8}"][random.below(2)].to_owned()),
        5 => Shape::Leaf(Leaf::Unsigned([8, 16, 32, 64][random.below(4)])),
        6 => Shape::Option(Box::new(shape(random, depth - 1))),
        7 => Shape::Tuple((0..=random.below(3)).map(|_| shape(random, depth - 1)).collect()),
        8 => Shape::List(Box::new(shape(random, depth - 1))),
        9 | 10 => {
            let fields = fields(random, 4, depth - 1);
            Shape::Struct(StructShape { name: random.name(), fields, retired: Vec::new() })
        }
        _ => {
            let with_data = random.one_in(2);
            let variants = (0..=random.below(3)).map(|_| variant(random, with_data, depth - 1)).collect();
            Shape::Enum(EnumShape { name: random.name(), variants })
        }
    }
}

fn leaf(random: &mut Random) -> Leaf {
    use Leaf::{Bool, Bytes, Float, Signed, Text, Unit, Unsigned, Uuid};
    let bits = [8, 16, 32, 64, 128][random.below(5)];
    [Unit, Bool, Unsigned(bits), Signed(bits), Float(32), Float(64), Text, Bytes, Uuid][random.below(9)]
}

fn fields(random: &mut Random, count_max: usize, depth: usize) -> Vec<FieldShape> {
    (0..random.below(count_max)).map(|_| field(random, depth, 3)).collect()
}

/// A field, which has a default unless by one chance in so many.
fn field(random: &mut Random, depth: usize, chances: usize) -> FieldShape {
    let own = depth > 0 && random.one_in(12);
    let shape = if own { Shape::Opaque(OWN.to_owned()) } else { shape(random, depth) };
    let default = (!random.one_in(chances)).then(|| constant(&shape, &value(random, &shape)));
    FieldShape { id: random.id(), name: random.name(), shape, default }
}

fn variant(random: &mut Random, with_data: bool, depth: usize) -> VariantShape {
    // Nothing can stand for a type that only its own codec knows: none in a variant, at whatever depth.
    let fields = if with_data { fields(random, 3, depth.min(1)) } else { Vec::new() };
    let fields = fields.into_iter().filter(|field| field.shape.data_type().is_some()).collect();
    VariantShape { id: random.id(), name: random.name(), fields }
}

pub fn value(random: &mut Random, shape: &Shape) -> Value {
    // Often one of few, so that the later parts of a row decide.
    let bits = |random: &mut Random, bits: u8| match random.below(3) {
        0 => random.below(3) as u128,
        1 => u128::MAX >> (128 - bits),
        _ => ((u128::from(random.next()) << 64) | u128::from(random.next())) >> (128 - bits),
    };
    let all = |random: &mut Random, fields: &[FieldShape]| -> Vec<Value> {
        fields.iter().map(|field| value(random, &field.shape)).collect()
    };
    match shape {
        Shape::Leaf(Leaf::Unit) => Value::Unit,
        Shape::Leaf(Leaf::Bool) => Value::Bool(random.one_in(2)),
        Shape::Leaf(Leaf::Unsigned(width)) => Value::Unsigned(bits(random, *width)),
        Shape::Leaf(Leaf::Signed(width)) => {
            let half = 1i128.checked_shl(u32::from(*width) - 1).unwrap();
            Value::Signed((bits(random, *width) as i128).wrapping_sub(half))
        }
        Shape::Leaf(Leaf::Float(_)) => {
            let floats = [0.0, f32::NAN.abs(), 1.5, -1.5, f32::MIN_POSITIVE / 4.0, f32::INFINITY, f32::NEG_INFINITY];
            Value::Float(Float(f64::from(floats[random.below(7)])))
        }
        Shape::Leaf(Leaf::Text) => Value::Text("é".repeat(random.below(3))),
        Shape::Leaf(Leaf::Uuid) => Value::Bytes(bits(random, 128).to_be_bytes().to_vec()),
        Shape::Leaf(_) | Shape::Opaque(_) => Value::Bytes(vec![random.below(3) as u8; random.below(3)]),
        Shape::Option(some) => Value::Option((!random.one_in(3)).then(|| Box::new(value(random, some)))),
        Shape::Tuple(shapes) => Value::Parts(shapes.iter().map(|shape| value(random, shape)).collect()),
        Shape::List(of) => Value::List((0..random.below(3)).map(|_| value(random, of)).collect()),
        Shape::Struct(of) => Value::Parts(all(random, &of.fields)),
        Shape::Enum(of) => {
            let tag = random.below(of.variants.len());
            Value::Variant(tag, all(random, &of.variants[tag].fields))
        }
    }
}

/// Rows in their order, none twice.
pub fn rows(random: &mut Random, shape: &Shape) -> Vec<Value> {
    let mut rows: Vec<_> = (0..random.below(30)).map(|_| value(random, shape)).collect();
    rows.sort();
    rows.dedup();
    rows
}

/// A safe change, or many. Nothing is made optional directly within an option.
pub fn change(random: &mut Random, old: &Shape, in_option: bool) -> Shape {
    if !in_option && !matches!(old, Shape::Option(_)) && random.one_in(6) {
        return Shape::Option(Box::new(change(random, old, true)));
    }
    match old {
        Shape::Leaf(leaf) if random.one_in(2) => Shape::Leaf(wider(random, *leaf)),
        Shape::Leaf(_) | Shape::Opaque(_) => old.clone(),
        Shape::Option(some) => Shape::Option(Box::new(change(random, some, true))),
        Shape::List(of) => Shape::List(Box::new(change(random, of, false))),
        Shape::Tuple(shapes) => Shape::Tuple(shapes.iter().map(|shape| change(random, shape, false)).collect()),
        Shape::Struct(of) => {
            let fields = change_fields(random, &of.fields);
            Shape::Struct(StructShape { name: random.name(), fields, retired: of.retired.clone() })
        }
        Shape::Enum(of) => {
            let mut variants = of.variants.clone();
            for variant in &mut variants {
                variant.fields = change_fields(random, &variant.fields);
                if random.one_in(4) {
                    variant.name = random.name();
                }
            }
            if random.one_in(2) {
                let with_data = random.one_in(2);
                variants.push(variant(random, with_data, 1));
            }
            Shape::Enum(EnumShape { name: of.name.clone(), variants })
        }
    }
}

fn wider(random: &mut Random, leaf: Leaf) -> Leaf {
    match leaf {
        Leaf::Float(_) => Leaf::Float(64),
        Leaf::Unsigned(bits @ 8..=64) if random.one_in(2) => Leaf::Signed(bits * 2),
        Leaf::Unsigned(bits @ 8..=64) => Leaf::Unsigned(bits * [2, 2, 128 / bits][random.below(3)]),
        Leaf::Signed(bits @ 8..=64) => Leaf::Signed(bits * [2, 2, 128 / bits][random.below(3)]),
        other => other,
    }
}

/// No field of a type that only its own codec knows is added: it may be in what is a variant that is new to somebody.
fn change_fields(random: &mut Random, fields: &[FieldShape]) -> Vec<FieldShape> {
    let mut new = Vec::new();
    let added = |random: &mut Random, new: &mut Vec<FieldShape>| {
        if random.one_in(4) {
            let field = field(random, 2, usize::MAX);
            new.extend(Some(field).filter(|field| field.shape.data_type().is_some()));
        }
    };
    for old in fields {
        added(random, &mut new);
        let shape = if random.one_in(2) { change(random, &old.shape, false) } else { old.shape.clone() };
        let upgraded = |_| constant(&shape, &upgrade(&old.shape, &shape, &crate::model::default_of(old)));
        let default = old.default.as_ref().map(upgraded);
        let name = if random.one_in(4) { random.name() } else { old.name.clone() };
        new.push(FieldShape { id: old.id, name, shape, default });
    }
    added(random, &mut new);
    new
}
