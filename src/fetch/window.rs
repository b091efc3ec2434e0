//! The window through which a reader sees the rows of a part: which of them, and at which times.

use timely::progress::Antichain;

use crate::codec::Time;
use crate::part::PartMeta;
use crate::state::{Description, below, join_time};

/// Which rows of a part a reader sees, and at which times.
///
/// A row whose time is at or below an element of `as_of` belongs to the snapshot there, every other row to what follows
/// it. Both are shown at their time advanced by `as_of`, which changes nothing for a time beyond it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window<T> {
    /// What the part's batch speaks for: rows outside are not part of the collection.
    pub desc: Description<T>,
    /// Where the reader begins.
    pub as_of: Antichain<T>,
    /// Whether it sees the snapshot at `as_of`.
    pub snapshot: bool,
    /// Whether it sees what follows.
    pub updates: bool,
    /// Rows not beyond this were shown before, in another part.
    pub shown: Antichain<T>,
    /// Rows beyond this are not shown.
    pub until: Antichain<T>,
}

/// What a window does to the rows of one part, decided from the part's time bounds once rather than row by row.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan<T> {
    /// It shows none.
    Nothing,
    /// It shows all, as they are.
    Everything,
    /// It shows all, at this time.
    EverythingAt(T),
    /// It must look at each.
    Each,
}

impl<T: Time> Window<T> {
    /// The time at which a row of time `time` is shown, if it is.
    pub fn show(&self, time: T) -> Option<T> {
        if !self.desc.contains(&time) {
            return None;
        }
        let visible =
            if below(&time, &self.as_of) { self.snapshot } else { self.updates && self.shown.less_equal(&time) };
        if !visible {
            return None;
        }
        let time = join_time(time, &self.as_of);
        if self.until.less_equal(&time) { None } else { Some(time) }
    }

    /// What the window does to a part of these time bounds.
    pub fn plan(&self, meta: &PartMeta<T>) -> Plan<T> {
        let lower = meta.time_lower.elements();
        let upper = &meta.time_upper;
        let all_beyond = |bound: &Antichain<T>| lower.iter().all(|time| bound.less_equal(time));
        // If the largest times are not beyond a frontier, no smaller one is.
        let none_beyond = |bound: &Antichain<T>| !upper.is_empty() && upper.iter().all(|time| !bound.less_equal(time));
        if !lower.is_empty() && all_beyond(&self.until) {
            return Plan::Nothing;
        }
        let registered = all_beyond(&self.desc.lower) && none_beyond(&self.desc.upper);
        if !registered {
            return Plan::Each;
        }
        let [as_of] = self.as_of.elements() else {
            return Plan::Each;
        };
        let all_in_snapshot = !upper.is_empty() && upper.iter().all(|time| time.less_equal(as_of));
        if all_in_snapshot {
            return match self.snapshot && !self.until.less_equal(as_of) {
                true => Plan::EverythingAt(as_of.clone()),
                false => Plan::Nothing,
            };
        }
        let all_after = !lower.is_empty() && lower.iter().all(|time| as_of.less_than(time));
        if all_after && self.updates && all_beyond(&self.shown) && none_beyond(&self.until) {
            return Plan::Everything;
        }
        Plan::Each
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use timely::order::Product;

    use crate::part::PartFormat;

    fn meta<T: Time>(lower: Vec<T>, upper: Vec<T>) -> PartMeta<T> {
        PartMeta {
            format: PartFormat::ArrowIpc,
            encoded_bytes: 1,
            decoded_bytes: 1,
            tail_bytes: 1,
            rows: 1,
            checksum: 0,
            time_lower: lower.into(),
            time_upper: upper,
            diff_sum: [0; 8],
            stats: Bytes::new(),
        }
    }

    fn window(as_of: u64, snapshot: bool, shown: u64, until: Option<u64>) -> Window<u64> {
        Window {
            desc: Description::new(Antichain::from_elem(0), Antichain::from_elem(10)),
            as_of: Antichain::from_elem(as_of),
            snapshot,
            updates: true,
            shown: Antichain::from_elem(shown),
            until: until.into_iter().collect(),
        }
    }

    /// The plan and the row by row answer are two ways to the same result.
    #[test]
    fn plans_agree_with_rows() {
        for (as_of, snapshot, shown, until) in (0..12).flat_map(|a| [true, false].map(|s| (a, s))).flat_map(|(a, s)| {
            (0..12).flat_map(move |shown| [None, Some(0), Some(4), Some(9)].map(|until| (a, s, shown, until)))
        }) {
            let window = window(as_of, snapshot, shown, until);
            for low in 0..12u64 {
                for high in low..12 {
                    let shown = (low..=high).map(|time| window.show(time));
                    match window.plan(&meta(vec![low], vec![high])) {
                        Plan::Nothing => assert!(shown.into_iter().all(|time| time.is_none())),
                        Plan::Everything => {
                            assert!((low..=high).zip(shown).all(|(time, shown)| shown == Some(time)));
                        }
                        Plan::EverythingAt(at) => assert!(shown.into_iter().all(|time| time == Some(at))),
                        Plan::Each => {}
                    }
                }
            }
        }
    }

    #[test]
    fn rows_outside_the_description_are_not_shown() {
        let mut window = window(5, true, 0, None);
        window.desc = Description::new(Antichain::from_elem(3), Antichain::from_elem(6));
        assert_eq!((0..9).filter_map(|time| window.show(time)).collect::<Vec<_>>(), vec![5, 5, 5]);
        assert_eq!(window.plan(&meta(vec![2], vec![5])), Plan::Each);
    }

    #[test]
    fn a_row_beside_as_of_is_shown_by_what_follows_the_snapshot() {
        let window = |snapshot| Window {
            desc: Description::new(Antichain::from_elem(Product::new(0u32, 0u32)), Antichain::new()),
            as_of: Antichain::from_elem(Product::new(2, 2)),
            snapshot,
            updates: !snapshot,
            shown: Antichain::from_elem(Product::new(0, 0)),
            until: Antichain::new(),
        };
        assert_eq!(window(true).show(Product::new(0, 5)), None);
        assert_eq!(window(false).show(Product::new(0, 5)), Some(Product::new(2, 5)));
        assert_eq!(window(true).show(Product::new(1, 2)), Some(Product::new(2, 2)));
        assert_eq!(window(false).show(Product::new(1, 2)), None);
    }
}
