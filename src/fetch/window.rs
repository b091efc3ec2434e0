//! The window through which a reader sees the rows of a part: which of them, and at which times.

use std::sync::Arc;

use timely::progress::Antichain;

use timely_persist_core::state::{Description, below, join_time};
use timely_persist_types::codec::Time;

/// Which rows of a part a reader sees, and at which times.
///
/// A row whose time is at or below an element of `as_of` belongs to the snapshot there, every other row to what follows
/// it. Both are shown at their time advanced by `as_of`, which changes nothing for a time beyond it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window<T> {
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
pub(crate) enum Plan<T> {
    /// It shows none.
    Nothing,
    /// It shows all, as they are.
    Everything,
    /// It shows all, at this time.
    EverythingAt(T),
    /// It must look at each.
    Each(Arc<Window<T>>),
}

impl<T: Time> Window<T> {
    /// One that shows all there is from `as_of` on, the snapshot there and what follows it, whatever batch it is of.
    pub(crate) fn new(as_of: Antichain<T>) -> Self {
        let (shown, until) = (Antichain::from_elem(T::minimum()), Antichain::new());
        let desc = Description::new(shown.clone(), until.clone());
        Self { desc, as_of, snapshot: true, updates: true, shown, until }
    }

    /// The time at which a row of time `time` is shown, if it is.
    pub(crate) fn show(&self, time: T) -> Option<T> {
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

    /// What the window does to a part of these time bounds: see [`PartMeta`](timely_persist_core::part::PartMeta).
    pub(crate) fn plan(self: &Arc<Self>, lower: &Antichain<T>, upper: &[T]) -> Plan<T> {
        let lower = lower.elements();
        let each = || Plan::Each(Arc::clone(self));
        let all_beyond = |bound: &Antichain<T>| lower.iter().all(|time| bound.less_equal(time));
        // If the largest times are not beyond a frontier, no smaller one is.
        let none_beyond = |bound: &Antichain<T>| !upper.is_empty() && upper.iter().all(|time| !bound.less_equal(time));
        // If no smallest time is in the snapshot, no larger one is.
        let none_in_snapshot = !lower.is_empty() && lower.iter().all(|time| !below(time, &self.as_of));
        let all_in_snapshot = !upper.is_empty() && upper.iter().all(|time| below(time, &self.as_of));
        let shows_snapshot = self.snapshot && !none_in_snapshot;
        let shows_updates = self.updates && !all_in_snapshot && !none_beyond(&self.shown);
        let past = none_beyond(&self.desc.lower) || (!lower.is_empty() && all_beyond(&self.until));
        if past || !(shows_snapshot || shows_updates) {
            return Plan::Nothing;
        }
        let registered = all_beyond(&self.desc.lower) && none_beyond(&self.desc.upper);
        if !registered {
            return each();
        }
        let [as_of] = self.as_of.elements() else {
            return each();
        };
        if all_in_snapshot {
            return if self.until.less_equal(as_of) { Plan::Nothing } else { Plan::EverythingAt(as_of.clone()) };
        }
        let all_after = !lower.is_empty() && lower.iter().all(|time| as_of.less_than(time));
        if all_after && self.updates && all_beyond(&self.shown) && none_beyond(&self.until) {
            return Plan::Everything;
        }
        each()
    }
}

impl<T: Time> Plan<T> {
    /// The time at which a row of the part of time `time` is shown, if it is.
    #[inline]
    pub(crate) fn show(&self, time: T) -> Option<T> {
        match self {
            Self::Nothing => None,
            Self::Everything => Some(time),
            Self::EverythingAt(at) => Some(at.clone()),
            Self::Each(window) => window.show(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timely::order::Product;

    fn plan<T: Time>(window: &Window<T>, lower: Vec<T>, upper: Vec<T>) -> Plan<T> {
        Arc::new(window.clone()).plan(&lower.into(), &upper)
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
    fn assert_agreement<T: Time>(window: &Window<T>, times: &[T], lower: Vec<T>, upper: Vec<T>) {
        let within = |time: &&T| lower.iter().any(|l| l.less_equal(time)) && upper.iter().any(|u| time.less_equal(u));
        let times: Vec<T> = times.iter().filter(within).cloned().collect();
        let shown = times.iter().map(|time| window.show(time.clone()));
        let plan = plan(window, lower.clone(), upper.clone());
        match &plan {
            Plan::Nothing => assert!(shown.into_iter().all(|time| time.is_none()), "{window:?} {lower:?} {upper:?}"),
            Plan::Everything => assert!(times.iter().zip(shown).all(|(time, shown)| shown.as_ref() == Some(time))),
            Plan::EverythingAt(at) => assert!(shown.into_iter().all(|time| time.as_ref() == Some(at))),
            Plan::Each(_) => {}
        }
    }

    #[test]
    fn plans_agree_with_rows() {
        let times: Vec<u64> = (0..12).collect();
        for (as_of, shown) in (0..12).flat_map(|as_of| (0..12).map(move |shown| (as_of, shown))) {
            for (snapshot, updates) in [(true, true), (true, false), (false, true)] {
                for (until, lower) in [None, Some(0), Some(4), Some(9)].into_iter().flat_map(|u| [(u, 0), (u, 6)]) {
                    let mut window = Window { updates, ..window(as_of, snapshot, shown, until) };
                    window.desc.lower = Antichain::from_elem(lower);
                    for (low, high) in (0..12).flat_map(|low| (low..12).map(move |high| (low, high))) {
                        assert_agreement(&window, &times, vec![low], vec![high]);
                    }
                }
            }
        }
    }

    #[test]
    fn plans_agree_with_rows_where_times_are_partially_ordered() {
        let times: Vec<Product<u32, u32>> = (0..4).flat_map(|a| (0..4).map(move |b| Product::new(a, b))).collect();
        let pairs: Vec<Vec<_>> = vec![
            vec![Product::new(0, 0)],
            vec![Product::new(1, 2)],
            vec![Product::new(3, 1)],
            vec![Product::new(0, 2), Product::new(2, 0)],
            vec![Product::new(1, 3), Product::new(3, 1)],
        ];
        let choices = |n: usize| (0..n.pow(4)).map(move |i| [i % n, i / n % n, i / n / n % n, i / n / n / n]);
        for [as_of, shown, low, high] in choices(pairs.len()) {
            for (snapshot, updates) in [(true, true), (true, false), (false, true)] {
                let window = Window {
                    desc: Description::new(Antichain::from_elem(Product::new(0, 1)), pairs[4].clone().into()),
                    as_of: pairs[as_of].clone().into(),
                    snapshot,
                    updates,
                    shown: pairs[shown].clone().into(),
                    until: Antichain::new(),
                };
                assert_agreement(&window, &times, pairs[low].clone(), pairs[high].clone());
            }
        }
    }

    #[test]
    fn a_part_that_is_not_wanted_is_not_fetched() {
        let snapshot = Window { updates: false, ..window(4, true, 0, None) };
        assert_eq!(plan(&snapshot, vec![5], vec![7]), Plan::Nothing);
        let later = window(2, false, 6, None);
        assert_eq!(plan(&later, vec![3], vec![5]), Plan::Nothing, "shown before");
        let several = Window { as_of: vec![1, 3].into(), ..window(0, false, 0, None) };
        assert_eq!(plan(&several, vec![0], vec![1]), Plan::Nothing);
    }

    #[test]
    fn rows_outside_the_description_are_not_shown() {
        let mut window = window(5, true, 0, None);
        window.desc = Description::new(Antichain::from_elem(3), Antichain::from_elem(6));
        assert_eq!((0..9).filter_map(|time| window.show(time)).collect::<Vec<_>>(), vec![5, 5, 5]);
        assert!(matches!(plan(&window, vec![2], vec![5]), Plan::Each(_)));
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
