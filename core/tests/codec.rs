//! Codecs: what is pushed comes back, in an order that the borrowed form and the prefix keep, with the hash of the owned form
//! and a digest of its own; foreign arrays are refused.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "codec/derived.rs"]
mod derived;
#[path = "codec/leaves.rs"]
mod leaves;
#[path = "codec/lists.rs"]
mod lists;
#[path = "codec/words.rs"]
mod words;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Int32Array, NullArray, StringArray, StructArray,
    UInt64Array, new_empty_array, new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use bytes::Bytes;
use differential_dataflow::Hashable;
use proptest::prelude::*;
use timely_persist_types::codec::{Builder, Codec, Column, Serde, Shape};
use uuid::Uuid;

fn column<C: Codec>(values: &[C]) -> ArrayRef {
    let mut builder = C::Builder::default();
    for value in values {
        builder.push(value.as_ref());
    }
    for (index, value) in values.iter().enumerate() {
        assert_eq!(&C::from_ref(builder.get(index)), value);
    }
    assert_eq!(builder.len(), values.len());
    let array = builder.finish().unwrap();
    assert!(builder.is_empty());
    assert_eq!(array.data_type(), &C::data_type());
    assert_eq!(array.len(), values.len());
    // A builder that was used before gives the same again.
    values.iter().for_each(|value| builder.push(value.as_ref()));
    assert_eq!(&*builder.finish().unwrap(), &*array);
    // So does one with room to spare, and one that forgot what it had.
    builder.reserve(values.len() + 1, 8);
    values.iter().for_each(|value| builder.push(value.as_ref()));
    builder.pad();
    builder.clear();
    assert!(builder.is_empty());
    values.iter().for_each(|value| builder.push(value.as_ref()));
    assert_eq!(&*builder.finish().unwrap(), &*array);
    array
}

/// A hasher to which it matters how bytes are cut into writes, as it does to the fast ones.
#[derive(Default)]
struct Writes(Vec<Vec<u8>>);

impl Hasher for Writes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.push(bytes.to_vec());
    }

    fn finish(&self) -> u64 {
        0
    }
}

fn writes(value: impl Hash) -> Vec<Vec<u8>> {
    let mut hasher = Writes::default();
    value.hash(&mut hasher);
    hasher.0
}

/// Both forms go to the same worker, also within other types.
fn check_hashes<C: Codec + Hash>(values: &[C])
where
    for<'a> C::Ref<'a>: Hash,
{
    fn same<C: Codec + Hash>(value: &C)
    where
        for<'a> C::Ref<'a>: Hash,
    {
        assert_eq!(value.as_ref().hashed(), value.hashed(), "{value:?}");
        assert_eq!(writes(value.as_ref()), writes(value), "{value:?}");
    }
    for value in values {
        same(value);
        same(&Some(value.clone()));
        same(&(value.clone(), value.clone()));
    }
    same(&None::<C>);
}

/// The shape says what the codec writes, and the name says the shape, whatever the type is part of.
fn check_shape<C: Codec>() {
    fn same<C: Codec>() {
        let shape = C::shape();
        // Of what a program derives, the name tells apart, and no more.
        let derived = ["Struct(", "Enum("].iter().any(|kind| format!("{shape:?}").contains(kind));
        assert!(derived || Shape::of_name(&C::name()) == shape, "{}", C::name());
        assert_eq!(shape.data_type(), Some(C::data_type()), "{shape}");
        assert_eq!(shape.field("x"), Some(timely_persist_types::codec::field::<C>("x")));
        assert_eq!(shape.check(), Ok(()));
    }
    same::<C>();
    same::<Option<C>>();
    same::<(C, u8, Option<(C,)>)>();
}

/// Equal values have equal bytes in a digest, others have others, and none are the beginning of those of another.
fn check_digests<C: Codec>(values: &[C]) {
    let bytes = |value: &C| {
        let mut bytes = Vec::new();
        C::digest_bytes(value.as_ref(), &mut bytes);
        bytes
    };
    let all: Vec<_> = values.iter().map(bytes).collect();
    for (a, bytes) in values.iter().zip(&all) {
        for (b, others) in values.iter().zip(&all) {
            assert_eq!(others.starts_with(bytes), a == b, "{a:?} and {b:?}");
        }
    }
}

