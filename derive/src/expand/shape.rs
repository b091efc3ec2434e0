//! What the type says of itself: its name, its shape and its Arrow type.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Lit};

use super::names::Names;
use crate::attributes::DefaultValue;
use crate::model::{Enum, Field, FieldList, Model, Struct, Variant};

/// Of a struct.
pub(super) fn of_struct(model: &Model, kind: &Struct) -> TokenStream {
    let names = Names::of(model);
    let (support, name) = (names.support(), &model.name);
    let said = said(&names, &kind.fields);
    let shapes = kind.fields.fields.iter().map(|field| shape(&names, field));
    let retired = kind.retired.iter().map(|retired| {
        let (id, of) = (retired.id.number, names.codec_of(&retired.ty));
        quote!(#support::RetiredField { id: #id, shape: #of::shape() })
    });
    let fields = arrow_fields(&names, &kind.fields);
    quote! {
        fn name() -> ::std::string::String {
            #support::struct_name(#name, #said)
        }

        fn shape() -> #support::Shape {
            #support::Shape::Struct(#support::StructShape {
                name: ::std::string::String::from(#name),
                fields: ::std::vec![#(#shapes),*],
                retired: ::std::vec![#(#retired),*],
            })
        }

        fn data_type() -> #support::DataType {
            #support::struct_type(::std::vec![#(#fields),*])
        }
    }
}

/// Of an enum with data.
pub(super) fn of_enum(model: &Model, kind: &Enum) -> TokenStream {
    let names = Names::of(model);
    let (support, name_and_shape) = (names.support(), name_and_shape(&names, model, kind));
    let variants = kind.variants.iter().filter(|variant| !variant.fields.fields.is_empty()).map(|variant| {
        let (id, name) = (variant.id, &variant.name);
        let fields = arrow_fields(&names, &variant.fields);
        quote!(#support::variant_field(#id, #name, ::std::vec![#(#fields),*]))
    });
    quote! {
        #name_and_shape

        fn data_type() -> #support::DataType {
            #support::enum_type(::std::vec![#(#variants),*])
        }
    }
}

/// Of an enum without data.
pub(super) fn of_units(model: &Model, kind: &Enum) -> TokenStream {
    let names = Names::of(model);
    let (support, name_and_shape) = (names.support(), name_and_shape(&names, model, kind));
    quote! {
        #name_and_shape

        fn data_type() -> #support::DataType {
            #support::DataType::UInt8
        }
    }
}

fn name_and_shape(names: &Names<'_>, model: &Model, kind: &Enum) -> TokenStream {
    let (support, name) = (names.support(), &model.name);
    let said = kind.variants.iter().map(|variant| {
        let (id, said) = (variant.id, said(names, &variant.fields));
        quote!((#id, #said))
    });
    let shapes = kind.variants.iter().map(|variant| variant_shape(names, variant));
    quote! {
        fn name() -> ::std::string::String {
            #support::enum_name(#name, ::std::vec![#(#said),*])
        }

        fn shape() -> #support::Shape {
            #support::Shape::Enum(#support::EnumShape {
                name: ::std::string::String::from(#name),
                variants: ::std::vec![#(#shapes),*],
            })
        }
    }
}

fn variant_shape(names: &Names<'_>, variant: &Variant) -> TokenStream {
    let (support, id, name) = (names.support(), variant.id, &variant.name);
    let fields = variant.fields.fields.iter().map(|field| shape(names, field));
    quote! {
        #support::VariantShape {
            id: #id,
            name: ::std::string::String::from(#name),
            fields: ::std::vec![#(#fields),*],
        }
    }
}

/// The ids of the fields and the names of what they hold.
fn said(names: &Names<'_>, list: &FieldList) -> TokenStream {
    let fields = list.fields.iter().map(|field| {
        let (id, of) = (field.id, names.codec_of(&field.ty));
        quote!((#id, #of::name()))
    });
    quote!(::std::vec![#(#fields),*])
}

fn shape(names: &Names<'_>, field: &Field) -> TokenStream {
    let (support, of, id, name) = (names.support(), names.codec_of(&field.ty), field.id, &field.name);
    let default = match &field.default {
        None => quote!(::core::option::Option::None),
        Some(default) => {
            let (ty, value) = (&field.ty, value(field, default));
            quote!({
                #value
                ::core::option::Option::Some(#support::constant::<#ty>(&value))
            })
        }
    };
    quote! {
        #support::FieldShape {
            id: #id,
            name: ::std::string::String::from(#name),
            shape: #of::shape(),
            default: #default,
        }
    }
}

/// Binds the default to `value`, where a complaint about its type points at what was written. Who wrote it may be a macro with
/// names of its own: `value` is one of ours all the same.
fn value(field: &Field, default: &DefaultValue) -> TokenStream {
    let ty = &field.ty;
    let ours = |written: Span| written.resolved_at(Span::call_site());
    match default {
        DefaultValue::OfType => {
            quote_spanned!(ours(ty.span())=> let value = <#ty as ::core::default::Default>::default();)
        }
        DefaultValue::Of(expression) if is_text(expression) => {
            quote_spanned!(ours(expression.span())=> let value: #ty = ::core::convert::Into::into(#expression);)
        }
        DefaultValue::Of(expression) => quote_spanned!(ours(expression.span())=> let value: #ty = #expression;),
    }
}

/// Whether what is written is a text: no codec is of the type of that.
fn is_text(expression: &Expr) -> bool {
    matches!(expression, Expr::Lit(literal) if matches!(literal.lit, Lit::Str(_) | Lit::ByteStr(_)))
}

fn arrow_fields<'a>(names: &'a Names<'_>, list: &'a FieldList) -> impl Iterator<Item = TokenStream> + 'a {
    list.fields.iter().map(|field| {
        let (support, ty, id, name) = (names.support(), &field.ty, field.id, &field.name);
        quote!(#support::field::<#ty>(#id, #name))
    })
}
