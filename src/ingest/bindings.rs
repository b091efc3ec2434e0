//! Which offsets each tick has: what the rows of a remap shard say, without any I/O.
//!
//! Always: the offsets of a partition only grow from tick to tick, and every tick before the upper is decided for ever.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use timely_persist_types::codec::Data;

/// For each partition, the offset that comes next: all before it are meant. A partition that is missing stands at 0.
pub type Offsets<P> = BTreeMap<P, u64>;

/// A row of a remap shard.
pub(super) type Row<P> = ((P, u64), u64, i64);

/// The offsets that one tick has beyond those of the ticks before it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Binding<P> {
    /// The tick.
    pub tick: u64,
    /// For each partition that has any, its offsets.
    pub ranges: Vec<(P, Range<u64>)>,
}

/// What is bound, from some tick on apart, and before it together.
#[derive(Debug)]
pub(super) struct Bindings<P> {
    /// All ticks up to this one are known together only.
    since: u64,
    /// The offsets at it.
    base: Offsets<P>,
    /// The ticks beyond it, in order.
    later: VecDeque<Binding<P>>,
    /// The offsets at the last tick.
    offsets: Offsets<P>,
    /// All ticks before this are decided.
    upper: u64,
}

impl<P: Data> Bindings<P> {
    /// Of a shard of which nothing was read, to be read from `since` on.
    pub(super) fn new(since: u64) -> Self {
        Self { since, base: Offsets::new(), later: VecDeque::new(), offsets: Offsets::new(), upper: 0 }
    }

    pub(super) fn since(&self) -> u64 {
        self.since
    }

    pub(super) fn upper(&self) -> u64 {
        self.upper
    }

    /// The offsets at the last tick that is decided.
    pub(super) fn offsets(&self) -> &Offsets<P> {
        &self.offsets
    }

    /// Whether something is bound at or before the since.
    pub(super) fn has_base(&self) -> bool {
        !self.base.is_empty()
    }

    /// The offsets at a tick. `None` where it is not decided, or not known apart any more.
    pub(super) fn at(&self, tick: u64) -> Option<Offsets<P>> {
        if tick < self.since || tick >= self.upper {
            return None;
        }
        let mut offsets = self.base.clone();
        for binding in self.later.iter().take_while(|binding| binding.tick <= tick) {
            offsets.extend(binding.ranges.iter().map(|(partition, range)| (partition.clone(), range.end)));
        }
        Some(offsets)
    }

    /// The bindings at ticks from this one on.
    pub(super) fn from(&self, tick: u64) -> impl Iterator<Item = &Binding<P>> {
        self.later.iter().filter(move |binding| binding.tick >= tick)
    }

    /// Those of these offsets that are beyond what is bound, with where they begin.
    pub(super) fn beyond(&self, offsets: &Offsets<P>) -> Vec<(P, Range<u64>)> {
        let ranges = offsets.iter().map(|(partition, end)| (partition.clone(), self.bound(partition)..*end));
        ranges.filter(|(_, range)| range.start < range.end).collect()
    }

    /// Up to where a partition is bound.
    pub(super) fn bound(&self, partition: &P) -> u64 {
        self.offsets.get(partition).copied().unwrap_or(0)
    }

    /// Takes in all rows at ticks before `upper` that were not taken in before. Says what contradicts if they do: then
    /// these bindings are of no use any more.
    pub(super) fn take_in(&mut self, rows: Vec<Row<P>>, upper: u64) -> Result<(), String> {
        let mut ticks: BTreeMap<u64, BTreeMap<P, BTreeMap<u64, i64>>> = BTreeMap::new();
        for ((partition, offset), tick, diff) in rows {
            let sum = ticks.entry(tick).or_default().entry(partition).or_default().entry(offset).or_default();
            *sum =
                sum.checked_add(diff).ok_or_else(|| format!("too much is said of offset {offset} at tick {tick}"))?;
        }
        for (tick, partitions) in ticks {
            let mut ranges = Vec::new();
            for (partition, mut sums) in partitions {
                sums.retain(|_, sum| *sum != 0);
                if !sums.is_empty() {
                    let range = self.range(tick, &partition, &sums)?;
                    ranges.push((partition, range));
                }
            }
            self.offsets.extend(ranges.iter().map(|(partition, range)| (partition.clone(), range.end)));
            match tick > self.since {
                true => self.later.push_back(Binding { tick, ranges }),
                false => self.base.clone_from(&self.offsets),
            }
        }
        self.later.retain(|binding| !binding.ranges.is_empty());
        self.upper = upper;
        Ok(())
    }

