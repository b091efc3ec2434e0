//! A column of an arrangement in the codec's own builders.
//!
//! Always: values lie one behind the other, and are shown borrowed: no value is allocated, by whoever writes or reads it. All
//! blocks but the last have the same number of values, so a value is found by its number.

use differential_dataflow::trace::implementations::BatchContainer;
use timely_persist::Codec;
use timely_persist::codec::Builder;

/// Values of a block: enough that its overhead does not count; few enough that a block's memory, some 100 KiB, serves
/// again when it was merged, and that the last block wastes little.
pub(crate) const BLOCK_ROWS: usize = 1 << 10;

/// Bytes that are reserved for a block's values at once: one of larger values grows by itself.
const RESERVED_BYTES_MAX: usize = 1 << 20;

/// A column of an arrangement in the codec's own builders.
#[derive(Debug)]
pub struct Flat<C: Codec> {
    blocks: Vec<C::Builder>,
    len: usize,
    /// Empty, for the next blocks.
    spare: Vec<C::Builder>,
}

impl<C: Codec> Flat<C> {
    #[inline]
    fn push(&mut self, value: C::Ref<'_>) {
        if self.len.is_multiple_of(BLOCK_ROWS) {
            let block = self.spare.pop().unwrap_or_else(|| like::<C>(self.blocks.last()));
            self.blocks.push(block);
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(value);
            self.len += 1;
        }
    }

    /// Takes a block whose values are not needed any more, for its memory: of one that was about as long as those here are.
    pub(crate) fn reuse(&mut self, mut block: C::Builder) {
        let fits = (BLOCK_ROWS / 2..=BLOCK_ROWS * 2).contains(&block.len());
        if fits {
            block.clear();
            self.spare.push(block);
        }
    }

    /// Nothing more will be added.
    pub(crate) fn end(&mut self) {
        self.spare = Vec::new();
    }
}

/// An empty block with room for as much as this one has, and an eighth more, so that the next seldom has to grow.
pub(crate) fn like<C: Codec>(block: Option<&C::Builder>) -> C::Builder {
    let mut new = C::Builder::default();
    if let Some(block) = block {
        let bytes = block.bytes();
        new.reserve(block.len(), (bytes + bytes / 8).min(RESERVED_BYTES_MAX));
    }
    new
}

impl<C: Codec> BatchContainer for Flat<C> {
    type Owned = C;
    type ReadItem<'a> = C::Ref<'a>;

    #[inline]
    fn into_owned<'a>(item: C::Ref<'a>) -> C {
        C::from_ref(item)
    }

    #[inline]
    fn push_ref(&mut self, item: C::Ref<'_>) {
        self.push(item);
    }

    #[inline]
    fn push_own(&mut self, item: &C) {
        self.push(item.as_ref());
    }

    fn clear(&mut self) {
        *self = Self::with_capacity(0);
    }

    fn with_capacity(size: usize) -> Self {
        Self { blocks: Vec::with_capacity(size.div_ceil(BLOCK_ROWS)), len: 0, spare: Vec::new() }
    }

    fn merge_capacity(one: &Self, other: &Self) -> Self {
        Self::with_capacity(one.len + other.len)
    }

    #[inline]
    fn reborrow<'b, 'a: 'b>(item: C::Ref<'a>) -> C::Ref<'b> {
        C::reborrow(item)
    }

    #[inline]
    fn index(&self, index: usize) -> C::Ref<'_> {
        self.blocks[index / BLOCK_ROWS].get(index % BLOCK_ROWS)
    }

    #[inline]
    fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_any_block_whatever_memory_it_has() {
        let word = |n: usize| "x".repeat(n % 7) + &n.to_string();
        let mut column = Flat::<String>::with_capacity(0);
        for n in 0..3 * BLOCK_ROWS + 1 {
            if n == BLOCK_ROWS + 5 {
                let mut used = <String as Codec>::Builder::default();
                (0..BLOCK_ROWS).for_each(|_| used.push("used"));
                column.reuse(used);
            }
            column.push_own(&word(n));
        }
        column.end();
        assert_eq!(column.len(), 3 * BLOCK_ROWS + 1);
        for n in 0..column.len() {
            assert_eq!(column.index(n), word(n), "{n}");
        }
        assert_eq!(column.last(), Some(&*word(3 * BLOCK_ROWS)));
        column.clear();
        assert_eq!((column.len(), column.last()), (0, None));
    }
}
