//! What the code of one type calls things.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Path, Type};

use crate::model::Model;

/// The names in the code of a type.
pub(super) struct Names<'a> {
    /// The module of all codecs.
    pub(super) codec: &'a Path,
    /// The type itself.
    pub(super) owned: &'a Ident,
    /// The borrowed row.
    pub(super) row: Ident,
    pub(super) column: Ident,
    pub(super) builder: Ident,
}

impl<'a> Names<'a> {
    pub(super) fn of(model: &'a Model) -> Self {
        // Without the place of the type's own name, so that no lint looks there for what is not written there.
        let name =
            |suffix: &str| format_ident!("{}{}", model.ident.unraw().to_string(), suffix, span = Span::call_site());
        Self {
            codec: &model.codec,
            owned: &model.ident,
            row: name("Ref"),
            column: name("Column"),
            builder: name("Builder"),
        }
    }

    /// What is called but not written.
    pub(super) fn support(&self) -> TokenStream {
        let codec = self.codec;
        quote!(#codec::derive_support)
    }

    /// The type as a codec.
    pub(super) fn codec_of(&self, ty: &Type) -> TokenStream {
        let codec = self.codec;
        quote!(<#ty as #codec::Codec>)
    }

    /// Its column, as one.
    pub(super) fn column_of(&self, ty: &Type) -> TokenStream {
        let (codec, of) = (self.codec, self.codec_of(ty));
        quote!(<#of::Column as #codec::Column<#ty>>)
    }

    /// Its builder, as one.
    pub(super) fn builder_of(&self, ty: &Type) -> TokenStream {
        let (codec, of) = (self.codec, self.codec_of(ty));
        quote!(<#of::Builder as #codec::Builder<#ty>>)
    }
}
