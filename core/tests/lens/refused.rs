//! Every change that is not safe, with its path; and what only a reader of an older shape may do.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{ArrayRef, Float32Array, Float64Array};
use timely_persist_types::codec::{Codec, Constant, FieldShape, Leaf, Lens, RetiredField, Shape};

use crate::model::{OWN, Value, column_of, rows, upgrade};
use crate::{field, retiring, structure, variants};

fn option(shape: Shape) -> Shape {
    Shape::Option(Box::new(shape))
}

fn list(shape: Shape) -> Shape {
    Shape::List(Box::new(shape))
}

fn one() -> Option<Constant> {
    Some(Constant::of(&1u32))
}

/// What is refused, each as `path: reason`, in the order of paths.
#[track_caller]
fn refused(old: &Shape, new: &Shape, expected: &[&str]) {
    let refused = Lens::between(old, new).unwrap_err();
    let mut said: Vec<_> = refused.refused.iter().map(ToString::to_string).collect();
    said.sort();
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said:?} is not {expected:?}");
        assert!(refused.to_string().contains(said));
    }
    assert!(refused.to_string().ends_with("rewrite_into"));
}

#[test]
fn types_that_do_not_hold_the_same() {
    let float = |bits| Shape::Leaf(Leaf::Float(bits));
    let decimal = |precision, scale| Shape::Leaf(Leaf::Decimal { precision, scale });
    refused(&u64::shape(), &u32::shape(), &["the type: u64 cannot become u32: narrowing loses values"]);
    refused(&i128::shape(), &u64::shape(), &["the type: i128 cannot become u64: narrowing"]);
    refused(&u64::shape(), &i64::shape(), &["the type: u64 cannot become i64: another type"]);
    refused(&i8::shape(), &u128::shape(), &["the type: i8 cannot become u128: another type"]);
    refused(&u128::shape(), &i128::shape(), &["the type: u128 cannot become i128: another type"]);
    refused(&u128::shape(), &uuid::Uuid::shape(), &["the type: u128 cannot become Uuid"]);
    refused(&float(64), &float(32), &["the type: f64 cannot become f32: narrowing"]);
    refused(&u32::shape(), &float(64), &["the type: u32 cannot become f64: another type"]);
    refused(&decimal(10, 2), &decimal(12, 2), &["the type: decimal(10, 2) cannot become decimal(12, 2)"]);
    refused(&bool::shape(), &u8::shape(), &["the type: bool cannot become u8"]);
    refused(&String::shape(), &<Vec<u8>>::shape(), &["the type: String cannot become bytes"]);
    refused(&<(u8, u8)>::shape(), &<(u8, u8, u8)>::shape(), &["the type: (u8, u8) cannot become (u8, u8, u8)"]);
    refused(&<(u8, (u16,))>::shape(), &<(u8, (u8,))>::shape(), &["1.0: u16 cannot become u8"]);
    refused(&list(u16::shape()), &list(option(u8::shape())), &["[]: u16 cannot become u8"]);
    refused(&list(u16::shape()), &u16::shape(), &["the type: Vec<u16> cannot become u16"]);
    let (serde, other) = ("serde(Row){@0;{a:u32}}", "serde(Row){@0;{a:u64}}");
    let own = |name: &str| Shape::Opaque(name.to_owned());
    refused(
        &own(serde),
        &own(other),
        &["the type: only its own codec knows the type, so it never changes: in serde(Row), field `a`: u32"],
    );
    refused(&own(OWN), &u8::shape(), &["the type: mine cannot become u8"]);
    // A shard from before names had shapes.
    assert!(Lens::between(&own("serde(Row)"), &own(serde)).unwrap().is_identity());
}

