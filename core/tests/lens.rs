//! Lenses: what a safe change makes of columns is what it makes of rows, in their order, and no two become equal; every other
//! change is refused, with its path; foreign arrays are errors.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "lens/limits.rs"]
mod limits;
#[path = "lens/model.rs"]
mod model;
#[path = "lens/random.rs"]
mod random;
#[path = "lens/refused.rs"]
mod refused;
#[path = "lens/stats.rs"]
mod stats;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, StringArray, UInt8Array, new_null_array};
use model::{OWN, Value, column_of, constant, decode, encode, rows, upgrade};
use proptest::prelude::*;
use random::{Random, change, shape};
use timely_persist_types::codec::{
    Builder, Codec, Column, Constant, EnumShape, FieldShape, Leaf, Lens, RetiredField, Shape, StructShape, VariantShape,
};

pub(crate) fn field(id: u32, name: &str, shape: Shape, default: Option<Constant>) -> FieldShape {
    FieldShape { id, name: name.to_owned(), shape, default }
}

pub(crate) fn structure(name: &str, fields: Vec<FieldShape>) -> Shape {
    Shape::Struct(StructShape { name: name.to_owned(), fields, retired: Vec::new() })
}

pub(crate) fn retiring(name: &str, fields: Vec<FieldShape>, retired: Vec<RetiredField>) -> Shape {
    Shape::Struct(StructShape { name: name.to_owned(), fields, retired })
}

pub(crate) fn variants(name: &str, variants: Vec<(u32, &str, Vec<FieldShape>)>) -> Shape {
    let variant = |(id, name, fields): (u32, &str, _)| VariantShape { id, name: name.to_owned(), fields };
    Shape::Enum(EnumShape { name: name.to_owned(), variants: variants.into_iter().map(variant).collect() })
}

fn column<C: Codec>(values: &[C]) -> ArrayRef {
    let mut builder = C::Builder::default();
    values.iter().for_each(|value| builder.push(value.as_ref()));
    builder.finish().unwrap()
}

fn read<C: Codec>(array: &dyn Array) -> Vec<C> {
    let column = C::Column::try_new(array, None).unwrap();
    (0..column.len()).map(|row| C::from_ref(column.get(row))).collect()
}

