//! Two diffs side by side, such as a sum and a count, in the eight bytes of one.
//!
//! Always: every pair can be stored. One whose halves both have less than 30 bits, or are such multiples of 2³⁰ or of 2⁶⁰,
//! has a word; any other is the sum of two or three that have, and stands as so many rows. Refusing it instead would stop a
//! program for good, because a sum that it maintains has grown.

use super::{Codec64, DecodeError, EncodeError};

/// The bits of a digit; its sign has one more.
const DIGIT_BITS: u32 = 30;

/// The bits of a half in a word. Above both are two that say which digit it is.
const HALF_BITS: u32 = DIGIT_BITS + 1;

/// The digits that an `i64` has: 30 bits, 30 bits, and what is left.
const DIGITS: u32 = 64_u32.div_ceil(DIGIT_BITS);

/// One digit of a number, in its place. All digits have the number's sign, so no sum of some is beyond it.
fn digit(number: i64, index: u32) -> i64 {
    let unit = 1 << (DIGIT_BITS * index);
    let above = 1_i64.checked_shl(DIGIT_BITS * (index + 1));
    let below = above.map_or(number, |above| number % above);
    below - below % unit
}

/// The digit that a pair consists of, if it is one.
fn only_digit((first, second): (i64, i64)) -> Option<u32> {
    (0..DIGITS).find(|index| digit(first, *index) == first && digit(second, *index) == second)
}

/// The pairs of digits that a pair consists of.
fn digits((first, second): (i64, i64)) -> impl Iterator<Item = (i64, i64)> {
    (0..DIGITS).map(move |index| (digit(first, index), digit(second, index))).filter(|pair| *pair != (0, 0))
}

fn half(bits: u64) -> i64 {
    // From the top, so that the sign comes along.
    (bits << (64 - HALF_BITS)) as i64 >> (64 - HALF_BITS)
}

/// From the lowest bit: 31 of the first half, 31 of the second, both signed, and two with a power *p*. Both halves are times
/// 2³⁰ to the *p*.
impl Codec64 for (i64, i64) {
    const NAME: &'static str = "(i64,i64)";

    fn check(&self) -> Result<(), EncodeError> {
        match only_digit(*self) {
            Some(_) => Ok(()),
            None => Err(EncodeError("it has more than 30 bits, which only a diff may have".to_owned())),
        }
    }

    fn total<'a>(first: &Self, more: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let add = |sum: (i128, i128), diff: &Self| (sum.0 + i128::from(diff.0), sum.1 + i128::from(diff.1));
        let (first, second) = more.fold(add((0, 0), first), add);
        Some((i64::try_from(first).ok()?, i64::try_from(second).ok()?))
    }

    fn apart<'a>(diffs: impl Iterator<Item = &'a Self>) -> Vec<Self> {
        let add = |sum: (i128, i128), diff: &Self| (sum.0 + i128::from(diff.0), sum.1 + i128::from(diff.1));
        let (mut first, mut second) = diffs.fold((0, 0), add);
        let mut apart = Vec::new();
        while (first, second) != (0, 0) {
            let part = [first, second].map(|sum| sum.clamp(i64::MIN.into(), i64::MAX.into()));
            (first, second) = (first - part[0], second - part[1]);
            apart.extend(digits((part[0] as i64, part[1] as i64))); // clamped
        }
        apart
    }

    fn digest(&self, hash: u64) -> Option<u64> {
        let [first, second] = [hash, hash.rotate_left(32)];
        Some(first.wrapping_mul(self.0 as u64).wrapping_add(second.wrapping_mul(self.1 as u64)))
    }

    fn encode(&self) -> [u8; 8] {
        let index = only_digit(*self).unwrap_or(0);
        let half = |number: i64| (number >> (DIGIT_BITS * index)) as u64 & ((1 << HALF_BITS) - 1);
        (half(self.0) | half(self.1) << HALF_BITS | u64::from(index) << (2 * HALF_BITS)).to_le_bytes()
    }

    fn decode(word: [u8; 8]) -> Result<Self, DecodeError> {
        let bits = u64::from_le_bytes(word);
        let index = (bits >> (2 * HALF_BITS)) as u32;
        let number = |half: i64| half.checked_mul(1_i64.checked_shl(DIGIT_BITS * index)?);
        let pair = number(half(bits)).zip(number(half(bits >> HALF_BITS)));
        // What is written in another way than it would be is no word of it.
        let pair = pair.filter(|pair| only_digit(*pair) == Some(index));
        pair.ok_or_else(|| DecodeError(format!("{bits:#x} is no diff of {}", Self::NAME)))
    }
}
