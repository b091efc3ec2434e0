//! The rows that every workload uses, and the check of what comes back.

use serde::{Deserialize, Serialize};
use timely::progress::Antichain;
use xxhash_rust::xxh3::xxh3_64;

/// A row as differential has it.
pub type Row = ((String, String), u64, i64);

/// The batches that the rows come in: batch `b` has its rows at time `b`.
pub const BATCHES: u64 = 20;

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// splitmix64.
pub fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(GAMMA);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Key and value of row `i`: 13 bytes and 100.
pub fn key_value(i: u64) -> (String, String) {
    (format!("k{:012}", mix(i) % 1_000_000_000_000), letters(i).take(100).collect())
}

/// Letters without end, from a splitmix64 stream.
pub fn letters(seed: u64) -> impl Iterator<Item = char> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        let letter = LETTERS[(mix(state) % 62) as usize] as char;
        state = state.wrapping_add(GAMMA);
        letter
    })
}

/// Keys and values one behind the other in memory: what rows are built from without counting how they are made up.
pub struct Columns {
    keys: String,
    values: String,
    pub rows: u64,
}

impl Columns {
    pub fn new(rows: u64) -> Self {
        let (mut keys, mut values) =
            (String::with_capacity(rows as usize * 13), String::with_capacity(rows as usize * 100));
        for i in 0..rows {
            let (key, value) = key_value(i);
            keys.push_str(&key);
            values.push_str(&value);
        }
        Self { keys, values, rows }
    }

    #[inline]
    pub fn get(&self, i: u64) -> (&str, &str) {
        let i = i as usize;
        (&self.keys[i * 13..(i + 1) * 13], &self.values[i * 100..(i + 1) * 100])
    }

    /// The owned rows of a batch.
    pub fn batch(&self, batch: u64) -> Vec<Row> {
        let row = |i| {
            let (key, value) = self.get(i);
            ((key.to_owned(), value.to_owned()), batch, 1)
        };
        range_of(self.rows, batch).map(row).collect()
    }
}

/// The numbers of the rows of a batch, of so many rows in all.
pub fn range_of(rows: u64, batch: u64) -> std::ops::Range<u64> {
    rows * batch / BATCHES..rows * (batch + 1) / BATCHES
}

/// What a read comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    pub rows: u64,
    pub diffs: i64,
    pub keys: u64,
}

impl Sums {
    #[inline]
    pub fn add(&mut self, key: &str, diff: i64) {
        self.rows += 1;
        self.diffs += diff;
        self.keys ^= xxh3_64(key.as_bytes());
    }

    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.diffs += other.diffs;
        self.keys ^= other.keys;
    }

    /// What reading all rows must come to.
    pub fn expected(rows: u64) -> Self {
        let mut sums = Self::default();
        for i in 0..rows {
            sums.add(&format!("k{:012}", mix(i) % 1_000_000_000_000), 1);
        }
        sums
    }

    pub fn check(self, expected: Self) {
        assert_eq!(self, expected, "a read gave other rows than were written");
    }
}

pub fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}
