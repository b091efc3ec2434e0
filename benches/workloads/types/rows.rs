//! The rows, in each of their forms.

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use timely_persist::{Codec, Data, Serde};

use crate::data::{letters, mix};

/// One in so many orders has a note.
const NOTED: u64 = 4;

/// No order is older.
const FIRST_DAY: NaiveDate = NaiveDate::from_ymd_opt(2022, 1, 1).unwrap();

/// Eight fields, of which three have text.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "order")]
pub struct Order {
    #[codec(id = 1)]
    pub id: u64,
    #[codec(id = 2)]
    customer: String,
    #[codec(id = 3)]
    item: String,
    #[codec(id = 4, default)]
    note: Option<String>,
    #[codec(id = 5)]
    pieces: u32,
    #[codec(id = 6)]
    cents: i64,
    #[codec(id = 7)]
    day: NaiveDate,
    #[codec(id = 8)]
    paid: bool,
}

/// The same as a program has it that has added a field.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "order")]
pub struct Noted {
    #[codec(id = 1)]
    id: u64,
    #[codec(id = 2)]
    customer: String,
    #[codec(id = 3)]
    item: String,
    #[codec(id = 4, default)]
    note: Option<String>,
    #[codec(id = 5)]
    pieces: u32,
    #[codec(id = 9, default = 1)]
    priority: u32,
    #[codec(id = 6)]
    cents: i64,
    #[codec(id = 7)]
    day: NaiveDate,
    #[codec(id = 8)]
    paid: bool,
}

/// The same as a tuple.
pub type Fields = (u64, String, String, Option<String>, u32, i64, NaiveDate, bool);

/// The same without a codec of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Plain {
    id: u64,
    customer: String,
    item: String,
    note: Option<String>,
    pieces: u32,
    cents: i64,
    day: NaiveDate,
    paid: bool,
}

/// A form of the rows.
pub trait Stored: Data {
    /// The row in this form.
    fn of(order: Order) -> Self;

    /// The field `id` of one.
    fn id(value: Self::Ref<'_>) -> u64;
}

impl Stored for Order {
    fn of(order: Order) -> Self {
        order
    }

    #[inline]
    fn id(value: Self::Ref<'_>) -> u64 {
        value.id
    }
}

impl Stored for Noted {
    fn of(Order { id, customer, item, note, pieces, cents, day, paid }: Order) -> Self {
        Self { id, customer, item, note, pieces, priority: 1, cents, day, paid }
    }

    #[inline]
    fn id(value: Self::Ref<'_>) -> u64 {
        value.id
    }
}

impl Stored for Fields {
    fn of(Order { id, customer, item, note, pieces, cents, day, paid }: Order) -> Self {
        (id, customer, item, note, pieces, cents, day, paid)
    }

    #[inline]
    fn id(value: Self::Ref<'_>) -> u64 {
        value.0
    }
}

impl Stored for Serde<Plain> {
    fn of(Order { id, customer, item, note, pieces, cents, day, paid }: Order) -> Self {
        Serde(Plain { id, customer, item, note, pieces, cents, day, paid })
    }

    #[inline]
    fn id(value: Self::Ref<'_>) -> u64 {
        value.id
    }
}

/// The key of row `i`.
pub fn key(i: u64) -> u64 {
    mix(i)
}

/// The value of row `i`.
pub fn order(i: u64) -> Order {
    let random = mix(mix(i));
    Order {
        id: i,
        customer: format!("c{:09}", random % 1_000_000_000),
        item: letters(i).take(20).collect(),
        note: (random.is_multiple_of(NOTED)).then(|| letters(random).take(24).collect()),
        pieces: (random >> 8) as u32 % 100,
        cents: (random >> 16) as i64 % 1_000_000,
        day: FIRST_DAY + Days::new((random >> 24) % 2_000),
        paid: random & 0x80 == 0,
    }
}
