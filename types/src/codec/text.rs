//! Strings and byte strings, with 32-bit offsets: the writer of parts keeps a column of a chunk well below 2 GiB.
//!
//! Always: `String` is `Utf8`, so other tools show it; `Vec<u8>` and `Bytes` are one codec and read each other.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray, StringArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use bytes::Bytes;

use super::{Builder, Codec, Column, DecodeError, EncodeError, Leaf, Shape, downcast, no_nulls};

/// A column of strings.
#[derive(Clone, Debug)]
pub struct TextColumn(StringArray);

impl Column<String> for TextColumn {
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<StringArray>(array, &DataType::Utf8, present)?;
        no_nulls(array)?;
        Ok(Self(array.clone()))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn get(&self, index: usize) -> &str {
        self.0.value(index)
    }
}

/// A column of byte strings.
#[derive(Clone, Debug)]
pub struct BytesColumn(BinaryArray);

impl<C> Column<C> for BytesColumn
where
    C: for<'a> Codec<Ref<'a> = &'a [u8]>,
{
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<BinaryArray>(array, &DataType::Binary, present)?;
        no_nulls(array)?;
        Ok(Self(array.clone()))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn get(&self, index: usize) -> &[u8] {
        self.0.value(index)
    }
}

/// Collects strings, one after the other in one buffer.
#[derive(Debug, Default)]
pub struct TextBuilder {
    text: String,
    /// Where each value ends in `text`.
    ends: Ends,
}

impl Builder<String> for TextBuilder {
    #[inline]
    fn push(&mut self, value: &str) {
        self.text.push_str(value);
        self.ends.push(self.text.len());
    }

    fn pad(&mut self) {
        self.ends.push(self.text.len());
    }

    fn reserve(&mut self, rows: usize, bytes: usize) {
        self.text.reserve(bytes);
        self.ends.reserve(rows);
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * size_of::<u32>()
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    fn get(&self, index: usize) -> &str {
        &self.text[self.ends.range(index)]
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        let offsets = self.ends.offsets()?;
        self.ends.clear();
        let array = StringArray::try_new(offsets, Buffer::from_vec(std::mem::take(&mut self.text).into_bytes()), None);
        Ok(Arc::new(array.map_err(|error| EncodeError(error.to_string()))?))
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }
}

/// Collects byte strings, one after the other in one buffer.
#[derive(Debug, Default)]
pub struct BytesBuilder {
    bytes: Vec<u8>,
    /// Where each value ends in `bytes`.
    ends: Ends,
}

impl<C> Builder<C> for BytesBuilder
where
    C: for<'a> Codec<Ref<'a> = &'a [u8]>,
{
    #[inline]
    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }

    fn pad(&mut self) {
        self.ends.push(self.bytes.len());
    }

    fn reserve(&mut self, rows: usize, bytes: usize) {
        self.bytes.reserve(bytes);
        self.ends.reserve(rows);
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<u32>()
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.ends.range(index)]
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        let offsets = self.ends.offsets()?;
        self.ends.clear();
        let array = BinaryArray::try_new(offsets, Buffer::from_vec(std::mem::take(&mut self.bytes)), None);
        Ok(Arc::new(array.map_err(|error| EncodeError(error.to_string()))?))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Where values end that lie one behind the other, in four bytes each as long as that is enough.
#[derive(Debug, Default)]
pub(super) struct Ends {
    small: Vec<u32>,
    /// Of those behind `small`.
    large: Vec<usize>,
}

impl Ends {
    #[inline]
    pub(super) fn push(&mut self, end: usize) {
        match u32::try_from(end) {
            Ok(end) => self.small.push(end), // they only grow, so none is in `large`
            Err(_) => self.large.push(end),
        }
    }

    #[inline]
    fn get(&self, index: usize) -> usize {
        match self.small.get(index) {
            Some(end) => *end as usize,
            None => self.large[index - self.small.len()],
        }
    }

    /// Where a value lies.
    #[inline]
    pub(super) fn range(&self, index: usize) -> Range<usize> {
        (if index == 0 { 0 } else { self.get(index - 1) })..self.get(index)
    }

    pub(super) fn len(&self) -> usize {
        self.small.len() + self.large.len()
    }

    pub(super) fn reserve(&mut self, values: usize) {
        self.small.reserve(values);
    }

    pub(super) fn clear(&mut self) {
        self.small.clear();
        self.large.clear();
    }

    /// As Arrow has them.
    pub(super) fn offsets(&self) -> Result<OffsetBuffer<i32>, EncodeError> {
        let total = self.len().checked_sub(1).map_or(0, |last| self.get(last));
        if i32::try_from(total).is_err() {
            return Err(EncodeError(format!(
                "{total} bytes or values in one column, more than 32-bit offsets can address"
            )));
        }
        let offsets: Vec<i32> = std::iter::once(0).chain(self.small.iter().map(|end| *end as i32)).collect();
        Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
    }
}

/// The first eight bytes, big-endian; a shorter value is filled up with zeros, which sort first.
#[inline]
fn prefix(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            first[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(first)
        }
    }
}

macro_rules! text {
    ($($type:ident $target:ty, $name:literal $leaf:ident $data_type:ident $column:ident $builder:ident $owned:expr;)*) => {$(
        impl Codec for $type {
            type Ref<'a> = &'a $target;
            type Column = $column;
            type Builder = $builder;

            fn name() -> String {
                $name.to_owned()
            }

            fn shape() -> Shape {
                Shape::Leaf(Leaf::$leaf)
            }

            fn data_type() -> DataType {
                DataType::$data_type
            }

            #[inline]
            fn as_ref(&self) -> &$target {
                self
            }

            #[inline]
            fn from_ref(value: &$target) -> $type {
                $owned(value)
            }

            #[inline]
            fn reborrow<'b, 'a: 'b>(value: &'a $target) -> &'b $target {
                value
            }

            #[inline]
            fn size(value: &$target) -> Result<usize, EncodeError> {
                Ok(value.len() + size_of::<i32>())
            }

            #[inline]
            fn prefix(value: &$target) -> u64 {
                prefix(value.as_ref())
            }

            #[inline]
            fn digest_bytes(value: &$target, bytes: &mut Vec<u8>) {
                let value: &[u8] = value.as_ref();
                bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
                bytes.extend_from_slice(value);
            }
        }
    )*};
}

/// `Vec<u8>` by a name that the macro can take.
type ByteVec = Vec<u8>;

text! {
    String str, "string" Text Utf8 TextColumn TextBuilder str::to_owned;
    ByteVec [u8], "bytes" Bytes Binary BytesColumn BytesBuilder <[u8]>::to_vec;
    Bytes [u8], "bytes" Bytes Binary BytesColumn BytesBuilder Bytes::copy_from_slice;
}