/// Exactly the numbers that are all numbers of the other type, with integers apart from floats and what is unsigned from wider
/// signed ones; their ends, through it and back.
#[test]
fn numbers_become_wider_and_nothing_else() {
    const BITS: [u8; 5] = [8, 16, 32, 64, 128];
    let leaves = BITS.map(Leaf::Unsigned).into_iter().chain(BITS.map(Leaf::Signed));
    let ends = |leaf: Leaf| match leaf {
        Leaf::Unsigned(bits) => {
            [0, 1, u128::MAX >> (129 - u32::from(bits)), u128::MAX >> (128 - bits)].map(Value::Unsigned)
        }
        Leaf::Signed(bits) => [i128::MIN >> (128 - bits), -1, 0, i128::MAX >> (128 - bits)].map(Value::Signed),
        other => panic!("{other} is no integer"),
    };
    for old in leaves.clone() {
        for new in leaves.clone() {
            let holds = match (old, new) {
                (Leaf::Unsigned(old), Leaf::Signed(new)) => old < new,
                (Leaf::Unsigned(old), Leaf::Unsigned(new)) | (Leaf::Signed(old), Leaf::Signed(new)) => old <= new,
                _ => false,
            };
            let (old_shape, new_shape) = (Shape::Leaf(old), Shape::Leaf(new));
            let lens = Lens::between(&old_shape, &new_shape);
            assert_eq!(lens.is_ok(), holds, "{old} to {new}");
            assert_eq!(
                Lens::projecting(&new_shape, &old_shape).is_ok(),
                holds || Lens::between(&new_shape, &old_shape).is_ok()
            );
            let Ok(lens) = lens else { continue };
            let column = column_of(&old_shape, &ends(old));
            let mapped = lens.map(&column).unwrap();
            let expected = ends(old).map(|value| upgrade(&old_shape, &new_shape, &value));
            assert_eq!(rows(&new_shape, &mapped), expected, "{old} to {new}");
            let back = Lens::projecting(&new_shape, &old_shape).unwrap();
            assert_eq!(rows(&old_shape, &back.map(&mapped).unwrap()), ends(old), "{old} to {new}");
            // What the narrower type does not hold.
            let odd = ends(new).map(|value| column_of(&new_shape, &[value]));
            let refused = odd.iter().filter(|column| back.map(column).is_err()).count();
            assert_eq!(refused == 0, old == new, "{old} to {new}");
        }
    }
}

/// In the total order, with everything that is no number and says so in another way.
#[test]
fn every_short_float_is_a_long_one() {
    let [short, long] = [32, 64].map(|bits| Shape::Leaf(Leaf::Float(bits)));
    // From the largest negative NaN by way of both zeros to the largest positive one.
    let steps = (0..=0xffff_u32)
        .map(|step| step << 15 | step & 1)
        .map(|bits| if bits >> 31 == 0 { !bits } else { bits ^ (1 << 31) });
    let floats: Vec<_> = steps.map(f32::from_bits).collect();
    assert!(floats.is_sorted_by(|a, b| a.total_cmp(b).is_lt()));
    let column: ArrayRef = Arc::new(Float32Array::from(floats.clone()));
    let mapped = Lens::between(&short, &long).unwrap().map(&column).unwrap();
    let longer = mapped.as_primitive::<Float64Type>().values();
    assert!(longer.is_sorted_by(|a, b| a.total_cmp(b).is_lt()));
    assert!(floats.iter().zip(longer).all(|(a, b)| a.is_nan() == b.is_nan() && (a.is_nan() || f64::from(*a) == *b)));
    let back = Lens::projecting(&long, &short).unwrap().map(&mapped).unwrap();
    let bits = |floats: &[f32]| floats.iter().map(|float| float.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(back.as_primitive::<Float32Type>().values()), bits(&floats));
}

#[test]
fn options() {
    refused(&option(u8::shape()), &u8::shape(), &["the type: Option<u8> cannot become u8: where it is `None`"]);
    let twice = option(option(u8::shape()));
    refused(
        &option(u8::shape()),
        &twice,
        &["the type: Option<u8> cannot become Option<Option<u8>>: nothing says which"],
    );
    assert!(Lens::between(&u8::shape(), &twice).is_ok());
}

