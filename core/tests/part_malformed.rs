//! Parts that storage damaged, or that somebody forged: always an error, never a panic.
//!
//! Without the right checksums nothing is even looked at. With checksums made right again, what Arrow and the codecs
//! are given is arbitrary, and must still be refused or decode to some rows.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use timely::order::Product;
use timely_persist_core::part::{
    EncodeOptions, EncodedPart, PartBuilder, PartFormat, PartMeta, PartStats, decode_part,
};
use timely_persist_types::codec::{Data, Decimal, Serde, Time};
use timely_persist_types::config::Compression;
use timely_persist_types::error::ErrorKind;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

type Key = (String, Option<u32>);
type Value = Option<(Serde<Vec<String>>, bool, Uuid, Option<()>)>;
type Pair = Product<u32, u32>;

fn builder<K: Data, V: Data, T: Time>(rows: Vec<(K, V, T)>) -> PartBuilder<K, V, T, i64> {
    let mut builder = PartBuilder::new();
    for (key, value, time) in rows {
        builder.push(key.as_ref(), value.as_ref(), &time, &1).unwrap();
    }
    builder
}

fn encode<K: Data, V: Data, T: Time>(rows: Vec<(K, V, T)>, compression: Compression) -> EncodedPart<T> {
    let options = EncodeOptions { compression, chunk_rows_max: 3, ..EncodeOptions::default() };
    builder(rows).finish(&options).unwrap().unwrap()
}

/// The same, as it lies in a log entry.
fn encode_small<K: Data, V: Data, T: Time>(rows: Vec<(K, V, T)>, compression: Compression) -> EncodedPart<T> {
    let part = builder(rows).sort().unwrap().encode_small(&EncodeOptions { compression, ..EncodeOptions::default() });
    part.unwrap().unwrap()
}

fn rich(compression: Compression) -> EncodedPart<Pair> {
    encode::<Key, Value, Pair>(rich_rows(), compression)
}

fn rich_small(compression: Compression) -> EncodedPart<Pair> {
    encode_small::<Key, Value, Pair>(rich_rows(), compression)
}

fn rich_rows() -> Vec<(Key, Value, Pair)> {
    let value = |i: u32| (Serde(vec!["x".repeat(40); 3]), i.is_multiple_of(2), Uuid::from_u128(i.into()), Some(()));
    let row = |i: u32| {
        let key = (format!("key {i:<40}"), (!i.is_multiple_of(3)).then_some(i));
        (key, (i != 2).then(|| value(i)), Product::new(i, 7 - i))
    };
    (0..5).map(row).collect()
}

fn simple() -> EncodedPart<u64> {
    encode::<Vec<u8>, i128, u64>(simple_rows(), Compression::None)
}

fn simple_small() -> EncodedPart<u64> {
    encode_small::<Vec<u8>, i128, u64>(simple_rows(), Compression::None)
}

fn simple_rows() -> Vec<(Vec<u8>, i128, u64)> {
    (0..5u8).map(|i| (vec![i; 3], -i128::from(i), i.into())).collect()
}

/// Decodes and looks at every row. `None` if the part is refused, as corrupt.
fn read<K: Data, V: Data, T: Time>(bytes: &[u8], meta: &PartMeta<T>) -> Option<usize> {
    let read = || match decode_part::<K, V, T, i64>(Bytes::copy_from_slice(bytes), meta) {
        Ok(chunks) => Some(chunks.iter().map(|chunk| chunk.rows().map(std::hint::black_box).count()).sum()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            None
        }
    };
    catch_unwind(AssertUnwindSafe(read)).expect("decoding arbitrary bytes does not panic")
}

/// Makes the checksums right for changed bytes, where the changes let the places of the sums be found.
fn forge<T: Time>(bytes: &mut [u8], meta: &mut PartMeta<T>, places: &[(usize, usize)]) {
    for (start, end) in places {
        let sum = format!("{:016x}", xxh3_64(&bytes[*start..*end]));
        let wrong = SUMS.with(|sums| sums.borrow()[&(*start, *end)]);
        bytes[wrong..wrong + 16].copy_from_slice(sum.as_bytes());
    }
    meta.checksum = xxh3_64(&bytes[bytes.len() - meta.tail_bytes as usize..]);
}

thread_local! {
    /// Where in the object the sum of a range stands.
    static SUMS: std::cell::RefCell<std::collections::HashMap<(usize, usize), usize>> = Default::default();
}

