//! The digest of rows: a sum of 64 bits by which two collections are compared without reading either.
//!
//! Of each row the XXH3 of key, value and time is multiplied by its diff, and sums wrap. So the digest depends on what the
//! rows come to: not on their order, nor on how they are cut into batches, nor on which of them were consolidated.
//!
//! Always: equal rows have the same digest on every machine and in every version, because a shard remembers it. Different
//! rows have the same one by an accident of one in 2⁶⁴, or because somebody chose them so: it is no protection from that.

use std::cell::Cell;

use xxhash_rust::xxh3::xxh3_64;

use super::{Data, Diff, Time};

/// The digest of one update: those of several are added up with `wrapping_add`. `None` if diffs of this type have none
/// ([`Codec64::digest`](super::Codec64::digest)).
///
/// It runs the row's own code ([`Codec::digest_bytes`](super::Codec::digest_bytes)), whose panics it passes on.
pub fn digest<K: Data, V: Data, T: Time, D: Diff>(key: &K, value: &V, time: &T, diff: &D) -> Option<u64> {
    // Whoever asks for one row asks for millions: they share memory. Where its thread is ending, there is none to share.
    let mut digest = Digest { sum: Some(0), bytes: BYTES.try_with(Cell::take).unwrap_or_default() };
    digest.add::<K, V, T, D>(key.as_ref(), value.as_ref(), time, diff);
    let Digest { sum, bytes } = digest;
    if bytes.capacity() <= DIGEST_BYTES_KEPT_MAX {
        let _ = BYTES.try_with(|kept| kept.set(bytes));
    }
    sum
}

/// What a row's bytes were written to, if not larger: kept by each thread for the next row.
const DIGEST_BYTES_KEPT_MAX: usize = 64 << 10;

