//! The shape of a type as serde reports it: what its `Deserialize` asks for, in which order and by which names.
//!
//! Its text is durable, as a part of a shard's codec name. It is a format, and behind it, each after a `;`, the types
//! with a name of their own that it refers to, the first as `@0`, in the order of their first mention:
//!
//! ```text
//! format     u32 str bytes …          | ?F option | [F] sequence | [K>V] map | (F F) tuple | (F*8) | @n | _ unknown
//! named type {a:F,b:F} struct         | (F,F) tuple struct | () unit struct | |A|B(F,F)|C{a:F} enum, |D? a variant that cannot be made
//! ```
//!
//! Names of types are not in it: they move, and nothing that is read depends on them.

use std::fmt::Write;

/// What is asked for at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Nothing yet.
    Unknown,
    /// It is being found out further up: the type contains itself.
    Busy,
    /// A value of no parts.
    Leaf(&'static str),
    Option(Box<Format>),
    Seq(Box<Format>),
    Map(Box<[Format; 2]>),
    Tuple(Vec<Format>),
    /// A type with a name, by its index.
    Named(usize),
}

/// A struct, or an enum.
#[derive(Debug)]
pub(super) struct Named {
    /// The names that serde gives for its fields or variants.
    pub(super) names: &'static [&'static str],
    pub(super) is_enum: bool,
    /// One for a struct.
    pub(super) variants: Vec<Variant>,
}

/// Two types with one of these are the same: the names of it and of what it is read as.
pub(super) type Identity = (&'static str, &'static str, &'static [&'static str]);

#[derive(Debug, Default)]
pub(super) struct Variant {
    /// The names that serde gives for its fields.
    pub(super) names: &'static [&'static str],
    pub(super) style: Style,
    pub(super) fields: Vec<Format>,
    pub(super) status: Status,
    /// A value of it is being made.
    pub(super) in_use: bool,
    /// How many questions it took to make one.
    pub(super) cost: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Unknown,
    Unit,
    Tuple,
    Struct,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// No value of it was made yet.
    #[default]
    Untraced,
    Traced,
    /// None can be made, and nothing was asked for it.
    Unreadable,
}

/// The text of a shape.
pub(super) fn text(root: &Format, named: &[Named]) -> String {
    let mut writer = Writer { mentioned: Vec::new(), text: String::new() };
    writer.format(root);
    let mut next = 0;
    while let Some(index) = writer.mentioned.get(next).copied() {
        writer.text.push(';');
        writer.named(&named[index]);
        next += 1;
    }
    writer.text
}

struct Writer {
    /// Types by the order of their first mention.
    mentioned: Vec<usize>,
    text: String,
}

impl Writer {
    fn format(&mut self, format: &Format) {
        match format {
            Format::Unknown | Format::Busy => self.text.push('_'),
            Format::Leaf(name) => self.text.push_str(name),
            Format::Option(some) => {
                self.text.push('?');
                self.format(some);
            }
            Format::Seq(element) => {
                self.text.push('[');
                self.format(element);
                self.text.push(']');
            }
            Format::Map(pair) => {
                self.text.push('[');
                self.format(&pair[0]);
                self.text.push('>');
                self.format(&pair[1]);
                self.text.push(']');
            }
            Format::Tuple(elements) => self.tuple(elements),
            Format::Named(index) => {
                let known = self.mentioned.iter().position(|mentioned| mentioned == index);
                let number = known.unwrap_or_else(|| {
                    self.mentioned.push(*index);
                    self.mentioned.len() - 1
                });
                let _ = write!(self.text, "@{number}"); // a string takes it
            }
        }
    }

    fn tuple(&mut self, elements: &[Format]) {
        self.text.push('(');
        match elements {
            [first, _, ..] if elements.iter().all(|element| element == first) => {
                self.format(first);
                let _ = write!(self.text, "*{}", elements.len());
            }
            _ => self.separated(elements, ' '),
        }
        self.text.push(')');
    }

    fn separated(&mut self, formats: &[Format], separator: char) {
        for (index, format) in formats.iter().enumerate() {
            if index > 0 {
                self.text.push(separator);
            }
            self.format(format);
        }
    }

    fn named(&mut self, named: &Named) {
        if !named.is_enum {
            named.variants.iter().for_each(|variant| self.fields(variant));
            return;
        }
        for (index, variant) in named.variants.iter().enumerate() {
            self.text.push('|');
            self.name(named.names, named.variants.len(), index);
            self.fields(variant);
        }
    }

    fn fields(&mut self, variant: &Variant) {
        match variant.style {
            Style::Unknown => self.text.push('?'),
            Style::Unit => {}
            Style::Tuple => {
                self.text.push('(');
                self.separated(&variant.fields, ',');
                self.text.push(')');
            }
            Style::Struct => {
                self.text.push('{');
                for (index, format) in variant.fields.iter().enumerate() {
                    if index > 0 {
                        self.text.push(',');
                    }
                    self.name(variant.names, variant.fields.len(), index);
                    self.text.push(':');
                    self.format(format);
                }
                self.text.push('}');
            }
        }
    }

    /// The name of one of so many. With aliases serde gives more names than there are, and which is whose is not to be
    /// told: then the first has all of them, which change with the order as they do.
    fn name(&mut self, names: &[&str], count: usize, index: usize) {
        if names.len() == count {
            self.word(names[index]);
        } else if index == 0 {
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    self.text.push('+');
                }
                self.word(name);
            }
        }
    }

    /// A name, without the characters that the text gives a meaning.
    fn word(&mut self, name: &str) {
        for c in name.chars() {
            if c.is_alphanumeric() || c == '_' || c == '-' || c == '.' {
                self.text.push(c);
            } else {
                let _ = write!(self.text, "%{:x}", u32::from(c));
            }
        }
    }
}