#[test]
fn fields() {
    let a = |name: &str, shape: Shape| field(1, name, shape, None);
    let b = |default: Option<Constant>| field(2, "b", u32::shape(), default);
    let old = |fields| structure("order", fields);
    let lines = |price: Shape| old(vec![a("lines", list(structure("line", vec![field(7, "price", price, None)])))]);
    refused(
        &lines(u64::shape()),
        &lines(u32::shape()),
        &["order.lines[].price: u64 cannot become u32: narrowing loses values"],
    );
    let both = old(vec![a("a", u8::shape()), b(None)]);
    refused(&both, &old(vec![a("a", u8::shape())]), &["order.b: it was taken away (id 2)"]);
    refused(&both, &old(vec![b(None), a("a", u8::shape())]), &["order.a: it was moved"]);
    refused(&old(vec![a("a", u8::shape())]), &both, &["order.b: it is new and has no default"]);
    refused(&old(vec![b(None)]), &old(vec![b(one())]), &["order.b: it has a default now"]);
    refused(&old(vec![b(one())]), &old(vec![b(None)]), &["order.b: its default was taken away"]);
    refused(&old(vec![b(one())]), &old(vec![b(Some(Constant::of(&2u32)))]), &["order.b: its default was changed"]);
    // A default of another type than the field, or none at all.
    let wide = |default| old(vec![field(2, "b", u64::shape(), default)]);
    refused(&old(vec![]), &wide(one()), &["order.b: a default that does not decode: it is not of UInt64"]);
    assert!(Lens::between(&old(vec![b(one())]), &wide(Some(Constant::of(&1u64)))).is_ok());
    refused(&old(vec![b(one())]), &wide(Some(Constant::of(&2u64))), &["order.b: its default was changed"]);
    let junk = Constant { digest: vec![], column: vec![1; 100] };
    refused(&old(vec![]), &old(vec![b(Some(junk))]), &["order.b: a default that does not decode"]);
    // Everything at once.
    let first = old(vec![a("x", u64::shape()), b(None), field(3, "c", String::shape(), None)]);
    let second = old(vec![b(None), a("y", u32::shape()), field(4, "d", u8::shape(), None)]);
    let all = ["order.c: it was taken away", "order.d: it is new", "order.y: it was moved", "order.y: u64 cannot"];
    refused(&first, &second, &all);
    // What is malformed is not looked at.
    let zero = old(vec![field(0, "a", u8::shape(), None)]);
    refused(&zero, &both, &["the type: what is stored is malformed: struct `order` has an id of 0"]);
    refused(&both, &zero, &["the type: what it is to become is malformed"]);
}

#[test]
fn variants_stay_where_they_are() {
    let variant = |id, name| (id, name, Vec::<FieldShape>::new());
    let old = variants("state", vec![variant(1, "Open"), variant(2, "Paid")]);
    refused(&old, &variants("state", vec![variant(1, "Open")]), &["state::Paid: it was taken away (id 2)"]);
    let moved = ["state::Open: it was variant 1 and is 2 now", "state::Paid: it was variant 2 and is 1 now"];
    refused(&old, &variants("state", vec![variant(2, "Paid"), variant(1, "Open")]), &moved);
    let between = variants("state", vec![variant(1, "Open"), variant(3, "Sent"), variant(2, "Paid")]);
    refused(&old, &between, &["state::Paid: it was variant 2 and is 3 now"]);
    let paid = |shape| variants("state", vec![variant(1, "Open"), (2, "Paid", vec![field(1, "amount", shape, None)])]);
    refused(&old, &paid(u8::shape()), &["state::Paid.amount: it is new and has no default"]);
    refused(&paid(u8::shape()), &old, &["state::Paid.amount: it was taken away"]);
    refused(&paid(u16::shape()), &paid(u8::shape()), &["state::Paid.amount: u16 cannot become u8"]);
    refused(&old, &structure("state", vec![]), &["state: state cannot become state: another type"]);
    let own = (3, "Own", vec![field(1, "x", Shape::Opaque(OWN.to_owned()), None)]);
    let with_own = variants("state", vec![variant(1, "Open"), variant(2, "Paid"), own]);
    refused(&old, &with_own, &["state::Own: it is new and holds a type that only its own codec knows"]);
}

