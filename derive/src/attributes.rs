//! What stands in `#[codec(..)]`, as it is written.
//!
//! Always: a key that is not known, or that is there twice, is refused where it stands. Whether the values fit together is
//! for the model.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, LitInt, LitStr, Path, Result, Token, Type};

/// The attribute.
const CODEC: &str = "codec";

/// An id where it is written.
#[derive(Clone, Copy)]
pub(crate) struct Id {
    pub(crate) number: u32,
    pub(crate) span: Span,
}

/// What rows have that were written before there was the field.
pub(crate) enum DefaultValue {
    /// That of its type.
    OfType,
    /// This.
    Of(Box<Expr>),
}

/// A field that was there.
pub(crate) struct Retired {
    pub(crate) id: Id,
    pub(crate) ty: Type,
}

/// Those of a type.
#[derive(Default)]
pub(crate) struct TypeAttributes {
    pub(crate) name: Option<LitStr>,
    pub(crate) root: Option<Path>,
    pub(crate) retired: Vec<Retired>,
}

/// Those of a field.
#[derive(Default)]
pub(crate) struct FieldAttributes {
    pub(crate) id: Option<Id>,
    pub(crate) default: Option<DefaultValue>,
}

/// Those of a variant.
#[derive(Default)]
pub(crate) struct VariantAttributes {
    pub(crate) id: Option<Id>,
}

impl TypeAttributes {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        nested(attributes, |meta| {
            if meta.path.is_ident("name") {
                let name = meta.value()?.parse()?;
                once(&mut found.name, name, &meta)
            } else if meta.path.is_ident("crate") {
                let root: LitStr = meta.value()?.parse()?;
                once(&mut found.root, root.parse_with(Path::parse_mod_style)?, &meta)
            } else if meta.path.is_ident("retired") {
                found.retired.push(retired(&meta)?);
                Ok(())
            } else {
                Err(meta.error(
                    "a type has the keys `name = \"..\"`, `retired(id = .., type = \"..\")` and `crate = \"..\"`",
                ))
            }
        })?;
        Ok(found)
    }
}

impl FieldAttributes {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        nested(attributes, |meta| {
            if meta.path.is_ident("id") {
                let id = id(&meta)?;
                once(&mut found.id, id, &meta)
            } else if meta.path.is_ident("default") {
                let default = match meta.input.peek(Token![=]) {
                    true => DefaultValue::Of(meta.value()?.parse()?),
                    false => DefaultValue::OfType,
                };
                once(&mut found.default, default, &meta)
            } else {
                Err(meta.error("a field has the keys `id = ..`, `default` and `default = ..`"))
            }
        })?;
        Ok(found)
    }
}

impl VariantAttributes {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        nested(attributes, |meta| {
            if meta.path.is_ident("id") {
                let id = id(&meta)?;
                once(&mut found.id, id, &meta)
            } else {
                Err(meta.error("a variant has the key `id = ..`"))
            }
        })?;
        Ok(found)
    }
}

/// Calls `key` with each key of each `#[codec(..)]`.
fn nested(attributes: &[Attribute], mut key: impl FnMut(ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    attributes.iter().filter(|attribute| attribute.path().is_ident(CODEC)).try_for_each(|attribute| {
        attribute.parse_nested_meta(&mut key) //
    })
}

fn once<T>(found: &mut Option<T>, value: T, meta: &ParseNestedMeta<'_>) -> Result<()> {
    match found.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("this key is here twice")),
    }
}

fn id(meta: &ParseNestedMeta<'_>) -> Result<Id> {
    let literal: LitInt = meta.value()?.parse()?;
    match literal.base10_parse() {
        Ok(number) if number > 0 => Ok(Id { number, span: literal.span() }),
        _ => Err(Error::new(literal.span(), format!("an id is a number from 1 to {}", u32::MAX))),
    }
}

fn retired(meta: &ParseNestedMeta<'_>) -> Result<Retired> {
    let (mut number, mut ty) = (None, None);
    meta.parse_nested_meta(|meta| {
        if meta.path.is_ident("id") {
            let id = id(&meta)?;
            once(&mut number, id, &meta)
        } else if meta.path.is_ident("type") {
            let text: LitStr = meta.value()?.parse()?;
            once(&mut ty, text.parse()?, &meta)
        } else {
            Err(meta.error("a retired field has the keys `id = ..` and `type = \"..\"`"))
        }
    })?;
    match (number, ty) {
        (Some(id), Some(ty)) => Ok(Retired { id, ty }),
        _ => Err(Error::new(meta.path.span(), "say which field is retired: `retired(id = .., type = \"..\")`")),
    }
}
