//! Values behind a pointer: `Box<C>` is stored as `C`, and `Arc<str>` as `String`.
//!
//! Always: the pointer and what it points to are one codec and read each other. Not here: an `Arc` of anything else, which
//! would not be shared when it is read back.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

use super::{Builder, Codec, Column, DecodeError, EncodeError, Shape};

/// A column of values behind pointers.
#[derive(Clone, Debug)]
pub struct PointerColumn<C: Codec>(C::Column);

/// Collects values behind pointers.
#[derive(Debug)]
pub struct PointerBuilder<C: Codec>(C::Builder);

impl<C: Codec> Default for PointerBuilder<C> {
    fn default() -> Self {
        Self(C::Builder::default())
    }
}

/// The pointer, what it is stored as, and how the one becomes a borrowed one of the other, and back.
macro_rules! pointer {
    ($pointer:ty, $pointee:ty, $borrow:path, $new:expr $(, $generic:ident: $bound:ident)?) => {
        impl$(<$generic: $bound>)? Column<$pointer> for PointerColumn<$pointee> {
            fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
                <$pointee as Codec>::Column::try_new(array, present).map(Self)
            }

            fn len(&self) -> usize {
                self.0.len()
            }

            #[inline]
            fn get(&self, index: usize) -> <$pointee as Codec>::Ref<'_> {
                self.0.get(index)
            }
        }

        impl$(<$generic: $bound>)? Builder<$pointer> for PointerBuilder<$pointee> {
            #[inline]
            fn push(&mut self, value: <$pointee as Codec>::Ref<'_>) {
                self.0.push(value);
            }

            fn pad(&mut self) {
                self.0.pad();
            }

            fn reserve(&mut self, rows: usize, bytes: usize) {
                self.0.reserve(rows, bytes);
            }

            fn bytes(&self) -> usize {
                self.0.bytes()
            }

            fn len(&self) -> usize {
                self.0.len()
            }

            #[inline]
            fn get(&self, index: usize) -> <$pointee as Codec>::Ref<'_> {
                self.0.get(index)
            }

            fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
                self.0.finish()
            }

            fn clear(&mut self) {
                self.0.clear();
            }
        }

        impl$(<$generic: $bound>)? Codec for $pointer {
            type Ref<'a> = <$pointee as Codec>::Ref<'a>;
            type Column = PointerColumn<$pointee>;
            type Builder = PointerBuilder<$pointee>;

            const NULLABLE: bool = <$pointee as Codec>::NULLABLE;

            fn name() -> String {
                <$pointee as Codec>::name()
            }

            fn shape() -> Shape {
                <$pointee as Codec>::shape()
            }

            fn data_type() -> DataType {
                <$pointee as Codec>::data_type()
            }

            #[inline]
            fn as_ref(&self) -> <$pointee as Codec>::Ref<'_> {
                $borrow(self)
            }

            #[inline]
            fn from_ref(value: <$pointee as Codec>::Ref<'_>) -> Self {
                ($new)(value)
            }

            #[inline]
            fn reborrow<'b, 'a: 'b>(value: <$pointee as Codec>::Ref<'a>) -> <$pointee as Codec>::Ref<'b> {
                <$pointee as Codec>::reborrow(value)
            }

            #[inline]
            fn size(value: <$pointee as Codec>::Ref<'_>) -> Result<usize, EncodeError> {
                <$pointee as Codec>::size(value)
            }

            #[inline]
            fn check(value: <$pointee as Codec>::Ref<'_>) -> Result<(), EncodeError> {
                <$pointee as Codec>::check(value)
            }

            #[inline]
            fn prefix(value: <$pointee as Codec>::Ref<'_>) -> u64 {
                <$pointee as Codec>::prefix(value)
            }

            #[inline]
            fn digest_bytes(value: <$pointee as Codec>::Ref<'_>, bytes: &mut Vec<u8>) {
                <$pointee as Codec>::digest_bytes(value, bytes);
            }
        }
    };
}

pointer!(Box<C>, C, C::as_ref, |value| Self::new(C::from_ref(value)), C: Codec);
pointer!(Arc<str>, String, AsRef::<str>::as_ref, Self::from);
