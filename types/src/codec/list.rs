//! Lists: `Vec<C>` as Arrow's list of the values of `C`.
//!
//! Always: lists are in the order of `Vec`, value by value, the shorter one first; a borrowed list is a range of a column, and
//! nothing of it is copied. `Vec<u8>` is no list: its bytes are one value ([`BytesColumn`](super::BytesColumn)).
//!
//! Rust takes no implementation for `Vec<C>` of every codec `C` beside that for `Vec<u8>`. A type of our own instead of `Vec` would be
//! in every struct of every program that stores a list. So it is for every [`Element`], which `u8` is not.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use uuid::Uuid;

use super::text::Ends;
use super::{Builder, Codec, Column, DecodeError, EncodeError, Serde, Shape, downcast, field, no_nulls};

/// The name of the child, as Arrow's own tools have it.
const ITEM: &str = "item";

/// A codec whose values may be in a `Vec`: all of this library but `u8`, whose `Vec` is bytes, `()`, and `Box`, which a `Vec` has
/// no use for. For a codec of your own: `impl Element for Mine {}`.
///
/// The implementor guarantees, where `Ref` is [`Hash`], that borrowed values in a slice hash as owned ones in a slice do
/// ([`Hash::hash_slice`]). Nothing is to be done for that where `Hash` is derived.
#[diagnostic::on_unimplemented(
    message = "a `Vec` of `{Self}` cannot be stored",
    note = "for a codec of your own, write `impl Element for {Self} {{}}`; bytes are `Vec<u8>` already"
)]
pub trait Element: Codec {}

macro_rules! elements {
    ($($type:ty)*) => {$(
        impl Element for $type {}
    )*};
}

elements! { bool u16 u32 u64 u128 i8 i16 i32 i64 i128 Uuid String Arc<str> Vec<u8> Bytes }

impl<T> Element for Serde<T> where Self: Codec {}
impl<C: Codec> Element for Option<C> {}
impl<C: Element> Element for Vec<C> {}

macro_rules! element_tuples {
    ($($name:ident)+) => {
        impl<$($name: Codec),+> Element for ($($name,)+) {}
    };
}

element_tuples!(A);
element_tuples!(A B);
element_tuples!(A B C);
element_tuples!(A B C D);
element_tuples!(A B C D E);
element_tuples!(A B C D E F);
element_tuples!(A B C D E F G);
element_tuples!(A B C D E F G H);
element_tuples!(A B C D E F G H I);
element_tuples!(A B C D E F G H I J);
element_tuples!(A B C D E F G H I J K);
element_tuples!(A B C D E F G H I J K L);

/// A borrowed list.
pub struct ListRef<'a, C: Codec> {
    values: Values<'a, C>,
    /// Where the list begins in them.
    start: usize,
    len: usize,
}

/// Where the values of a borrowed list are.
enum Values<'a, C: Codec> {
    Owned(&'a [C]),
    Column(&'a C::Column),
    Builder(&'a C::Builder),
}

impl<C: Codec> Clone for Values<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: Codec> Copy for Values<'_, C> {}

impl<C: Codec> Clone for ListRef<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: Codec> Copy for ListRef<'_, C> {}

impl<'a, C: Codec> ListRef<'a, C> {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at `index`, if the list is so long.
    #[inline]
    pub fn get(&self, index: usize) -> Option<C::Ref<'a>> {
        (index < self.len).then(|| self.at(index))
    }

    /// The values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = C::Ref<'a>> + use<'a, C> {
        let list = *self;
        (0..self.len).map(move |index| list.at(index))
    }

    /// The value at an index below the length.
    #[inline]
    fn at(&self, index: usize) -> C::Ref<'a> {
        let index = self.start + index;
        match self.values {
            Values::Owned(values) => values[index].as_ref(),
            Values::Column(values) => values.get(index),
            Values::Builder(values) => values.get(index),
        }
    }
}

impl<C: Codec> fmt::Debug for ListRef<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<C: Codec> PartialEq for ListRef<'_, C> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<C: Codec> Eq for ListRef<'_, C> {}

impl<C: Codec> PartialOrd for ListRef<'_, C> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<C: Codec> Ord for ListRef<'_, C> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

/// As a `Vec` of the same values. It allocates: a `Vec` of numbers gives the hasher all of them at once.
impl<'a, C: Codec> Hash for ListRef<'a, C>
where
    C::Ref<'a>: Hash,
{
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.iter().collect::<Vec<_>>().hash(state);
    }
}