thread_local! {
    static BYTES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Adds up the digests of rows.
#[derive(Clone, Debug)]
pub struct Digest {
    /// `None` once there was a diff without a digest.
    sum: Option<u64>,
    /// Those of one row; kept for the next.
    bytes: Vec<u8>,
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl Digest {
    /// Of no rows.
    pub fn new() -> Self {
        Self { sum: Some(0), bytes: Vec::new() }
    }

    /// Adds a row.
    #[inline]
    pub fn add<K: Data, V: Data, T: Time, D: Diff>(&mut self, key: K::Ref<'_>, value: V::Ref<'_>, time: &T, diff: &D) {
        let Some(sum) = self.sum else {
            return;
        };
        self.bytes.clear();
        K::digest_bytes(key, &mut self.bytes);
        V::digest_bytes(value, &mut self.bytes);
        self.bytes.extend_from_slice(&time.encode());
        self.sum = diff.digest(xxh3_64(&self.bytes)).map(|digest| sum.wrapping_add(digest));
    }

    /// The digest of all rows so far.
    pub fn sum(&self) -> Option<u64> {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use timely::order::Product;
    use uuid::Uuid;

    use super::super::lengths::with_length;
    use super::super::{Codec, Serde};
    use super::*;

    fn bytes_of<C: Codec>(value: &C) -> Vec<u8> {
        let mut bytes = Vec::new();
        C::digest_bytes(value.as_ref(), &mut bytes);
        bytes
    }

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Order {
        item: String,
        pieces: Option<u32>,
    }

    /// Shards remember digests: these numbers are for ever. A change of one makes every copy that is compared with an older
    /// one look different.
    #[test]
    fn the_digests_of_rows_are_what_they_always_were() {
        fn of<K: Data, V: Data, T: Time, D: Diff>(key: K, value: V, time: T, diff: D) -> u64 {
            digest::<K, V, T, D>(&key, &value, &time, &diff).expect("a diff with a digest")
        }
        let order = Serde(Order { item: "pear".to_owned(), pieces: Some(3) });
        let words: (u8, u16, u32, u64, i8, i16, i32, i64) = (1, 2, 3, 4, -1, -2, -3, -4);
        let fixed = (Uuid::from_u128(5), 6u128, -7i128);
        let said = [
            of("apple".to_owned(), 7u64, 3u64, 1i64),
            of("apple".to_owned(), 7u64, 3u64, -2i64),
            of("apple".to_owned(), 7u64, 3u64, 2u64),
            of((), (), i64::MIN, 1i64),
            of(Bytes::from_static(b"pl\0um"), Some(Some(true)), 1u64, 1i64),
            of(vec![1u8, 2], (None::<String>, false), 1u64, 1i64),
            of(order, words, Product::new(1u32, 2u32), 1i64),
            of(fixed, (), 0u64, 1i64),
        ];
        let always = [
            0x3649_8ff1_b686_74aa,
            0x936c_e01c_92f3_16ac,
            0x6c93_1fe3_6d0c_e954,
            0x828f_2476_789a_0e5f,
            0xe38b_f11f_40ee_bd11,
            0x9e87_f37a_7226_ca9f,
            0x3f7a_43e7_1b5d_fb21,
            0x39b5_7348_8e2a_204f,
        ];
        assert_eq!(said, always, "{said:#x?}");
    }

    #[test]
    fn the_bytes_of_a_row_are_plain() {
        let row = ("ab".to_owned(), Some(-1i16));
        assert_eq!(bytes_of(&row), [2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', 1, 0xff, 0xff]);
        assert_eq!(bytes_of(&Serde(("ab".to_owned(), 7u8))), [4, 0, 0, 0, 0, 0, 0, 0, 2, b'a', b'b', 7]);
        let hash = xxh3_64(&[bytes_of(&row), vec![1], 9u64.to_le_bytes().to_vec()].concat());
        assert_eq!(digest::<_, _, _, i64>(&row, &true, &9u64, &-3), Some(hash.wrapping_mul(3).wrapping_neg()));
    }

    /// Values that look alike when they are put behind one another.
    #[test]
    fn values_say_where_they_end() {
        let serde = |a: &[u8], b: &[u8]| (Serde(a.to_vec()), Serde(b.to_vec()));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_ne!(bytes_of(&pair("ab", "c")), bytes_of(&pair("a", "bc")));
        assert_ne!(bytes_of(&pair("", "x")), bytes_of(&pair("x", "")));
        assert_ne!(bytes_of(&(None::<u8>, Some(0u8))), bytes_of(&(Some(0u8), None::<u8>)));
        assert_ne!(bytes_of(&Some(None::<u8>)), bytes_of(&None::<Option<u8>>));
        assert_ne!(bytes_of(&serde(&[1], &[])), bytes_of(&serde(&[], &[1])));
        assert_eq!(bytes_of(&vec![1u8, 2]), bytes_of(&Bytes::from_static(&[1, 2])), "they are one codec");
    }

    #[test]
    fn a_type_without_bytes_of_its_own_is_what_debug_shows() {
        let mut bytes = Vec::new();
        with_length(&mut bytes, |bytes| bytes.extend_from_slice(b"\"x\""));
        assert_eq!(bytes, [3, 0, 0, 0, 0, 0, 0, 0, b'"', b'x', b'"']);
    }

    #[test]
    fn a_row_too_large_to_keep_memory_for_has_the_same_digest_as_in_a_sum() {
        let key = "x".repeat(2 * DIGEST_BYTES_KEPT_MAX);
        let alone = digest::<_, _, _, i64>(&key, &(), &0u64, &1);
        let mut sum = Digest::new();
        sum.add::<String, (), u64, i64>(&key, (), &0, &1);
        sum.add::<String, (), u64, i64>("y", (), &0, &0);
        assert_eq!(alone, sum.sum());
    }

    proptest! {
        /// However rows are ordered, cut and consolidated, also where their diffs add up beyond what one holds.
        #[test]
        fn what_rows_come_to_is_what_counts(
            mut rows in prop::collection::vec((0u64..4, 0u64..3, prop_oneof![-3i64..4, any::<i64>()]), 0..24),
            cut in any::<prop::sample::Index>(),
        ) {
            use crate::codec::Codec64;
            let sum = |rows: &[(u64, u64, i64)]| {
                let mut sum = Digest::new();
                rows.iter().for_each(|(key, time, diff)| sum.add::<u64, (), u64, i64>(*key, (), time, diff));
                sum.sum().expect("these have one")
            };
            let whole = sum(&rows);
            let mut consolidated: BTreeMap<(u64, u64), Vec<i64>> = BTreeMap::new();
            for (key, time, diff) in &rows {
                consolidated.entry((*key, *time)).or_default().push(*diff);
            }
            let parts = consolidated.into_iter().flat_map(|((key, time), diffs)| {
                let total = i64::total(&diffs[0], diffs[1..].iter()).map(|total| vec![total]);
                let diffs = total.unwrap_or_else(|| i64::apart(diffs.iter()));
                diffs.into_iter().map(move |diff| (key, time, diff))
            });
            prop_assert_eq!(sum(&parts.collect::<Vec<_>>()), whole);
            rows.reverse();
            let (one, other) = rows.split_at(if rows.is_empty() { 0 } else { cut.index(rows.len()) });
            prop_assert_eq!(sum(one).wrapping_add(sum(other)), whole);
        }
    }
}
