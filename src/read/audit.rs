//! Which parts a filter leaves out, and which of those are fetched all the same, to check the filter.
//!
//! Always: a part without statistics is kept; of those that are left out one in `config.read.filter_audit_one_in` is audited,
//! evenly, the first of them at random. So many short reads are checked as often as a long one.

use timely_persist_core::part::PartStats;
use timely_persist_types::codec::Time;

use super::LeasedPart;

/// What becomes of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sifted {
    /// It is wanted.
    Kept,
    /// It is not wanted, but it is to be fetched, to see whether that is right.
    Audited,
    /// It is not wanted.
    Discarded,
}

/// Asks a filter about one part after another.
#[derive(Debug)]
pub struct FilterAudit {
    one_in: u64,
    /// Discarded parts before the next that is audited.
    before: u64,
}

impl FilterAudit {
    /// Audits one in so many discarded parts, none for 0; `bits` are random.
    pub(super) fn new(one_in: u64, bits: u128) -> Self {
        let before = bits.checked_rem(u128::from(one_in)).unwrap_or_default();
        Self { one_in, before: u64::try_from(before).unwrap_or_default() }
    }

    /// Whether a part is wanted, by what `keep` says of its statistics.
    pub fn sift<T: Time>(&mut self, part: &LeasedPart<T>, keep: impl FnOnce(&PartStats) -> bool) -> Sifted {
        match part.stats() {
            Some(stats) if !keep(&stats) => self.discard(),
            _ => Sifted::Kept, // when in doubt, keep it
        }
    }

    fn discard(&mut self) -> Sifted {
        if self.one_in == 0 {
            return Sifted::Discarded;
        }
        let due = self.before == 0;
        self.before = if due { self.one_in } else { self.before } - 1;
        if due { Sifted::Audited } else { Sifted::Discarded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_audited_wherever_it_begins() {
        for (one_in, bits) in [(1, 7), (3, 0), (3, 1), (3, 2), (1_000, u128::MAX)] {
            let mut audit = FilterAudit::new(one_in, bits);
            for _ in 0..5 {
                let audited = (0..one_in).filter(|_| audit.discard() == Sifted::Audited).count();
                assert_eq!(audited, 1, "one in {one_in}, {bits}");
            }
        }
        let mut none = FilterAudit::new(0, 7);
        assert!((0..10_000).all(|_| none.discard() == Sifted::Discarded));
    }
}
