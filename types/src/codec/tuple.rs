//! Tuples of one to twelve components: a struct column with children `0`, `1`, and so on.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Fields};

use super::{Builder, Codec, Column, DecodeError, EncodeError, Shape, downcast, field};

/// A column of tuples: `C` is the tuple of the components' columns.
#[derive(Clone, Debug)]
pub struct TupleColumn<C> {
    /// The number of values.
    len: usize,
    columns: C,
}

/// Collects tuples: `B` is the tuple of the components' builders.
#[derive(Debug, Default)]
pub struct TupleBuilder<B> {
    len: usize,
    builders: B,
}

/// The first component of the reference gives the prefix.
macro_rules! tuple {
    ($arity:literal: $first:ident $($name:ident $value:ident $index:tt)+) => {
        impl<$($name: Codec),+> Column<($($name,)+)> for TupleColumn<($($name::Column,)+)> {
            fn try_new(array: &dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
                let array = downcast::<StructArray>(array, &<($($name,)+)>::data_type(), present)?;
                super::no_nulls(array)?;
                if array.num_columns() != $arity {
                    return Err(DecodeError(format!("{} components instead of {}", array.num_columns(), $arity)));
                }
                let columns = ($($name::Column::try_new(array.column($index), present)?,)+);
                if $(columns.$index.len() != array.len())||+ {
                    return Err(DecodeError("components of different lengths".to_owned()));
                }
                Ok(Self { len: array.len(), columns })
            }

            fn len(&self) -> usize {
                self.len
            }

            #[inline]
            fn get(&self, index: usize) -> ($($name::Ref<'_>,)+) {
                ($(self.columns.$index.get(index),)+)
            }
        }

        impl<$($name: Codec),+> Builder<($($name,)+)> for TupleBuilder<($($name::Builder,)+)> {
            #[inline]
            fn push(&mut self, ($($value,)+): ($($name::Ref<'_>,)+)) {
                self.len += 1;
                $(self.builders.$index.push($value);)+
            }

            fn pad(&mut self) {
                self.len += 1;
                $(self.builders.$index.pad();)+
            }

            fn reserve(&mut self, rows: usize, bytes: usize) {
                $(self.builders.$index.reserve(rows, bytes);)+
            }

            fn bytes(&self) -> usize {
                0 $(+ self.builders.$index.bytes())+
            }

            fn len(&self) -> usize {
                self.len
            }

            #[inline]
            fn get(&self, index: usize) -> ($($name::Ref<'_>,)+) {
                ($(self.builders.$index.get(index),)+)
            }

            fn finish(&mut self) -> Result<ArrayRef, EncodeError> {
                self.len = 0;
                let DataType::Struct(fields) = <($($name,)+)>::data_type() else {
                    return Err(EncodeError("a tuple is a struct".to_owned()));
                };
                let array = StructArray::try_new(fields, vec![$(self.builders.$index.finish()?),+], None);
                Ok(Arc::new(array.map_err(|error| EncodeError(error.to_string()))?))
            }

            fn clear(&mut self) {
                self.len = 0;
                $(self.builders.$index.clear();)+
            }
        }

        impl<$($name: Codec),+> Codec for ($($name,)+) {
            type Ref<'a> = ($($name::Ref<'a>,)+);
            type Column = TupleColumn<($($name::Column,)+)>;
            type Builder = TupleBuilder<($($name::Builder,)+)>;

            fn name() -> String {
                format!("({})", [$($name::name()),+].join(","))
            }

            fn shape() -> Shape {
                Shape::Tuple(vec![$($name::shape()),+])
            }

            fn data_type() -> DataType {
                DataType::Struct(Fields::from(vec![$(field::<$name>(stringify!($index))),+]))
            }

            #[inline]
            fn as_ref(&self) -> Self::Ref<'_> {
                ($(self.$index.as_ref(),)+)
            }

            #[inline]
            fn from_ref(($($value,)+): Self::Ref<'_>) -> Self {
                ($($name::from_ref($value),)+)
            }

            #[inline]
            fn reborrow<'b, 'a: 'b>(($($value,)+): Self::Ref<'a>) -> Self::Ref<'b> {
                ($($name::reborrow($value),)+)
            }

            #[inline]
            fn size(($($value,)+): Self::Ref<'_>) -> Result<usize, EncodeError> {
                Ok(0 $(+ $name::size($value)?)+)
            }

            #[inline]
            fn check(($($value,)+): Self::Ref<'_>) -> Result<(), EncodeError> {
                $($name::check($value)?;)+
                Ok(())
            }

            #[inline]
            fn prefix(value: Self::Ref<'_>) -> u64 {
                $first::prefix(value.0)
            }

            #[inline]
            fn digest_bytes(($($value,)+): Self::Ref<'_>, bytes: &mut Vec<u8>) {
                $($name::digest_bytes($value, bytes);)+
            }
        }
    };
}

tuple!(1: A A a 0);
tuple!(2: A A a 0 B b 1);
tuple!(3: A A a 0 B b 1 C c 2);
tuple!(4: A A a 0 B b 1 C c 2 D d 3);
tuple!(5: A A a 0 B b 1 C c 2 D d 3 E e 4);
tuple!(6: A A a 0 B b 1 C c 2 D d 3 E e 4 F f 5);
tuple!(7: A A a 0 B b 1 C c 2 D d 3 E e 4 F f 5 G g 6);
tuple!(8: A A a 0 B b 1 C c 2 D d 3 E e 4 F f 5 G g 6 H h 7);
tuple!(9: A A a 0 B b 1 C c 2 D d 3 E e 4 F f 5 G g 6 H h 7 I i 8);
tuple!(10: A A a 0 B b 1 C c 2 D d 3 E e 4 F f 5 G g 6 H h 7 I i 8 J j 9);
tuple!(11: A A a 0 B b 1 C c 2 D d 3 E e 4 F f 5 G g 6 H h 7 I i 8 J j 9 K k 10);
tuple!(12: A A a 0 B b 1 C c 2 D d 3 E e 4 F f 5 G g 6 H h 7 I i 8 J j 9 K k 10 L l 11);
