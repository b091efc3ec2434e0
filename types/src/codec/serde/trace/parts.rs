//! The parts of a value that is made up: fields, elements, entries, variants, each of which is a question of its own.

use serde::de::value::U32Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::super::shape::{Format, Style};
use super::{Asked, Refusal, Tracer, within};

/// The fields of a struct or a variant, one after the other.
pub(super) struct Fields<'a> {
    pub(super) tracer: &'a mut Tracer,
    pub(super) variant: (usize, usize),
    pub(super) given: usize,
    pub(super) len: usize,
}

impl<'de> SeqAccess<'de> for Fields<'_> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        if self.given == self.len {
            return Ok(None);
        }
        self.given += 1;
        let read = |asked: Asked<'_>| seed.deserialize(asked);
        self.tracer.field(self.variant, self.given - 1, read).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.len - self.given)
    }
}

/// The elements of a tuple.
pub(super) struct Tuple<'a> {
    pub(super) tracer: &'a mut Tracer,
    pub(super) formats: std::slice::IterMut<'a, Format>,
    pub(super) place: u64,
    pub(super) given: usize,
}

impl<'de> SeqAccess<'de> for Tuple<'_> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        let Some(format) = self.formats.next() else { return Ok(None) };
        let place = within(self.place, self.given);
        self.given += 1;
        seed.deserialize(Asked { tracer: self.tracer, format, place }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.formats.len())
    }
}

/// The elements of a sequence.
pub(super) struct Elements<'a> {
    pub(super) tracer: &'a mut Tracer,
    pub(super) format: &'a mut Format,
    pub(super) place: u64,
    pub(super) left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let place = within(self.place, 0);
        seed.deserialize(Asked { tracer: self.tracer, format: self.format, place }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The entries of a map.
pub(super) struct Entries<'a> {
    pub(super) tracer: &'a mut Tracer,
    pub(super) pair: &'a mut [Format; 2],
    pub(super) place: u64,
    pub(super) left: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Refusal;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let place = within(self.place, 0);
        seed.deserialize(Asked { tracer: self.tracer, format: &mut self.pair[0], place }).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        let place = within(self.place, 1);
        seed.deserialize(Asked { tracer: self.tracer, format: &mut self.pair[1], place })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant of an enum, told by its number, as bincode does.
pub(super) struct Chosen<'a> {
    pub(super) tracer: &'a mut Tracer,
    pub(super) variant: (usize, usize),
}

impl<'de> EnumAccess<'de> for Chosen<'_> {
    type Error = Refusal;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Refusal> {
        let (index, variant) = self.variant;
        let number: U32Deserializer<Refusal> = u32::try_from(variant).unwrap_or(u32::MAX).into_deserializer();
        match seed.deserialize(number) {
            Ok(value) => Ok((value, self)),
            Err(Refusal(reason)) if variant == 0 => {
                self.tracer.give_up(format!("an enum in it does not tell its variants by their numbers: {reason}"))
            }
            Err(refusal) => {
                // With aliases there are more names than variants.
                self.tracer.named[index].variants.truncate(variant);
                (self.tracer.progressed, self.tracer.recounted) = (true, true);
                Err(refusal)
            }
        }
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        self.tracer.settle(self.variant, Style::Unit, 0, &[])
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refusal> {
        self.tracer.settle(self.variant, Style::Tuple, 1, &[])?;
        self.tracer.field(self.variant, 0, |asked| seed.deserialize(asked))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.tracer.settle(self.variant, Style::Tuple, len, &[])?;
        visitor.visit_seq(Fields { tracer: self.tracer, variant: self.variant, given: 0, len })
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Refusal> {
        let (len, variant) = (fields.len(), self.variant);
        self.tracer.settle(variant, Style::Struct, len, fields)?;
        let value = visitor.visit_seq(Fields { tracer: self.tracer, variant, given: 0, len })?;
        self.tracer.trim(variant);
        Ok(value)
    }
}