/// A column of lists.
#[derive(Clone, Debug)]
pub struct ListColumn<C: Codec> {
    /// Where each list begins in the values, and where the last one ends: within them.
    offsets: OffsetBuffer<i32>,
    values: C::Column,
}

impl<C: Element> Column<Vec<C>> for ListColumn<C> {
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<ListArray>(array, &Vec::<C>::data_type(), present)?;
        no_nulls(array)?;
        let values = C::Column::try_new(array.values(), None)?;
        let end = array.offsets().inner().last().map_or(0, |end| *end as usize); // never negative
        if end > values.len() {
            return Err(DecodeError(format!("lists of {end} values in a column of {}", values.len())));
        }
        Ok(Self { offsets: array.offsets().clone(), values })
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[inline]
    fn get(&self, index: usize) -> ListRef<'_, C> {
        let [start, end] = [index, index + 1].map(|index| self.offsets[index] as usize);
        ListRef { values: Values::Column(&self.values), start, len: end - start }
    }
}

/// Collects lists, the values of all in one builder.
#[derive(Debug)]
pub struct ListBuilder<C: Codec> {
    values: C::Builder,
    /// Where each list ends in the values.
    ends: Ends,
}

impl<C: Codec> Default for ListBuilder<C> {
    fn default() -> Self {
        Self { values: C::Builder::default(), ends: Ends::default() }
    }
}

impl<C: Element> Builder<Vec<C>> for ListBuilder<C> {
    fn push(&mut self, list: ListRef<'_, C>) {
        list.iter().for_each(|value| self.values.push(value));
        self.ends.push(self.values.len());
    }

    fn pad(&mut self) {
        self.ends.push(self.values.len());
    }

    fn reserve(&mut self, rows: usize, bytes: usize) {
        self.ends.reserve(rows);
        self.values.reserve(bytes / size_of::<C>().max(1), bytes);
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.ends.len() * size_of::<i32>()
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    fn get(&self, index: usize) -> ListRef<'_, C> {
        let range = self.ends.range(index);
        ListRef { values: Values::Builder(&self.values), start: range.start, len: range.len() }
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        let offsets = self.ends.offsets()?;
        self.ends.clear();
        let array = ListArray::try_new(item::<C>(), offsets, self.values.finish()?, None);
        Ok(Arc::new(array.map_err(|error| EncodeError(error.to_string()))?))
    }

    fn clear(&mut self) {
        self.values.clear();
        self.ends.clear();
    }
}

fn item<C: Codec>() -> Arc<Field> {
    Arc::new(field::<C>(ITEM))
}

impl<C: Element> Codec for Vec<C> {
    type Ref<'a> = ListRef<'a, C>;
    type Column = ListColumn<C>;
    type Builder = ListBuilder<C>;

    fn name() -> String {
        format!("list({})", C::name())
    }

    fn shape() -> Shape {
        Shape::List(Box::new(C::shape()))
    }

    fn data_type() -> DataType {
        DataType::List(item::<C>())
    }

    #[inline]
    fn as_ref(&self) -> ListRef<'_, C> {
        ListRef { values: Values::Owned(self), start: 0, len: self.len() }
    }

    fn from_ref(list: ListRef<'_, C>) -> Self {
        list.iter().map(C::from_ref).collect()
    }

    #[inline]
    fn reborrow<'b, 'a: 'b>(list: ListRef<'a, C>) -> ListRef<'b, C> {
        list
    }

    /// Of a value that takes no memory at least one byte: 32-bit offsets count it all the same.
    fn size(list: ListRef<'_, C>) -> Result<usize, EncodeError> {
        list.iter().try_fold(size_of::<i32>(), |sum, value| Ok(sum.saturating_add(C::size(value)?.max(1))))
    }

    fn check(list: ListRef<'_, C>) -> Result<(), EncodeError> {
        list.iter().try_for_each(C::check)
    }

    /// That of the first value; the empty list is before all others, so the least will do for it.
    #[inline]
    fn prefix(list: ListRef<'_, C>) -> u64 {
        list.get(0).map_or(0, C::prefix)
    }

    fn digest_bytes(list: ListRef<'_, C>, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&(list.len() as u64).to_le_bytes());
        list.iter().for_each(|value| C::digest_bytes(value, bytes));
    }
}