fn is_refused<C: Codec>(array: &dyn Array) -> bool {
    C::Column::try_new(array, None).is_err()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Through any number of safe changes, at once or one after the other, and back.
    #[test]
    fn what_is_mapped_is_what_the_change_makes_of_rows(seed in any::<u64>()) {
        let mut random = Random(seed);
        let mut shapes = vec![shape(&mut random, 3)];
        let mut versions = vec![random::rows(&mut random, &shapes[0])];
        for index in 0..3 {
            let new = change(&mut random, &shapes[index], false);
            new.check().unwrap();
            versions.push(versions[index].iter().map(|row| upgrade(&shapes[index], &new, row)).collect::<Vec<_>>());
            shapes.push(new);
        }
        let arrays: Vec<_> = shapes.iter().zip(&versions).map(|(shape, rows)| column_of(shape, rows)).collect();
        for (i, old) in shapes.iter().enumerate() {
            for (j, new) in shapes.iter().enumerate().skip(i) {
                let lens = Lens::between(old, new).unwrap();
                prop_assert!(lens.partial().is_empty());
                let mapped = lens.map(&arrays[i]).unwrap();
                prop_assert_eq!(&rows(new, &mapped), &versions[j]);
                prop_assert!(versions[j].is_sorted_by(|a, b| a < b), "the model keeps the order");
                // Through one in between.
                let middle = i + (j - i) / 2;
                let first = Lens::between(old, &shapes[middle]).unwrap().map(&arrays[i]).unwrap();
                let second = Lens::between(&shapes[middle], new).unwrap().map(&first).unwrap();
                prop_assert_eq!(second.to_data(), mapped.to_data());
                // A reader of the old shape.
                let back = Lens::projecting(new, old).unwrap();
                prop_assert_eq!(&rows(old, &back.map(&mapped).unwrap()), &versions[i]);
                let forth = Lens::projecting(old, new).unwrap();
                prop_assert_eq!(forth.map(&arrays[i]).unwrap().to_data(), mapped.to_data());
                // A part of a column, and a longer one behind it.
                let half = arrays[i].slice(arrays[i].len() / 2, arrays[i].len() - arrays[i].len() / 2);
                prop_assert_eq!(&rows(new, &lens.map(&half).unwrap())[..], &versions[j][versions[j].len() / 2..]);
                prop_assert_eq!(&rows(new, &lens.map(&arrays[i]).unwrap()), &versions[j]);
                prop_assert_eq!(lens.is_identity(), Arc::ptr_eq(&mapped, &arrays[i]));
            }
        }
    }

    /// With placeholders everywhere: those are never looked at, and none makes a row.
    #[test]
    fn placeholders_stay_placeholders(seed in any::<u64>()) {
        let mut random = Random(seed);
        let old = shape(&mut random, 2);
        let new = change(&mut random, &old, false);
        let values = random::rows(&mut random, &old);
        let some: Vec<_> = values.iter().map(|row| (!random.one_in(2)).then_some(row)).collect();
        let present = arrow_buffer::NullBuffer::from(some.iter().map(Option::is_some).collect::<Vec<_>>());
        let option = |rows: Vec<Option<Value>>| {
            rows.into_iter().map(|row| Value::Option(row.map(Box::new))).collect::<Vec<_>>()
        };
        let outer = |shape: &Shape| Shape::Option(Box::new(Shape::Tuple(vec![shape.clone()])));
        let tuple = |row: &Value| Value::Parts(vec![row.clone()]);
        let column = encode(&outer(&old), &option(some.iter().map(|row| row.map(tuple)).collect()).iter().map(Some).collect::<Vec<_>>());
        let mapped = Lens::between(&outer(&old), &outer(&new)).unwrap().map(&column).unwrap();
        let upgraded: Vec<_> = some.iter().map(|row| row.map(|row| upgrade(&old, &new, row))).collect();
        prop_assert_eq!(&decode(&new, mapped.as_struct().column(0).as_struct().column(0), Some(&present)), &upgraded);
        let back = Lens::projecting(&outer(&new), &outer(&old)).unwrap().map(&mapped).unwrap();
        prop_assert_eq!(rows(&outer(&old), &back), option(some.iter().map(|row| row.map(tuple)).collect()));
    }

    /// Whatever two shapes are, and whatever array comes.
    #[test]
    fn nothing_panics(seed in any::<u64>()) {
        let mut random = Random(seed);
        let old = shape(&mut random, 3);
        // Unlike it, or nearly like it: with ids that it has.
        let new = match random.below(3) {
            0 => shape(&mut random, 3),
            1 => change(&mut random, &old, false),
            _ => spoilt(&mut random, &old),
        };
        let columns = [&old, &new, &shape(&mut random, 2)].map(|shape| column_of(shape, &random::rows(&mut random, shape)));
        for lens in [Lens::between(&old, &new), Lens::projecting(&old, &new), Lens::projecting(&new, &old)] {
            match lens {
                Err(refused) => {
                    prop_assert!(!refused.refused.is_empty());
                    prop_assert!(refused.to_string().contains(&refused.refused[0].reason));
                }
                Ok(lens) => columns.iter().for_each(|column| drop(lens.map(column))),
            }
        }
        prop_assert_eq!(Lens::between(&old, &old).map(|lens| lens.is_identity()), Ok(true));
    }

    /// Bytes that storage made up.
    #[test]
    fn a_spoilt_default_is_refused(seed in any::<u64>()) {
        let mut random = Random(seed);
        let shape = shape(&mut random, 2);
        let mut default = constant(&shape, &random::value(&mut random, &shape));
        match random.below(3) {
            0 => default.column.truncate(random.below(default.column.len())),
            _ => (0..=random.below(3)).for_each(|_| {
                let at = random.below(default.column.len());
                default.column[at] = [0, 1, 0xff, random.below(256) as u8][random.below(4)];
            }),
        }
        let new = structure("s", vec![field(1, "a", shape, Some(default))]);
        if let Ok(lens) = Lens::between(&structure("s", Vec::new()), &new) {
            drop(lens.map(&column_of(&structure("s", Vec::new()), &[Value::Parts(vec![]), Value::Parts(vec![])])));
        }
    }
}

/// A shape like another, with something taken away, moved or changed.
fn spoilt(random: &mut Random, old: &Shape) -> Shape {
    match old {
        Shape::Struct(of) => {
            let mut of = of.clone();
            if of.fields.len() > 1 && random.one_in(2) {
                of.fields.swap(0, 1);
            } else if random.one_in(3) {
                of.retired.extend(of.fields.pop().map(|field| RetiredField { id: field.id, shape: field.shape }));
            } else if let Some(last) = of.fields.last_mut() {
                last.shape = shape(random, 1);
            }
            Shape::Struct(of)
        }
        Shape::Enum(of) => {
            let mut of = of.clone();
            let last = of.variants.len() - 1;
            match random.below(3) {
                0 if last > 0 => drop(of.variants.pop()),
                1 => of.variants[last].fields = Vec::new(),
                _ => of.variants.swap(0, last),
            }
            Shape::Enum(of)
        }
        Shape::Option(some) if random.one_in(2) => spoilt(random, some),
        Shape::Option(some) => Shape::Option(Box::new(spoilt(random, some))),
        Shape::List(of) => Shape::List(Box::new(spoilt(random, of))),
        Shape::Tuple(shapes) => Shape::Tuple(shapes.iter().map(|shape| spoilt(random, shape)).collect()),
        _ => shape(random, 1),
    }
}

