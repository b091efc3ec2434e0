//! Any serde type: its bincode in a binary column.
//!
//! Always: rows are compared and consolidated by decoded value, never by bytes, which need not be one-to-one. A column
//! is decoded as a whole when it is opened, so that malformed bytes are an error there and a borrowed row is `&T`.
//!
//! Always: a value is stored only if what its implementation wrote reads back as a value that compares equal. The name
//! carries the shape of the type, so that the bytes of one shape are never read as another.
//!
//! Not here: a guard against types whose values take no bytes (`Vec<()>`) or recurse without end; their bytes are
//! believed once the checksum above is right.

mod samples;
mod shape;
mod trace;

use std::any::{TypeId, type_name};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, ArrayRef, BinaryArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_128;

use super::lengths::with_length;
use super::names::{DIGEST, SHAPE_BYTES_MAX, UNTRACED};
use super::{Builder, BytesBuilder, Codec, Column, DecodeError, EncodeError, bounded, downcast, no_nulls};

/// The stack on which a shape is found out: enough for the deepest value that is made (128 within one another), of types
/// of 64 KiB each. Memory is taken as it is used.
const TRACE_STACK_BYTES: usize = 32 << 20;

/// A value stored by its serde implementation, in bincode: for a type that neither derives [`Codec`] nor can be given one by
/// hand, and that will not change. What it cannot do, and a derived codec can:
///
/// * **It cannot evolve.** A type with a field more, or a variant, is another type, and the shard is refused: `CodecMismatch`.
/// * **It cannot project.** A program of an older type cannot read on without what it does not know.
/// * **It has no statistics** that a filter could use: bounds of its bytes are none of its values, and its fields have none. So every
///   part is fetched.
/// * **It is opaque.** Other tools see bytes, where a derived type has a column for each field.
/// * **It is slow.** Each value is decoded and allocated when its column is opened, rows are cloned rather than borrowed, and what
///   is written is read back (see below).
///
/// A field of a derived type may be a `Serde`: then all of this is true of that field alone.
///
/// The shard remembers the type's *shape* as serde reports it: which fields in which order, by which names and of which
/// kinds, and the variants of enums. It opens for a type of the same name and the same shape only: `CodecMismatch` says
/// which field differs, and no value is read as another.
///
/// bincode stores no names and no kinds, so a type must ask for its fields by itself, in the order in which it writes
/// them. What cannot be stored:
///
/// * `untagged`, `tag`, `content` and `flatten`, `serde_json::Value`, a decimal type's default, and everything else that
///   asks `deserialize_any`; and types that take none of the values that are tried on them (a validated text of a format
///   of your own, say). Opening a new shard for such a type is `Invalid`, before a row is written. Store another form of
///   it, its text or its numbers, or implement [`Codec`];
/// * a value with `skip_serializing_if` that is skipped, a variant behind a skipped one, and every other value that does
///   not read back equal, by the type's `Ord`: appending its row is `Invalid`, and nothing is written.
///
/// Each value is therefore read back when it is written, here and in compaction.
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

    /// The type's name without the paths of its modules, which move, and its shape.
    fn name() -> String {
        static KNOWN: Mutex<Option<HashMap<TypeId, String>>> = Mutex::new(None);
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known().as_ref().and_then(|known| known.get(&TypeId::of::<T>())) {
            return name.clone();
        }
        // Without the lock: this runs the type's own code.
        let name = format!("serde({}){{{}}}", without_paths(type_name::<T>()), shape_of::<T>());
        known().get_or_insert_default().insert(TypeId::of::<T>(), name.clone());
        name
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

    /// Its bincode behind its length, so two values that compare equal need equal bincode.
    fn digest_bytes(value: &T, bytes: &mut Vec<u8>) {
        // Where its own code fails, what it wrote stands for it: no such value is in a shard.
        with_length(bytes, |bytes| drop(options(usize::MAX).serialize_into(bytes, value)));
    }

    fn check(value: &T) -> Result<(), EncodeError> {
        let mut bytes = Vec::new();
        let written = options(usize::MAX).serialize_into(&mut bytes, value);
        written.map_err(|error| EncodeError(error.to_string()))?;
        let cause = match options(bytes.len()).deserialize::<T>(&bytes) {
            Ok(read) if read.cmp(value) == Ordering::Equal => return Ok(()),
            Ok(read) => format!("it reads back as {}", bounded(format_args!("{read:?}"))),
            Err(error) => bounded(format_args!("{error}")),
        };
        let value = bounded(format_args!("{value:?}"));
        Err(EncodeError(format!(
            "{value} of type {}: its serde implementation does not read back what it wrote ({cause}): what \
             skip_serializing_if, a skipped variant or untagged leaves out cannot be stored; take these attributes from \
             the type, or store another form of the value",
            without_paths(type_name::<T>())
        )))
    }
}

/// The shape of a type, its digest where it is long, or why it has none.
fn shape_of<T: DeserializeOwned + 'static>() -> String {
    // On a stack of its own: values lie deeper in one another here than those that are stored, and run out of a small one.
    let thread = std::thread::Builder::new().name("timely-persist-shape".to_owned()).stack_size(TRACE_STACK_BYTES);
    let traced = match thread.spawn(trace::trace::<T>) {
        Ok(thread) => thread.join(),
        Err(_) => catch_unwind(AssertUnwindSafe(trace::trace::<T>)), // no more threads: most types need no such stack
    };
    let traced = traced.unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<String>().map(String::as_str);
        let said = said.or(payload.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(format!("its Deserialize panicked: {}", bounded(format_args!("{said}"))))
    });
    match traced {
        Ok(shape) if shape.len() <= SHAPE_BYTES_MAX => shape,
        Ok(shape) => format!("{DIGEST}{:032x}", xxh3_128(shape.as_bytes())),
        Err(reason) => {
            let reason = reason.replace('{', "(").replace('}', ")"); // which would end the shape
            format!("{UNTRACED}cannot be found out: {reason}")
        }
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
