//! The columns of all fields, one beside the other, and what is done to each of them alike.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::Type;

use super::names::Names;
use crate::model::{FieldList, Model};

/// The column of a field.
#[derive(Clone)]
pub(super) struct Slot<'a> {
    /// What it is called in a column and in a builder.
    pub(super) ident: Ident,
    pub(super) ty: &'a Type,
}

/// One for each field; `prefix` tells those of variants apart.
pub(super) fn slots<'a>(list: &'a FieldList, prefix: &str) -> Vec<Slot<'a>> {
    let slot = |(index, field): (usize, &'a crate::model::Field)| Slot {
        ident: format_ident!("{prefix}f{index}"),
        ty: &field.ty,
    };
    list.fields.iter().enumerate().map(slot).collect()
}

/// The types of the column and of the builder. They begin with `column` and `builder`, and have slots behind.
pub(super) fn definitions(
    model: &Model,
    slots: &[Slot<'_>],
    column: &TokenStream,
    builder: &TokenStream,
) -> TokenStream {
    let names = Names::of(model);
    let (visibility, column_name, builder_name) = (&model.visibility, &names.column, &names.builder);
    let idents: Vec<_> = slots.iter().map(|slot| &slot.ident).collect();
    let codecs: Vec<_> = slots.iter().map(|slot| names.codec_of(slot.ty)).collect();
    quote! {
        #[doc(hidden)]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #visibility struct #column_name {
            #column,
            #(#idents: #codecs::Column,)*
        }

        #[doc(hidden)]
        #[derive(::core::fmt::Debug, ::core::default::Default)]
        #visibility struct #builder_name {
            #builder,
            #(#idents: #codecs::Builder,)*
        }
    }
}

/// Adds a placeholder to each.
pub(super) fn pad(names: &Names<'_>, slots: &[Slot<'_>]) -> TokenStream {
    each(names, slots, |builder, ident| quote!(#builder::pad(&mut self.#ident);))
}

/// Makes room in each.
pub(super) fn reserve(names: &Names<'_>, slots: &[Slot<'_>]) -> TokenStream {
    each(names, slots, |builder, ident| quote!(#builder::reserve(&mut self.#ident, rows, bytes);))
}

/// Forgets what each has.
pub(super) fn clear(names: &Names<'_>, slots: &[Slot<'_>]) -> TokenStream {
    each(names, slots, |builder, ident| quote!(#builder::clear(&mut self.#ident);))
}

/// The memory of all, to be added to something.
pub(super) fn bytes(names: &Names<'_>, slots: &[Slot<'_>]) -> TokenStream {
    each(names, slots, |builder, ident| quote!(+ #builder::bytes(&self.#ident)))
}

/// The arrays of all.
pub(super) fn finish(names: &Names<'_>, slots: &[Slot<'_>]) -> TokenStream {
    let arrays = each(names, slots, |builder, ident| quote!(#builder::finish(&mut self.#ident)?,));
    quote!(::std::vec![#arrays])
}

fn each(names: &Names<'_>, slots: &[Slot<'_>], code: impl Fn(TokenStream, &Ident) -> TokenStream) -> TokenStream {
    slots.iter().map(|slot| code(names.builder_of(slot.ty), &slot.ident)).collect()
}