/// The codecs of this library, through a change and back.
#[test]
fn columns_of_codecs_are_read_as_those_of_others() {
    type Old = (u32, Option<(String, i8)>, u64);
    type New = (i64, Option<(Option<String>, i128)>, u128);
    let old: Vec<Old> =
        vec![(0, None, 7), (1, Some(("a".into(), -1)), u64::MAX), (u32::MAX, Some((String::new(), 5)), 0)];
    let new: Vec<New> = vec![
        (0, None, 7),
        (1, Some((Some("a".into()), -1)), u64::MAX.into()),
        (u32::MAX.into(), Some((Some(String::new()), 5)), 0),
    ];
    let lens = Lens::between(&Old::shape(), &New::shape()).unwrap();
    let mapped = lens.map(&column(&old)).unwrap();
    assert_eq!(read::<New>(&mapped), new);
    let back = Lens::projecting(&New::shape(), &Old::shape()).unwrap();
    assert_eq!(read::<Old>(&back.map(&mapped).unwrap()), old);
    assert_eq!(back.partial(), ["0", "1.0", "1.1", "2"]);
    // A column of the wrong type.
    assert!(lens.map(&mapped).unwrap_err().0.contains("where Struct("));
}

/// A default is that of a codec's value, and made once for all blocks.
#[test]
fn a_default_costs_once_and_untouched_columns_cost_nothing() {
    let text = |rows: usize| Value::List(vec![Value::Text("abc".into()); rows]);
    let parts = Shape::List(Box::new(String::shape()));
    let old = structure("order", vec![field(1, "lines", parts.clone(), None)]);
    let default = Constant::of(&Some("none".to_owned()));
    let added = field(2, "note", <Option<String>>::shape(), Some(default));
    let new = structure("order", vec![added, field(1, "lines", parts, None)]);
    let lens = Lens::between(&old, &new).unwrap();
    let column = column_of(&old, &(0..9).map(|rows| Value::Parts(vec![text(rows)])).collect::<Vec<_>>());
    let [first, second] = [9, 7].map(|rows| lens.map(&column.slice(0, rows)).unwrap());
    assert_eq!(read::<Option<String>>(second.as_struct().column(0)), vec![Some("none".to_owned()); 7]);
    let texts =
        |array: &ArrayRef| array.as_struct().column(0).as_struct().column(0).as_string::<i32>().value_data().as_ptr();
    assert_eq!(texts(&first), texts(&second), "the same memory");
    assert_eq!(texts(&lens.clone().map(&column).unwrap()), texts(&first), "the same memory, in a clone too");
    let lines = |array: &ArrayRef| Arc::clone(array.as_struct().columns().last().unwrap());
    assert!(Arc::ptr_eq(&lines(&lens.map(&column).unwrap()), &lines(&column)), "the column itself");
}

/// `Constant` equality is that of values, whatever Arrow makes of them.
#[test]
fn constants_are_equal_if_their_values_are() {
    let one = Constant::of(&(1u8, "a".to_owned()));
    assert_eq!(Constant { column: vec![1], ..one.clone() }, one);
    assert_ne!(one, Constant::of(&(2u8, "a".to_owned())));
    // What cannot be stored is found by `check`.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
    struct Odd;
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("odd"))
        }
    }
    type Serde = timely_persist_types::codec::Serde<Odd>;
    let default = Constant::of(&timely_persist_types::codec::Serde(Odd));
    let odd = structure("s", vec![field(1, "odd", Serde::shape(), Some(default))]);
    assert!(odd.check().unwrap_err().0.contains("cannot be encoded"));
}

