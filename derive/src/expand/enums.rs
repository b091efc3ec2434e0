//! The codec of an enum with data: an Arrow struct of the tags, which are the places of the variants, and a nullable struct
//! of each variant that has fields.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::names::Names;
use super::slots::Slot;
use super::{rows, shape, slots};
use crate::model::{Enum, Model, Variant};

/// A variant with its tag and the names of its fields: in patterns, and of their columns.
struct Kind<'a> {
    variant: &'a Variant,
    tag: u8,
    bindings: Vec<Ident>,
    slots: Vec<Slot<'a>>,
}

impl Kind<'_> {
    /// Takes a value apart, or puts one together of what is bound.
    fn pattern(&self, of: &TokenStream) -> TokenStream {
        let ident = &self.variant.ident;
        let members = self.variant.fields.fields.iter().map(|field| &field.member);
        let bindings = &self.bindings;
        quote!(#of::#ident { #(#members: #bindings),* })
    }

    fn codecs(&self, names: &Names<'_>) -> Vec<TokenStream> {
        self.slots.iter().map(|slot| names.codec_of(slot.ty)).collect()
    }
}

pub(super) fn codec(model: &Model, kind: &Enum) -> TokenStream {
    let kinds = kind.variants.iter().zip(0u8..=u8::MAX).map(|(variant, tag)| Kind {
        variant,
        tag,
        bindings: rows::bindings(&variant.fields),
        slots: slots::slots(&variant.fields, &format!("v{tag}_")),
    });
    let kinds: Vec<_> = kinds.collect();
    let names = Names::of(model);
    let support = names.support();
    let all: Vec<_> = kinds.iter().flat_map(|kind| &kind.slots).cloned().collect();
    let row = rows::of_enum(model, kind);
    let definitions =
        slots::definitions(model, &all, &quote!(tags: #support::Tags), &quote!(tags: ::std::vec::Vec<u8>));
    let shape = shape::of_enum(model, kind);
    let codec = codec_impl(&names, &kinds, &all, &shape);
    let (column, builder) = (column_impl(&names, &kinds), builder_impl(&names, &kinds, &all));
    quote!(#row #definitions #codec #column #builder)
}

fn codec_impl(names: &Names<'_>, kinds: &[Kind<'_>], all: &[Slot<'_>], shape: &TokenStream) -> TokenStream {
    let Names { codec, owned, row, column, builder } = names;
    let support = names.support();
    let (of_owned, of_row) = (quote!(Self), quote!(#row));
    let map = |from: &TokenStream, to: &TokenStream, method: &str| -> TokenStream {
        let method = format_ident!("{method}");
        let arm = |kind: &Kind<'_>| {
            let (from, ident) = (kind.pattern(from), &kind.variant.ident);
            let members = kind.variant.fields.fields.iter().map(|field| &field.member);
            let (bindings, codecs) = (&kind.bindings, kind.codecs(names));
            quote!(#from => #to::#ident { #(#members: #codecs::#method(#bindings)),* },)
        };
        kinds.iter().map(arm).collect()
    };
    let (as_ref, from_ref) = (map(&of_owned, &of_row, "as_ref"), map(&of_row, &of_owned, "from_ref"));
    let (reborrow, size) = (map(&of_row, &of_row, "reborrow"), size(names, kinds, all));
    let each = |code: &dyn Fn(&Kind<'_>) -> TokenStream| -> TokenStream {
        let arm = |kind: &Kind<'_>| {
            let (pattern, code) = (kind.pattern(&of_row), code(kind));
            quote!(#pattern => { #code })
        };
        kinds.iter().map(arm).collect()
    };
    let check = each(&|kind| {
        let (bindings, codecs) = (&kind.bindings, kind.codecs(names));
        quote!(#(#codecs::check(#bindings)?;)*)
    });
    let prefix = prefix(names, kinds);
    let digest = each(&|kind| {
        let (id, bindings, codecs) = (kind.variant.id, &kind.bindings, kind.codecs(names));
        quote!(#support::id_digest(#id, bytes); #(#codecs::digest_bytes(#bindings, bytes);)*)
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
                match self { #as_ref }
            }

            #[inline]
            fn from_ref(value: #row<'_>) -> Self {
                match value { #from_ref }
            }

            #[inline]
            fn reborrow<'b, 'a: 'b>(value: #row<'a>) -> #row<'b> {
                match value { #reborrow }
            }

            #[inline]
            fn size(value: #row<'_>) -> ::core::result::Result<usize, #support::EncodeError> {
                #size
            }

            #[inline]
            fn check(value: #row<'_>) -> ::core::result::Result<(), #support::EncodeError> {
                match value { #check }
                ::core::result::Result::Ok(())
            }

            #[inline]
            fn prefix(value: #row<'_>) -> u64 {
                #prefix
            }

            #[inline]
            fn digest_bytes(value: #row<'_>, bytes: &mut ::std::vec::Vec<u8>) {
                match value { #digest }
            }
        }
    }
}

/// A tag, the fields of the variant, and placeholders in those of all others.
fn size(names: &Names<'_>, kinds: &[Kind<'_>], all: &[Slot<'_>]) -> TokenStream {
    let row = &names.row;
    let placeholder = |slot: &Slot<'_>| {
        let of = names.codec_of(slot.ty);
        quote!(::core::mem::size_of::<#of::Ref<'static>>())
    };
    let placeholders = all.iter().map(placeholder);
    let arms = kinds.iter().map(|kind| {
        let (pattern, bindings, codecs) = (kind.pattern(&quote!(#row)), &kind.bindings, kind.codecs(names));
        let own = kind.slots.iter().map(placeholder);
        quote!(#pattern => others #(- #own)* #(+ #codecs::size(#bindings)?)*,)
    });
    quote! {
        let others = 1 #(+ #placeholders)*;
        ::core::result::Result::Ok(match value { #(#arms)* })
    }
}

/// The tag, and the first bits of the first field behind it.
fn prefix(names: &Names<'_>, kinds: &[Kind<'_>]) -> TokenStream {
    let (row, support) = (&names.row, names.support());
    let arms = kinds.iter().map(|kind| {
        let (ident, tag) = (&kind.variant.ident, kind.tag);
        match kind.variant.fields.fields.first() {
            None => quote!(#row::#ident { .. } => #support::tag_prefix(#tag),),
            Some(first) => {
                let (member, of) = (&first.member, names.codec_of(&first.ty));
                quote! {
                    #row::#ident { #member: first, .. } => {
                        #support::tag_prefix(#tag) | #of::prefix(first) >> u8::BITS
                    }
                }
            }
        }
    });
    quote!(match value { #(#arms)* })
}

fn column_impl(names: &Names<'_>, kinds: &[Kind<'_>]) -> TokenStream {
    let Names { codec, owned, row, column, .. } = names;
    let (support, variants) = (names.support(), kinds.len());
    // The first column is of the tags.
    let with_fields = kinds.iter().filter(|kind| !kind.slots.is_empty()).zip(1usize..);
    let decoded = with_fields.map(|(kind, index)| {
        let (tag, local) = (kind.tag, format_ident!("v{}", kind.tag));
        let (idents, types): (Vec<_>, Vec<_>) = kind.slots.iter().map(|slot| (&slot.ident, slot.ty)).unzip();
        let indexes = 0..idents.len();
        quote! {
            let #local = array.variant(#index, &tags, #tag)?;
            #(let #idents = #local.column::<#types>(#indexes)?;)*
        }
    });
    let idents = kinds.iter().flat_map(|kind| &kind.slots).map(|slot| &slot.ident);
    let get = get(names, kinds, &quote!(self.tags.get(index)), |slot| names.column_of(slot.ty));
    quote! {
        #[automatically_derived]
        impl #codec::Column<#owned> for #column {
            fn try_new(
                array: &dyn #support::Array,
                present: ::core::option::Option<&#support::NullBuffer>,
            ) -> ::core::result::Result<Self, #support::DecodeError> {
                let array = #support::Structs::of::<#owned>(array, present)?;
                let tags = array.tags(#variants)?;
                #(#decoded)*
                ::core::result::Result::Ok(Self { tags, #(#idents,)* })
            }

            #[inline]
            fn len(&self) -> usize {
                self.tags.len()
            }

            #[inline]
            fn get(&self, index: usize) -> #row<'_> {
                #get
            }
        }
    }
}

fn builder_impl(names: &Names<'_>, kinds: &[Kind<'_>], all: &[Slot<'_>]) -> TokenStream {
    let Names { codec, owned, row, builder, .. } = names;
    let support = names.support();
    let tags = kinds.iter().map(|kind| {
        let (ident, tag) = (&kind.variant.ident, kind.tag);
        quote!(#row::#ident { .. } => #tag,)
    });
    let with_fields: Vec<_> = kinds.iter().filter(|kind| !kind.slots.is_empty()).collect();
    let pushes = with_fields.iter().map(|kind| push(names, kind, kinds.len()));
    let finished = with_fields.iter().map(|kind| {
        let (tag, arrays) = (kind.tag, slots::finish(names, &kind.slots));
        quote!((#tag, #arrays))
    });
    let (pad, reserve, clear) = (slots::pad(names, all), slots::reserve(names, all), slots::clear(names, all));
    let bytes = slots::bytes(names, all);
    let get = get(names, kinds, &quote!(self.tags[index]), |slot| names.builder_of(slot.ty));
    quote! {
        #[automatically_derived]
        impl #codec::Builder<#owned> for #builder {
            #[inline]
            fn push(&mut self, value: #row<'_>) {
                self.tags.push(match value { #(#tags)* });
                #(#pushes)*
            }

            fn pad(&mut self) {
                self.tags.push(0);
                #pad
            }

            fn reserve(&mut self, rows: usize, bytes: usize) {
                self.tags.reserve(rows);
                #reserve
            }

            fn bytes(&self) -> usize {
                self.tags.len() #bytes
            }

            #[inline]
            fn len(&self) -> usize {
                self.tags.len()
            }

            #[inline]
            fn get(&self, index: usize) -> #row<'_> {
                #get
            }

            fn finish(&mut self) -> ::core::result::Result<#support::ArrayRef, #support::EncodeError> {
                let tags = ::core::mem::take(&mut self.tags);
                #support::finish_enum::<#owned>(tags, ::std::vec![#(#finished),*])
            }

            fn clear(&mut self) {
                self.tags.clear();
                #clear
            }
        }
    }
}

/// The fields of a value of this variant, or placeholders in their place.
fn push(names: &Names<'_>, kind: &Kind<'_>, variants: usize) -> TokenStream {
    let row = &names.row;
    let (pattern, bindings) = (kind.pattern(&quote!(#row)), &kind.bindings);
    let (idents, builders): (Vec<_>, Vec<_>) =
        kind.slots.iter().map(|slot| (&slot.ident, names.builder_of(slot.ty))).unzip();
    let pad = slots::pad(names, &kind.slots);
    let others = (variants > 1).then(|| quote!(_ => { #pad }));
    quote! {
        match value {
            #pattern => { #(#builders::push(&mut self.#idents, #bindings);)* }
            #others
        }
    }
}

/// The row of a tag that was checked, out of columns or builders: the last variant needs no number.
fn get(names: &Names<'_>, kinds: &[Kind<'_>], tag: &TokenStream, of: impl Fn(&Slot<'_>) -> TokenStream) -> TokenStream {
    let row = &names.row;
    let arms = kinds.iter().enumerate().map(|(index, kind)| {
        let (ident, tag) = (&kind.variant.ident, kind.tag);
        let pattern = if index + 1 == kinds.len() { quote!(_) } else { quote!(#tag) };
        let members = kind.variant.fields.fields.iter().map(|field| &field.member);
        let (idents, parts): (Vec<_>, Vec<_>) = kind.slots.iter().map(|slot| (&slot.ident, of(slot))).unzip();
        quote!(#pattern => #row::#ident { #(#members: #parts::get(&self.#idents, index)),* },)
    });
    quote!(match #tag { #(#arms)* })
}
