//! Arithmetic of frontiers, for partially ordered times too.

use timely::progress::Antichain;

use crate::part::check_time;
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::ids::ShardId;

/// `Invalid` if a time of a frontier that a caller names cannot be stored. To be asked before anything is done with it:
/// what meets and joins make of such as can be stored, can be stored.
pub fn storable<T: Time>(frontier: &Antichain<T>, shard: ShardId) -> Result<(), Error> {
    frontier.elements().iter().try_for_each(check_time).map_err(|error| error.of_shard(shard))
}

/// Whether `upper` has passed `as_of`: no update at a time at or below an element of `as_of` can still appear.
///
/// For partially ordered times this is weaker than `as_of < upper`, whose elements may be incomparable.
pub fn passed<T: Time>(upper: &Antichain<T>, as_of: &Antichain<T>) -> bool {
    as_of.elements().iter().all(|time| !upper.less_equal(time))
}

/// Whether `time` is at or below an element of `as_of`: whether a snapshot there has the update.
pub fn below<T: Time>(time: &T, as_of: &Antichain<T>) -> bool {
    as_of.elements().iter().any(|bound| time.less_equal(bound))
}

/// The time at which a reader from `as_of` on sees an update of time `time`. Itself where it is beyond `as_of`.
pub fn join_time<T: Time>(mut time: T, as_of: &Antichain<T>) -> T {
    time.advance_by(as_of.borrow());
    time
}

/// The frontier of what [`join_time`] makes of times beyond `frontier`. Nothing is beyond an empty `as_of`.
pub fn advance_frontier<T: Time>(frontier: &Antichain<T>, as_of: &Antichain<T>) -> Antichain<T> {
    if as_of.is_empty() {
        return Antichain::new();
    }
    frontier.elements().iter().map(|time| join_time(time.clone(), as_of)).collect()
}

/// The greatest lower bound of the elements of `frontier`; `None` where it has none.
pub fn glb<T: Time>(frontier: &Antichain<T>) -> Option<T> {
    let mut elements = frontier.elements().iter();
    let mut bound = elements.next()?.clone();
    for element in elements {
        bound.meet_assign(element);
    }
    Some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use timely::order::Product;

    #[test]
    fn a_frontier_passes_an_incomparable_as_of() {
        let upper = Antichain::from(vec![Product::new(0u32, 5u32), Product::new(5, 0)]);
        assert!(passed(&upper, &Antichain::from_elem(Product::new(2, 2))));
        assert!(!passed(&upper, &Antichain::from_elem(Product::new(2, 5))));
    }

    #[test]
    fn times_beside_as_of_are_seen_at_the_join() {
        let as_of = Antichain::from_elem(Product::new(2u32, 2u32));
        assert_eq!(join_time(Product::new(0, 5), &as_of), Product::new(2, 5));
        assert_eq!(glb(&Antichain::from(vec![Product::new(0u32, 5u32), Product::new(5, 1)])), Some(Product::new(0, 1)));
        assert_eq!(glb(&Antichain::<u64>::new()), None);
    }
}
