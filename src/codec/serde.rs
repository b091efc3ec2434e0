//! Any serde type: its bincode in a binary column.
//!
//! Always: rows are compared and consolidated by decoded value, never by bytes, which need not be one-to-one. A column
//! is decoded as a whole when it is opened, so that malformed bytes are an error there and a borrowed row is `&T`.
//!
//! Not here: a guard against types whose values take no bytes (`Vec<()>`) or recurse without end; their bytes are
//! believed once the checksum above is right.

use std::fmt;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Builder, BytesBuilder, Codec, Column, DecodeError, EncodeError, downcast, no_nulls};

/// A value stored by its serde implementation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serde<T>(pub T);

/// Little-endian, variable-length integers, nothing left over, and never more than the bytes that are there: a length
/// inside them cannot make the decoder read or allocate beyond.
fn options(bytes_max: usize) -> impl Options {
    bincode::options().with_limit(bytes_max as u64)
}

/// A decoded column.
#[derive(Debug)]
pub struct SerdeColumn<T>(Arc<[Option<T>]>);

impl<T> Clone for SerdeColumn<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Column<Serde<T>> for SerdeColumn<T>
where
    T: Serialize + DeserializeOwned + Ord + Clone + fmt::Debug + Send + Sync + 'static,
{
    fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<BinaryArray>(array, &DataType::Binary, present)?;
        no_nulls(array)?;
        let decode = |index: usize| {
            if present.is_some_and(|present| present.is_null(index)) {
                return Ok(None);
            }
            let bytes = array.value(index);
            options(bytes.len()).deserialize(bytes).map(Some).map_err(|error| DecodeError(error.to_string()))
        };
        Ok(Self((0..array.len()).map(decode).collect::<Result<_, _>>()?))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn get(&self, index: usize) -> &T {
        self.0[index].as_ref().expect("`Column::get` is only asked for positions that are present, all decoded")
    }
}

/// Collects values and encodes them at the end.
#[derive(Debug)]
pub struct SerdeBuilder<T>(Vec<Option<T>>);

impl<T> Default for SerdeBuilder<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Builder<Serde<T>> for SerdeBuilder<T>
where
    T: Serialize + DeserializeOwned + Ord + Clone + fmt::Debug + Send + Sync + 'static,
{
    fn push(&mut self, value: &T) {
        self.0.push(Some(value.clone()));
    }

    fn pad(&mut self) {
        self.0.push(None);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn get(&self, index: usize) -> &T {
        self.0[index].as_ref().expect("`Builder::get` is only asked for positions that were pushed")
    }

    fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
        let mut builder = BytesBuilder::default();
        let mut bytes = Vec::new();
        for value in self.0.drain(..) {
            bytes.clear();
            if let Some(value) = value {
                let written = options(usize::MAX).serialize_into(&mut bytes, &value);
                written.map_err(|error| EncodeError(error.to_string()))?;
            }
            Builder::<Vec<u8>>::push(&mut builder, &bytes);
        }
        Builder::<Vec<u8>>::finish(&mut builder)
    }
}

impl<T> Codec for Serde<T>
where
    T: Serialize + DeserializeOwned + Ord + Clone + fmt::Debug + Send + Sync + 'static,
{
    type Ref<'a> = &'a T;
    type Column = SerdeColumn<T>;
    type Builder = SerdeBuilder<T>;

    /// The type's name without the paths of its modules, which move.
    fn name() -> String {
        format!("serde({})", without_paths(std::any::type_name::<T>()))
    }

    fn data_type() -> DataType {
        DataType::Binary
    }

    #[inline]
    fn as_ref(&self) -> &T {
        &self.0
    }

    #[inline]
    fn from_ref(value: &T) -> Self {
        Self(value.clone())
    }

    #[inline]
    fn reborrow<'b, 'a: 'b>(value: &'a T) -> &'b T {
        value
    }

    fn size(value: &T) -> Result<usize, EncodeError> {
        let bytes = options(usize::MAX).serialized_size(value).map_err(|error| EncodeError(error.to_string()))?;
        Ok((bytes as usize).saturating_add(size_of::<i32>()))
    }
}

/// `a::b::C<d::E>` as `C<E>`.
fn without_paths(name: &str) -> String {
    let mut short = String::new();
    for word in name.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        short.push_str(word.rsplit("::").next().unwrap_or(word));
    }
    short
}