/// A field that held only its default may go, and its id is gone for ever. Rows that held something else are errors.
#[test]
fn retired_fields() {
    let note = |shape: Shape, default| field(4, "note", shape, default);
    let id = || field(1, "id", u64::shape(), None);
    let (empty, of) = (Constant::of(&None::<u32>), |shape| vec![RetiredField { id: 4, shape }]);
    let optional = option(u32::shape());
    let old = structure("order", vec![note(optional.clone(), Some(empty)), id()]);
    let new = retiring("order", vec![id()], of(optional.clone()));
    let lens = Lens::between(&old, &new).unwrap();
    assert_eq!(lens.partial(), ["order.note"]);
    let row = |note: Option<u128>, id| {
        Value::Parts(vec![Value::Option(note.map(|note| Box::new(Value::Unsigned(note)))), Value::Unsigned(id)])
    };
    let mapped = lens.map(&column_of(&old, &[row(None, 1), row(None, 2)])).unwrap();
    assert_eq!(rows(&new, &mapped), [1, 2].map(|id| Value::Parts(vec![Value::Unsigned(id)])));
    let error = lens.map(&column_of(&old, &[row(None, 1), row(Some(0), 2)])).unwrap_err();
    assert!(error.0.starts_with("order.note: the field is retired, and a row holds something else"), "{error}");
    // Under a `None` there is nothing to hold.
    let lens = Lens::between(&option(old.clone()), &option(new.clone())).unwrap();
    let column = column_of(&option(old.clone()), &[Value::Option(None), Value::Option(Some(Box::new(row(None, 1))))]);
    assert!(lens.map(&column).is_ok());
    // In a list, what no list holds does not count.
    let lens = Lens::between(&list(option(old.clone())), &list(option(new.clone()))).unwrap();
    let some = |note| Value::Option(Some(Box::new(row(note, 1))));
    let lists =
        column_of(&list(option(old.clone())), &[Value::List(vec![some(Some(3))]), Value::List(vec![some(None)])]);
    assert!(lens.map(&lists.slice(1, 1)).is_ok());
    assert!(lens.map(&lists).is_err());
    // A reader of the old shape finds the default.
    let back = Lens::projecting(&new, &old).unwrap().map(&mapped).unwrap();
    assert_eq!(rows(&old, &back), [row(None, 1), row(None, 2)]);

    let without_default = structure("order", vec![note(optional.clone(), None), id()]);
    refused(&without_default, &new, &["order.note: it is retired and had no default"]);
    let otherwise = retiring("order", vec![id()], of(String::shape()));
    refused(
        &old,
        &otherwise,
        &["order.note: u32 cannot become String", "order.note: Option<u32> cannot become String"][1..],
    );
    refused(&new, &old, &["order.note: id 4 is retired, and never used again"]);
    refused(&new, &structure("order", vec![id()]), &["order.(id 4): it stays retired"]);
    refused(&new, &otherwise, &["order.(id 4): Option<u32> cannot become String"]);
    // It was of a wider type in between.
    let wide = retiring("order", vec![id()], of(option(u64::shape())));
    let error = Lens::between(&old, &wide).unwrap().map(&column_of(&old, &[row(Some(0), 2)])).unwrap_err();
    assert!(error.0.contains("is retired"));
    // Retired by those who never had it.
    assert!(Lens::between(&structure("order", vec![id()]), &new).unwrap().is_identity());
}

