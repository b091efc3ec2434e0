//! Lists, what is behind a pointer, and large tuples: that they are codecs as all others are.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ListArray, NullArray, UInt64Array};
use arrow_buffer::NullBuffer;
use proptest::prelude::*;
use timely_persist_core::part::{EncodeOptions, PartBuilder, decode_part};
use timely_persist_types::codec::{Codec, Column, Data, Serde, Shape, digest};

use super::{check, column, many};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lists(
        values in many(prop::collection::vec(any::<(u32, String, Option<bool>)>(), 0..4)),
        nested in many(prop::collection::vec(prop::collection::vec(any::<i64>(), 0..3), 0..3)),
    ) {
        check(values.iter().map(|v| v.iter().map(|v| v.0).collect::<Vec<_>>()).collect());
        check(values.iter().map(|v| v.iter().map(|v| v.1.clone()).collect::<Vec<_>>()).collect());
        check(values.iter().map(|v| v.iter().map(|v| v.2).collect::<Vec<_>>()).collect());
        check(values.iter().map(|v| v.iter().cloned().map(Serde).collect::<Vec<_>>()).collect());
        check(values.iter().map(|v| v.iter().map(|v| v.1.clone().into_bytes()).collect::<Vec<_>>()).collect());
        check(values);
        check(nested);
    }

    #[test]
    fn pointers(values in many(any::<(Option<String>, u8)>())) {
        check(values.iter().map(|v| Arc::<str>::from(v.0.clone().unwrap_or_default())).collect());
        check(values.iter().map(|v| Box::new(v.1)).collect());
        check(values.into_iter().map(Box::new).collect());
    }
}

/// The ends of what each type holds, and tuples of every arity.
#[test]
fn edges() {
    check(vec![vec![], vec![u64::MIN], vec![u64::MAX], vec![0, 0], vec![u64::MAX, u64::MAX]]);
    check(vec![vec![i8::MIN; 300], vec![i8::MAX; 301], vec![]]);
    check(vec![vec![u128::MIN, u128::MAX], vec![]]);
    check(vec![vec![true; 9], vec![false; 9], vec![]]);
    check(vec![vec![Some(())], vec![None], vec![], vec![Some(()); 100]]);
    check(vec![vec![((), ()); 3], vec![((), ()); 2]]);
    check(vec![vec![vec![]], vec![], vec![vec![0u16], vec![]]]);
    check(vec![Some(vec![3i16]), None, Some(vec![])]);
    check(vec![Box::new(()), Box::new(())]);
    let (x, y) = (|| "x".to_owned(), || vec!["y".to_owned()]);
    let (a, b, c, d, e, f, g) = (1u8, 2u8, 3u8, 4u8, 5u8, 6u8, 7u8);
    check(vec![(a, b, c, d, e, f, g, x(), y())]);
    check(vec![(a, b, c, d, e, f, g, x(), y(), 7i128)]);
    check(vec![(a, b, c, d, e, f, g, x(), y(), 7i128, false)]);
    check(vec![(a, b, c, d, e, f, g, x(), y(), 7i128, false, Some(()))]);
    check(vec![(x(), b, c, d, e, f, g, a, (), (), (), 2u8), (x(), b, c, d, e, f, g, a, (), (), (), 1)]);
}

/// Pinned: shards remember them.
#[test]
fn names_shapes_and_digests_never_change() {
    assert_eq!(<Box<String>>::name(), String::name());
    assert_eq!(<Box<u64>>::shape(), u64::shape());
    assert_eq!(<Arc<str>>::name(), String::name());
    assert_eq!(<Vec<Vec<u8>>>::name(), "list(bytes)");
    assert_eq!(<Vec<u64>>::shape(), Shape::List(Box::new(u64::shape())));
    let said = [
        digest(&vec!["a".to_owned(), "b".to_owned()], &vec![vec![1u16], vec![]], &0u64, &1i64),
        digest(&Arc::<str>::from("a"), &Box::new(7u64), &0u64, &1i64),
    ];
    let always = [0x8d0b_fe94_5ef9_024f, 0xb089_dd45_9dab_8119];
    assert_eq!(said, always.map(Some), "{said:#x?}");
}

#[test]
fn what_is_no_list_of_the_type_is_refused() {
    fn refused(array: &dyn Array) {
        assert!(<Vec<i64> as Codec>::Column::try_new(array, None).is_err(), "{array:?}");
    }
    let list = column(&[vec![1i64], vec![]]);
    let (item, offsets, values, _) = list.as_list::<i32>().clone().into_parts();
    refused(&ListArray::new(item, offsets, values, Some(NullBuffer::from(vec![true, false]))));
    refused(&ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]));
    let list = column(&[vec![Some(1i64), None]]);
    refused(&list);
    refused(&NullArray::new(1));
    refused(&UInt64Array::from(vec![1]));
}

/// Values in a list that take less than a byte each, and none at all.
#[test]
fn a_part_holds_lists_of_what_takes_no_bytes() {
    fn written<C: Data>(list: C) {
        let mut part = PartBuilder::<C, (), u64, i64>::new();
        part.push(list.as_ref(), (), &0, &1).unwrap();
        let part = part.finish(&EncodeOptions::default()).unwrap().unwrap();
        let chunks = decode_part::<C, (), u64, i64>(part.bytes, &part.meta).unwrap();
        let rows: Vec<_> = chunks.iter().flat_map(|chunk| chunk.rows()).collect();
        assert_eq!(rows, [((list, ()), 0, 1)]);
    }
    written(vec![true; 50_000]);
    written(vec![Some(()); 50_000]);
    written(vec![((), ()); 50_000]);
    written(vec![vec![Some(()); 50_000]; 3]);
    // Each counts, because its place is a number of 32 bits.
    assert!(<Vec<Option<()>>>::size(Codec::as_ref(&vec![None; 1_000])).unwrap() >= 1_000);
    assert!(<Vec<((),)>>::size(Codec::as_ref(&vec![((),); 1_000])).unwrap() >= 1_000);
}

#[test]
fn a_borrowed_list_is_read_like_a_slice() {
    let list = vec![1u32, 2, 3];
    let list = Codec::as_ref(&list);
    assert_eq!((list.len(), list.is_empty(), list.get(2), list.get(3)), (3, false, Some(3), None));
    assert_eq!(list.iter().sum::<u32>(), 6);
}
