//! The durable forms of parts, pinned: `golden/part_v1.arrow` and `golden/part_v1.message` were written by the first
//! version and must be readable for ever. So must be `golden/part_leaves_v1.arrow`, which has the types that came with it.
//!
//! The bytes of a new encoding are compared too, because for the versions of Arrow in `Cargo.lock` they are the same.
//! If an upgrade of Arrow lays a file out differently, that comparison may go; decoding the file may not.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::path::PathBuf;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use ordered_float::OrderedFloat;
use timely_persist_core::part::{EncodeOptions, EncodedPart, PartBuilder, PartMeta, decode_part};
use timely_persist_types::codec::{Data, Decimal, Serde};
use uuid::Uuid;

type Key = (String, Option<i64>);
type Value = (Vec<u8>, bool, Uuid, Serde<Vec<u16>>, ());

/// What a state would remember of the golden file.
const ENCODED_BYTES: u64 = 5_818;
const TAIL_BYTES: u64 = 890;
const CHECKSUM: u64 = 0x0678_d7a3_ef86_9a82;

/// And of the golden message.
const MESSAGE_BYTES: u64 = 1_360;
const MESSAGE_CHECKSUM: u64 = 0x5c5d_0525_fbba_02be;

/// And of the golden file of the other types.
const LEAVES_BYTES: u64 = 6_490;
const LEAVES_TAIL_BYTES: u64 = 1_178;
const LEAVES_CHECKSUM: u64 = 0x5a73_8e9d_9b35_538f;

type Leaves = (NaiveDate, DateTime<Utc>, NaiveDateTime, Decimal<10, 2>, OrderedFloat<f32>, OrderedFloat<f64>);
type Lists = (Vec<String>, Vec<Option<Vec<u8>>>, Vec<Vec<i64>>);

fn leaves() -> Vec<((Leaves, Lists), u64, i64)> {
    let row = |i: i64| {
        let moment = DateTime::from_timestamp_micros(i * 1_000_000_007).unwrap();
        let price = Decimal::from_unscaled(i128::from(i) * 101).unwrap();
        let leaves =
            (moment.date_naive(), moment, moment.naive_utc(), price, (i as f32).into(), (i as f64 / 4.0).into());
        let number = i.unsigned_abs() as usize;
        let lists = (vec![format!("é{i}"); number], vec![Some(vec![7; number]), None], vec![vec![i; number], vec![]]);
        ((leaves, lists), 100, 1)
    };
    let mut rows: Vec<_> = (-3..4).map(row).collect();
    rows[3].0.0.5 = OrderedFloat(f64::NAN);
    rows
}

fn encode_leaves() -> EncodedPart<u64> {
    let options = EncodeOptions { chunk_rows_max: 4, ..EncodeOptions::default() };
    collected(leaves()).finish(&options).unwrap().unwrap()
}

fn rows() -> Vec<((Key, Value), u64, i64)> {
    let row = |i: u64| {
        let key = (format!("naïve {}", i % 4), (!i.is_multiple_of(3)).then_some(i as i64 - 5));
        let value =
            (vec![i as u8; i as usize], i.is_multiple_of(2), Uuid::from_u128(i.into()), Serde(vec![i as u16; 2]), ());
        ((key, value), 100 + i % 5, 1 - 2 * (i as i64 % 2))
    };
    let mut rows: Vec<_> = (0..10).map(row).collect();
    rows.sort();
    rows
}

fn collected<K: Data, V: Data>(rows: Vec<((K, V), u64, i64)>) -> PartBuilder<K, V, u64, i64> {
    let mut builder = PartBuilder::new();
    for ((key, value), time, diff) in rows {
        builder.push(key.as_ref(), value.as_ref(), &time, &diff).unwrap();
    }
    builder
}

fn encode() -> EncodedPart<u64> {
    collected(rows()).finish(&EncodeOptions { chunk_rows_max: 4, ..EncodeOptions::default() }).unwrap().unwrap()
}

fn encode_message() -> EncodedPart<u64> {
    collected(rows()).sort().unwrap().encode_small(&EncodeOptions::default()).unwrap().unwrap()
}

fn golden(name: &str, part: EncodedPart<u64>) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &part.bytes).unwrap();
        let PartMeta { encoded_bytes, tail_bytes, checksum, .. } = part.meta;
        println!("ENCODED_BYTES {encoded_bytes} TAIL_BYTES {tail_bytes} CHECKSUM {checksum:#x}");
    }
    Bytes::from(std::fs::read(path).unwrap())
}

fn assert_rows(bytes: Bytes, meta: &PartMeta<u64>, chunks_expected: usize) {
    let chunks = decode_part::<Key, Value, u64, i64>(bytes, meta).unwrap();
    assert_eq!(chunks.len(), chunks_expected);
    assert_eq!(chunks.iter().flat_map(|chunk| chunk.rows().collect::<Vec<_>>()).collect::<Vec<_>>(), rows());
}

#[test]
fn the_first_version_is_read() {
    let meta = PartMeta {
        encoded_bytes: ENCODED_BYTES,
        tail_bytes: TAIL_BYTES,
        checksum: CHECKSUM,
        // What other sums there are, the rows determine.
        ..encode().meta
    };
    assert_rows(golden("part_v1.arrow", encode()), &meta, 3);
}

#[test]
fn the_first_version_of_a_message_is_read() {
    let meta = PartMeta {
        encoded_bytes: MESSAGE_BYTES,
        tail_bytes: MESSAGE_BYTES,
        checksum: MESSAGE_CHECKSUM,
        ..encode_message().meta
    };
    assert_rows(golden("part_v1.message", encode_message()), &meta, 1);
}

#[test]
fn the_other_types_are_read() {
    let meta = PartMeta {
        encoded_bytes: LEAVES_BYTES,
        tail_bytes: LEAVES_TAIL_BYTES,
        checksum: LEAVES_CHECKSUM,
        ..encode_leaves().meta
    };
    let chunks =
        decode_part::<Leaves, Lists, u64, i64>(golden("part_leaves_v1.arrow", encode_leaves()), &meta).unwrap();
    assert_eq!(chunks.iter().flat_map(|chunk| chunk.rows().collect::<Vec<_>>()).collect::<Vec<_>>(), leaves());
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    assert_eq!(encode().bytes, golden("part_v1.arrow", encode()));
    assert_eq!(encode_message().bytes, golden("part_v1.message", encode_message()));
    assert_eq!(encode_leaves().bytes, golden("part_leaves_v1.arrow", encode_leaves()));
}
