//! A type that has a codec: what was written, checked.
//!
//! Always: everything that is wrong with it is told at once. In a model every field and variant has an id, which no other
//! has beside it; the variants are in the order that the derived `Ord` gives them.

use std::collections::BTreeMap;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Fields, Ident, Index, Lit, LitStr, Member, Meta, Path, Type};
use syn::{Token, UnOp, Visibility, parse_quote};

use crate::attributes::{DefaultValue, FieldAttributes, Id, Retired, TypeAttributes, VariantAttributes};

/// The variants that a tag of one byte tells apart.
const VARIANTS_MAX: usize = 1 << u8::BITS;

/// Bytes of what a type is remembered by: more than anyone types, little for the state of a shard, which has it.
const NAME_BYTES_MAX: usize = 255;

/// What the column of tags is called.
const TAG: &str = "tag";

/// A type.
pub(crate) struct Model {
    pub(crate) ident: Ident,
    pub(crate) visibility: Visibility,
    /// What a shard remembers it by.
    pub(crate) name: String,
    /// The module that has all that its code names.
    pub(crate) codec: Path,
    pub(crate) kind: Kind,
}

/// A struct or an enum.
pub(crate) enum Kind {
    Struct(Struct),
    Enum(Enum),
}

/// A struct.
pub(crate) struct Struct {
    pub(crate) fields: FieldList,
    pub(crate) retired: Vec<Retired>,
}

/// An enum.
pub(crate) struct Enum {
    /// The type of its discriminant, as `#[repr(..)]`, where it is said: derived hashes depend on it.
    pub(crate) repr: Option<Ident>,
    pub(crate) variants: Vec<Variant>,
}

/// A variant of an enum.
pub(crate) struct Variant {
    pub(crate) docs: Vec<Attribute>,
    pub(crate) ident: Ident,
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) discriminant: Option<Expr>,
    pub(crate) fields: FieldList,
}

/// Fields, in their order.
pub(crate) struct FieldList {
    pub(crate) style: Style,
    pub(crate) fields: Vec<Field>,
}

/// How fields are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Named,
    Tuple,
    Unit,
}

/// A field.
pub(crate) struct Field {
    pub(crate) docs: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) member: Member,
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) id: u32,
    pub(crate) default: Option<DefaultValue>,
}

impl Field {
    /// What it is called in the source, unless it is known by its place.
    pub(crate) fn named(&self) -> Option<&Ident> {
        match &self.member {
            Member::Named(ident) => Some(ident),
            Member::Unnamed(_) => None,
        }
    }
}

