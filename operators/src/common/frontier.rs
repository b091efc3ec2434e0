//! Where a collection begins, and which of its frontiers are shown.

use timely::progress::Antichain;
use timely_persist::{Time, glb};

/// Where a collection from `as_of` to `until` begins: at one time, if it begins at all. Advancing a time by an `as_of` of
/// several elements may move it to before each of them, but not to before their greatest lower bound.
pub(crate) fn beginning<T: Time>(as_of: &Antichain<T>, until: &Antichain<T>) -> Antichain<T> {
    shown(&glb(as_of).into_iter().collect(), until)
}

/// The frontier without what lies beyond `until`, where nothing comes: so none is shown between `until` and the end.
pub(crate) fn shown<T: Time>(frontier: &Antichain<T>, until: &Antichain<T>) -> Antichain<T> {
    frontier.elements().iter().filter(|time| !until.less_equal(time)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use timely::order::Product;

    #[test]
    fn frontiers_between_until_and_the_end_are_not_shown() {
        let until = Antichain::from_elem(5u64);
        assert_eq!(shown(&Antichain::from_elem(4), &until), Antichain::from_elem(4));
        for beyond in [5, 6, 9] {
            assert!(shown(&Antichain::from_elem(beyond), &until).is_empty());
        }
        assert!(!shown(&Antichain::from_elem(9u64), &Antichain::new()).is_empty(), "no until");
        let until = Antichain::from_elem(Product::new(5u32, 5u32));
        let frontier = Antichain::from(vec![Product::new(0, 9), Product::new(6, 6)]);
        assert_eq!(shown(&frontier, &until), Antichain::from_elem(Product::new(0, 9)));
    }

    #[test]
    fn a_collection_begins_at_the_meet_of_its_as_of() {
        let as_of = Antichain::from(vec![Product::new(0u32, 5u32), Product::new(5, 1)]);
        assert_eq!(beginning(&as_of, &Antichain::new()), Antichain::from_elem(Product::new(0, 1)));
        assert!(beginning(&as_of, &Antichain::from_elem(Product::new(0, 0))).is_empty(), "it ends before");
        assert!(beginning(&Antichain::<u64>::new(), &Antichain::new()).is_empty());
    }
}
