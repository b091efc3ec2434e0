//! The eight-byte form of times and diffs.

use std::fmt;
use std::time::Duration;

use arrow_schema::DataType;
use differential_dataflow::difference::Semigroup;
use timely::order::Product;

use super::{DecodeError, EncodeError};

/// A time or a diff in eight bytes.
///
/// The implementor guarantees that `decode(encode(x)) == Ok(x)` for every `x` that [`Codec64::check`] allows, and that
/// different values have different words. As a time, what it allows has a minimum and is closed under meet and join.
///
/// | type | as | its word |
/// | --- | --- | --- |
/// | `u64`, `i64`, `u32`, `i32` | time, diff | the number |
/// | `isize` (on 64-bit machines) | time, diff | as an `i64`, and under its name: a shard of the one opens as the other |
/// | `(i64, i64)` | diff | 31 bits of each half; a larger one is stored as two or three rows |
/// | [`Duration`] | time | nanoseconds, less than 2⁶⁴ (584 years) |
/// | [`Product`] of two `u32` or `u16` | time | the outer coordinate in the low half, the inner one in the high half |
pub trait Codec64: Clone + fmt::Debug + Send + Sync + 'static {
    /// The name that a shard remembers: two types with one name must read each other's words.
    const NAME: &'static str;

    /// The word, as it lies in a column: little-endian for the integers. Of a value that [`Codec64::check`] refuses,
    /// any word, but no panic.
    fn encode(&self) -> [u8; 8];

    /// The value of a word, or why it has none.
    fn decode(word: [u8; 8]) -> Result<Self, DecodeError>;

    /// Whether the value has a word: an error says why not. Such a time is refused, of a row or in a frontier, before
    /// anything is written; such a diff stands as several, see [`Codec64::apart`]. By default every value has one.
    fn check(&self) -> Result<(), EncodeError> {
        Ok(())
    }

    /// What the diffs add up to, whatever they come to on the way and whether it has a word or not; `None` if no value of
    /// the type is so large. By default what [`Semigroup::plus_equals`] says, which is right for a type whose sums are
    /// always values of it.
    fn total<'a>(first: &Self, more: impl Iterator<Item = &'a Self>) -> Option<Self>
    where
        Self: Semigroup + 'a,
    {
        let mut total = first.clone();
        more.for_each(|diff| total.plus_equals(diff));
        Some(total)
    }

    /// Few diffs, each with a word, that add up to the same as these, whose total is no value of the type or has no word.
    /// By default these, which is right if they have words.
    fn apart<'a>(diffs: impl Iterator<Item = &'a Self>) -> Vec<Self>
    where
        Self: Semigroup + 'a,
    {
        diffs.cloned().collect()
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

/// Integers of at most eight bytes, each in a word of the eight bytes wide one. Their sums are exact: no diffs that fit in
/// memory add up beyond an `i128`.
macro_rules! integers {
    ($($(#[$on:meta])* $integer:ident as $word:ident $data_type:ident $name:literal;)*) => {$(
        $(#[$on])*
        impl Codec64 for $integer {
            const NAME: &'static str = $name;

            fn total<'a>(first: &Self, more: impl Iterator<Item = &'a Self>) -> Option<Self> {
                Self::try_from(more.fold(*first as i128, |sum, diff| sum + *diff as i128)).ok()
            }

            fn apart<'a>(diffs: impl Iterator<Item = &'a Self>) -> Vec<Self> {
                let mut left: i128 = diffs.map(|diff| *diff as i128).sum();
                let mut apart = Vec::new();
                while left != 0 {
                    let part = left.clamp(Self::MIN as i128, Self::MAX as i128);
                    left -= part;
                    apart.push(part as Self); // clamped
                }
                apart
            }

            fn digest(&self, hash: u64) -> Option<u64> {
                Some(hash.wrapping_mul(*self as u64)) // modulo 2⁶⁴, as the diffs add up
            }

            #[inline]
            fn encode(&self) -> [u8; 8] {
                (*self as $word).to_le_bytes()
            }

            #[inline]
            fn decode(word: [u8; 8]) -> Result<Self, DecodeError> {
                let number = $word::from_le_bytes(word);
                let value = number as Self;
                match value as $word == number {
                    true => Ok(value),
                    false => Err(DecodeError(format!("{number} is no {}", stringify!($integer)))),
                }
            }

            fn data_type() -> DataType {
                DataType::$data_type
            }
        }
    )*};
}

integers! {
    u64 as u64 UInt64 "u64";
    i64 as i64 Int64 "i64";
    u32 as u64 UInt64 "u32";
    i32 as i64 Int64 "i32";
    // A name that lasts does not depend on the machine.
    #[cfg(target_pointer_width = "64")]
    isize as i64 Int64 "i64";
}

/// Nanoseconds. A word holds 584 years of them.
impl Codec64 for Duration {
    const NAME: &'static str = "duration(ns)";

    fn check(&self) -> Result<(), EncodeError> {
        match u64::try_from(self.as_nanos()) {
            Ok(_) => Ok(()),
            Err(_) => Err(EncodeError(format!("the longest duration that can is {:?}", Self::from_nanos(u64::MAX)))),
        }
    }

    fn encode(&self) -> [u8; 8] {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX).to_le_bytes()
    }

    fn decode(word: [u8; 8]) -> Result<Self, DecodeError> {
        Ok(Self::from_nanos(u64::from_le_bytes(word)))
    }

    fn data_type() -> DataType {
        DataType::UInt64
    }
}

/// The outer coordinate in the low half, the inner one in the high half.
macro_rules! products {
    ($($outer:ident $inner:ident $name:literal;)*) => {$(
        impl Codec64 for Product<$outer, $inner> {
            const NAME: &'static str = $name;

            fn encode(&self) -> [u8; 8] {
                (u64::from(self.outer) | u64::from(self.inner) << 32).to_le_bytes()
            }

            fn decode(word: [u8; 8]) -> Result<Self, DecodeError> {
                let bits = u64::from_le_bytes(word);
                let time = Product::new(bits as $outer, (bits >> 32) as $inner);
                match time.encode() == word {
                    true => Ok(time),
                    false => Err(DecodeError(format!("{bits:#x} is no time of {}", Self::NAME))),
                }
            }
        }
    )*};
}

products! {
    u32 u32 "(u32,u32)";
    u32 u16 "(u32,u16)";
    u16 u32 "(u16,u32)";
    u16 u16 "(u16,u16)";
}
