//! `#[derive(Codec)]`: how a struct or an enum lies in a column.
//!
//! A program has it from `timely-persist`, as `timely_persist::Codec`. Here a type is read (`attributes`), checked (`model`)
//! and its code written (`expand`).
//!
//! Always: what is wrong is a compile error where it stands, which says what to write instead; the code that is written names
//! everything through one path, and of other crates only what that path has.

mod attributes;
mod expand;
mod model;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// How a struct or an enum lies in a column: an Arrow struct with a column for each field, under the field's name.
///
/// The type derives `Ord` too, and every field has a codec. Beside the implementation of `Codec` for a type `Order` this writes
/// `OrderRef<'a>`, a row of a column: of the same fields or variants, as visible, each field borrowed (`&str` where `Order` has
/// a `String`). It is `Copy`; it is ordered as `Order` is by the derived `Ord`, by the fields as they are declared; and where
/// the rows of all fields are `Hash`, it is that too, as the derived `Hash` of `Order` has it. A row without data borrows
/// nothing: that of an enum whose variants all have none is `OrderRef`, without a lifetime.
///
/// # Attributes of the type
///
/// | `#[codec(..)]` | |
/// | --- | --- |
/// | `name = "order"` | What a shard remembers the type by, whatever its path in Rust is: letters, digits, `_`, `-` and `.`, 255 bytes at most. |
/// | `retired(id = 4, type = "String")` | A struct had this field, of this type: no other may take its id. As often as needed. |
/// | `crate = "path"` | Where `timely-persist` is, if not at `::timely_persist`. |
///
/// # Attributes of fields and variants
///
/// | `#[codec(..)]` | |
/// | --- | --- |
/// | `id = 1` | What the field or variant is, for ever, whatever it is called: a number from 1, once in its struct, enum or variant. |
/// | `default` | Rows that were written before there was this field have the `Default` of its type there. Only of fields. |
/// | `default = 1` | They have this value: an expression of the field's type, or a text that its type is `From`. |
///
/// A default is part of what a shard remembers: it is the same in every run of the program.
///
/// # Columns
///
/// A struct, also one with fields `0`, `1` and so on, is an Arrow struct of its fields. An enum without data is a `UInt8`, the
/// place of the variant, counted from 0; other enums are an Arrow struct of that, called `tag`, and of a nullable struct for
/// each variant that has fields, under the name of the variant. The metadata of the Arrow fields have their ids, as
/// `timely_persist.id`.
///
/// Refused are unions, types with parameters, structs without fields, enums of no variants or more than 256, and discriminants
/// (`Open = 3`) that are not numbers in increasing order: rows are ordered as variants are declared.
#[proc_macro_derive(Codec, attributes(codec))]
pub fn derive_codec(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match model::Model::of(input) {
        Ok(model) => expand::codec(&model).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
