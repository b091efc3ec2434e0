//! Memory that was used once and waits to be used again.
//!
//! Fresh memory costs more than what most steps do with it: the system clears each page of it and enters it on first
//! touch; and what threads free stays with each of them, in glibc's allocator, and adds up. Always: one value waits at most,
//! whatever is offered, or so many bytes.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
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

/// A place for memory, the newest of which is kept.
#[derive(Debug, Default)]
pub(crate) struct SpareBytes(Mutex<VecDeque<Vec<u8>>>);

impl SpareBytes {
    /// What waits and has room for so many bytes, but not for many more; fresh memory, if there is none.
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        let mut kept = lock(&self.0);
        let fits = |spare: &Vec<u8>| (bytes..=bytes.saturating_mul(2)).contains(&spare.capacity());
        kept.iter().position(fits).and_then(|place| kept.swap_remove_back(place)).unwrap_or_default()
    }

    /// Keeps memory, unless somebody else has it too; so many bytes in all.
    pub(crate) fn keep(&self, bytes: Bytes, bytes_max: usize) {
        let Ok(bytes) = bytes.try_into_mut() else { return };
        let mut too_much = Vec::new(); // not freed under the lock: it may be large
        let mut kept = lock(&self.0);
        kept.push_back(bytes.into());
        while kept.iter().map(Vec::capacity).sum::<usize>() > bytes_max {
            too_much.extend(kept.pop_front());
        }
        drop(kept);
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

    #[test]
    fn memory_that_fits_is_used_again_the_newest_of_so_many_bytes() {
        let spare = SpareBytes::default();
        let bytes = |capacity| {
            Bytes::from({
                let mut bytes = Vec::with_capacity(capacity);
                bytes.push(1);
                bytes
            })
        };
        spare.keep(bytes(100), 250);
        let shared = bytes(150);
        spare.keep(shared.clone(), 250); // somebody else has it
        assert_eq!((spare.take(101).capacity(), spare.take(49).capacity()), (0, 0));
        spare.keep(bytes(150), 250);
        spare.keep(bytes(60), 250); // instead of the first
        assert_eq!((spare.take(100).capacity(), spare.take(60).capacity(), spare.take(60).capacity()), (150, 60, 0));
        spare.keep(bytes(300), 250);
        assert_eq!(spare.take(300).capacity(), 0);
    }
}
