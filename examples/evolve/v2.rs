//! Version 2 of the program: its orders.

use timely_persist::Codec;

use crate::v1;

/// What became of [`v1::Order`]: a field is renamed, one is wider, one is new, and an order has one state more to be in.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "order", retired(id = 2, type = "String"))]
pub(crate) struct Order {
    #[codec(id = 1)]
    pub(crate) buyer: String,
    #[codec(id = 3)]
    pub(crate) pieces: u64,
    #[codec(id = 4)]
    pub(crate) state: State,
    #[codec(id = 5, default)]
    pub(crate) note: Option<String>,
}

#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "state")]
pub(crate) enum State {
    #[codec(id = 1)]
    Open,
    #[codec(id = 2)]
    Sent,
    #[codec(id = 3)]
    Returned {
        #[codec(id = 1)]
        day: u32,
    },
}

/// An order of this version, in which version 1 finds all that it knows.
pub(crate) fn known_to_both() -> (u64, Order) {
    let note = Some("a gift".to_owned());
    (4, Order { buyer: "Cleo".to_owned(), pieces: 12, state: State::Open, note })
}

/// An order of this version alone.
pub(crate) fn known_to_itself() -> (u64, Order) {
    (5, Order { buyer: "Dan".to_owned(), pieces: 5_000_000_000, state: State::Returned { day: 3 }, note: None })
}

/// How an order of version 1 must be read.
impl From<v1::Order> for Order {
    fn from(order: v1::Order) -> Self {
        let state = match order.state {
            v1::State::Open => State::Open,
            v1::State::Sent => State::Sent,
        };
        Self { buyer: order.customer, pieces: order.pieces.into(), state, note: None }
    }
}
