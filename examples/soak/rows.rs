//! What writers write: rows that follow from the writer, the number of its append, its time and the row's index.
//!
//! Always: whoever sees a row alone can tell whether it was ever written as it is, and to which append and time it
//! belongs. Row 0 of an append is its *marker*: it is never retracted, so the append stays visible for ever.

use timely_persist::Shard;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a shard here holds.
pub type Rows = Shard<String, u64, u64, i64>;

/// One change of it.
pub type Update = ((String, u64), u64, i64);

/// Which row this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub writer: u32,
    /// The number of the append, among those of its writer.
    pub append: u64,
    /// When it appears in the shard.
    pub time: u64,
    pub index: u32,
}

impl Name {
    /// The row. `padding` bytes make it as large as is wanted.
    pub fn row(&self, salt: u64, padding: usize) -> (String, u64) {
        let Self { writer, append, time, index } = self;
        let mut key = format!("{writer} {append} {time} {index} ");
        let letters = xxh3_64_with_seed(key.as_bytes(), salt ^ 1);
        let length = key.len() + padding;
        while key.len() < length {
            key.push_str(&format!("{:016x}", letters.rotate_left(key.len() as u32 % 64)));
        }
        key.truncate(length);
        let value = xxh3_64_with_seed(key.as_bytes(), salt);
        (key, value)
    }

    /// Which row this is, if it was ever written as it is.
    pub fn of(salt: u64, key: &str, value: u64) -> Option<Self> {
        if xxh3_64_with_seed(key.as_bytes(), salt) != value {
            return None;
        }
        let mut words = key.split(' ');
        let mut word = || words.next()?.parse::<u64>().ok();
        let (writer, append, time, index) = (word()?, word()?, word()?, word()?);
        Some(Self { writer: writer.try_into().ok()?, append, time, index: index.try_into().ok()? })
    }
}

/// A multiset of rows in one word and their number: equal for equal sets, and for others but by a chance of 2⁻⁶⁴.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    pub sum: u64,
    pub rows: i64,
}

impl Digest {
    /// A row's value is a hash of all of it, so the values will do.
    pub fn add(&mut self, value: u64, diff: i64) {
        self.sum = self.sum.wrapping_add(value.wrapping_mul(diff as u64));
        self.rows += diff;
    }

    pub fn plus(self, other: Self) -> Self {
        Self { sum: self.sum.wrapping_add(other.sum), rows: self.rows + other.rows }
    }

    pub fn minus(self, other: Self) -> Self {
        Self { sum: self.sum.wrapping_sub(other.sum), rows: self.rows - other.rows }
    }
}