impl Model {
    pub(crate) fn of(input: DeriveInput) -> syn::Result<Self> {
        let mut errors = Errors::default();
        let attributes = errors.take(TypeAttributes::parse(&input.attrs));
        // What could not be read has been complained about.
        let is_read = attributes.is_some();
        let attributes = attributes.unwrap_or_default();
        for parameter in &input.generics.params {
            errors.say(parameter.span(), "a type with parameters has no derived codec: name the types that it stores");
        }
        let name = if is_read { name(attributes.name, &input.ident, &mut errors) } else { String::new() };
        let kind = match input.data {
            Data::Struct(data) => {
                Some(Kind::Struct(Struct::of(data.fields, attributes.retired, &input.ident, &mut errors)))
            }
            Data::Enum(data) => {
                for retired in attributes.retired {
                    errors.say(
                        retired.id.span,
                        "only a struct has retired fields: an enum keeps its variants and theirs",
                    );
                }
                Some(Kind::Enum(Enum::of(data, &input.attrs, &input.ident, &mut errors)))
            }
            Data::Union(data) => {
                errors.say(
                    data.union_token.span,
                    "a union has no codec, because what it holds is not known: use an enum",
                );
                None
            }
        };
        let codec = match attributes.root {
            Some(root) => parse_quote!(#root::codec),
            None => parse_quote!(::timely_persist::codec),
        };
        match (errors.0, kind) {
            (None, Some(kind)) => Ok(Self { ident: input.ident, visibility: input.vis, name, codec, kind }),
            (Some(error), _) => Err(error),
            (None, None) => Err(Error::new(input.ident.span(), "this has no codec")),
        }
    }
}

impl Struct {
    fn of(fields: Fields, retired: Vec<Retired>, ident: &Ident, errors: &mut Errors) -> Self {
        let mut ids = Ids::default();
        for retired in &retired {
            ids.see(retired.id.number);
            ids.take(retired.id, "that of a retired field, for ever".to_owned(), errors);
        }
        let fields = FieldList::of(fields, ids, errors);
        if fields.fields.is_empty() {
            errors.say(ident.span(), "a struct without fields has no column: store `()` in its place");
        }
        Self { fields, retired }
    }
}

impl Enum {
    fn of(data: syn::DataEnum, attributes: &[Attribute], ident: &Ident, errors: &mut Errors) -> Self {
        match data.variants.len() {
            0 => errors.say(ident.span(), "an enum without variants has no values to store"),
            1..=VARIANTS_MAX => {}
            variants => {
                let why =
                    format!("{variants} variants are more than the {VARIANTS_MAX} that a tag of one byte tells apart");
                errors.say(ident.span(), why);
            }
        }
        check_discriminants(&data, errors);
        let mut ids = Ids::default();
        let attributes_of = |variant: &syn::Variant| VariantAttributes::parse(&variant.attrs);
        let said: Vec<_> = data.variants.iter().map(|variant| errors.take(attributes_of(variant))).collect();
        let written = data.variants.iter().zip(&said);
        let written =
            written.filter_map(|(variant, said)| Some((said.as_ref()?.id.as_ref()?, variant.ident.to_string())));
        ids.take_all(written, errors);
        let variants = data.variants.into_iter().zip(said).map(|(variant, said)| {
            let (name, span) = (variant.ident.to_string(), variant.ident.span());
            let id = said.map(|said| ids.id_or_complain(said.id, &name, span, errors));
            Variant::of(variant, id.unwrap_or_default(), errors)
        });
        let variants = variants.collect();
        Self { repr: errors.take(repr(attributes)).flatten(), variants }
    }

    /// Whether no variant has data.
    pub(crate) fn is_units(&self) -> bool {
        self.variants.iter().all(|variant| variant.fields.fields.is_empty())
    }
}

impl Variant {
    fn of(variant: syn::Variant, id: u32, errors: &mut Errors) -> Self {
        let name = variant.ident.unraw().to_string();
        if name == TAG {
            errors.say(variant.ident.span(), "a variant cannot be called `tag`, as the column of tags is");
        }
        Self {
            docs: docs(&variant.attrs),
            name,
            id,
            discriminant: variant.discriminant.map(|(_, expression)| expression),
            fields: FieldList::of(variant.fields, Ids::default(), errors),
            ident: variant.ident,
        }
    }
}

impl FieldList {
    fn of(fields: Fields, mut ids: Ids, errors: &mut Errors) -> Self {
        let style = match fields {
            Fields::Named(_) => Style::Named,
            Fields::Unnamed(_) => Style::Tuple,
            Fields::Unit => Style::Unit,
        };
        let said: Vec<_> = fields.iter().map(|field| errors.take(FieldAttributes::parse(&field.attrs))).collect();
        let written = fields.iter().zip(&said).enumerate();
        let written =
            written.filter_map(|(index, (field, said))| Some((said.as_ref()?.id.as_ref()?, field_name(field, index))));
        ids.take_all(written, errors);
        let fields = fields.into_iter().zip(said).enumerate().map(|(index, (field, said))| {
            let name = field_name(&field, index);
            // What could not be read has been complained about.
            let said = said.map(|said| (ids.id_or_complain(said.id, &name, field.span(), errors), said.default));
            let (id, default) = said.unwrap_or_default();
            let member = match field.ident {
                Some(ident) => Member::Named(ident),
                None => Member::Unnamed(Index::from(index)),
            };
            Field { docs: docs(&field.attrs), visibility: field.vis, member, name, ty: field.ty, id, default }
        });
        Self { style, fields: fields.collect() }
    }
}

/// Whose the ids are.
#[derive(Default)]
struct Ids {
    taken: BTreeMap<u32, String>,
    /// Numbers that were seen, so that one that is proposed is none of them.
    last: u32,
}

impl Ids {
    fn see(&mut self, id: u32) {
        self.last = self.last.max(id);
    }

