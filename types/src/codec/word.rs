//! The eight-byte form of times and diffs.

use std::fmt;

use arrow_schema::DataType;
use differential_dataflow::difference::Semigroup;
use timely::order::Product;

use super::DecodeError;

/// A time or a diff in eight bytes.
///
/// The implementor guarantees that `decode(encode(x)) == Ok(x)` and that different values have different words.
pub trait Codec64: Clone + fmt::Debug + Send + Sync + 'static {
    /// The name that a shard remembers: two types with one name must read each other's words.
    const NAME: &'static str;

    /// The word, as it lies in a column: little-endian for the integers.
    fn encode(&self) -> [u8; 8];

    /// The value of a word, or why it has none.
    fn decode(word: [u8; 8]) -> Result<Self, DecodeError>;

    /// What the diffs add up to, whatever they come to on the way; `None` if no value of the type is so large. By default
    /// what [`Semigroup::plus_equals`] says, which is right for a type whose sums are always values of it.
    fn total<'a>(first: &Self, more: impl Iterator<Item = &'a Self>) -> Option<Self>
    where
        Self: Semigroup + 'a,
    {
        let mut total = first.clone();
        more.for_each(|diff| total.plus_equals(diff));
        Some(total)
    }

    /// Few diffs that add up to the same as these, whose total is no value of the type. By default these.
    fn apart<'a>(diffs: impl Iterator<Item = &'a Self>) -> Vec<Self>
    where
        Self: Semigroup + 'a,
    {
        diffs.cloned().collect()
    }

    /// Adds a diff to what is only a hint, such as the sum of all rows. Of integers the sum is right modulo 2⁶⁴.
    fn plus_wrapping(&mut self, diff: &Self)
    where
        Self: Semigroup,
    {
        self.plus_equals(diff);
    }

    /// The digest of a row with this diff and this hash, such that those of a row's diffs add up (wrapping) to that of
    /// their sum: the hash times the diff. By default `None`: diffs of the type have no digest.
    fn digest(&self, hash: u64) -> Option<u64> {
        let _ = hash;
        None
    }

    /// The Arrow type of a column of words: eight bytes wide. Other tools see it.
    fn data_type() -> DataType {
        DataType::FixedSizeBinary(8)
    }
}

/// The integers of eight bytes. Their sums are exact: no diffs that fit in memory add up beyond an `i128`.
macro_rules! integers {
    ($($integer:ident $data_type:ident),*) => {$(
        impl Codec64 for $integer {
            const NAME: &'static str = stringify!($integer);

            fn total<'a>(first: &Self, more: impl Iterator<Item = &'a Self>) -> Option<Self> {
                Self::try_from(more.fold(i128::from(*first), |sum, diff| sum + i128::from(*diff))).ok()
            }

            fn apart<'a>(diffs: impl Iterator<Item = &'a Self>) -> Vec<Self> {
                let mut left: i128 = diffs.map(|diff| i128::from(*diff)).sum();
                let mut apart = Vec::new();
                while left != 0 {
                    let part = left.clamp(Self::MIN.into(), Self::MAX.into());
                    left -= part;
                    apart.push(part as Self); // clamped
                }
                apart
            }

            fn plus_wrapping(&mut self, diff: &Self) {
                *self = self.wrapping_add(*diff);
            }

            fn digest(&self, hash: u64) -> Option<u64> {
                Some(hash.wrapping_mul(*self as u64))
            }

            fn encode(&self) -> [u8; 8] {
                self.to_le_bytes()
            }

            fn decode(word: [u8; 8]) -> Result<Self, DecodeError> {
                Ok(Self::from_le_bytes(word))
            }

            fn data_type() -> DataType {
                DataType::$data_type
            }
        }
    )*};
}

integers!(u64 UInt64, i64 Int64);

/// The outer coordinate in the low half, the inner one in the high half.
impl Codec64 for Product<u32, u32> {
    const NAME: &'static str = "(u32,u32)";

    fn encode(&self) -> [u8; 8] {
        (u64::from(self.outer) | u64::from(self.inner) << 32).to_le_bytes()
    }

    fn decode(word: [u8; 8]) -> Result<Self, DecodeError> {
        let bits = u64::from_le_bytes(word);
        Ok(Product::new(bits as u32, (bits >> 32) as u32))
    }
}
