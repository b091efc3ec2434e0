//! Days and moments, of whichever crate: what they are in a column.
//!
//! Always: types of one name read each other's columns, whichever crate they are of. So the days and moments that can be
//! stored are those that both crates have: of the years -9999 to 9999, which most other tools have too.

use std::fmt;
use std::ops::RangeInclusive;

use arrow_schema::{DataType, TimeUnit};

use super::{EncodeError, Leaf, bounded};

/// The microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// A kind of days or moments.
pub(super) struct Kind<N> {
    /// What a shard remembers.
    pub(super) name: &'static str,
    pub(super) leaf: Leaf,
    /// What a column holds.
    pub(super) natives: RangeInclusive<N>,
    /// The first and the last one, for people.
    ends: [&'static str; 2],
}

/// Days since 1970-01-01.
pub(super) const DATE: Kind<i32> =
    Kind { name: "date", leaf: Leaf::Date, natives: -4_371_587..=2_932_896, ends: ["-9999-01-01", "9999-12-31"] };

/// Microseconds since 1970-01-01 at midnight, UTC. The ends leave room for any offset from it.
pub(super) const TIMESTAMP: Kind<i64> = Kind {
    name: "timestamp(us)",
    leaf: Leaf::Timestamp,
    natives: -377_705_023_201_000_000..=253_402_207_200_999_999,
    ends: ["-9999-01-02 01:59:59 UTC", "9999-12-30 22:00:00.999999 UTC"],
};

/// Microseconds since 1970-01-01 at midnight, of no time zone.
pub(super) const DATE_TIME: Kind<i64> = Kind {
    name: "datetime(us)",
    leaf: Leaf::DateTime,
    natives: -4_371_587 * DAY..=2_932_897 * DAY - 1,
    ends: ["-9999-01-01 00:00:00", "9999-12-31 23:59:59.999999"],
};

impl<N: PartialOrd> Kind<N> {
    pub(super) fn data_type(&self) -> DataType {
        match self.leaf {
            Leaf::Date => DataType::Date32,
            Leaf::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }

    /// Whether a value reads back equal that has this native, and is `inexact` for that reason.
    pub(super) fn check(&self, value: &dyn fmt::Debug, native: N, inexact: Option<&str>) -> Result<(), EncodeError> {
        if let Some(reason) = inexact {
            return Err(EncodeError(bounded(format_args!("{value:?} cannot be stored: {reason}"))));
        }
        if !self.natives.contains(&native) {
            let [first, last] = self.ends;
            let said = format_args!(
                "{value:?} cannot be stored: the first that can is {first}, the last {last}; what has no end is better \
                 an Option"
            );
            return Err(EncodeError(bounded(said)));
        }
        Ok(())
    }
}

/// The codec of a type of such a kind, by its native, the value of one, and why a value has none of its own.
macro_rules! calendar_codec {
    ($type:ty, $kind:ident $arrow:ident $word:ident, $to:path, $from:path, $inexact:path) => {
        impl $crate::codec::PrimitiveCodec for $type {
            type Arrow = arrow_array::types::$arrow;

            #[inline]
            fn to_native(self) -> $word {
                $to(self)
            }

            #[inline]
            fn is_native(native: $word) -> bool {
                $crate::codec::calendar::$kind.natives.contains(&native)
            }

            #[inline]
            fn from_native(native: $word) -> Self {
                $from(native).unwrap_or_default()
            }
        }

        impl $crate::codec::Element for $type {}

        impl $crate::codec::Codec for $type {
            $crate::codec::primitive::primitive_items!();

            fn name() -> String {
                $crate::codec::calendar::$kind.name.to_owned()
            }

            fn shape() -> $crate::codec::Shape {
                $crate::codec::Shape::Leaf($crate::codec::calendar::$kind.leaf)
            }

            fn data_type() -> arrow_schema::DataType {
                $crate::codec::calendar::$kind.data_type()
            }

            fn check(value: Self) -> Result<(), $crate::codec::EncodeError> {
                $crate::codec::calendar::$kind.check(&value, $to(value), $inexact(value))
            }

            #[inline]
            fn prefix(value: Self) -> u64 {
                <$word as $crate::codec::Codec>::prefix($to(value))
            }

            #[inline]
            fn digest_bytes(value: Self, bytes: &mut Vec<u8>) {
                <$word as $crate::codec::Codec>::digest_bytes($to(value), bytes);
            }
        }
    };
}

pub(super) use calendar_codec;