    fn take(&mut self, id: Id, whose: String, errors: &mut Errors) {
        match self.taken.get(&id.number).cloned() {
            Some(other) => {
                errors.say(id.span, format!("this id is {other}: take another, {} is free", self.free()));
            }
            None => drop(self.taken.insert(id.number, whose)),
        }
    }

    /// Takes what was written of several, each with what it is called.
    fn take_all<'a>(&mut self, written: impl Iterator<Item = (&'a Id, String)> + Clone, errors: &mut Errors) {
        written.clone().for_each(|(id, _)| self.see(id.number));
        written.for_each(|(id, name)| self.take(*id, format!("that of `{name}`"), errors));
    }

    /// The number that was written. Where there is none, the complaint tells one that could be.
    fn id_or_complain(&mut self, id: Option<Id>, name: &str, span: Span, errors: &mut Errors) -> u32 {
        let Some(id) = id else {
            let id = self.free();
            let what = format!("`{name}` has no id, by which it is known for ever: write `#[codec(id = {id})]`");
            errors.say(span, what);
            return id;
        };
        id.number
    }

    /// A number that no other has, another one each time.
    fn free(&mut self) -> u32 {
        // Behind the largest of all there is none: then some of the gaps.
        let behind = self.last.checked_add(1).unwrap_or_else(|| {
            let mut gaps = (1..u32::MAX).filter(|id| !self.taken.contains_key(id));
            gaps.next().unwrap_or_default()
        });
        self.see(behind);
        behind
    }
}

/// What is wrong.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn say(&mut self, span: Span, what: impl std::fmt::Display) {
        self.add(Error::new(span, what));
    }

    fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }
}

/// What the type is remembered by.
fn name(name: Option<LitStr>, ident: &Ident, errors: &mut Errors) -> String {
    let Some(name) = name else {
        let text = snake_case(&ident.unraw().to_string());
        let what = format!("say what a shard remembers the type by, for ever: `#[codec(name = \"{text}\")]`");
        errors.say(ident.span(), what);
        return text;
    };
    let text = name.value();
    if text.len() > NAME_BYTES_MAX {
        errors.say(name.span(), format!("a name has at most {NAME_BYTES_MAX} bytes"));
    }
    if text.is_empty() || !text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        errors.say(name.span(), "a name consists of letters, digits, `_`, `-` and `.`");
    }
    text
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

fn field_name(field: &syn::Field, index: usize) -> String {
    field.ident.as_ref().map_or_else(|| index.to_string(), |ident| ident.unraw().to_string())
}

fn docs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).cloned().collect()
}

/// The integer of `#[repr(..)]`.
fn repr(attributes: &[Attribute]) -> syn::Result<Option<Ident>> {
    const INTEGERS: [&str; 12] =
        ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize"];
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        let words = attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?;
        let idents = words.iter().filter_map(|word| word.path().get_ident());
        found = idents.filter(|ident| INTEGERS.iter().any(|integer| ident == integer)).last().cloned().or(found);
    }
    Ok(found)
}

/// A derived order is that of the discriminants, which must be that of the tags.
fn check_discriminants(data: &syn::DataEnum, errors: &mut Errors) {
    let mut last: Option<i128> = None;
    for variant in &data.variants {
        let discriminant = variant.discriminant.as_ref().map(|(_, expression)| expression);
        let number = match discriminant {
            Some(expression) => number(expression),
            None => last.map_or(Some(0), |last| last.checked_add(1)),
        };
        if number.is_none_or(|number| last.is_some_and(|last| number <= last)) {
            let span = discriminant.map_or(variant.ident.span(), Spanned::span);
            let what = "discriminants must be numbers that increase: rows are ordered as the variants are declared";
            errors.say(span, what);
            return;
        }
        last = number;
    }
}

/// The number that an expression is, if it is a literal.
fn number(expression: &Expr) -> Option<i128> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok(),
            Lit::Byte(byte) => Some(byte.value().into()),
            _ => None,
        },
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => number(&unary.expr)?.checked_neg(),
        Expr::Paren(inner) => number(&inner.expr),
        Expr::Group(inner) => number(&inner.expr),
        _ => None,
    }
}
