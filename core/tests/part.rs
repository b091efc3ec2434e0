//! Parts: what is written is read back, in order and consolidated, and nothing else is.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, Range};

use proptest::prelude::*;
use timely::order::Product;
use timely::progress::Antichain;
use timely_persist_core::part::{
    Blocks, EncodeOptions, EncodedPart, PartBuilder, PartFormat, PartMeta, PartStats, PartTail, RowLens, StatValue,
    decode_part,
};
use timely_persist_derive::Codec;
use timely_persist_types::codec::{Codec, Codec64, Data, Serde, Time};
use timely_persist_types::config::Compression;
use timely_persist_types::error::ErrorKind;

type Row<K, V, T> = ((K, V), T, i64);

fn options(compression: Compression, chunk_rows_max: usize) -> EncodeOptions {
    EncodeOptions { compression, chunk_rows_max, ..EncodeOptions::default() }
}

fn collect<K: Data, V: Data, T: Time>(
    mut builder: PartBuilder<K, V, T, i64>,
    rows: &[Row<K, V, T>],
) -> PartBuilder<K, V, T, i64> {
    for ((key, value), time, diff) in rows {
        builder.push(key.as_ref(), value.as_ref(), time, diff).unwrap();
    }
    builder
}

fn encode<K: Data, V: Data, T: Time>(rows: &[Row<K, V, T>], options: &EncodeOptions) -> Option<EncodedPart<T>> {
    collect(PartBuilder::new(), rows).finish(options).unwrap()
}

/// As a part that lies in a log entry.
fn encode_small<K: Data, V: Data, T: Time>(rows: &[Row<K, V, T>], options: &EncodeOptions) -> Option<EncodedPart<T>> {
    collect(PartBuilder::new(), rows).sort().unwrap().encode_small(options).unwrap()
}

/// The same in a builder that had other rows before.
fn encode_again<K: Data, V: Data, T: Time>(rows: &[Row<K, V, T>], options: &EncodeOptions) -> Option<EncodedPart<T>> {
    let builder = collect(PartBuilder::new(), &rows[..rows.len().min(7)]).sort().unwrap().into_empty();
    assert_eq!((builder.rows(), builder.bytes()), (0, 0));
    collect(builder, rows).finish(options).unwrap()
}

fn decode<K: Data, V: Data, T: Time>(part: &EncodedPart<T>) -> Vec<Row<K, V, T>> {
    let chunks = decode_part::<K, V, T, i64>(part.bytes.clone(), &part.meta).unwrap();
    chunks.iter().flat_map(|chunk| chunk.rows().collect::<Vec<_>>()).collect()
}

/// The model: a sorted map.
fn consolidated<K: Data, V: Data, T: Time>(rows: &[Row<K, V, T>]) -> Vec<Row<K, V, T>> {
    let mut model = BTreeMap::<_, i64>::new();
    for (data, time, diff) in rows {
        *model.entry((data.clone(), time.clone())).or_default() += diff;
    }
    let rows = model.into_iter().filter(|(_, diff)| *diff != 0);
    rows.map(|((data, time), diff)| (data, time, diff)).collect()
}

fn check<K: Data, V: Data, T: Time>(rows: &[Row<K, V, T>], options: &EncodeOptions) {
    let expected = consolidated(rows);
    let (Some(part), Some(small)) = (encode(rows, options), encode_small(rows, options)) else {
        assert!(expected.is_empty());
        return;
    };
    check_part::<K, V, T>(&part, &expected, options);
    check_part::<K, V, T>(&small, &expected, options);
    assert_eq!(encode_again(rows, options).unwrap().bytes, part.bytes);
    assert_eq!(part.meta.format, PartFormat::ArrowIpc);
    let fits = expected.len() <= options.chunk_rows_max;
    assert_eq!(small.meta.format == PartFormat::ArrowMessage, fits, "{:?}", small.meta);
    // What is known of the rows is the same.
    let PartMeta { rows, time_lower, time_upper, diff_sum, .. } = &part.meta;
    let known = (&small.meta.rows, &small.meta.time_lower, &small.meta.time_upper, &small.meta.diff_sum);
    assert_eq!(known, (rows, time_lower, time_upper, diff_sum));
    let [ours, theirs] = [&small, &part].map(|part| PartStats::decode(&part.meta.stats).unwrap());
    assert_eq!(ours.columns, theirs.columns);
}

