//! Statistics of a part and of its leaf columns, and what they exclude.

use std::ops::{Bound, RangeBounds};

use crate::part::value::StatValue;

/// Statistics of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartStats {
    /// The number of rows.
    pub rows: u64,
    /// The length of the object, in bytes.
    pub encoded_bytes: u64,
    /// The leaf columns that are known: `key`, `value`, `time`, `diff`, and with tuples `key.0`, `value.1.0` and so on, with
    /// structs `value.day`, with enums `value.tag` and `value.Parcel.number`. An optional column goes by the name of the option
    /// itself. Names are those of the reader's types, whatever a field was called when the part was written.
    pub columns: Vec<ColumnStats>,
}

/// Statistics of a leaf column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnStats {
    pub(super) path: String,
    pub(super) null_count: u64,
    pub(super) min: Option<StatValue>,
    pub(super) max: Option<StatValue>,
}

impl PartStats {
    /// The statistics of a leaf column, if they are known.
    pub fn column(&self, path: &str) -> Option<&ColumnStats> {
        self.columns.iter().find(|column| column.path == path)
    }
}

impl ColumnStats {
    /// The path of the column.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How many rows have no value in this column because an option is `None`.
    pub fn null_count(&self) -> u64 {
        self.null_count
    }

    /// A value that no value of the column is below, if it is known.
    pub fn min(&self) -> Option<&StatValue> {
        self.min.as_ref()
    }

    /// A value that no value of the column is above, if it is known.
    pub fn max(&self) -> Option<&StatValue> {
        self.max.as_ref()
    }

    /// Whether the column may hold this value.
    pub fn may_contain(&self, value: &StatValue) -> bool {
        self.may_overlap((Bound::Included(value), Bound::Included(value)))
    }

    /// Whether the column may hold this string.
    pub fn may_contain_utf8(&self, value: &str) -> bool {
        self.may_contain(&StatValue::Utf8(value.to_owned()))
    }

    /// Whether the column may hold these bytes.
    pub fn may_contain_bytes(&self, value: &[u8]) -> bool {
        self.may_contain(&StatValue::Bytes(value.to_owned()))
    }

    /// Whether the column may hold this integer.
    pub fn may_contain_int(&self, value: impl Into<i128>) -> bool {
        self.may_contain(&StatValue::Int(value.into()))
    }

    /// Whether the column may hold a value in the range.
    pub fn may_overlap<'a>(&self, range: impl RangeBounds<&'a StatValue>) -> bool {
        let below = |min: &StatValue, end: &StatValue, included: bool| {
            min.comparable(end) && if included { end < min } else { end <= min }
        };
        let excluded_by_min = self.min.as_ref().is_some_and(|min| match range.end_bound() {
            Bound::Included(end) => below(min, end, true),
            Bound::Excluded(end) => below(min, end, false),
            Bound::Unbounded => false,
        });
        let above = |max: &StatValue, start: &StatValue, included: bool| {
            max.comparable(start) && if included { start > max } else { start >= max }
        };
        let excluded_by_max = self.max.as_ref().is_some_and(|max| match range.start_bound() {
            Bound::Included(start) => above(max, start, true),
            Bound::Excluded(start) => above(max, start, false),
            Bound::Unbounded => false,
        });
        !(excluded_by_min || excluded_by_max)
    }
}
