//! What the code of `#[derive(Codec)]` calls, and all that it names of Arrow: a program has only this library in its manifest.
//!
//! Always: an array that is not of the type, or holds what no value of it is, is refused with an error, never a panic.
//! No program names anything here.

use std::sync::Arc;

pub use arrow_array::{Array, ArrayRef};
use arrow_array::{StructArray, UInt8Array};
pub use arrow_buffer::NullBuffer;
use arrow_buffer::{BooleanBuffer, ScalarBuffer};
pub use arrow_schema::{DataType, Field};

pub use super::misfit::{DecodeError, EncodeError};
pub use super::shape::{Constant, EnumShape, FieldShape, RetiredField, Shape, StructShape, VariantShape};
use super::shape::{TAG, with_id};
use super::{Codec, Column, downcast, no_nulls};

/// The Arrow field of a field.
pub fn field<C: Codec>(id: u32, name: &str) -> Field {
    with_id(super::field::<C>(name), id)
}

/// The Arrow field of a variant with fields.
pub fn variant_field(id: u32, name: &str, fields: Vec<Field>) -> Field {
    with_id(Field::new(name, struct_type(fields), true), id)
}

/// The Arrow type of a struct.
pub fn struct_type(fields: Vec<Field>) -> DataType {
    DataType::Struct(fields.into())
}

/// The Arrow type of an enum with data: the variants are those that have fields.
pub fn enum_type(variants: Vec<Field>) -> DataType {
    let tag = Field::new(TAG, DataType::UInt8, false);
    DataType::Struct(std::iter::once(tag).chain(variants).collect())
}

/// The name of a struct: with the ids of its fields and what they hold, because two of one name must read each other's columns.
pub fn struct_name(name: &str, fields: Vec<(u32, String)>) -> String {
    format!("{name}{}", braced(fields))
}

/// The name of an enum: with the ids of its variants, and the fields of each that has some.
pub fn enum_name(name: &str, variants: Vec<(u32, Vec<(u32, String)>)>) -> String {
    let variants = variants.into_iter().map(|(id, fields)| match fields.is_empty() {
        true => id.to_string(),
        false => format!("{id}{}", braced(fields)),
    });
    format!("{name}{{{}}}", variants.collect::<Vec<_>>().join("|"))
}

fn braced(fields: Vec<(u32, String)>) -> String {
    let fields = fields.into_iter().map(|(id, name)| format!("{id}:{name}"));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// What a default is in a shape.
pub fn constant<C: Codec>(value: &C) -> Constant {
    Constant::of(value)
}

/// The first bits of a value of an enum: those of its first field come behind.
#[inline]
pub fn tag_prefix(tag: u8) -> u64 {
    u64::from(tag) << (u64::BITS - u8::BITS)
}

/// The bytes of a variant in the digest of a row.
#[inline]
pub fn id_digest(id: u32, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&id.to_le_bytes());
}

/// An array of structs, of which some rows are placeholders.
#[derive(Debug)]
pub struct Structs<'a> {
    array: &'a StructArray,
    present: Option<NullBuffer>,
}

impl<'a> Structs<'a> {
    /// The array as one of the type.
    pub fn of<C: Codec>(array: &'a dyn Array, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<StructArray>(array, &C::data_type(), present)?;
        no_nulls(array)?;
        Ok(Self { array, present: present.cloned() })
    }

