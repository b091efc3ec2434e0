//! Two versions of a program: a field is renamed and wider, fields are new and come first, a type became optional, and there
//! is one more way to pay. The model's numbers are those of the first; from [`OWN`] on they are rows that only the second can
//! write.

use crate::actors::Program;
use crate::random::Random;

/// Numbers from here on are of rows that no older program can write.
const OWN: u64 = 1 << 60;

/// So many kinds of them there are: each has something new in another place.
const OWN_KINDS: u64 = 5;

/// A count that the first program has no room for.
const WIDE: u64 = 1 << 40;

const REGION: u16 = 7;
const NOTE: &str = "none";

mod first {
    use timely_persist::Codec;

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "customer")]
    pub struct Customer {
        #[codec(id = 1)]
        pub name: String,
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "paid")]
    pub enum Paid {
        #[codec(id = 1)]
        No,
        #[codec(id = 2)]
        Card(#[codec(id = 1)] String),
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "order")]
    pub struct Order {
        #[codec(id = 1)]
        pub pieces: u32,
        #[codec(id = 2)]
        pub paid: Paid,
    }
}

mod second {
    use timely_persist::Codec;

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "client")]
    pub struct Customer {
        #[codec(id = 2, default = 7)]
        pub region: u16,
        #[codec(id = 1)]
        pub name: String,
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "payment")]
    pub enum Paid {
        #[codec(id = 1)]
        No,
        #[codec(id = 2)]
        Card(#[codec(id = 1)] String),
        #[codec(id = 3)]
        Transfer {
            #[codec(id = 1)]
            day: u32,
        },
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "order")]
    pub struct Order {
        #[codec(id = 3, default = "none")]
        pub note: String,
        #[codec(id = 1)]
        pub count: u64,
        #[codec(id = 2)]
        pub paid: Option<Paid>,
    }
}

/// The first version.
pub struct First;

/// The second.
pub struct Second;

/// Half of it is the pieces, the last bit says how they are paid for.
fn card(number: u64) -> Option<String> {
    (!number.is_multiple_of(2)).then(|| format!("card {}", number / 2 % 4))
}

impl Program for First {
    type Key = first::Customer;
    type Value = first::Order;
    type Older = Self;
    const VERSION: u32 = 0;

    fn row(text: &str, number: u64) -> (first::Customer, first::Order) {
        let paid = card(number).map_or(first::Paid::No, first::Paid::Card);
        let pieces = u32::try_from(number / 2).expect("the first program has no such row");
        (first::Customer { name: text.to_owned() }, first::Order { pieces, paid })
    }

    fn plain(key: first::Customer, value: first::Order) -> (String, u64) {
        let number = 2 * u64::from(value.pieces) + u64::from(value.paid != first::Paid::No);
        assert_eq!(Self::row(&key.name, number), (key.clone(), value), "no row of the model");
        (key.name, number)
    }
}

impl Program for Second {
    type Key = second::Customer;
    type Value = second::Order;
    type Older = First;
    const VERSION: u32 = 1;

    fn row(text: &str, number: u64) -> (second::Customer, second::Order) {
        let own = number.checked_sub(OWN).map(|own| (own / OWN_KINDS, own % OWN_KINDS));
        let (base, kind) = own.unwrap_or((number, OWN_KINDS));
        let region = if own.is_none() || base.is_multiple_of(2) { REGION } else { REGION - 4 };
        let (note, count) = match kind {
            0 => ("before the others", base),
            1 => ("with the last", base),
            4 => (NOTE, WIDE + base),
            _ => (NOTE, base / if own.is_some() { 1 } else { 2 }),
        };
        let paid = match kind {
            2 => Some(second::Paid::Transfer { day: base as u32 }),
            3 => None,
            _ => Some(card(base).map_or(second::Paid::No, second::Paid::Card)),
        };
        let order = second::Order { note: note.to_owned(), count, paid };
        (second::Customer { region, name: text.to_owned() }, order)
    }

    fn plain(key: second::Customer, value: second::Order) -> (String, u64) {
        let own = |base, kind| OWN + base * OWN_KINDS + kind;
        let number = match (&value.paid, value.note.as_str(), value.count) {
            (Some(second::Paid::Transfer { .. }), _, base) => own(base, 2),
            (None, _, base) => own(base, 3),
            (_, "before the others", base) => own(base, 0),
            (_, "with the last", base) => own(base, 1),
            (_, _, wide @ WIDE..) => own(wide - WIDE, 4),
            (Some(paid), _, pieces) => 2 * pieces + u64::from(*paid != second::Paid::No),
        };
        assert_eq!(Self::row(&key.name, number), (key.clone(), value), "no row of the model");
        (key.name, number)
    }

    fn fresh(random: &mut Random, number: u64) -> u64 {
        if random.percent(50) { OWN + number * OWN_KINDS + random.below(OWN_KINDS as usize) as u64 } else { number }
    }
}
