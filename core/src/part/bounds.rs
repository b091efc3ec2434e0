//! The minimal and maximal times of a part.
//!
//! Always: every time seen is at or after an element of `lower` and at or before an element of `upper`; bounded in
//! size, so partially ordered times cannot blow up the state.

use timely::progress::Antichain;

use timely_persist_types::codec::Time;

/// The most elements of either bound. A part of thousands of incomparable times would otherwise carry them all in every
/// copy of the state; beyond this they are replaced by their meet or join, which still is a bound.
const ELEMENTS_MAX: usize = 32;

/// The bounds of the times seen so far.
#[derive(Debug)]
pub(super) struct TimeBounds<T> {
    pub(super) lower: Antichain<T>,
    pub(super) upper: Vec<T>,
}

impl<T: Time> TimeBounds<T> {
    pub(super) fn new() -> Self {
        Self { lower: Antichain::new(), upper: Vec::new() }
    }

    #[inline]
    pub(super) fn insert(&mut self, time: &T) {
        if !self.lower.less_equal(time) {
            self.lower.insert(time.clone());
            if self.lower.len() > ELEMENTS_MAX {
                let meet = self.lower.iter().cloned().reduce(|a, b| a.meet(&b));
                self.lower = meet.into_iter().collect();
            }
        }
        if !self.upper.iter().any(|upper| time.less_equal(upper)) {
            self.upper.retain(|upper| !upper.less_equal(time));
            self.upper.push(time.clone());
            if self.upper.len() > ELEMENTS_MAX {
                let join = self.upper.drain(..).reduce(|a, b| a.join(&b));
                self.upper.extend(join);
            }
        }
    }
}
