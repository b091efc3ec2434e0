//! What stands in the attributes.

use timely_persist_derive::Codec;

#[derive(Codec)]
struct OpenOrder {
    #[codec(id = 1)]
    id: u64,
    customer: String,
    note: String,
}

#[derive(Codec)]
#[codec(name = "ids")]
#[codec(retired(id = 4, type = "String"), retired(id = 5))]
struct Ids {
    #[codec(id = 1)]
    one: u64,
}

#[derive(Codec)]
#[codec(name = "ids")]
#[codec(retired(id = 4, type = "String"))]
struct MoreIds {
    #[codec(id = 1)]
    one: u64,
    #[codec(id = 1)]
    twice: u64,
    #[codec(id = 0)]
    zero: u64,
    #[codec(id = 4294967296)]
    large: u64,
    #[codec(id = 4)]
    retired: u64,
    #[codec(id = 2, name = "x")]
    unknown: u64,
    #[codec(id = 3, id = 6)]
    two: u64,
}

#[derive(Codec)]
#[codec(name = "a b", rename = "x")]
struct Unknown(#[codec(id = 1)] u8);

#[derive(Codec)]
#[codec(name = "a{b}")]
struct Braces(#[codec(id = 1)] u8);

#[derive(Codec)]
#[codec(name = "variants")]
#[codec(retired(id = 4, type = "String"))]
enum Variants {
    #[codec(id = 1)]
    One(u8),
    #[codec(id = 1, default)]
    Default,
    #[codec(id = 1)]
    Twice {
        #[codec(id = 1)]
        one: u8,
        #[codec(id = 1)]
        two: u8,
    },
    #[codec(id = 5)]
    tag,
    Missing,
}

#[derive(Codec)]
#[codec(name = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")]
struct Long(#[codec(id = 1)] u8);

fn main() {}