/// Round trip, order, prefix, digest, hash and shape of some values.
fn check<C: Codec + Hash>(values: Vec<C>)
where
    for<'a> C::Ref<'a>: Hash,
{
    check_hashes(&values);
    check_shape::<C>();
    check_digests(&values);
    let array = column(&values);
    let decoded = C::Column::try_new(&array, None).unwrap();
    assert_eq!(decoded.len(), values.len());
    for (i, a) in values.iter().enumerate() {
        assert_eq!(&C::from_ref(decoded.get(i)), a);
        assert_eq!(C::reborrow(decoded.get(i)), a.as_ref());
        assert!(C::size(a.as_ref()).is_ok() && C::check(a.as_ref()).is_ok());
        for (j, b) in values.iter().enumerate() {
            assert_eq!(decoded.get(i).cmp(&decoded.get(j)), a.cmp(b), "{a:?} and {b:?}");
            assert!(a > b || C::prefix(a.as_ref()) <= C::prefix(b.as_ref()), "prefixes of {a:?} and {b:?}");
        }
    }
    // A slice of an array is an array.
    if values.len() > 2 {
        let slice = array.slice(1, values.len() - 2);
        let decoded = C::Column::try_new(&slice, None).unwrap();
        assert!((0..decoded.len()).all(|i| C::from_ref(decoded.get(i)) == values[i + 1]));
    }
    // Inside an option, at any depth, with placeholders for what is not there.
    let nested = |depth: usize, value: C| match depth {
        0 => None,
        1 => Some(None),
        _ => Some(Some(value)),
    };
    let options: Vec<_> = values.into_iter().enumerate().map(|(i, value)| nested(i % 3, value)).collect();
    let decoded = <Option<Option<C>> as Codec>::Column::try_new(&column(&options), None).unwrap();
    for (i, option) in options.iter().enumerate() {
        assert_eq!(&<Option<Option<C>> as Codec>::from_ref(decoded.get(i)), option);
    }
}

fn many<C: Debug>(of: impl Strategy<Value = C>) -> impl Strategy<Value = Vec<C>> {
    prop::collection::vec(of, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn integers(values in many(any::<(u8, u16, u32, u64)>()), signed in many(any::<(i8, i16, i32, i64)>())) {
        check(values.iter().map(|v| v.0).collect());
        check(values.iter().map(|v| v.1).collect());
        check(values.iter().map(|v| v.2).collect());
        check(values.iter().map(|v| v.3).collect());
        check(signed.iter().map(|v| v.0).collect());
        check(signed.iter().map(|v| v.1).collect());
        check(signed.iter().map(|v| v.2).collect());
        check(signed.iter().map(|v| v.3).collect());
        check(values);
        check(signed);
    }

    #[test]
    fn wide(values in many(any::<(u128, i128)>())) {
        check(values.iter().map(|v| v.0).collect());
        check(values.iter().map(|v| v.1).collect());
        check(values.iter().map(|v| Uuid::from_u128(v.0)).collect());
    }

    #[test]
    fn booleans_and_units(values in many(any::<bool>())) {
        check(values.iter().map(|_| ()).collect());
        check(values.iter().map(|v| v.then_some(())).collect());
        check(values);
    }

    #[test]
    fn text(values in many("[\0-\u{3}a-cé漢]{0,10}")) {
        check(values.iter().map(|v| v.as_bytes().to_vec()).collect());
        check(values.iter().map(|v| Bytes::from(v.clone())).collect());
        check(values);
    }

    #[test]
    fn tuples(values in many(any::<((u8, String), Option<i64>, (bool,), (), i128, Option<Option<String>>)>())) {
        check(values.iter().cloned().map(|v| (v.1, v.0)).collect());
        check(values);
    }

    #[test]
    fn serde(values in many(any::<(i32, String, Option<u8>)>()), maps in many(any::<BTreeMap<u8, i8>>())) {
        check(values.into_iter().map(Serde).collect());
        check(maps.into_iter().map(Serde).collect());
    }
}

/// The ends of what each type holds, and tuples of every arity.
#[test]
fn edges() {
    macro_rules! integers {
        ($($type:ident)*) => {$(
            check(vec![$type::MIN, $type::MAX, 0, 1, $type::MAX / 2]);
        )*};
    }
    integers!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128);
    check(vec![Uuid::nil(), Uuid::max()]);
    check(vec![true, false]);
    check(vec![()]);
    // Around the lengths at which a hash function takes another way.
    let texts: Vec<_> =
        [0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 64, 255, 256, 300].map(|len| "é\0".repeat(len)).into();
    check(texts.iter().map(|text| text.as_bytes().to_vec()).collect());
    check(texts.iter().map(|text| Bytes::from(text.clone())).collect());
    check(vec![vec![0xffu8; 7], vec![0xff], vec![], vec![0; 9]]);
    check(texts.clone());
    check(texts.iter().map(|text| Serde(text.clone())).collect());
    check(texts.iter().map(|text| Serde((text.clone(), Some([text.len(); 2]), 'x', i8::MIN))).collect());
    check(vec![None, Some(None), Some(Some(())), Some(Some(()))]);
    let (text, bytes) = (|| "x".to_owned(), || vec![0xffu8]);
    check(vec![(text(),), (String::new(),)]);
    check(vec![(text(), bytes()), (String::new(), vec![])]);
    check(vec![(text(), bytes(), 0u8)]);
    check(vec![(text(), bytes(), 0u8, None::<bool>)]);
    check(vec![(text(), bytes(), 0u8, Some(true), ())]);
    check(vec![(text(), bytes(), 0u8, Some(true), (), Uuid::nil())]);
    check(vec![(text(), bytes(), 0u8, Some(true), (), Uuid::nil(), Serde(text()))]);
    check(vec![(text(), bytes(), 0u8, Some(true), (), Uuid::nil(), Serde(text()), (text(), bytes()))]);
}