/// Of a type that only its own codec knows, columns are kept as they are, in structs too.
#[test]
fn a_type_of_another_codec_is_kept() {
    let own = || Shape::Opaque(OWN.to_owned());
    let old = structure("s", vec![field(1, "a", own(), None)]);
    let added = field(2, "b", own(), Some(constant(&own(), &Value::Bytes(vec![5]))));
    let new = structure("s", vec![field(1, "c", own(), None), added]);
    let lens = Lens::between(&old, &new).unwrap();
    let column = column_of(&old, &[Value::Parts(vec![Value::Bytes(vec![1])])]);
    let mapped = lens.map(&column).unwrap();
    assert_eq!(rows(&new, &mapped), [Value::Parts(vec![Value::Bytes(vec![1]), Value::Bytes(vec![5])])]);
    assert_eq!(mapped.data_type(), column_of(&new, &rows(&new, &mapped)).data_type());
    // Not the array that the shape says; which, only the decoder behind can find.
    assert!(lens.map(&(Arc::new(BinaryArray::from(vec![&b"x"[..]])) as ArrayRef)).is_err());
    // What may be null is told by the field of the column itself.
    let option = Shape::Option(Box::new(own()));
    let some = structure("s", vec![field(1, "a", option.clone(), None)]);
    let back = Lens::projecting(&some, &old).unwrap().map(&Lens::between(&old, &some).unwrap().map(&column).unwrap());
    assert_eq!(back.unwrap().data_type(), column.data_type());
    let some = Lens::between(&own(), &option).unwrap().map(&(Arc::new(Int64Array::from(vec![3])) as ArrayRef)).unwrap();
    assert_eq!(some.as_struct().column(0).as_ref(), &Int64Array::from(vec![3]) as &dyn Array);
}

/// Under a variant that is new there are placeholders of every type, and a decoder takes them.
#[test]
fn every_type_has_a_placeholder() {
    use Leaf::{Bool, Bytes, Date, DateTime, Decimal, Float, Signed, Text, Timestamp, Unit, Unsigned, Uuid};
    let leaves =
        [Unit, Bool, Unsigned(8), Unsigned(128), Signed(64), Float(32), Text, Bytes, Uuid, Date, Timestamp, DateTime];
    let leaves = leaves.into_iter().chain([Decimal { precision: 9, scale: 2 }]).map(Shape::Leaf);
    let within = |shape: Shape| [shape.clone(), Shape::Option(Box::new(shape.clone())), Shape::List(Box::new(shape))];
    let units = || vec![(1, "A", vec![])];
    for shape in leaves.flat_map(within) {
        let data = (2, "B", vec![field(1, "x", Shape::Tuple(vec![shape.clone()]), None)]);
        let new = variants("e", units().into_iter().chain([data]).collect());
        let column = column_of(&variants("e", units()), &[Value::Variant(0, vec![]), Value::Variant(0, vec![])]);
        let mapped = Lens::between(&variants("e", units()), &new).unwrap().map(&column).unwrap();
        assert_eq!(Some(mapped.data_type()), new.data_type().as_ref());
        let data = mapped.as_struct().column(1).as_struct();
        assert_eq!((data.len(), data.null_count()), (2, 2), "{shape}");
        let x = data.column(0).as_struct();
        let nullable = matches!(shape, Shape::Option(_) | Shape::Leaf(Unit));
        assert!(x.null_count() == 0 && (nullable || x.column(0).null_count() == 0), "{shape}");
    }
}

#[test]
fn foreign_arrays_are_errors() {
    let units = variants("e", vec![(1, "A", vec![]), (2, "B", vec![])]);
    let data =
        variants("e", vec![(1, "A", vec![]), (2, "B", vec![field(1, "x", u8::shape(), Some(Constant::of(&3u8)))])]);
    let lens = Lens::between(&units, &data).unwrap();
    let tags = |tags: Vec<u8>| Arc::new(UInt8Array::from(tags)) as ArrayRef;
    assert!(lens.map(&tags(vec![0, 1, 1])).is_ok());
    assert_eq!(lens.map(&tags(vec![0, 2])).unwrap_err().0, "e: variant 2 (from 0) of 2");
    assert!(lens.map(&(Arc::new(StringArray::from(vec!["a"])) as ArrayRef)).is_err());
    // Nulls are kept, for the decoder to find.
    let widened = Lens::between(&u8::shape(), &u16::shape()).unwrap();
    let mapped = widened.map(&(Arc::new(UInt8Array::from(vec![Some(1), None])) as ArrayRef)).unwrap();
    assert_eq!(mapped.null_count(), 1);
    let tuple = Lens::between(&<(u8,)>::shape(), &<(u16,)>::shape()).unwrap();
    let nulls = new_null_array(&<(u8,)>::data_type(), 2);
    assert!(tuple.map(&nulls).is_ok_and(|array| is_refused::<(u16,)>(&array)));
}