fn check_part<K: Data, V: Data, T: Time>(part: &EncodedPart<T>, expected: &[Row<K, V, T>], options: &EncodeOptions) {
    assert_eq!(decode::<K, V, T>(part), expected);
    let meta = &part.meta;
    assert_eq!(meta.rows, expected.len() as u64);
    assert_eq!(meta.encoded_bytes, part.bytes.len() as u64);
    let sum: i64 = expected.iter().map(|(_, _, diff)| diff).sum();
    assert_eq!(i64::decode(meta.diff_sum).unwrap(), sum);
    for (_, time, _) in expected {
        assert!(meta.time_lower.less_equal(time));
        assert!(meta.time_upper.iter().any(|upper| time.less_equal(upper)));
    }
    let tail = meta.tail_range().unwrap();
    let tail = PartTail::parse(part.bytes.slice(tail.start as usize..), meta).unwrap();
    assert!(tail.blocks().iter().all(|block| block.rows <= options.chunk_rows_max as u64));
    let stats = PartStats::decode(&meta.stats).unwrap();
    assert_eq!((stats.rows, stats.encoded_bytes), (meta.rows, meta.encoded_bytes));
}

fn any_options() -> impl Strategy<Value = EncodeOptions> {
    let compression = prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd)];
    (compression, 1usize..20).prop_map(|(compression, rows)| options(compression, rows))
}