/// Arrays of every kind that codecs write, and some that none does.
fn foreign() -> Vec<ArrayRef> {
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(NullArray::new(3)),
        Arc::new(BooleanArray::from(vec![Some(true), None])),
        Arc::new(UInt64Array::from(vec![1, 2])),
        Arc::new(UInt64Array::from(vec![Some(1), None])),
        Arc::new(Int32Array::from(vec![Some(1), None])),
        Arc::new(StringArray::from(vec![Some("a"), None])),
        Arc::new(BinaryArray::from(vec![Some(&b"a"[..]), None])),
        Arc::new(BinaryArray::from(vec![&b""[..], &[255; 20], &[0xfd, 255, 255, 255, 255, 255, 255, 255, 127]])),
        Arc::new(FixedSizeBinaryArray::try_from_iter([[1u8; 16], [2; 16]].iter()).unwrap()),
        Arc::new(FixedSizeBinaryArray::try_from_iter([[1u8; 3], [2; 3]].iter()).unwrap()),
        new_empty_array(&DataType::Struct(Default::default())),
    ];
    for array in [column(&[Some(1u64), None]), column(&[Some("a".to_owned()), None]), column(&[Some(())])] {
        arrays.push(array);
    }
    arrays.push(column(&[(1u64, "a".to_owned())]));
    // Nulls in a tuple, and in a tuple's component.
    for data_type in [<(u64, String)>::data_type(), <Option<u64>>::data_type(), <Option<()>>::data_type()] {
        arrays.push(new_null_array(&data_type, 2));
    }
    let DataType::Struct(fields) = <Option<u64>>::data_type() else { unreachable!("an option is a struct") };
    let masked = UInt64Array::from(vec![Some(1), None]);
    arrays.push(Arc::new(StructArray::new(fields, vec![Arc::new(masked)], Some(NullBuffer::from(vec![true, false])))));
    arrays
}

/// Refused or readable, whatever it is; and readable only if it is of the type.
fn read_foreign<C: Codec>() {
    for array in foreign() {
        if let Ok(column) = C::Column::try_new(&array, None) {
            assert_eq!(array.data_type(), &C::data_type());
            assert_eq!(column.len(), array.len());
            (0..column.len()).for_each(|i| drop(C::from_ref(column.get(i))));
        }
        let short = NullBuffer::new_valid(array.len() + 1);
        assert!(C::Column::try_new(&array, Some(&short)).is_err());
    }
}

