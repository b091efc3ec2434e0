//! Stand-in for the part module while it is being built.
mod meta;
pub use meta::{EncodedPart, PartFormat, PartMeta};
