//! Floating-point numbers in a total order, by the crate `ordered-float`, as the Arrow primitive of the same width.
//!
//! Always: a value is stored in its canonical form. To `OrderedFloat` the two zeros are equal, and so are all NaNs, which are
//! above everything else. Of rows that are equal one is kept, and which one depends on the order in which they came: so
//! whatever distinguishes equal values would be lost for some of them. It is lost for all: a zero is stored without its
//! sign, and a NaN as the quiet one without sign and payload. Then the same rows are the same bytes.

use arrow_array::types::{Float32Type, Float64Type};
use arrow_schema::DataType;
use ordered_float::OrderedFloat;

use super::primitive::primitive_items;
use super::{Codec, Element, Leaf, PrimitiveCodec, Shape};

/// `quiet` are the bits of the one NaN: Rust's own constant may be another on another machine.
macro_rules! float {
    ($($float:ident $bits:ident $arrow:ident $data_type:ident $quiet:literal;)*) => {$(
        impl PrimitiveCodec for OrderedFloat<$float> {
            type Arrow = $arrow;

            #[inline]
            fn to_native(self) -> $float {
                if self.0.is_nan() {
                    return $float::from_bits($quiet);
                }
                self.0 + 0.0 // of the two zeros the one without a sign
            }

            #[inline]
            fn is_native(_: $float) -> bool {
                true
            }

            #[inline]
            fn from_native(native: $float) -> Self {
                Self(native)
            }
        }

        impl Element for OrderedFloat<$float> {}

        impl Codec for OrderedFloat<$float> {
            primitive_items!();

            fn name() -> String {
                stringify!($float).to_owned()
            }

            fn shape() -> Shape {
                Shape::Leaf(Leaf::Float($bits::BITS as u8))
            }

            fn data_type() -> DataType {
                DataType::$data_type
            }

            /// The bits of a number without sign are in the order of its values, those of one with sign in the opposite order.
            #[inline]
            fn prefix(value: Self) -> u64 {
                const SIGN: $bits = 1 << ($bits::BITS - 1);
                let bits = value.to_native().to_bits();
                let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
                u64::from(ordered) << (u64::BITS - $bits::BITS)
            }

            #[inline]
            fn digest_bytes(value: Self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&value.to_native().to_bits().to_le_bytes());
            }
        }
    )*};
}

float! {
    f32 u32 Float32Type Float32 0x7fc0_0000;
    f64 u64 Float64Type Float64 0x7ff8_0000_0000_0000;
}
