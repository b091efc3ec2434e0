//! Strings and byte strings, with 32-bit offsets: the writer of parts keeps a column of a chunk well below 2 GiB.
//!
//! Always: `String` is `Utf8`, so other tools show it; `Vec<u8>` and `Bytes` are one codec and read each other.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray, StringArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use bytes::Bytes;

use super::{Builder, Codec, Column, DecodeError, EncodeError, downcast, no_nulls};

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
    ends: Vec<usize>,
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

    fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    fn get(&self, index: usize) -> &str {
        &self.text[start(&self.ends, index)..self.ends[index]]
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        let offsets = offsets(&self.ends)?;
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
    ends: Vec<usize>,
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

    fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    fn get(&self, index: usize) -> &[u8] {
        &self.bytes[start(&self.ends, index)..self.ends[index]]
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        let offsets = offsets(&self.ends)?;
        self.ends.clear();
        let array = BinaryArray::try_new(offsets, Buffer::from_vec(std::mem::take(&mut self.bytes)), None);
        Ok(Arc::new(array.map_err(|error| EncodeError(error.to_string()))?))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[inline]
fn start(ends: &[usize], index: usize) -> usize {
    if index == 0 { 0 } else { ends[index - 1] }
}

fn offsets(ends: &[usize]) -> Result<OffsetBuffer<i32>, EncodeError> {
    let total = ends.last().copied().unwrap_or(0);
    if i32::try_from(total).is_err() {
        return Err(EncodeError(format!("{total} bytes in one column, more than 32-bit offsets can address")));
    }
    let offsets: Vec<i32> = std::iter::once(0).chain(ends.iter().map(|end| *end as i32)).collect();
    Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
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
    ($($type:ident $target:ty, $name:literal $data_type:ident $column:ident $builder:ident $owned:expr;)*) => {$(
        impl Codec for $type {
            type Ref<'a> = &'a $target;
            type Column = $column;
            type Builder = $builder;

            fn name() -> String {
                $name.to_owned()
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
    String str, "string" Utf8 TextColumn TextBuilder str::to_owned;
    ByteVec [u8], "bytes" Binary BytesColumn BytesBuilder <[u8]>::to_vec;
    Bytes [u8], "bytes" Binary BytesColumn BytesBuilder Bytes::copy_from_slice;
}