    /// What a partition's rows at one tick mean: the offset before is retracted, and a greater one is added.
    fn range(&self, tick: u64, partition: &P, sums: &BTreeMap<u64, i64>) -> Result<Range<u64>, String> {
        let old = self.offsets.get(partition).copied();
        let found: Vec<(u64, i64)> = sums.iter().map(|(offset, sum)| (*offset, *sum)).collect();
        match (old, &found[..]) {
            (None, [(new, 1)]) if *new > 0 => Ok(0..*new),
            (Some(old), [(retracted, -1), (new, 1)]) if *retracted == old => Ok(old..*new),
            _ => Err(format!("at tick {tick}, partition {partition:?} goes from {old:?} to {found:?}")),
        }
    }

    /// The rows that bind these ranges, and retract what they follow.
    pub(super) fn rows(&self, tick: u64, ranges: &[(P, Range<u64>)]) -> Vec<Row<P>> {
        let mut rows = Vec::with_capacity(2 * ranges.len());
        for (partition, range) in ranges {
            let known = self.offsets.get(partition).map(|old| ((partition.clone(), *old), tick, -1));
            rows.extend(known);
            rows.push(((partition.clone(), range.end), tick, 1));
        }
        rows
    }

    /// Keeps the ticks up to `since` together only.
    pub(super) fn merge_up_to(&mut self, since: u64) {
        let count = self.later.iter().take_while(|binding| binding.tick <= since).count();
        for binding in self.later.drain(..count) {
            self.base.extend(binding.ranges.into_iter().map(|(partition, range)| (partition, range.end)));
        }
        self.since = self.since.max(since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(steps: &[(u64, &[(&str, u64)])]) -> Bindings<String> {
        let mut bindings = Bindings::new(0);
        for (tick, offsets) in steps {
            let offsets = offsets.iter().map(|(partition, end)| ((*partition).to_owned(), *end)).collect();
            let rows = bindings.rows(*tick, &bindings.beyond(&offsets));
            bindings.take_in(rows, tick + 1).unwrap();
        }
        bindings
    }

    fn offsets(of: &[(&str, u64)]) -> Offsets<String> {
        of.iter().map(|(partition, end)| ((*partition).to_owned(), *end)).collect()
    }

    #[test]
    fn each_tick_has_the_offsets_that_those_before_it_do_not_have() {
        let mut bindings = bound(&[(3, &[("a", 5)]), (4, &[("a", 5), ("b", 2)]), (9, &[("a", 6), ("b", 1)])]);
        let ranges: Vec<_> = bindings.from(0).map(|binding| (binding.tick, binding.ranges.clone())).collect();
        let (a, b) = ("a".to_owned(), "b".to_owned());
        let expected = [(3, vec![(a.clone(), 0..5)]), (4, vec![(b, 0..2)]), (9, vec![(a, 5..6)])];
        assert_eq!(ranges, expected);
        assert_eq!(bindings.at(2), Some(Offsets::new()));
        assert_eq!(bindings.at(8), Some(offsets(&[("a", 5), ("b", 2)])));
        assert_eq!(bindings.at(10), None, "it is not decided");

        bindings.merge_up_to(8);
        assert_eq!(bindings.at(7), None, "it is not known apart any more");
        assert_eq!(bindings.at(8), Some(offsets(&[("a", 5), ("b", 2)])));
        assert_eq!(bindings.at(9), Some(offsets(&[("a", 6), ("b", 2)])));
        assert_eq!(bindings.from(0).map(|binding| binding.tick).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn what_was_merged_is_read_as_one() {
        let mut bindings = Bindings::new(8);
        let row = |offset, tick, diff| (("a".to_owned(), offset), tick, diff);
        bindings.take_in(vec![row(5, 8, 1), row(5, 8, -1), row(6, 8, 1), row(6, 9, -1), row(7, 9, 1)], 12).unwrap();
        assert_eq!((bindings.at(8), bindings.at(11)), (Some(offsets(&[("a", 6)])), Some(offsets(&[("a", 7)]))));
        assert!(bindings.has_base());
        assert_eq!(bindings.from(0).map(|binding| binding.tick).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn rows_that_no_binding_writes_are_refused() {
        let row = |offset, diff| (("a".to_owned(), offset), 5, diff);
        let bad = [
            vec![row(4, 1)],             // without a retraction of 3
            vec![row(3, -1)],            // nothing is added
            vec![row(3, -1), row(2, 1)], // back
            vec![row(3, -1), row(4, 2)],
            vec![row(3, -1), row(4, 1), row(5, 1)],
            vec![row(2, -1), row(4, 1)],
            vec![row(4, i64::MAX), row(4, 1)],
        ];
        for rows in bad {
            let mut bindings = bound(&[(3, &[("a", 3)])]);
            bindings.take_in(rows.clone(), 6).expect_err(&format!("{rows:?}"));
        }
    }
}
