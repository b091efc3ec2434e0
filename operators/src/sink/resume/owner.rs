//! Who owns a hold, and whether its pipeline has begun: what a hold's fencing token says.
//!
//! The token is durable: the incarnation in the upper 63 bits, the mark *begun* in the lowest. Both only grow, so the tokens
//! of a hold are in the order of their numbers.

/// The largest incarnation.
pub(super) const INCARNATION_MAX: u64 = u64::MAX >> 1;

/// What a hold's fencing token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The start of the pipeline that moves the hold.
    pub(super) incarnation: u64,
    /// Whether the output was ever seen with a commit in it: only then may the hold have moved.
    pub(super) begun: bool,
}

impl Owner {
    pub(super) fn of(opaque: u64) -> Self {
        Self { incarnation: opaque >> 1, begun: opaque & 1 == 1 }
    }

    pub(super) fn opaque(self) -> u64 {
        self.incarnation << 1 | u64::from(self.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Durable: these tokens are in stores.
    #[test]
    fn tokens_are_the_same_in_every_version() {
        let tokens = [(0, false, 0), (0, true, 1), (1, false, 2), (7, true, 15), (INCARNATION_MAX, true, u64::MAX)];
        for (incarnation, begun, opaque) in tokens {
            let owner = Owner { incarnation, begun };
            assert_eq!((owner.opaque(), Owner::of(opaque)), (opaque, owner));
        }
    }
}
