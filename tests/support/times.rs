//! What a model knows of times: the definitions, written down once more and as plainly as they can be.

use std::collections::BTreeMap;

use timely::order::Product;
use timely::progress::Antichain;
use timely_persist::Time;

use super::random::Random;

/// A row of the shards under test.
pub type Row<T> = ((String, u64), T, i64);

/// A type of times that a model can enumerate.
pub trait ModelTime: Time {
    const TEST: &'static str;
    /// The times that a run uses, the minimum among them.
    fn grid() -> Vec<Self>;
    /// The greatest lower bound of two.
    fn met(&self, other: &Self) -> Self;
    /// The least upper bound of two.
    fn joined(&self, other: &Self) -> Self;
}

impl ModelTime for u64 {
    const TEST: &'static str = "u64";

    fn grid() -> Vec<Self> {
        (0..80).collect()
    }

    fn met(&self, other: &Self) -> Self {
        *self.min(other)
    }

    fn joined(&self, other: &Self) -> Self {
        *self.max(other)
    }
}

impl ModelTime for i64 {
    const TEST: &'static str = "i64";

    fn grid() -> Vec<Self> {
        std::iter::once(i64::MIN).chain(-20..60).collect()
    }

    fn met(&self, other: &Self) -> Self {
        *self.min(other)
    }

    fn joined(&self, other: &Self) -> Self {
        *self.max(other)
    }
}

impl ModelTime for Product<u32, u32> {
    const TEST: &'static str = "product";

    fn grid() -> Vec<Self> {
        (0..9).flat_map(|outer| (0..9).map(move |inner| Product::new(outer, inner))).collect()
    }

    fn met(&self, other: &Self) -> Self {
        Product::new(self.outer.min(other.outer), self.inner.min(other.inner))
    }

    fn joined(&self, other: &Self) -> Self {
        Product::new(self.outer.max(other.outer), self.inner.max(other.inner))
    }
}

/// The frontier of the times at or beyond both.
pub fn join<T: ModelTime>(a: &Antichain<T>, b: &Antichain<T>) -> Antichain<T> {
    a.elements().iter().flat_map(|x| b.elements().iter().map(|y| x.joined(y))).collect()
}

/// Whether a snapshot at `as_of` has an update of this time.
pub fn is_in_snapshot<T: ModelTime>(time: &T, as_of: &Antichain<T>) -> bool {
    as_of.elements().iter().any(|bound| time.less_equal(bound))
}

/// Whether nothing that a snapshot at `as_of` has can still be appended.
pub fn is_complete<T: ModelTime>(upper: &Antichain<T>, as_of: &Antichain<T>) -> bool {
    T::grid().iter().filter(|time| is_in_snapshot(*time, as_of)).all(|time| !upper.less_equal(time))
}

/// When a reader from `as_of` on sees an update of this time: the meet of its joins with the elements.
pub fn seen_at<T: ModelTime>(time: &T, as_of: &Antichain<T>) -> T {
    let joins = as_of.elements().iter().map(|bound| time.joined(bound));
    joins.reduce(|a, b| a.met(&b)).unwrap_or_else(|| time.clone())
}

/// A frontier of one to three times of the grid.
pub fn some_frontier<T: ModelTime>(random: &mut Random) -> Antichain<T> {
    let grid = T::grid();
    (0..1 + random.below(3)).map(|_| random.pick(&grid).clone()).collect()
}

/// A frontier a little beyond `from`, or `from` itself.
pub fn some_step<T: ModelTime>(random: &mut Random, from: &Antichain<T>) -> Antichain<T> {
    let grid = T::grid();
    let near = |time: &T| grid.iter().position(|known| known == time).unwrap_or(0);
    let start = from.elements().iter().map(near).min().unwrap_or(0);
    let reach = (start + 1 + random.below(12)).min(grid.len() - 1);
    let step: Antichain<T> =
        (0..1 + random.below(2)).map(|_| grid[start + random.below(reach - start + 1)].clone()).collect();
    join(from, &step)
}

/// The times of the grid in `[lower, upper)`.
pub fn between<T: ModelTime>(lower: &Antichain<T>, upper: &Antichain<T>) -> Vec<T> {
    T::grid().into_iter().filter(|time| lower.less_equal(time) && !upper.less_equal(time)).collect()
}

/// Rows with equal ones summed up and zeros left out, in order.
pub fn summed<T: ModelTime>(rows: impl IntoIterator<Item = Row<T>>) -> Vec<Row<T>> {
    let mut sums: BTreeMap<((String, u64), T), i64> = BTreeMap::new();
    for (row, time, diff) in rows {
        *sums.entry((row, time)).or_default() += diff;
    }
    sums.into_iter().filter(|(_, diff)| *diff != 0).map(|((row, time), diff)| (row, time, diff)).collect()
}
