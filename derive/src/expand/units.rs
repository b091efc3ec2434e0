//! The codec of an enum without data: its tags, which are the places of the variants.

use proc_macro2::TokenStream;
use quote::quote;

use super::names::Names;
use super::{rows, shape};
use crate::model::{Enum, Model};

pub(super) fn codec(model: &Model, kind: &Enum) -> TokenStream {
    let names = Names::of(model);
    let (visibility, column, builder, support) = (&model.visibility, &names.column, &names.builder, names.support());
    let (row, codec) = (rows::of_units(model, kind), codec_impl(model, kind));
    let (column_impl, builder_impl) = (column_impl(model, kind), builder_impl(model, kind));
    quote! {
        #row

        #[doc(hidden)]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #visibility struct #column {
            tags: #support::Tags,
        }

        #[doc(hidden)]
        #[derive(::core::fmt::Debug, ::core::default::Default)]
        #visibility struct #builder {
            tags: ::std::vec::Vec<u8>,
        }

        #codec
        #column_impl
        #builder_impl
    }
}

fn codec_impl(model: &Model, kind: &Enum) -> TokenStream {
    let names = Names::of(model);
    let Names { codec, owned, row, column, builder } = &names;
    let support = names.support();
    let shape = shape::of_units(model, kind);
    let idents: Vec<_> = kind.variants.iter().map(|variant| &variant.ident).collect();
    let ids = kind.variants.iter().map(|variant| variant.id);
    let tag = tag(&names, kind);
    quote! {
        #[automatically_derived]
        impl #codec::Element for #owned {}

        #[automatically_derived]
        impl #codec::Codec for #owned {
            type Ref<'a> = #row;
            type Column = #column;
            type Builder = #builder;

            #shape

            #[inline]
            fn as_ref(&self) -> #row {
                match self {
                    #(Self::#idents { .. } => #row::#idents {},)*
                }
            }

            #[inline]
            fn from_ref(value: #row) -> Self {
                match value {
                    #(#row::#idents { .. } => Self::#idents {},)*
                }
            }

            #[inline]
            fn reborrow<'b, 'a: 'b>(value: #row) -> #row {
                value
            }

            #[inline]
            fn size(_: #row) -> ::core::result::Result<usize, #support::EncodeError> {
                ::core::result::Result::Ok(1)
            }

            #[inline]
            fn prefix(value: #row) -> u64 {
                #support::tag_prefix(#tag)
            }

            #[inline]
            fn digest_bytes(value: #row, bytes: &mut ::std::vec::Vec<u8>) {
                let id = match value {
                    #(#row::#idents { .. } => #ids,)*
                };
                #support::id_digest(id, bytes);
            }
        }
    }
}

fn column_impl(model: &Model, kind: &Enum) -> TokenStream {
    let names = Names::of(model);
    let Names { codec, owned, row, column, .. } = &names;
    let support = names.support();
    let (variants, of_tag) = (kind.variants.len(), row_of(&names, kind, &quote!(self.tags.get(index))));
    quote! {
        #[automatically_derived]
        impl #codec::Column<#owned> for #column {
            fn try_new(
                array: &dyn #support::Array,
                present: ::core::option::Option<&#support::NullBuffer>,
            ) -> ::core::result::Result<Self, #support::DecodeError> {
                ::core::result::Result::Ok(Self { tags: #support::Tags::try_new(array, #variants, present)? })
            }

            #[inline]
            fn len(&self) -> usize {
                self.tags.len()
            }

            #[inline]
            fn get(&self, index: usize) -> #row {
                #of_tag
            }
        }
    }
}

fn builder_impl(model: &Model, kind: &Enum) -> TokenStream {
    let names = Names::of(model);
    let Names { codec, owned, row, builder, .. } = &names;
    let support = names.support();
    let (tag, of_tag) = (tag(&names, kind), row_of(&names, kind, &quote!(self.tags[index])));
    quote! {
        #[automatically_derived]
        impl #codec::Builder<#owned> for #builder {
            #[inline]
            fn push(&mut self, value: #row) {
                self.tags.push(#tag);
            }

            fn pad(&mut self) {
                self.tags.push(0);
            }

            fn reserve(&mut self, rows: usize, _: usize) {
                self.tags.reserve(rows);
            }

            fn bytes(&self) -> usize {
                self.tags.len()
            }

            #[inline]
            fn len(&self) -> usize {
                self.tags.len()
            }

            #[inline]
            fn get(&self, index: usize) -> #row {
                #of_tag
            }

            fn finish(&mut self) -> ::core::result::Result<#support::ArrayRef, #support::EncodeError> {
                ::core::result::Result::Ok(#support::finish_tags(&mut self.tags))
            }

            fn clear(&mut self) {
                self.tags.clear();
            }
        }
    }
}

/// The tag of `value`.
fn tag(names: &Names<'_>, kind: &Enum) -> TokenStream {
    let row = &names.row;
    let arms = kind.variants.iter().zip(0u8..=u8::MAX).map(|(variant, tag)| {
        let ident = &variant.ident;
        quote!(#row::#ident { .. } => #tag)
    });
    quote!(match value { #(#arms,)* })
}

/// The row of a tag that was checked: the last variant needs no number.
fn row_of(names: &Names<'_>, kind: &Enum, tag: &TokenStream) -> TokenStream {
    let row = &names.row;
    let arms = kind.variants.iter().zip(0u8..=u8::MAX).enumerate().map(|(index, (variant, tag))| {
        let ident = &variant.ident;
        let pattern = if index + 1 == kind.variants.len() { quote!(_) } else { quote!(#tag) };
        quote!(#pattern => #row::#ident {})
    });
    quote!(match #tag { #(#arms,)* })
}