#[test]
fn foreign_arrays_are_refused() {
    read_foreign::<u64>();
    read_foreign::<i32>();
    read_foreign::<bool>();
    read_foreign::<()>();
    read_foreign::<String>();
    read_foreign::<Vec<u8>>();
    read_foreign::<Uuid>();
    read_foreign::<Option<u64>>();
    read_foreign::<Option<()>>();
    read_foreign::<Option<Option<String>>>();
    read_foreign::<(u64, String)>();
    read_foreign::<Serde<Vec<u8>>>();
    read_foreign::<Serde<Vec<String>>>();
    read_foreign::<Option<Serde<String>>>();
}

#[test]
fn nulls_are_refused_where_none_may_be() {
    fn refused<C: Codec>(array: &dyn Array) {
        assert!(C::Column::try_new(array, None).is_err());
    }
    refused::<String>(&StringArray::from(vec![Some("a"), None]));
    refused::<(u64, String)>(&new_null_array(&<(u64, String)>::data_type(), 2));
}

#[test]
fn names_tell_types_apart() {
    let names = [
        u64::name(),
        i64::name(),
        String::name(),
        <Vec<u8>>::name(),
        <()>::name(),
        <Option<()>>::name(),
        <Option<Option<()>>>::name(),
        <(String,)>::name(),
        <(String, u64)>::name(),
        <((String, u64),)>::name(),
        <Serde<String>>::name(),
        <Serde<Vec<String>>>::name(),
        Uuid::name(),
        u128::name(),
    ];
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    // Which read each other.
    assert_eq!(<Vec<u8>>::name(), Bytes::name());
    // Pinned: shards remember them.
    assert_eq!(<(Option<Serde<Vec<String>>>, u8)>::name(), "(option(serde(Vec<String>){[str]}),u8)");
}

/// A serialization that fails is said before the value is stored.
#[test]
fn a_value_that_does_not_serialize_has_no_size() {
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
    struct Odd;
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("odd"))
        }
    }
    assert!(<Serde<Odd>>::size(&Odd).is_err());
    let mut builder = timely_persist_core::part::PartBuilder::<Serde<Odd>, (), u64, i64>::new();
    assert_eq!(builder.push(&Odd, (), &0, &1).unwrap_err().kind(), timely_persist_types::error::ErrorKind::Invalid);
    assert_eq!(builder.rows(), 0);
}

/// Of what codec a name is, and of none.
#[test]
fn a_name_tells_the_shape_of_its_codec_only() {
    let opaque = |name: &str| Shape::Opaque(name.to_owned());
    for name in
        ["", "()", "(", "(u8", "(u8,)", "(u8)x", "option()", "option(u8,u8)", "option(u8", "u8)", "u9", "u08", "u256"]
    {
        assert_eq!(Shape::of_name(name), opaque(name));
    }
    for name in
        ["decimal(+3,1)", "decimal(3)", "order", "mine(u8,u16)", "mine{(}", "list", "serde(A){a(}", "(serde(A){a(},u8)"]
    {
        assert_eq!(Shape::of_name(name), opaque(name));
    }
    let own = "(mine(u8,u16),serde(Map<u8, (A, B)>){[u8>(u8 u8)]},order)";
    let parts = ["mine(u8,u16)", "serde(Map<u8, (A, B)>){[u8>(u8 u8)]}", "order"].map(opaque);
    assert_eq!(Shape::of_name(own), Shape::Tuple(parts.into()));
    assert_eq!(Shape::of_name("list(option(f32))").to_string(), "Vec<Option<f32>>");
    assert_eq!(Shape::of_name("(decimal(5,2),(date),unit)").to_string(), "(decimal(5, 2), (date,), ())");
    assert_eq!(Shape::of_name(own).to_string(), "(mine(u8,u16), serde(Map<u8, (A, B)>), order)");
    // Storage cannot make it run out of stack.
    let deep = "option(".repeat(100_000) + "u8" + &")".repeat(100_000);
    assert_eq!(Shape::of_name(&deep), opaque(&deep));
}
