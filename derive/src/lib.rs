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
/// | `name = "order"` | What a shard remembers the type by, whatever its path in Rust is: letters, digits, `_`, `-` and `.`, 255 bytes at most. Another name is a safe change. |
/// | `retired(id = 4, type = "String")` | A struct had this field, of this type: no other may take its id. As often as needed, and for ever. A field that came with a default can be retired, where every row holds that. |
/// | `crate = "path"` | Where `timely-persist` is, if not at `::timely_persist`: for a crate that re-exports it. |
///
/// # Attributes of fields and variants
///
/// | `#[codec(..)]` | |
/// | --- | --- |
/// | `id = 1` | What the field or variant is, for ever, whatever it is called: a number from 1, once in its struct, enum or variant. Needed. |
/// | `default` | Rows that were written before there was this field have the `Default` of its type there. Only of fields. |
/// | `default = 1` | They have this value: an expression of the field's type, or a text that its type is `From`. |
///
/// A default is part of what a shard remembers: it is the same in every run of the program, and never changes. A field that was
/// there from the start needs none, and gets none later.
///
/// # Columns
///
/// A struct, also one with fields `0`, `1` and so on, is an Arrow struct of its fields. An enum without data is a `UInt8`, the
/// place of the variant, counted from 0; other enums are an Arrow struct of that, called `tag`, and of a nullable struct for
/// each variant that has fields, under the name of the variant. The metadata of the Arrow fields have their ids, as
/// `timely_persist.id`.
///
/// # What the compiler says
///
/// All that is wrong with a type is said at once.
///
/// | error | what to do |
/// | --- | --- |
/// | say what a shard remembers the type by, for ever: … | Write the attribute that it proposes, or another name. |
/// | a name consists of … | Choose such a name: it need not be that of the type. |
/// | a name has at most 255 bytes | Choose a shorter one. |
/// | … has no id, by which it is known for ever: write … | Write the attribute that it proposes; of a type that is stored already, an id that was never used. |
/// | an id is a number from 1 to 4294967295 | Choose such a number. |
/// | this id is that of …: take another, … is free | Give the newer of the two the id that is proposed. That of a retired field stays taken. |
/// | this key is here twice | Leave one of them. |
/// | a type has the keys … | Other keys stand at fields and variants, or nowhere. |
/// | a field has the keys … | The name of a field is that in Rust, and may change. |
/// | a variant has the key … | A variant has no default: a new one stands behind the others, and no row has it. |
/// | say which field is retired: … | Write the id and the type that the field had. |
/// | a retired field has the keys … | Write these two. |
/// | only a struct has retired fields: … | Leave the variant, or the field of the variant, where it is. |
/// | a type with parameters has no derived codec: … | Write a type for each that is stored, by a macro if there are many; in place of borrowed data own it. |
/// | a struct without fields has no column: … | Store `()`, or give it a field. |
/// | a union has no codec, because … | Use an enum. |
/// | an enum without variants has no values to store | Store `()`, or wait until there is a variant. |
/// | … variants are more than the 256 that … | Put some of them into an enum of their own, which is the field of a variant. |
/// | a variant cannot be called `tag`, … | Call it something else: its id stays. |
/// | discriminants must be numbers that increase: … | Leave the numbers out, or sort the variants by them. A stored enum keeps its order. |
/// | E0277: the trait bound `…: Codec` is not satisfied | A field is of that type: derive its codec too, take a type that has one, write one, or wrap it in `Serde`. |
/// | E0277: the trait bound `…: Default` is not satisfied | Write the value: `default = ..`. |
/// | E0277: the same of `Ord`, `Clone` or `Debug` | Derive `Clone, Debug, PartialEq, Eq, PartialOrd, Ord` beside `Codec`. |
/// | E0308 at a default | Write a value of the field's type, such as `default = Some(1)`. |
/// | E0433: cannot find `timely_persist` | Add it to the manifest, or say where it is: `crate = ".."`. |
#[proc_macro_derive(Codec, attributes(codec))]
pub fn derive_codec(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match model::Model::of(input) {
        Ok(model) => expand::codec(&model).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