fn rows<K: Data, V: Data, T: Time>(
    key: impl Strategy<Value = K>,
    value: impl Strategy<Value = V>,
    time: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<Row<K, V, T>>> {
    prop::collection::vec(((key, value), time, -2i64..3), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn strings_at_u64(rows in rows("[ab]{0,3}", "[a-zé]{0,20}", 0u64..4), options in any_options()) {
        check(&rows, &options);
    }

    #[test]
    fn strings_that_begin_alike(
        rows in rows("(same eight bytes|seven b|é|日本|\0)?[abé\0]{0,9}", "[a-c]{0,2}", 0u64..2),
        options in any_options(),
    ) {
        check(&rows, &options);
    }

    #[test]
    fn tuples_at_i64(
        rows in rows((any::<bool>(), any::<Option<u16>>()), prop::option::of(prop::option::of("[ab]{0,2}")), -3i64..3),
        options in any_options(),
    ) {
        check(&rows, &options);
    }

    #[test]
    fn units_and_serde_at_partially_ordered_times(
        rows in rows(Just(()), prop::collection::vec(any::<i32>(), 0..3).prop_map(Serde), (0u32..4, 0u32..4).prop_map(|(a, b)| Product::new(a, b))),
        options in any_options(),
    ) {
        check(&rows, &options);
    }

    #[test]
    fn bytes_and_numbers(rows in rows(prop::collection::vec(any::<u8>(), 0..12), any::<i128>(), any::<u64>()), options in any_options()) {
        check(&rows, &options);
    }
}

#[test]
fn an_empty_or_cancelled_builder_gives_no_part() {
    let rows = vec![(("a".to_owned(), ()), 1u64, 1), (("a".to_owned(), ()), 1, -1)];
    assert!(encode(&rows, &EncodeOptions::default()).is_none());
    assert!(encode::<String, (), u64>(&[], &EncodeOptions::default()).is_none());
}

#[test]
fn blocks_are_read_alone() {
    let rows: Vec<Row<u64, String, u64>> = (0..1_000).map(|i| ((i, format!("value {i}")), i % 7, 1)).collect();
    let part = encode(&rows, &options(Compression::None, 100)).unwrap();
    let tail = PartTail::parse(part.bytes.slice(part.meta.tail_range().unwrap().start as usize..), &part.meta).unwrap();
    assert_eq!(tail.blocks().len(), 10);
    let mut read = Vec::new();
    for (index, block) in tail.blocks().iter().enumerate().rev() {
        let range = block.range();
        let bytes = part.bytes.slice(range.start as usize..range.end as usize);
        let chunk = tail.decode_block::<u64, String, u64, i64>(index, bytes.clone()).unwrap();
        assert_eq!(chunk.len() as u64, block.rows);
        assert!(chunk.memory_bytes() as u64 <= block.len);
        read.splice(0..0, chunk.rows());
        // A block is not taken for another.
        let other = (index + 1) % 10;
        let error = tail.decode_block::<u64, String, u64, i64>(other, bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    assert_eq!(read, rows);
    assert_eq!(tail.decode_block::<u64, String, u64, i64>(10, part.bytes).unwrap_err().kind(), ErrorKind::Bug);
}

#[test]
fn other_types_are_corrupt() {
    let part = encode(&[((1u64, "a".to_owned()), 1u64, 1)], &EncodeOptions::default()).unwrap();
    fn refused<T: Debug>(result: Result<T, timely_persist_types::error::Error>) {
        assert_eq!(result.err().unwrap().kind(), ErrorKind::Corrupt);
    }
    refused(decode_part::<i64, String, u64, i64>(part.bytes.clone(), &part.meta));
    refused(decode_part::<u64, Vec<u8>, u64, i64>(part.bytes.clone(), &part.meta));
    refused(decode_part::<u64, (String,), u64, i64>(part.bytes.clone(), &part.meta));
    refused(decode_part::<u64, Option<String>, u64, i64>(part.bytes.clone(), &part.meta));
    refused(decode_part::<u64, String, u64, u64>(part.bytes.clone(), &part.meta));
}

#[test]
fn time_bounds_are_antichains_and_stay_small() {
    let at = |outer: u32, inner: u32| (("k".to_owned(), ()), Product::new(outer, inner), 1);
    let part = encode(&[at(1, 5), at(5, 1), at(2, 6), at(6, 6)], &EncodeOptions::default()).unwrap();
    assert_eq!(part.meta.time_lower, Antichain::from_iter([Product::new(1, 5), Product::new(5, 1)]));
    assert_eq!(part.meta.time_upper, vec![Product::new(6, 6)]);
    let many: Vec<_> = (0..1_000).map(|i| at(i, 1_000 - i)).collect();
    let part = encode(&many, &EncodeOptions::default()).unwrap();
    assert!(part.meta.time_lower.len() <= 32 && part.meta.time_upper.len() <= 32);
    check(&many, &EncodeOptions::default());
}

#[test]
fn a_row_too_large_is_refused_and_the_builder_goes_on() {
    let mut builder = PartBuilder::<Vec<u8>, (), u64, i64>::new();
    let huge = vec![0; timely_persist_core::part::ROW_BYTES_MAX + 1];
    assert_eq!(builder.push(&huge, (), &0, &1).unwrap_err().kind(), ErrorKind::Invalid);
    builder.push(b"small", (), &0, &1).unwrap();
    let part = builder.finish(&EncodeOptions::default()).unwrap().unwrap();
    assert_eq!(decode::<Vec<u8>, (), u64>(&part), [((b"small".to_vec(), ()), 0, 1)]);
}

#[test]
fn format_numbers_round_trip() {
    for format in [PartFormat::ArrowIpc, PartFormat::ArrowMessage] {
        assert_eq!(PartFormat::from_number(format.number()), Some(format));
    }
    assert_eq!(PartFormat::from_number(0), None);
    assert_eq!(PartFormat::from_number(3), None);
}

#[test]
fn statistics_bound_each_leaf() {
    type Key = (String, Option<i32>);
    let row = |name: &str, number, time| (((name.to_owned(), number), true), time, 1);
    let rows: Vec<Row<Key, bool, u64>> = vec![row("b", None, 3), row("m", Some(-4), 9), row("x", Some(7), 5)];
    let part = encode(&rows, &options(Compression::None, 2)).unwrap();
    let stats = PartStats::decode(&part.meta.stats).unwrap();
    let names = stats.column("key.0").unwrap();
    assert_eq!(names.min(), Some(&StatValue::Utf8("b".to_owned())));
    assert_eq!(names.max(), Some(&StatValue::Utf8("x".to_owned())));
    assert!(names.may_contain_utf8("m") && names.may_contain_utf8("c") && !names.may_contain_utf8("y"));
    let numbers = stats.column("key.1").unwrap();
    assert_eq!((numbers.null_count(), numbers.min()), (1, Some(&StatValue::Int(-4))));
    assert!(numbers.may_contain_int(7) && !numbers.may_contain_int(8));
    // In doubt the part is kept: another type, an unknown column, statistics that do not decode.
    assert!(numbers.may_contain_utf8("8"));
    assert!(stats.column("key").is_none());
    assert!(PartStats::decode(b"").is_none() && PartStats::decode(&[255; 9]).is_none());
    let time = stats.column("time").unwrap();
    assert!(time.may_contain_int(9) && !time.may_contain_int(10));
    assert!(!time.may_overlap(..&StatValue::Int(3)) && time.may_overlap(..=&StatValue::Int(3)));
    let value = stats.column("value").unwrap();
    assert!(!value.may_contain(&StatValue::Bool(false)));
    assert!(!stats.may_hold("value", ..true) && stats.may_hold("value", true..));
    assert!(stats.may_hold("time", 9u64..) && !stats.may_hold("time", 10u64..));
    assert!(stats.may_hold("key.1", 5..8) && !stats.may_hold("key.1", 8..) && !stats.may_hold("key.1", ..-4));
    // A column without a value has none in any range.
    let rows: Vec<Row<Option<u8>, Serde<u16>, u64>> = vec![((None, Serde(256)), 0, 1)];
    let stats = PartStats::decode(&encode(&rows, &EncodeOptions::default()).unwrap().meta.stats).unwrap();
    assert!(!stats.may_hold::<u8>("key", ..));
    // Its bytes are in another order than its values.
    assert!(stats.column("value").unwrap().min().is_some() && stats.may_hold("value", Serde(255u16)..));
    assert!(stats.may_hold("value", ..Serde(257u16)));
}

#[test]
fn long_values_become_short_bounds() {
    let long = |c: char| c.to_string().repeat(1_000);
    for (min, max) in [('a', 'b'), ('a', '\u{10FFFF}'), ('\u{D7FF}', '\u{D7FF}'), ('é', '漢')] {
        let rows: Vec<Row<String, (), u64>> = [min, max].map(|c| ((long(c), ()), 0, 1)).to_vec();
        let part = encode(&rows, &EncodeOptions::default()).unwrap();
        assert!(part.meta.stats.len() < 1_000);
        let stats = PartStats::decode(&part.meta.stats).unwrap();
        let key = stats.column("key").unwrap();
        assert_eq!(key.max().is_some(), max != '\u{10FFFF}');
        assert!(key.may_contain_utf8(&long(min)) && key.may_contain_utf8(&long(max)));
        assert_eq!(key.may_contain_utf8(&long('\u{10FFFF}')), max == '\u{10FFFF}');
        assert!(!key.may_contain_utf8("A"));
        // What is asked for is shortened, too, so as to lose nothing.
        for value in [long(min), long(max)] {
            let excluded = (Bound::Excluded(value.chars().skip(1).collect::<String>()), Bound::Unbounded);
            assert!(stats.may_hold("key", value.clone()..=value.clone()) && stats.may_hold("key", excluded), "{value}");
            assert!(stats.may_hold("key", ..format!("{value}A")), "{value}");
            assert!(stats.may_hold("key", ..=value.clone()) && stats.may_hold("key", value..));
        }
        assert!(!stats.may_hold("key", ..="A".repeat(1_000)));
    }
    for max in [vec![255; 100], vec![7; 100]] {
        let part = encode(&[((max.clone(), ()), 0u64, 1)], &EncodeOptions::default()).unwrap();
        let stats = PartStats::decode(&part.meta.stats).unwrap();
        assert!(stats.column("key").unwrap().may_contain_bytes(&max));
    }
}

#[test]
fn a_run_is_cut_into_as_many_parts_as_are_wanted_if_they_are_not_too_small() {
    let rows: Vec<Row<u64, String, u64>> = (0..1_000).map(|key| ((key, "x".repeat(84)), 0, 1)).collect();
    let builder = collect(PartBuilder::new(), &rows);
    let row = builder.bytes() / rows.len();
    let sorted = builder.sort().unwrap();
    for (bytes_max, bytes_min, wanted, parts) in [
        (1 << 20, 250 * row, 4, 4),
        (1 << 20, 250 * row + 1, 4, 3),
        (1 << 20, 1 << 20, 4, 1),
        (1 << 20, 0, 1, 1),
        (1 << 20, 0, 0, 1),
        (100 * row, 1 << 20, 4, 10),
        (1, 1 << 20, 4, 1_000),
        (0, 0, 4, 1_000),
    ] {
        let ranges = sorted.cut(bytes_max, bytes_min, wanted);
        assert_eq!(ranges.len(), parts, "of {bytes_min} to {bytes_max} bytes, {wanted} wanted");
        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{ranges:?}");
        assert_eq!((ranges[0].start, ranges[parts - 1].end), (0, rows.len()));
        let (least, most) = (ranges.iter().map(Range::len).min(), ranges.iter().map(Range::len).max());
        assert!(most.unwrap() - least.unwrap() <= parts, "{ranges:?}");
    }
}

/// A part that was written when numbers were narrower, and none was missing.
#[test]
fn a_part_of_an_older_shape_is_read_as_todays() {
    type OldKey = (u8, String);
    type OldValue = (u32, u32);
    type Key = (u64, String);
    type Value = (Option<u32>, u64);
    let rows: Vec<Row<OldKey, OldValue, u64>> =
        (0..500u32).map(|n| (((n as u8 % 50, format!("text {}", n % 7)), (n, n * 2)), u64::from(n % 3), 1)).collect();
    let stored = [&OldKey::shape(), &OldValue::shape()];
    let here = [&Key::shape(), &Value::shape()];
    let lens = RowLens::between(stored, here).unwrap().unwrap();
    assert!(RowLens::between(here, here).unwrap().is_none());
    assert!(RowLens::between(here, stored).is_err());
    let written = consolidated(&rows);
    for part in [
        encode(&rows, &options(Compression::None, 64)).unwrap(),
        encode(&rows, &options(Compression::Lz4, 1000)).unwrap(),
        encode_small(&rows, &options(Compression::None, 1000)).unwrap(),
    ] {
        let blocks = || Blocks::of_object(part.bytes.clone(), &part.meta, Some(lens.clone())).unwrap();
        let chunks = blocks().decode::<Key, Value, u64, i64>(u64::MAX).unwrap();
        let read: Vec<_> = chunks.iter().flat_map(|chunk| chunk.rows().collect::<Vec<_>>()).collect();
        let expected = written.iter().map(|(((a, b), (c, d)), time, diff)| {
            (((u64::from(*a), b.clone()), (Some(*c), u64::from(*d))), *time, *diff)
        });
        assert!(read == expected.collect::<Vec<_>>());
        assert!(read.is_sorted());
        // Read as what it was not written as, with a lens or without one: an error.
        let without = decode_part::<Key, Value, u64, i64>(part.bytes.clone(), &part.meta);
        assert_eq!(without.unwrap_err().kind(), ErrorKind::Corrupt);
        let other = blocks().decode::<OldKey, OldValue, u64, i64>(u64::MAX);
        assert_eq!(other.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

/// Of the same columns by the same names: only the ids tell which is which.
#[test]
fn a_part_of_other_ids_is_refused_and_not_read_with_its_fields_exchanged() {
    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "sides", crate = "timely_persist_types")]
    struct Written {
        #[codec(id = 1)]
        left: u32,
        #[codec(id = 2)]
        right: u32,
    }
    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "sides", crate = "timely_persist_types")]
    struct Exchanged {
        #[codec(id = 2)]
        left: u32,
        #[codec(id = 1)]
        right: u32,
    }
    let rows: Vec<Row<u8, Written, u64>> = vec![((1, Written { left: 1, right: 2 }), 0, 1)];
    let part = encode(&rows, &options(Compression::None, 64)).unwrap();
    assert!(decode_part::<u8, Written, u64, i64>(part.bytes.clone(), &part.meta).is_ok());
    let refused = decode_part::<u8, Exchanged, u64, i64>(part.bytes.clone(), &part.meta).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    // No lens says that they are the same, and none of another schema is taken.
    let shapes = [u8::shape(), Written::shape(), Exchanged::shape(), <Option<Written>>::shape()];
    let [key, written, exchanged, option] = shapes.each_ref();
    assert!(RowLens::between([key, written], [key, exchanged]).is_err());
    let lens = RowLens::between([key, exchanged], [key, &<Option<Exchanged>>::shape()]).unwrap();
    let mut blocks = Blocks::of_object(part.bytes.clone(), &part.meta, lens).unwrap();
    let refused = blocks.decode::<u8, Option<Exchanged>, u64, i64>(u64::MAX).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    let lens = RowLens::between([key, written], [key, option]).unwrap();
    let mut blocks = Blocks::of_object(part.bytes.clone(), &part.meta, lens).unwrap();
    assert_eq!(blocks.decode::<u8, Option<Written>, u64, i64>(u64::MAX).unwrap().len(), 1);
}
