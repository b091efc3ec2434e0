//! The borrowed row: a type of the same fields, each borrowed.
//!
//! Always: its derived order is that of the owned type, and what it gives a hasher is what a derived `Hash` of the owned type
//! gives. Where the row of a field has no hash, neither has this, and that is no error.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Ident};

use super::names::Names;
use crate::model::{Enum, Field, FieldList, Model, Struct, Style};

/// The row of a struct.
pub(super) fn of_struct(model: &Model, kind: &Struct) -> TokenStream {
    let names = Names::of(model);
    let (row, visibility) = (&names.row, &model.visibility);
    let definition = match kind.fields.style {
        Style::Named => {
            let fields = definitions(&names, &kind.fields, true);
            quote!(#visibility struct #row<'a> { #(#fields),* })
        }
        Style::Tuple | Style::Unit => {
            let fields = definitions(&names, &kind.fields, true);
            quote!(#visibility struct #row<'a>(#(#fields),*);)
        }
    };
    let members = kind.fields.fields.iter().map(|field| &field.member);
    let hash = quote!(#(::core::hash::Hash::hash(&self.#members, state);)*);
    let hash = hash_impl(&names, kind.fields.fields.iter(), &hash);
    let (doc, derives) = (doc(&names), derives());
    quote! {
        #doc
        #derives
        #definition
        #hash
    }
}

/// The row of an enum with data.
pub(super) fn of_enum(model: &Model, kind: &Enum) -> TokenStream {
    let names = Names::of(model);
    let (row, visibility, doc, repr) = (&names.row, &model.visibility, doc(&names), repr(kind));
    let derives = derives();
    let variants = variants(&names, kind);
    let discriminant =
        (kind.variants.len() > 1).then(|| quote!(::core::hash::Hash::hash(&::core::mem::discriminant(self), state);));
    let arms = kind.variants.iter().map(|variant| {
        let (ident, bindings) = (&variant.ident, bindings(&variant.fields));
        let members = variant.fields.fields.iter().map(|field| &field.member);
        quote!(Self::#ident { #(#members: #bindings),* } => { #(::core::hash::Hash::hash(#bindings, state);)* })
    });
    let fields = kind.variants.iter().flat_map(|variant| &variant.fields.fields);
    let hash = hash_impl(&names, fields, &quote!(#discriminant match self { #(#arms)* }));
    quote! {
        #doc
        #derives
        #repr
        #visibility enum #row<'a> { #(#variants),* }
        #hash
    }
}

/// The row of an enum without data, which borrows nothing.
pub(super) fn of_units(model: &Model, kind: &Enum) -> TokenStream {
    let names = Names::of(model);
    let (row, visibility, doc, repr) = (&names.row, &model.visibility, doc(&names), repr(kind));
    let derives = derives();
    let variants = variants(&names, kind);
    quote! {
        #doc
        #derives
        #[derive(::core::hash::Hash)]
        #repr
        #visibility enum #row { #(#variants),* }
    }
}

/// A name for each field where a value is taken apart.
pub(super) fn bindings(list: &FieldList) -> Vec<Ident> {
    (0..list.fields.len()).map(|index| format_ident!("f{index}")).collect()
}

fn variants<'a>(names: &'a Names<'_>, kind: &'a Enum) -> impl Iterator<Item = TokenStream> + 'a {
    kind.variants.iter().map(|variant| {
        let (docs, ident) = (docs(&variant.docs, || format!("The variant `{}`.", variant.name)), &variant.ident);
        let fields = definitions(names, &variant.fields, false);
        let fields = match variant.fields.style {
            Style::Named => quote!({ #(#fields),* }),
            Style::Tuple => quote!((#(#fields),*)),
            Style::Unit => quote!(),
        };
        let discriminant = variant.discriminant.as_ref().map(|number| quote!(= #number));
        quote!(#docs #ident #fields #discriminant)
    })
}

/// The fields with their borrowed types; those of a variant have no visibility.
fn definitions<'a>(names: &'a Names<'_>, list: &'a FieldList, visible: bool) -> impl Iterator<Item = TokenStream> + 'a {
    list.fields.iter().map(move |field| {
        let docs = docs(&field.docs, || format!("The field `{}`.", field.name));
        let visibility = visible.then_some(&field.visibility);
        let name = field.named().map(|ident| quote!(#ident:));
        let of = names.codec_of(&field.ty);
        quote!(#docs #visibility #name #of::Ref<'a>)
    })
}

/// The bounds have a lifetime in them, so that one that does not hold is no error where it stands.
fn hash_impl<'a>(names: &Names<'_>, fields: impl Iterator<Item = &'a Field>, body: &TokenStream) -> TokenStream {
    let row = &names.row;
    let rows = fields.map(|field| names.codec_of(&field.ty));
    quote! {
        #[automatically_derived]
        impl<'a> ::core::hash::Hash for #row<'a>
        where
            #(#rows::Ref<'a>: ::core::hash::Hash,)*
        {
            fn hash<H: ::core::hash::Hasher>(&self, state: &mut H) {
                #body
            }
        }
    }
}

/// What a row is, beside its hash.
fn derives() -> TokenStream {
    quote! {
        #[derive(
            ::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug, ::core::cmp::PartialEq, ::core::cmp::Eq,
            ::core::cmp::PartialOrd, ::core::cmp::Ord
        )]
    }
}

fn repr(kind: &Enum) -> Option<TokenStream> {
    kind.repr.as_ref().map(|repr| quote!(#[repr(#repr)]))
}

fn doc(names: &Names<'_>) -> TokenStream {
    let doc = format!("A row of a column of `{}`: what it has, borrowed.", names.owned);
    quote!(#[doc = #doc])
}

fn docs(docs: &[Attribute], default: impl FnOnce() -> String) -> TokenStream {
    if docs.is_empty() {
        let doc = default();
        return quote!(#[doc = #doc]);
    }
    quote!(#(#docs)*)
}
