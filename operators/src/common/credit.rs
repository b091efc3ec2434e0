//! What may be out at one time, and who gets the next: arithmetic, without I/O and without timely.
//!
//! Always: the bytes that are out are at most `bytes_max`, or one piece; a worker's load is the bytes it has not sent back.

use std::collections::BTreeMap;

/// The pieces of work that are out, each known by a key, and what they weigh.
///
/// A piece goes out to one of the workers (tasks, connections: whatever takes work), and comes back by its key; meanwhile
/// a `P` is kept for it, such as a capability or a lease. Dropping the credit drops all that is kept.
///
/// It trusts its caller: [`Credit::send`] does not ask [`Credit::allows`], and a piece that never comes back weighs for ever.
/// So whoever is lost with a piece must be noticed, and the piece taken back in its place.
///
/// ```
/// use timely_persist_operators::bridge::Credit;
///
/// let mut credit = Credit::new(2, 100); // 100 bytes among two workers
/// assert!(credit.allows(250)); // one piece always goes, also if it is larger than that
/// assert_eq!(credit.send("a", 60, "what is kept for it"), 0);
/// assert_eq!(credit.send("b", 30, "and for this"), 1);
/// assert!(credit.allows(10) && !credit.allows(11));
/// assert_eq!(credit.take_back(&"a"), Some("what is kept for it"));
/// assert_eq!(credit.take_back(&"a"), None); // it is not out any more
/// assert_eq!(credit.send("c", 50, "the one with the fewest bytes gets it"), 0);
/// ```
#[derive(Debug)]
pub struct Credit<K, P> {
    bytes_max: u64,
    /// Of any number of pieces of any size.
    bytes_out: u128,
    loads: Vec<u128>,
    out: BTreeMap<K, Out<P>>,
    /// Where the search for a worker begins, so that equal loads are served in turn.
    turn: usize,
}

#[derive(Debug)]
struct Out<P> {
    worker: usize,
    bytes: u128,
    /// What is given back when the piece comes back.
    kept: P,
}

/// What a piece weighs. One of no bytes weighs something, so that the number of those that are out is bounded, too.
fn weight(bytes: u64) -> u128 {
    bytes.max(1).into()
}

impl<K: Ord, P> Credit<K, P> {
    /// Nothing out, among so many workers, at least one. `bytes_max` is in bytes, or whatever pieces are weighed by.
    pub fn new(workers: usize, bytes_max: u64) -> Self {
        Self { bytes_max, bytes_out: 0, loads: vec![0; workers.max(1)], out: BTreeMap::new(), turn: 0 }
    }

    /// Whether nothing is out.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether a piece of so many bytes may go now. One always may. A piece of none counts as one byte.
    pub fn allows(&self, bytes: u64) -> bool {
        self.out.is_empty() || self.bytes_out + weight(bytes) <= u128::from(self.bytes_max)
    }

    /// Records a piece as out, and says to which worker it goes, from 0 on: the one with the fewest bytes.
    ///
    /// A piece that is out under the same key is taken back first, and what was kept for it dropped.
    pub fn send(&mut self, key: K, bytes: u64, kept: P) -> usize {
        drop(self.take_back(&key));
        let bytes = weight(bytes);
        let workers = self.loads.len();
        let in_turn = (0..workers).map(|step| (self.turn + step) % workers);
        let worker = in_turn.min_by_key(|worker| self.loads[*worker]).unwrap_or(0);
        self.turn = (worker + 1) % workers;
        self.loads[worker] += bytes;
        self.bytes_out += bytes;
        self.out.insert(key, Out { worker, bytes, kept });
        worker
    }

    /// Takes a piece back, and gives what was kept for it. `None` if it is not out.
    pub fn take_back(&mut self, key: &K) -> Option<P> {
        let out = self.out.remove(key)?;
        self.loads[out.worker] -= out.bytes;
        self.bytes_out -= out.bytes;
        Some(out.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_but_one_part_always_goes() {
        let mut credit = Credit::new(2, 10);
        assert!(credit.allows(100), "a part above the limit, alone");
        credit.send(0, 100, ());
        assert!(!credit.allows(0) && !credit.allows(1));
        assert_eq!(credit.take_back(&0), Some(()));
        credit.send(1, 4, ());
        assert!(credit.allows(6) && !credit.allows(7));
    }

    #[test]
    fn parts_go_where_the_fewest_bytes_are_and_in_turn_where_they_are_equal() {
        let mut credit = Credit::new(3, u64::MAX);
        let workers: Vec<_> = [5, 1, 1, 1, 1].iter().zip(0..).map(|(b, n)| credit.send(n, *b, ())).collect();
        assert_eq!(workers, [0, 1, 2, 1, 2]);
        credit.take_back(&0);
        assert_eq!(credit.send(9, 1, ()), 0);
        assert_eq!(credit.take_back(&0), None, "given back twice");
        let mut even = Credit::new(2, u64::MAX);
        let turns: Vec<_> = (0..4)
            .map(|n| {
                let w = even.send(n, 1, ());
                even.take_back(&n);
                w
            })
            .collect();
        assert_eq!(turns, [0, 1, 0, 1]);
    }

    #[test]
    fn pieces_of_no_bytes_are_bounded_too() {
        let mut credit = Credit::new(1, 3);
        let sent = (0..10).filter(|n| {
            let allowed = credit.allows(0);
            if allowed {
                credit.send(*n, 0, ());
            }
            allowed
        });
        assert_eq!(sent.count(), 3);
    }

    #[test]
    fn no_sum_is_too_large_and_no_key_counts_twice() {
        let mut credit = Credit::new(1, u64::MAX);
        for key in [1, 2, 2, 2] {
            credit.send(key, u64::MAX, key);
        }
        assert!(!credit.allows(0));
        assert_eq!(credit.take_back(&1), Some(1));
        assert!(!credit.allows(1), "the other is out");
        assert_eq!((credit.take_back(&2), credit.take_back(&2)), (Some(2), None));
        assert!(credit.is_empty() && credit.allows(u64::MAX));
        credit.send(3, 1, 3);
        assert!(credit.allows(u64::MAX - 1) && !credit.allows(u64::MAX));
    }

    #[test]
    fn there_is_always_a_worker() {
        assert_eq!(Credit::new(0, 0).send((), 1, ()), 0);
    }
}
