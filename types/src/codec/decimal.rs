//! Decimals of a fixed number of digits behind the point: Arrow's decimal of 128 bits.
//!
//! Always: a [`Decimal`] has no more digits than its type says, whichever way it came to be, so that each can be stored; and it
//! is nothing but its digits, so that equal ones look equal.
//!
//! Not here: arithmetic. It is a form to store, which a decimal of another crate converts to and from.

use std::fmt;
use std::str::FromStr;

use arrow_array::types::Decimal128Type;
use arrow_schema::DataType;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::primitive::primitive_items;
use super::{Codec, Element, Leaf, PrimitiveCodec, Shape};

/// The most digits that Arrow's decimal of 128 bits has.
const PRECISION_MAX: u8 = 38;

/// A number of at most `PRECISION` decimal digits (1 to 38), `SCALE` of them (0 to `PRECISION`) behind the point.
///
/// ```
/// use timely_persist::codec::Decimal;
///
/// type Price = Decimal<10, 2>;
/// let price: Price = "19.90".parse()?;
/// assert_eq!(price.unscaled(), 1990);
/// assert_eq!(Price::from_unscaled(1990)?, price);
/// assert_eq!(price.to_string(), "19.90");
/// assert!("0.005".parse::<Price>().is_err());
/// # Ok::<(), timely_persist::codec::DecimalError>(())
/// ```
///
/// Other digits are a compile error:
///
/// ```compile_fail,E0080
/// use timely_persist::codec::Decimal;
///
/// println!("{}", Decimal::<39, 2>::MAX);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal<const PRECISION: u8, const SCALE: i8>(i128);

/// Why there is no such [`Decimal`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecimalError {
    /// It has more digits before the point than the type.
    TooLarge {
        /// All digits of the type.
        precision: u8,
        /// Those behind the point.
        scale: i8,
    },
    /// It has more digits behind the point than the type, which are not all zero.
    TooFine {
        /// The digits of the type behind the point.
        scale: i8,
    },
    /// The text is no number: a sign or none, digits, and behind a point, if there is one, digits.
    NoNumber,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { precision, scale } => {
                write!(f, "more digits than a decimal has of {precision}, {scale} of them behind the point")
            }
            Self::TooFine { scale } => {
                write!(f, "more digits behind the point than the {scale} that a decimal has there: round it")
            }
            Self::NoNumber => f.write_str("the text is no decimal: -12.34 is one"),
        }
    }
}

impl std::error::Error for DecimalError {}

impl<const PRECISION: u8, const SCALE: i8> Decimal<PRECISION, SCALE> {
    /// What is as large as this has more digits; without its point.
    const LIMIT: i128 = {
        assert!(PRECISION >= 1 && PRECISION <= PRECISION_MAX, "a decimal has 1 to 38 digits");
        assert!(SCALE >= 0 && SCALE as u8 <= PRECISION, "of a decimal's digits none or some are behind the point");
        10i128.pow(PRECISION as u32)
    };

    /// Ten to the power of the digits behind the point.
    const ONE: i128 = 10i128.pow(SCALE as u32);

    /// The bits, from the lowest, that a prefix of 64 bits leaves out.
    const PREFIX_SHIFT: u32 = (i128::BITS - Self::LIMIT.leading_zeros() + 1).saturating_sub(u64::BITS);

    /// The smallest one.
    pub const MIN: Self = Self(1 - Self::LIMIT);

    /// The largest one.
    pub const MAX: Self = Self(Self::LIMIT - 1);

    /// The decimal of these digits, without the point: of two behind it, 1990 is 19.90.
    pub const fn from_unscaled(unscaled: i128) -> Result<Self, DecimalError> {
        match unscaled > -Self::LIMIT && unscaled < Self::LIMIT {
            true => Ok(Self(unscaled)),
            false => Err(DecimalError::TooLarge { precision: PRECISION, scale: SCALE }),
        }
    }

    /// The digits without the point: of 19.90 it is 1990.
    pub const fn unscaled(self) -> i128 {
        self.0
    }

    /// A number of these digits, so many of them behind the point.
    fn rescaled(unscaled: i128, scale: u32) -> Result<Self, DecimalError> {
        let more = SCALE as u32;
        let unscaled = match scale.checked_sub(more) {
            None | Some(0) => 10i128.checked_pow(more - scale).and_then(|factor| unscaled.checked_mul(factor)),
            Some(_) if unscaled == 0 => Some(0),
            Some(fewer) => match 10i128.checked_pow(fewer) {
                Some(factor) if unscaled % factor == 0 => Some(unscaled / factor),
                _ => return Err(DecimalError::TooFine { scale: SCALE }),
            },
        };
        let too_large = DecimalError::TooLarge { precision: PRECISION, scale: SCALE };
        unscaled.ok_or(too_large).and_then(Self::from_unscaled)
    }
}