/// The ranges that the tail vouches for: the header and the blocks. None where the state vouches for everything.
fn places<T: Time>(part: &EncodedPart<T>) -> Vec<(usize, usize)> {
    if part.meta.format == PartFormat::ArrowMessage {
        return Vec::new();
    }
    let tail = part.meta.tail_range().unwrap();
    let tail = timely_persist_core::part::PartTail::parse(part.bytes.slice(tail.start as usize..), &part.meta).unwrap();
    let blocks = tail.blocks().iter().map(|block| (block.range().start as usize, block.range().end as usize));
    let places: Vec<_> = std::iter::once((0, tail.header_bytes() as usize)).chain(blocks).collect();
    for (start, end) in &places {
        let sum = format!("{:016x}", xxh3_64(&part.bytes[*start..*end]));
        let place = part.bytes.windows(16).position(|window| window == sum.as_bytes()).unwrap();
        SUMS.with(|sums| sums.borrow_mut().insert((*start, *end), place));
    }
    places
}

/// Every byte of a part replaced by telling ones, every aligned word by extreme ones; all checksums made right.
fn forgeries<K: Data, V: Data, T: Time>(part: &EncodedPart<T>) {
    let places = places(part);
    let rows = read::<K, V, T>(&part.bytes, &part.meta);
    assert_eq!(rows, Some(part.meta.rows as usize));
    let (mut refused, mut taken) = (0, 0);
    let mut attempt = |at: usize, with: &[u8]| {
        let (mut bytes, mut meta) = (part.bytes.to_vec(), part.meta.clone());
        let Some(target) = bytes.get_mut(at..at + with.len()) else {
            return;
        };
        target.copy_from_slice(with);
        forge(&mut bytes, &mut meta, &places);
        match read::<K, V, T>(&bytes, &meta) {
            Some(_) => taken += 1,
            None => refused += 1,
        }
    };
    // The header is not interpreted.
    for at in places.first().map_or(0, |header| header.1)..part.bytes.len() {
        let byte = part.bytes[at];
        for with in [byte ^ 1, byte ^ 0x80, 0xff] {
            attempt(at, &[with]);
        }
        if at.is_multiple_of(4) {
            for with in [i32::MAX, i32::MIN, 0] {
                attempt(at, &with.to_le_bytes());
            }
        }
        if at.is_multiple_of(8) {
            for with in [i64::MAX, -1, 1 << 40] {
                attempt(at, &with.to_le_bytes());
            }
        }
    }
    assert!(refused > 0 && taken > 0, "{refused} refused, {taken} taken");
}

#[test]
fn forged_plain_parts() {
    forgeries::<Key, Value, Pair>(&rich(Compression::None));
    forgeries::<Key, Value, Pair>(&rich_small(Compression::None));
}

#[test]
fn forged_lz4_parts() {
    forgeries::<Key, Value, Pair>(&rich(Compression::Lz4));
    forgeries::<Key, Value, Pair>(&rich_small(Compression::Lz4));
}

#[test]
fn forged_zstd_parts() {
    forgeries::<Key, Value, Pair>(&rich(Compression::Zstd));
    forgeries::<Key, Value, Pair>(&rich_small(Compression::Zstd));
}

#[test]
fn forged_simple_parts() {
    forgeries::<Vec<u8>, i128, u64>(&simple());
    forgeries::<Vec<u8>, i128, u64>(&simple_small());
}

/// Lists, whose values are more than there are rows and need not have bytes, and types that have not every primitive.
#[test]
fn forged_lists() {
    type Lists = (Vec<Option<Vec<bool>>>, Vec<Option<()>>, Vec<Decimal<4, 2>>);
    let row = |i: u64| {
        let list = vec![None, Some(vec![i == 0; 9]), Some(vec![])];
        let moment = DateTime::from_timestamp_micros(i as i64).unwrap();
        ((list, vec![Some(()); 40], vec![Decimal::MAX; 2]), moment, i)
    };
    let rows = || (0..2).map(row).collect::<Vec<(Lists, _, _)>>();
    forgeries::<Lists, DateTime<Utc>, u64>(&encode(rows(), Compression::None));
    forgeries::<Lists, DateTime<Utc>, u64>(&encode_small(rows(), Compression::Lz4));
}

#[test]
fn every_truncation_and_every_flipped_bit_is_corrupt() {
    truncated_and_flipped(&rich(Compression::None));
    truncated_and_flipped(&rich_small(Compression::None));
}

