//! Memory that was used once and waits to be used again.
//!
//! Fresh memory costs more than what most steps do with it: the system clears each page of it and enters it on first
//! touch. Always: one value waits at most, whatever is offered.

use std::any::Any;
use std::sync::Mutex;

use timely_persist_io::life::lock;

/// A place for one value of any type.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Option<Box<dyn Any + Send>>>);

impl Spare {
    /// The value that waits, if it is of this type.
    pub(crate) fn take<S: Any>(&self) -> Option<S> {
        let mut place = lock(&self.0);
        match place.take()?.downcast() {
            Ok(spare) => Some(*spare),
            Err(other) => {
                *place = Some(other);
                None
            }
        }
    }

    /// Keeps a value, in the place of another.
    pub(crate) fn keep<S: Any + Send>(&self, spare: S) {
        let spare: Box<dyn Any + Send> = Box::new(spare);
        let before = lock(&self.0).replace(spare);
        drop(before); // not under the lock: it may be large
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_waits_for_whoever_asks_for_its_type() {
        let spare = Spare::default();
        assert_eq!(spare.take::<u8>(), None);
        spare.keep(1u8);
        spare.keep(2u8);
        assert_eq!(spare.take::<u16>(), None);
        assert_eq!(spare.take::<u8>(), Some(2));
        assert_eq!(spare.take::<u8>(), None);
    }
}
