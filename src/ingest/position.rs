//! A position in a source that is a time of a shard.

use timely::order::TotalOrder;
use timely::progress::Antichain;
use timely_persist_types::codec::Time;

/// A time that a source counts with: of each position the next one is known. A commit number, an LSN, an offset.
///
/// The implementor guarantees that the order is total, that `successor` is greater than `self`, and that no position lies
/// between the two.
pub trait Position: Time + TotalOrder {
    /// The least position beyond this one; `None` for the last one that there is.
    fn successor(&self) -> Option<Self>;
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Position for $integer {
            fn successor(&self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    )*};
}

integers!(u64, i64);

/// The frontier at a position.
pub(super) fn at<T: Position>(position: &T) -> Antichain<T> {
    Antichain::from_elem(position.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_position_has_no_successor() {
        assert_eq!((7_u64.successor(), u64::MAX.successor()), (Some(8), None));
        assert_eq!(((-1_i64).successor(), i64::MAX.successor()), (Some(0), None));
    }
}