fn truncated_and_flipped(part: &EncodedPart<Pair>) {
    for len in 0..part.bytes.len() {
        assert_eq!(read::<Key, Value, Pair>(&part.bytes[..len], &part.meta), None);
        // The same, with a state that believes in the shorter length.
        let meta = PartMeta { encoded_bytes: len as u64, ..part.meta.clone() };
        assert_eq!(read::<Key, Value, Pair>(&part.bytes[..len], &meta), None);
    }
    for at in 0..part.bytes.len() {
        for bit in 0..8 {
            let mut bytes = part.bytes.to_vec();
            bytes[at] ^= 1 << bit;
            assert_eq!(read::<Key, Value, Pair>(&bytes, &part.meta), None, "bit {bit} of byte {at}");
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_corrupt(bytes in prop::collection::vec(any::<u8>(), 0..2_000), tail_bytes in 0u64..2_000) {
        for part in [simple(), simple_small()] {
            prop_assert_eq!(read::<Vec<u8>, i128, u64>(&bytes, &part.meta), None);
            let start = (bytes.len() as u64).saturating_sub(tail_bytes) as usize;
            let (encoded_bytes, checksum) = (bytes.len() as u64, xxh3_64(&bytes[start..]));
            let meta = PartMeta { encoded_bytes, tail_bytes, checksum, ..part.meta.clone() };
            prop_assert_eq!(read::<Vec<u8>, i128, u64>(&bytes, &meta), None);
            let (tail_bytes, checksum) = (encoded_bytes, xxh3_64(&bytes));
            let meta = PartMeta { encoded_bytes, tail_bytes, checksum, ..part.meta };
            prop_assert_eq!(read::<Vec<u8>, i128, u64>(&bytes, &meta), None);
        }
    }

    #[test]
    fn several_forged_bytes(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            for part in [rich(compression), rich_small(compression)] {
                let places = places(&part);
                let (mut bytes, mut meta) = (part.bytes.to_vec(), part.meta.clone());
                for (at, with) in &changes {
                    bytes[at.index(part.bytes.len())] = *with;
                }
                forge(&mut bytes, &mut meta, &places);
                read::<Key, Value, Pair>(&bytes, &meta);
            }
        }
    }

    #[test]
    fn a_state_that_lies_is_corrupt(encoded_bytes in any::<u64>(), tail_bytes in any::<u64>(), rows in any::<u64>(), decoded_bytes in any::<u64>()) {
        let part = simple();
        let lies = [
            PartMeta { encoded_bytes, ..part.meta.clone() },
            PartMeta { tail_bytes, ..part.meta.clone() },
            PartMeta { rows, ..part.meta.clone() },
            PartMeta { decoded_bytes, ..part.meta.clone() },
            PartMeta { encoded_bytes, tail_bytes, rows, decoded_bytes, ..part.meta.clone() },
        ];
        for meta in lies {
            prop_assume!(meta != part.meta);
            prop_assert_eq!(read::<Vec<u8>, i128, u64>(&part.bytes, &meta), None);
        }
    }

    #[test]
    fn a_state_that_lies_about_a_message_is_corrupt(encoded_bytes in any::<u64>(), tail_bytes in any::<u64>(), rows in any::<u64>(), less in 1u64..100) {
        let part = simple_small();
        let decoded_bytes = part.meta.decoded_bytes - less; // nothing else knows it: more is only more than it takes
        let lies = [
            PartMeta { encoded_bytes, ..part.meta.clone() },
            PartMeta { tail_bytes, ..part.meta.clone() },
            PartMeta { rows, ..part.meta.clone() },
            PartMeta { decoded_bytes, ..part.meta.clone() },
            PartMeta { format: PartFormat::ArrowIpc, ..part.meta.clone() },
            PartMeta { format: PartFormat::ArrowMessage, ..simple().meta },
        ];
        for meta in lies {
            prop_assume!(meta != part.meta);
            prop_assert_eq!(read::<Vec<u8>, i128, u64>(&part.bytes, &meta), None);
        }
        let file = simple();
        let meta = PartMeta { format: PartFormat::ArrowMessage, ..file.meta };
        prop_assert_eq!(read::<Vec<u8>, i128, u64>(&file.bytes, &meta), None);
    }

    #[test]
    fn arbitrary_statistics_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = PartStats::decode(&bytes);
    }
}
