//! The code of a codec.
//!
//! A row is `<Type>Ref`, a column `<Type>Column`, and `<Type>Builder` collects one. What does not depend on the type is no
//! code here: it is called, in `codec::derive_support`.

mod enums;
mod names;
mod rows;
mod shape;
mod slots;
mod structs;
mod units;

use proc_macro2::TokenStream;

use crate::model::{Kind, Model};

/// All of it.
pub(crate) fn codec(model: &Model) -> TokenStream {
    match &model.kind {
        Kind::Struct(kind) => structs::codec(model, kind),
        Kind::Enum(kind) if kind.is_units() => units::codec(model, kind),
        Kind::Enum(kind) => enums::codec(model, kind),
    }
}
