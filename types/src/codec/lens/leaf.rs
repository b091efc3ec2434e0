//! Numbers of one type as numbers of another: every number of a narrower type is one of the wider, in the same order.

use std::fmt::Display;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, PrimitiveArray};
use arrow_buffer::{Buffer, NullBuffer};

use super::super::{DecodeError, FixedCodec, Leaf};
use super::target::typed;

/// The bytes of a 128-bit integer.
const WIDTH: usize = 16;

/// A change of a number's type.
#[derive(Clone, Debug)]
pub(super) struct Number {
    old: Leaf,
    new: Leaf,
    path: String,
}

impl Number {
    /// `None` if the two types have nothing to do with each other.
    pub(super) fn between(old: Leaf, new: Leaf, path: &str) -> Option<Self> {
        (widens(old, new) || widens(new, old)).then(|| Self { old, new, path: path.to_owned() })
    }

    /// Whether every number has a place.
    pub(super) fn is_total(&self) -> bool {
        widens(self.old, self.new)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The numbers of a column, those that are `present` exactly.
    pub(super) fn map(&self, array: &dyn Array, present: Option<&NullBuffer>) -> Result<ArrayRef, DecodeError> {
        use Leaf::{Float, Signed, Unsigned};
        macro_rules! both_ways {
            ($($narrow:ident $narrow_bits:literal $Narrow:ident < $wide:ident $wide_bits:literal $Wide:ident;)*) => {
                match (self.old, self.new) {
                    $(($narrow($narrow_bits), $wide($wide_bits)) => self.convert::<$Narrow, $Wide>(array, present),
                    ($wide($wide_bits), $narrow($narrow_bits)) => self.convert::<$Wide, $Narrow>(array, present),)*
                    (Float(32), Float(64)) => Ok(Arc::new(typed::<PrimitiveArray<Float32Type>>(array)?.unary::<_, Float64Type>(wider))),
                    (Float(64), Float(32)) => self.narrow_floats(array, present),
                    (Unsigned(8), Unsigned(128) | Signed(128)) => self.widen::<UInt8Type>(array),
                    (Unsigned(16), Unsigned(128) | Signed(128)) => self.widen::<UInt16Type>(array),
                    (Unsigned(32), Unsigned(128) | Signed(128)) => self.widen::<UInt32Type>(array),
                    (Unsigned(64), Unsigned(128) | Signed(128)) => self.widen::<UInt64Type>(array),
                    (Signed(8), Signed(128)) => self.widen::<Int8Type>(array),
                    (Signed(16), Signed(128)) => self.widen::<Int16Type>(array),
                    (Signed(32), Signed(128)) => self.widen::<Int32Type>(array),
                    (Signed(64), Signed(128)) => self.widen::<Int64Type>(array),
                    (Unsigned(128) | Signed(128), Unsigned(8)) => self.narrow::<UInt8Type>(array, present),
                    (Unsigned(128) | Signed(128), Unsigned(16)) => self.narrow::<UInt16Type>(array, present),
                    (Unsigned(128) | Signed(128), Unsigned(32)) => self.narrow::<UInt32Type>(array, present),
                    (Unsigned(128) | Signed(128), Unsigned(64)) => self.narrow::<UInt64Type>(array, present),
                    (Signed(128), Signed(8)) => self.narrow::<Int8Type>(array, present),
                    (Signed(128), Signed(16)) => self.narrow::<Int16Type>(array, present),
                    (Signed(128), Signed(32)) => self.narrow::<Int32Type>(array, present),
                    (Signed(128), Signed(64)) => self.narrow::<Int64Type>(array, present),
                    (old, new) => Err(DecodeError(format!("{}: {old} is never read as {new}", self.path))),
                }
            };
        }
        both_ways! {
            Unsigned 8 UInt8Type < Unsigned 16 UInt16Type;
            Unsigned 8 UInt8Type < Unsigned 32 UInt32Type;
            Unsigned 8 UInt8Type < Unsigned 64 UInt64Type;
            Unsigned 16 UInt16Type < Unsigned 32 UInt32Type;
            Unsigned 16 UInt16Type < Unsigned 64 UInt64Type;
            Unsigned 32 UInt32Type < Unsigned 64 UInt64Type;
            Signed 8 Int8Type < Signed 16 Int16Type;
            Signed 8 Int8Type < Signed 32 Int32Type;
            Signed 8 Int8Type < Signed 64 Int64Type;
            Signed 16 Int16Type < Signed 32 Int32Type;
            Signed 16 Int16Type < Signed 64 Int64Type;
            Signed 32 Int32Type < Signed 64 Int64Type;
            Unsigned 8 UInt8Type < Signed 16 Int16Type;
            Unsigned 8 UInt8Type < Signed 32 Int32Type;
            Unsigned 8 UInt8Type < Signed 64 Int64Type;
            Unsigned 16 UInt16Type < Signed 32 Int32Type;
            Unsigned 16 UInt16Type < Signed 64 Int64Type;
            Unsigned 32 UInt32Type < Signed 64 Int64Type;
        }
    }

    /// Between integers of up to 64 bits.
    fn convert<A, B>(&self, array: &dyn Array, present: Option<&NullBuffer>) -> Result<ArrayRef, DecodeError>
    where
        A: ArrowPrimitiveType<Native: Display>,
        B: ArrowPrimitiveType<Native: TryFrom<A::Native>>,
    {
        let array = typed::<PrimitiveArray<A>>(array)?;
        let convert = |value| B::Native::try_from(value).ok();
        self.each_fits(array.values().iter().copied(), present, |value| convert(value).is_some())?;
        Ok(Arc::new(array.unary::<_, B>(|value| convert(value).unwrap_or_default())))
    }

    fn narrow_floats(&self, array: &dyn Array, present: Option<&NullBuffer>) -> Result<ArrayRef, DecodeError> {
        let array = typed::<PrimitiveArray<Float64Type>>(array)?;
        self.each_fits(array.values().iter().copied(), present, |value| narrower(value).is_some())?;
        Ok(Arc::new(array.unary::<_, Float32Type>(|value| narrower(value).unwrap_or_default())))
    }

    /// To 128 bits.
    fn widen<A: ArrowPrimitiveType<Native: Into<i128>>>(&self, array: &dyn Array) -> Result<ArrayRef, DecodeError> {
        let array = typed::<PrimitiveArray<A>>(array)?;
        let signed = matches!(self.new, Leaf::Signed(_));
        let bytes = |value: &A::Native| {
            let value: i128 = (*value).into();
            if signed { value.to_bytes() } else { (value as u128).to_bytes() } // what was unsigned is not negative
        };
        let bytes: Vec<[u8; WIDTH]> = array.values().iter().map(bytes).collect();
        let buffer = Buffer::from_vec(bytes.into_flattened());
        let array = FixedSizeBinaryArray::try_new(WIDTH as i32, buffer, array.nulls().cloned());
        Ok(Arc::new(array.map_err(|error| DecodeError(error.to_string()))?))
    }

    /// From 128 bits.
    fn narrow<B>(&self, array: &dyn Array, present: Option<&NullBuffer>) -> Result<ArrayRef, DecodeError>
    where
        B: ArrowPrimitiveType<Native: TryFrom<i128>>,
    {
        let array = typed::<FixedSizeBinaryArray>(array)?;
        let bytes = array.value_data().as_chunks::<WIDTH>().0.get(..array.len());
        let bytes = bytes.filter(|_| array.value_length() == WIDTH as i32);
        let bytes = bytes.ok_or_else(|| DecodeError("a column of values that are not 16 bytes long".to_owned()))?;
        let signed = matches!(self.old, Leaf::Signed(_));
        let value = |bytes: &[u8; WIDTH]| match signed {
            true => i128::from_bytes(*bytes),
            // What is larger has no place in anything narrower either.
            false => i128::try_from(u128::from_bytes(*bytes)).unwrap_or(i128::MAX),
        };
        let convert = |value| B::Native::try_from(value).ok();
        self.each_fits(bytes.iter().map(value), present, |value| convert(value).is_some())?;
        let values = bytes.iter().map(|bytes| convert(value(bytes)).unwrap_or_default()).collect::<Vec<_>>();
        let array = PrimitiveArray::<B>::try_new(values.into(), array.nulls().cloned());
        Ok(Arc::new(array.map_err(|error| DecodeError(error.to_string()))?))
    }

    /// Whether each number that counts has a place in the new type.
    fn each_fits<N: Display + Copy>(
        &self,
        mut values: impl Iterator<Item = N>,
        present: Option<&NullBuffer>,
        fits: impl Fn(N) -> bool,
    ) -> Result<(), DecodeError> {
        if self.is_total() {
            return Ok(());
        }
        let mut index = 0;
        let odd = values.find(|value| {
            index += 1;
            !fits(*value) && present.is_none_or(|present| present.is_valid(index - 1))
        });
        match odd {
            None => Ok(()),
            Some(value) => Err(DecodeError(format!("{}: {value} is no {}", self.path, self.new))),
        }
    }
}

/// Whether every number of `old` is one of `new`, and they are not the same type.
pub(super) fn widens(old: Leaf, new: Leaf) -> bool {
    match (old, new) {
        (Leaf::Unsigned(old), Leaf::Unsigned(new) | Leaf::Signed(new)) => old < new,
        (Leaf::Signed(old), Leaf::Signed(new)) => old < new,
        (Leaf::Float(old), Leaf::Float(new)) => old < new,
        _ => false,
    }
}

/// Of the bits of the fraction, those that only a double has.
const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS;

/// The same number, also of those that are none: the processor's own conversion would make two of these one.
fn wider(value: f32) -> f64 {
    if !value.is_nan() {
        return f64::from(value);
    }
    let bits = value.to_bits();
    let (sign, fraction) = (u64::from(bits >> 31) << 63, u64::from(bits & 0x7f_ffff) << FRACTION_BITS);
    f64::from_bits(sign | f64::INFINITY.to_bits() | fraction)
}

/// The number of which it is the [`wider`], if there is one.
fn narrower(value: f64) -> Option<f32> {
    let bits = value.to_bits();
    let narrow = if value.is_nan() {
        let fraction = (bits >> FRACTION_BITS) as u32 & 0x7f_ffff; // 23 bits
        f32::from_bits(((bits >> 63) as u32) << 31 | f32::INFINITY.to_bits() | fraction)
    } else {
        value as f32 // compared below
    };
    (wider(narrow).to_bits() == bits).then_some(narrow)
}