    /// The number of rows.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> usize {
        self.array.len()
    }

    /// The column of a field.
    pub fn column<C: Codec>(&self, index: usize) -> Result<C::Column, DecodeError> {
        let (name, child) = self.child(index)?;
        let column = C::Column::try_new(child, self.present.as_ref());
        let column = column.map_err(|DecodeError(why)| DecodeError(format!("in `{name}`: {why}")))?;
        self.same_length(name, column.len())?;
        Ok(column)
    }

    /// The tags of an enum with so many variants, which are in the first column.
    pub fn tags(&self, variants: usize) -> Result<Tags, DecodeError> {
        let (name, child) = self.child(0)?;
        let tags = Tags::try_new(child, variants, self.present.as_ref())?;
        self.same_length(name, tags.len())?;
        Ok(tags)
    }

    /// The structs of a variant: there in the rows that have its tag, and in no others.
    pub fn variant(&self, index: usize, tags: &Tags, tag: u8) -> Result<Structs<'_>, DecodeError> {
        let (name, child) = self.child(index)?;
        let array = downcast::<StructArray>(child, child.data_type(), None)?;
        self.same_length(name, array.len())?;
        let present = self.present.as_ref();
        let own = NullBuffer::new(BooleanBuffer::collect_bool(tags.len(), |index| tags.get(index) == tag));
        let own = NullBuffer::union(Some(&own), present).unwrap_or(own);
        let there = NullBuffer::union(array.nulls(), present).unwrap_or_else(|| NullBuffer::new_valid(array.len()));
        if own.inner() != there.inner() {
            return Err(DecodeError(format!("`{name}` is not in the rows that have its tag, or in others")));
        }
        Ok(Structs { array, present: Some(own) })
    }

    fn child(&self, index: usize) -> Result<(&str, &'a ArrayRef), DecodeError> {
        let child = self.array.fields().get(index).zip(self.array.columns().get(index));
        let child = child.map(|(field, child)| (field.name().as_str(), child));
        child.ok_or_else(|| {
            DecodeError(format!("{} columns, and not one with the number {index}", self.array.num_columns()))
        })
    }

    fn same_length(&self, name: &str, len: usize) -> Result<(), DecodeError> {
        match len == self.array.len() {
            true => Ok(()),
            false => Err(DecodeError(format!("{len} values in `{name}` of {} rows", self.array.len()))),
        }
    }
}

/// The array of a struct, of the columns of its fields.
pub fn finish_struct<C: Codec>(columns: Vec<ArrayRef>) -> Result<ArrayRef, EncodeError> {
    finish(C::data_type(), columns, None)
}

/// The array of an enum with data, of the columns of the fields of each variant that has some, behind its tag.
pub fn finish_enum<C: Codec>(mut tags: Vec<u8>, variants: Vec<(u8, Vec<ArrayRef>)>) -> Result<ArrayRef, EncodeError> {
    let data_type = C::data_type();
    let DataType::Struct(fields) = &data_type else {
        return Err(EncodeError(format!("an enum with data is {data_type}")));
    };
    let mut columns = Vec::with_capacity(1 + variants.len());
    for (field, (tag, children)) in fields.iter().skip(1).zip(variants) {
        let own = NullBuffer::new(BooleanBuffer::collect_bool(tags.len(), |index| tags[index] == tag));
        let nulls = (own.null_count() > 0).then_some(own);
        columns.push(finish(field.data_type().clone(), children, nulls)?);
    }
    columns.insert(0, finish_tags(&mut tags));
    finish(data_type, columns, None)
}

/// The array of tags, which are taken.
pub fn finish_tags(tags: &mut Vec<u8>) -> ArrayRef {
    Arc::new(UInt8Array::new(ScalarBuffer::from(std::mem::take(tags)), None))
}

fn finish(data_type: DataType, columns: Vec<ArrayRef>, nulls: Option<NullBuffer>) -> Result<ArrayRef, EncodeError> {
    let DataType::Struct(fields) = data_type else {
        return Err(EncodeError(format!("a struct is {data_type}")));
    };
    let array = StructArray::try_new(fields, columns, nulls);
    Ok(Arc::new(array.map_err(|error| EncodeError(error.to_string()))?))
}

/// The tags of an enum's values: the places of their variants.
#[derive(Clone, Debug)]
pub struct Tags(ScalarBuffer<u8>);

impl Tags {
    /// The array as tags of so many variants.
    pub fn try_new(array: &dyn Array, variants: usize, present: Option<&NullBuffer>) -> Result<Self, DecodeError> {
        let array = downcast::<UInt8Array>(array, &DataType::UInt8, present)?;
        no_nulls(array)?;
        let tags = array.values();
        let is_wrong = |(index, tag): &(usize, &u8)| {
            usize::from(**tag) >= variants && present.is_none_or(|present| present.is_valid(*index))
        };
        match tags.iter().enumerate().find(is_wrong) {
            None => Ok(Self(tags.clone())),
            Some((_, tag)) => Err(DecodeError(format!("the tag {tag} of {variants} variants, which count from 0"))),
        }
    }

    /// The number of values.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The tag at `index`, which the caller keeps below [`Tags::len`].
    #[inline]
    pub fn get(&self, index: usize) -> u8 {
        self.0[index]
    }
}
