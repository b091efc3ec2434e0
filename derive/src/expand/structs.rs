//! The codec of a struct: an Arrow struct of its fields.

use proc_macro2::TokenStream;
use quote::quote;

use super::names::Names;
use super::slots::Slot;
use super::{rows, shape, slots};
use crate::model::{Model, Struct};

pub(super) fn codec(model: &Model, kind: &Struct) -> TokenStream {
    let slots = slots::slots(&kind.fields, "");
    let row = rows::of_struct(model, kind);
    let definitions = slots::definitions(model, &slots, &quote!(len: usize), &quote!(len: usize));
    let (codec, column, builder) = (codec_impl(model, kind), column(model, kind, &slots), builder(model, kind, &slots));
    quote!(#row #definitions #codec #column #builder)
}

fn codec_impl(model: &Model, kind: &Struct) -> TokenStream {
    let names = Names::of(model);
    let Names { codec, owned, row, column, builder } = &names;
    let support = names.support();
    let shape = shape::of_struct(model, kind);
    let members: Vec<_> = kind.fields.fields.iter().map(|field| &field.member).collect();
    let codecs: Vec<_> = kind.fields.fields.iter().map(|field| names.codec_of(&field.ty)).collect();
    let prefix = kind.fields.fields.first().map(|first| {
        let (of, member) = (names.codec_of(&first.ty), &first.member);
        quote!(#of::prefix(value.#member))
    });
    quote! {
        #[automatically_derived]
        impl #codec::Element for #owned {}

        #[automatically_derived]
        impl #codec::Codec for #owned {
            type Ref<'a> = #row<'a>;
            type Column = #column;
            type Builder = #builder;

            #shape

            #[inline]
            fn as_ref(&self) -> #row<'_> {
                #row { #(#members: #codecs::as_ref(&self.#members)),* }
            }

            #[inline]
            fn from_ref(value: #row<'_>) -> Self {
                Self { #(#members: #codecs::from_ref(value.#members)),* }
            }

            #[inline]
            fn reborrow<'b, 'a: 'b>(value: #row<'a>) -> #row<'b> {
                #row { #(#members: #codecs::reborrow(value.#members)),* }
            }

            #[inline]
            fn size(value: #row<'_>) -> ::core::result::Result<usize, #support::EncodeError> {
                ::core::result::Result::Ok(0 #(+ #codecs::size(value.#members)?)*)
            }

            #[inline]
            fn check(value: #row<'_>) -> ::core::result::Result<(), #support::EncodeError> {
                #(#codecs::check(value.#members)?;)*
                ::core::result::Result::Ok(())
            }

            #[inline]
            fn prefix(value: #row<'_>) -> u64 {
                #prefix
            }

            #[inline]
            fn digest_bytes(value: #row<'_>, bytes: &mut ::std::vec::Vec<u8>) {
                #(#codecs::digest_bytes(value.#members, bytes);)*
            }
        }
    }
}

fn column(model: &Model, kind: &Struct, slots: &[Slot<'_>]) -> TokenStream {
    let names = Names::of(model);
    let Names { codec, owned, row, column, .. } = &names;
    let support = names.support();
    let members = kind.fields.fields.iter().map(|field| &field.member);
    let columns = slots.iter().map(|slot| names.column_of(slot.ty));
    let (idents, types): (Vec<_>, Vec<_>) = slots.iter().map(|slot| (&slot.ident, slot.ty)).unzip();
    let indexes = 0..slots.len();
    quote! {
        #[automatically_derived]
        impl #codec::Column<#owned> for #column {
            fn try_new(
                array: &dyn #support::Array,
                present: ::core::option::Option<&#support::NullBuffer>,
            ) -> ::core::result::Result<Self, #support::DecodeError> {
                let array = #support::Structs::of::<#owned>(array, present)?;
                ::core::result::Result::Ok(Self {
                    len: array.len(),
                    #(#idents: array.column::<#types>(#indexes)?,)*
                })
            }

            #[inline]
            fn len(&self) -> usize {
                self.len
            }

            #[inline]
            fn get(&self, index: usize) -> #row<'_> {
                #row { #(#members: #columns::get(&self.#idents, index)),* }
            }
        }
    }
}

fn builder(model: &Model, kind: &Struct, slots: &[Slot<'_>]) -> TokenStream {
    let names = Names::of(model);
    let Names { codec, owned, row, builder, .. } = &names;
    let support = names.support();
    let members: Vec<_> = kind.fields.fields.iter().map(|field| &field.member).collect();
    let (idents, builders): (Vec<_>, Vec<_>) =
        slots.iter().map(|slot| (&slot.ident, names.builder_of(slot.ty))).unzip();
    let (pad, reserve, clear) = (slots::pad(&names, slots), slots::reserve(&names, slots), slots::clear(&names, slots));
    let (bytes, finish) = (slots::bytes(&names, slots), slots::finish(&names, slots));
    quote! {
        #[automatically_derived]
        impl #codec::Builder<#owned> for #builder {
            #[inline]
            fn push(&mut self, value: #row<'_>) {
                self.len += 1;
                #(#builders::push(&mut self.#idents, value.#members);)*
            }

            fn pad(&mut self) {
                self.len += 1;
                #pad
            }

            fn reserve(&mut self, rows: usize, bytes: usize) {
                #reserve
            }

            fn bytes(&self) -> usize {
                0 #bytes
            }

            #[inline]
            fn len(&self) -> usize {
                self.len
            }

            #[inline]
            fn get(&self, index: usize) -> #row<'_> {
                #row { #(#members: #builders::get(&self.#idents, index)),* }
            }

            fn finish(&mut self) -> ::core::result::Result<#support::ArrayRef, #support::EncodeError> {
                self.len = 0;
                #support::finish_struct::<#owned>(#finish)
            }

            fn clear(&mut self) {
                self.len = 0;
                #clear
            }
        }
    }
}
