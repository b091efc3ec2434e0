//! The answers to what a type asks for: a value made up for each question, of parts where it has some.

use std::any::type_name;

use serde::de::{Deserializer, Visitor};

use super::super::samples::{CHARS, FLOATS};
use super::super::shape::{Format, Style};
use super::parts::{Chosen, Elements, Entries, Fields, Tuple};
use super::{Asked, Refusal, within};

macro_rules! integers {
    ($($method:ident $visit:ident $name:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
            visitor.$visit(self.integer($name)?.into())
        }
    )*};
}

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Refusal;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refusal> {
        self.tracer.give_up(
            "it asks what it was stored as (`deserialize_any`, as `untagged`, `tag`, `flatten` and types that hold any \
             value do), and that is not stored",
        )
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_any(visitor)
    }

    integers! {
        deserialize_u8 visit_u8 "u8";
        deserialize_u16 visit_u16 "u16";
        deserialize_u32 visit_u32 "u32";
        deserialize_u64 visit_u64 "u64";
        deserialize_u128 visit_u128 "u128";
        deserialize_i16 visit_i16 "i16";
        deserialize_i32 visit_i32 "i32";
        deserialize_i64 visit_i64 "i64";
        deserialize_i128 visit_i128 "i128";
    }

    fn deserialize_i8<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_i8(i8::try_from(self.integer("i8")?).unwrap_or(i8::MAX)) // they are all below
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_bool(self.leaf("bool", 2)? == 1)
    }

    fn deserialize_f32<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_f32(FLOATS[self.leaf("f32", FLOATS.len())?])
    }

    fn deserialize_f64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_f64(FLOATS[self.leaf("f64", FLOATS.len())?].into())
    }

    fn deserialize_char<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_char(CHARS[self.leaf("char", CHARS.len())?])
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_string(self.text()?.to_owned())
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_byte_buf(self.bytes()?.to_owned())
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        self.leaf("unit", 1)?;
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deeper(|tracer, format, place| {
            tracer.note(format, Format::Option(Box::new(Format::Unknown)))?;
            let mut busy = Format::Busy;
            let some = if let Format::Option(some) = format { some } else { &mut busy };
            let usual = tracer.is_worth_a_look(some);
            if usual == (tracer.choose(place, 2) == 1) {
                return visitor.visit_none();
            }
            visitor.visit_some(Asked { tracer, format: some, place: within(place, 0) })
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deeper(|tracer, format, place| {
            tracer.note(format, Format::Seq(Box::new(Format::Unknown)))?;
            let mut busy = Format::Busy;
            let element = if let Format::Seq(element) = format { element } else { &mut busy };
            let usual = tracer.is_worth_a_look(element);
            let left = Asked { tracer, format: element, place }.length(usual);
            visitor.visit_seq(Elements { tracer, format: element, place, left })
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deeper(|tracer, format, place| {
            tracer.note(format, Format::Map(Box::new([Format::Unknown, Format::Unknown])))?;
            let mut busy = [Format::Busy, Format::Busy];
            let pair = if let Format::Map(pair) = format { pair } else { &mut busy };
            let usual = pair.iter().any(|format| tracer.is_worth_a_look(format));
            let left = Asked { tracer, format: &mut pair[0], place }.length(usual);
            visitor.visit_map(Entries { tracer, pair, place, left })
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.deeper(|tracer, format, place| {
            tracer.note(format, Format::Tuple(vec![Format::Unknown; len]))?;
            let mut busy = Vec::new();
            let formats = match format {
                Format::Tuple(formats) if formats.len() == len => formats,
                Format::Tuple(_) => return tracer.unsteady(),
                _ => {
                    busy.resize(len, Format::Busy);
                    &mut busy
                }
            };
            visitor.visit_seq(Tuple { tracer, formats: formats.iter_mut(), place, given: 0 })
        })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        self.structure::<V>((name, &[]), (Style::Tuple, 0), |_, _| visitor.visit_unit())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        self.structure::<V>((name, &[]), (Style::Tuple, 1), |tracer, variant| {
            tracer.field(variant, 0, |asked| visitor.visit_newtype_struct(asked))
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.structure::<V>((name, &[]), (Style::Tuple, len), |tracer, variant| {
            visitor.visit_seq(Fields { tracer, variant, given: 0, len })
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let len = fields.len();
        self.structure::<V>((name, fields), (Style::Struct, len), |tracer, variant| {
            let value = visitor.visit_seq(Fields { tracer, variant, given: 0, len })?;
            // With aliases there are more names than fields.
            tracer.trim(variant);
            Ok(value)
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deeper(|tracer, format, _| {
            let index = tracer.identify((name, type_name::<V::Value>(), variants), true);
            tracer.note(format, Format::Named(index))?;
            let Some(variant) = tracer.pick(index) else {
                return tracer.give_up("an enum in it has no value that ends");
            };
            tracer.make((index, variant), |tracer| visitor.visit_enum(Chosen { tracer, variant: (index, variant) }))
        })
    }
}
