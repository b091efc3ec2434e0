//! Asking statistics for values of a field's own type.

use std::ops::{Bound, RangeBounds};

use timely_persist_types::codec::{Builder, Codec, Leaf, Shape};

use super::collect::of_value;
use super::column::PartStats;
use crate::part::value::StatValue;

impl PartStats {
    /// Whether a row may have a value in this range in a column: `false` only if the statistics exclude it, so a part that
    /// knows nothing of the column may.
    ///
    /// The path is that of [`PartStats::columns`], with the names that fields have in the program that asks: `key`, `value.day`,
    /// `value.Parcel.number` for a field of a variant, `value.0` of a tuple. `C` is the type of the field, or of what is
    /// within its `Option`: rows where that is `None` are in no range ([`ColumnStats::null_count`] counts them). Numbers, days,
    /// moments, decimals, strings, bytes and booleans have bounds; of all other types everything may be there.
    ///
    /// [`ColumnStats::null_count`]: super::ColumnStats::null_count
    ///
    /// ```
    /// # use timely_persist_core::part::PartStats;
    /// // Of a `struct Sale { day: u32, .. }` as value:
    /// let this_week = |stats: &PartStats| stats.may_hold("value.day", 20_000u32..20_007);
    /// assert!(this_week(&PartStats::default()), "nothing is known");
    /// ```
    pub fn may_hold<C: Codec>(&self, path: &str, range: impl RangeBounds<C>) -> bool {
        let Some(column) = self.column(path).filter(|_| is_ordered::<C>()) else { return true };
        if column.null_count() >= self.rows && self.rows > 0 {
            return false;
        }
        let (start, end) = (range.start_bound().map(bounds), range.end_bound().map(bounds));
        let start = start.map(|of| of.and_then(|[lower, _]| lower));
        let end = end.map(|of| of.and_then(|[_, upper]| upper));
        column.may_overlap((known(&start), known(&end)))
    }
}

/// The bound, if its value is known.
fn known(bound: &Bound<Option<StatValue>>) -> Bound<&StatValue> {
    match bound {
        Bound::Included(Some(value)) => Bound::Included(value),
        Bound::Excluded(Some(value)) => Bound::Excluded(value),
        _ => Bound::Unbounded,
    }
}

/// Whether statistics have bounds of the type, and in its order. What only its own codec knows may lie in a column in any order.
fn is_ordered<C: Codec>() -> bool {
    matches!(C::shape(), Shape::Leaf(leaf) if !matches!(leaf, Leaf::Unit | Leaf::Float(_)))
}

/// Values of statistics at most and at least as large as this one: they differ for one that is too long for them. `None` of one
/// that has no column.
fn bounds<C: Codec>(value: &C) -> Option<[Option<StatValue>; 2]> {
    C::check(value.as_ref()).ok()?;
    let mut builder = C::Builder::default();
    builder.push(value.as_ref());
    let mut columns = of_value("", &builder.finish().ok()?).into_iter();
    match (columns.next(), columns.next()) {
        (Some(column), None) => Some([column.min, column.max]),
        _ => None,
    }
}
