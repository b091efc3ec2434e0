//! Piles of segments: as few sorted sequences as the segments can be put into, in the order in which they come.
//!
//! Always: a pile is in order, all rows of one segment before those of the next, or equal. A segment goes onto the pile whose
//! end is the greatest that is not beyond its beginning (patience sorting): there are as few piles as that order allows,
//! one for each run of a shard if parts come in order. The piles are kept in the order of their ends, so that finding one
//! takes comparisons by the logarithm of their number.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use timely::progress::Antichain;
use timely_persist::{Data, Diff, Time};

use crate::arrange::segment::Columns;

/// Segments in order. Never empty.
pub(crate) type Pile<K, V, T, D> = VecDeque<Arc<Columns<K, V, T, D>>>;

/// The rows that have come.
#[derive(Debug)]
pub(crate) struct Piles<K: Data, V: Data, T: Time, D: Diff> {
    piles: Vec<Pile<K, V, T, D>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Default for Piles<K, V, T, D> {
    fn default() -> Self {
        Self { piles: Vec::new() }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Piles<K, V, T, D> {
    /// Adds a segment.
    pub(crate) fn add(&mut self, rows: Arc<Columns<K, V, T, D>>) {
        let Some(last) = rows.len().checked_sub(1) else { return };
        let ends_before = self.piles.partition_point(|pile| end_order(pile, &rows, 0) != Ordering::Greater);
        let place = match ends_before.checked_sub(1) {
            Some(place) => place,
            None => {
                self.piles.insert(0, VecDeque::new());
                0
            }
        };
        // Its end may be beyond those of others then.
        let beyond = self.piles[place + 1..].partition_point(|pile| end_order(pile, &rows, last) == Ordering::Less);
        self.piles[place].push_back(rows);
        self.piles[place..=place + beyond].rotate_left(1);
    }

    /// All that may have rows up to here, which are not here any more, and the lower envelope of the times of those that stay:
    /// segments that have none are not merged before it is their turn.
    pub(crate) fn take(&mut self, upper: &Antichain<T>) -> (Vec<Pile<K, V, T, D>>, Antichain<T>) {
        let mut taken = std::mem::take(&mut self.piles);
        let mut times = Antichain::new();
        for pile in &mut taken {
            let (later, now): (Pile<_, _, _, _>, _) = pile.drain(..).partition(|rows| rows.is_beyond(upper));
            *pile = now;
            for rows in later {
                rows.lower(&mut times);
                self.add(rows);
            }
        }
        taken.retain(|pile| !pile.is_empty());
        (taken, times)
    }
}

/// How the end of a pile and a row follow each other.
fn end_order<K: Data, V: Data, T: Time, D: Diff>(
    pile: &Pile<K, V, T, D>,
    rows: &Columns<K, V, T, D>,
    row: usize,
) -> Ordering {
    match pile.back() {
        Some(end) => end.order(end.len().saturating_sub(1), rows, row),
        None => Ordering::Less,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::random::Random;

    fn segment(mut keys: Vec<u64>) -> Arc<Columns<u64, (), u64, i64>> {
        keys.sort_unstable();
        let mut rows = Columns::default();
        keys.into_iter().for_each(|key| rows.push(key, (), key / 10, 1));
        Arc::new(rows)
    }

    fn keys(pile: &Pile<u64, (), u64, i64>) -> Vec<u64> {
        pile.iter().flat_map(|rows| (0..rows.len()).map(|row| rows.key(row))).collect()
    }

    #[test]
    fn segments_in_any_order_make_piles_in_order() {
        for seed in 0..50 {
            let (mut random, mut piles) = (Random(seed), Piles::default());
            for _ in 0..100 {
                let rows = 1 + random.below(3);
                piles.add(segment((0..rows).map(|_| random.below(60)).collect()));
            }
            let (piles, _) = piles.take(&Antichain::new());
            assert!(piles.iter().all(|pile| keys(pile).is_sorted()), "seed {seed}");
            assert!(piles.iter().map(|pile| keys(pile).last().copied()).is_sorted(), "seed {seed}");
        }
    }

    #[test]
    fn runs_that_come_by_turns_are_as_many_piles() {
        let mut piles = Piles::default();
        for turn in 0..50 {
            (0..5).for_each(|run| piles.add(segment(vec![turn * 100 + run, turn * 100 + 90 + run])));
        }
        assert_eq!(piles.take(&Antichain::new()).0.len(), 5);
    }

    /// So nothing is merged, and copied, again at each step.
    #[test]
    fn segments_of_later_times_stay_as_they_are() {
        let mut piles = Piles::default();
        for keys in [vec![0, 50], vec![31, 32], vec![20, 25], vec![1, 2], vec![60]] {
            piles.add(segment(keys));
        }
        let mut taken = |upper| {
            let (taken, times) = piles.take(&Antichain::from_elem(upper));
            let mut all: Vec<_> = taken.iter().flat_map(keys).collect();
            all.sort_unstable();
            (all, times.into_option())
        };
        assert_eq!(taken(2), (vec![0, 1, 2, 50], Some(2)), "50 comes along with 0");
        assert_eq!(taken(2), (vec![], Some(2)));
        assert_eq!(taken(3), (vec![20, 25], Some(3)));
        assert_eq!(taken(9), (vec![31, 32, 60], None));
    }
}