/// A value that the reader's type cannot hold is an error with its path, unless it is a placeholder.
#[test]
fn a_reader_of_an_older_shape() {
    let lens = |data: &Shape, reader: &Shape| Lens::projecting(data, reader).unwrap();
    let row = |value| Value::Parts(vec![value]);
    let of = |shape| structure("order", vec![field(1, "a", shape, None)]);
    let error = |data: Shape, reader: Shape, value: Value| {
        lens(&of(data.clone()), &of(reader)).map(&column_of(&of(data), &[row(value)])).unwrap_err().0
    };
    assert_eq!(error(u64::shape(), u32::shape(), Value::Unsigned(1 << 32)), "order.a: 4294967296 is no u32");
    assert_eq!(error(i64::shape(), u32::shape(), Value::Signed(-1)), "order.a: -1 is no u32");
    assert_eq!(error(u128::shape(), u64::shape(), Value::Unsigned(1 << 64)), "order.a: 18446744073709551616 is no u64");
    assert!(error(u128::shape(), u64::shape(), Value::Unsigned(u128::MAX)).ends_with("is no u64"));
    assert_eq!(error(i128::shape(), i8::shape(), Value::Signed(-129)), "order.a: -129 is no i8");
    assert_eq!(
        error(option(u8::shape()), u8::shape(), Value::Option(None)),
        "order.a: a value is missing, and may not be"
    );
    let variant = |id, name| (id, name, Vec::<FieldShape>::new());
    let two = variants("state", vec![variant(1, "Open"), variant(2, "Paid")]);
    let three = variants(
        "state",
        vec![variant(1, "Open"), (2, "Paid", vec![field(1, "x", u32::shape(), one())]), variant(3, "Sent")],
    );
    let sent = Value::Variant(2, vec![]);
    assert_eq!(
        error(three.clone(), two.clone(), sent),
        "order.a: a value of variant 2 (from 0), which is not known here"
    );
    // Fields that the reader does not know are left out, those of variants too.
    let paid = column_of(&three, &[Value::Variant(1, vec![Value::Unsigned(9)]), Value::Variant(0, vec![])]);
    assert_eq!(rows(&two, &lens(&three, &two).map(&paid).unwrap()), [1, 0].map(|tag| Value::Variant(tag, vec![])));
    // Where nothing is, the values do not count.
    let tuple = |shape| option(Shape::Tuple(vec![shape]));
    let placeholders =
        column_of(&tuple(u64::shape()), &[Value::Option(None), Value::Option(Some(Box::new(row(Value::Unsigned(3)))))]);
    assert!(lens(&tuple(u64::shape()), &tuple(u8::shape())).map(&placeholders).is_ok());
    // Numbers of a fraction that is too long, and what is no number.
    let [wide, narrow] = [64, 32].map(|bits| Shape::Leaf(Leaf::Float(bits)));
    let map = |float: f64| lens(&wide, &narrow).map(&(Arc::new(Float64Array::from(vec![float])) as ArrayRef));
    assert_eq!(map(0.1).unwrap_err().0, "the value: 0.1 is no f32");
    let fit = [1.5, -0.0, f64::INFINITY, f64::NAN, f64::from(f32::MIN_POSITIVE) / 8.0];
    assert!(fit.into_iter().all(|float| map(float).is_ok()));
    assert!(map(f64::from_bits(f64::INFINITY.to_bits() | 1)).is_err(), "a NaN that no f32 has");
    // Nothing else.
    assert!(Lens::projecting(&u64::shape(), &String::shape()).is_err());
    assert!(Lens::projecting(&u64::shape(), &i64::shape()).is_err());
    let both =
        |a: u32, b: u32| structure("order", [a, b].map(|id| field(id, &format!("f{id}"), u8::shape(), None)).into());
    assert!(Lens::projecting(&both(1, 2), &both(2, 1)).is_err());
    assert!(Lens::projecting(&of(u8::shape()), &both(1, 2)).is_err(), "no default");
}