/// All digits behind the point, also zeros.
impl<const PRECISION: u8, const SCALE: i8> fmt::Display for Decimal<PRECISION, SCALE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, behind) = (self.0.unsigned_abs(), SCALE as usize);
        let one = Self::ONE.unsigned_abs();
        let text = match behind {
            0 => digits.to_string(),
            _ => format!("{}.{:0behind$}", digits / one, digits % one),
        };
        f.pad_integral(self.0 >= 0, "", &text)
    }
}

/// As [`fmt::Display`].
impl<const PRECISION: u8, const SCALE: i8> fmt::Debug for Decimal<PRECISION, SCALE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `-12.34`, `+5`, `.5` and `5.` are numbers. More digits behind the point than there may be must be zeros.
impl<const PRECISION: u8, const SCALE: i8> FromStr for Decimal<PRECISION, SCALE> {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(before) || !is_number(behind) || before.is_empty() && behind.is_empty() {
            return Err(DecimalError::NoNumber);
        }
        let behind = behind.trim_end_matches('0');
        if behind.len() > SCALE as usize {
            return Err(DecimalError::TooFine { scale: SCALE });
        }
        let add = |sum: i128, byte: u8| sum.checked_mul(10)?.checked_add((byte - b'0').into());
        let unscaled = before.bytes().chain(behind.bytes()).try_fold(0, add);
        let unscaled = unscaled.ok_or(DecimalError::TooLarge { precision: PRECISION, scale: SCALE })?;
        Self::rescaled(sign * unscaled, behind.len() as u32)
    }
}

/// The digits without the point, as an `i128`.
impl<const PRECISION: u8, const SCALE: i8> Serialize for Decimal<PRECISION, SCALE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i128(self.0)
    }
}

impl<'de, const PRECISION: u8, const SCALE: i8> Deserialize<'de> for Decimal<PRECISION, SCALE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_unscaled(i128::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<const PRECISION: u8, const SCALE: i8> PrimitiveCodec for Decimal<PRECISION, SCALE> {
    type Arrow = Decimal128Type;

    #[inline]
    fn to_native(self) -> i128 {
        self.0
    }

    #[inline]
    fn is_native(native: i128) -> bool {
        native > -Self::LIMIT && native < Self::LIMIT
    }

    #[inline]
    fn from_native(native: i128) -> Self {
        Self(native)
    }
}

impl<const PRECISION: u8, const SCALE: i8> Element for Decimal<PRECISION, SCALE> {}

impl<const PRECISION: u8, const SCALE: i8> Codec for Decimal<PRECISION, SCALE> {
    primitive_items!();

    fn name() -> String {
        format!("decimal({PRECISION},{SCALE})")
    }

    fn shape() -> Shape {
        Shape::Leaf(Leaf::Decimal { precision: PRECISION, scale: SCALE })
    }

    fn data_type() -> DataType {
        DataType::Decimal128(PRECISION, SCALE)
    }

    /// The first 64 of the bits that such a number has: all of them up to 18 digits.
    #[inline]
    fn prefix(value: Self) -> u64 {
        <i64 as Codec>::prefix((value.0 >> Self::PREFIX_SHIFT) as i64)
    }

    #[inline]
    fn digest_bytes(value: Self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&value.0.to_le_bytes());
    }
}

/// Decimals of `rust_decimal`.
///
/// They are no codec of their own. A column that held each of them would have 57 digits, 28 of them behind the point: 32 bytes
/// for a number that has 12, of an Arrow type that few tools read; and it would forget how many zeros a number was written
/// with, which `rust_decimal` keeps and takes for equal. So who stores them says how many digits they have, and the
/// conversion says if one has more.
#[cfg(feature = "rust_decimal")]
mod of_rust_decimal {
    use super::{Decimal, DecimalError};

    /// The same number, or an error if it has more digits.
    impl<const PRECISION: u8, const SCALE: i8> TryFrom<rust_decimal::Decimal> for Decimal<PRECISION, SCALE> {
        type Error = DecimalError;

        fn try_from(number: rust_decimal::Decimal) -> Result<Self, DecimalError> {
            Self::rescaled(number.mantissa(), number.scale())
        }
    }

    /// The same number, with as many digits behind the point as it has room for, or an error if it is beyond 96 bits.
    impl<const PRECISION: u8, const SCALE: i8> TryFrom<Decimal<PRECISION, SCALE>> for rust_decimal::Decimal {
        type Error = rust_decimal::Error;

        fn try_from(number: Decimal<PRECISION, SCALE>) -> Result<Self, rust_decimal::Error> {
            let (mut unscaled, mut scale) = (number.unscaled(), SCALE as u32);
            loop {
                match Self::try_from_i128_with_scale(unscaled, scale) {
                    Err(_) if scale > 0 && unscaled % 10 == 0 => (unscaled, scale) = (unscaled / 10, scale - 1),
                    other => return other,
                }
            }
        }
    }
}
