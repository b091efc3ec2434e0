//! Who gets the next part, and whether it may go now: arithmetic, without I/O and without timely.
//!
//! Always: the bytes that are out are at most `bytes_max`, or one part; a worker's load is the bytes it has not sent back.

use std::collections::BTreeMap;

use timely_persist::LeaseId;

/// The parts that are out, and what they weigh.
#[derive(Debug)]
pub(crate) struct Credit<P> {
    bytes_max: u64,
    bytes_out: u64,
    loads: Vec<u64>,
    out: BTreeMap<LeaseId, Out<P>>,
    /// Where the search for a worker begins, so that equal loads are served in turn.
    turn: usize,
}

#[derive(Debug)]
struct Out<P> {
    worker: usize,
    bytes: u64,
    /// What is given back when the part comes home.
    part: P,
}

impl<P> Credit<P> {
    /// Nothing out, among so many workers.
    pub(crate) fn new(workers: usize, bytes_max: u64) -> Self {
        Self { bytes_max, bytes_out: 0, loads: vec![0; workers.max(1)], out: BTreeMap::new(), turn: 0 }
    }

    /// Whether a part of so many bytes may go. One always may.
    pub(crate) fn allows(&self, bytes: u64) -> bool {
        self.out.is_empty() || self.bytes_out.saturating_add(bytes) <= self.bytes_max
    }

    /// Records a part as out, and says to which worker it goes: the one with the fewest bytes.
    pub(crate) fn send(&mut self, lease: LeaseId, bytes: u64, part: P) -> usize {
        let workers = self.loads.len();
        let in_turn = (0..workers).map(|step| (self.turn + step) % workers);
        let worker = in_turn.min_by_key(|worker| self.loads[*worker]).unwrap_or(0);
        self.turn = (worker + 1) % workers;
        self.loads[worker] += bytes;
        self.bytes_out += bytes;
        self.out.insert(lease, Out { worker, bytes, part });
        worker
    }

    /// Takes a part back. `None` if it is not out.
    pub(crate) fn take_back(&mut self, lease: LeaseId) -> Option<P> {
        let out = self.out.remove(&lease)?;
        self.loads[out.worker] -= out.bytes;
        self.bytes_out -= out.bytes;
        Some(out.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timely_persist::LeasedReaderId;

    fn lease(number: u64) -> LeaseId {
        LeaseId { reader: LeasedReaderId::from_u128(1), number }
    }

    #[test]
    fn the_limit_holds_but_one_part_always_goes() {
        let mut credit = Credit::new(2, 10);
        assert!(credit.allows(100), "a part above the limit, alone");
        credit.send(lease(0), 100, ());
        assert!(!credit.allows(0) && !credit.allows(1));
        assert_eq!(credit.take_back(lease(0)), Some(()));
        credit.send(lease(1), 4, ());
        assert!(credit.allows(6) && !credit.allows(7));
    }

    #[test]
    fn parts_go_where_the_fewest_bytes_are_and_in_turn_where_they_are_equal() {
        let mut credit = Credit::new(3, u64::MAX);
        let workers: Vec<_> = [5, 1, 1, 1, 1].iter().zip(0..).map(|(b, n)| credit.send(lease(n), *b, ())).collect();
        assert_eq!(workers, [0, 1, 2, 1, 2]);
        credit.take_back(lease(0));
        assert_eq!(credit.send(lease(9), 1, ()), 0);
        assert_eq!(credit.take_back(lease(0)), None, "given back twice");
        let mut even = Credit::new(2, u64::MAX);
        let turns: Vec<_> = (0..4)
            .map(|n| {
                let w = even.send(lease(n), 1, ());
                even.take_back(lease(n));
                w
            })
            .collect();
        assert_eq!(turns, [0, 1, 0, 1]);
    }
}
