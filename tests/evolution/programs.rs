//! Three versions of a program, whose keys and values change in every way that is safe; each becomes the next.

use crate::random::Random;

/// Names that begin alike.
const NAMES: [&str; 4] = ["", "a", "ab", "b"];

pub mod one {
    use timely_persist::Codec;

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "item")]
    pub struct Item {
        #[codec(id = 1)]
        pub shelf: i8,
        #[codec(id = 2)]
        pub name: String,
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "stock")]
    pub struct Stock {
        #[codec(id = 1)]
        pub pieces: u16,
        #[codec(id = 2)]
        pub state: State,
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "state")]
    pub enum State {
        #[codec(id = 1)]
        Fresh,
        #[codec(id = 2)]
        Old(#[codec(id = 1)] u8),
    }
}

/// A field in front, wider numbers, an option, another name, another variant.
pub mod two {
    use timely_persist::Codec;

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "item")]
    pub struct Item {
        #[codec(id = 3, default = 5)]
        pub shop: u8,
        #[codec(id = 1)]
        pub shelf: i16,
        #[codec(id = 2)]
        pub name: String,
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "stock")]
    pub struct Stock {
        #[codec(id = 1)]
        pub count: Option<u32>,
        #[codec(id = 2)]
        pub state: State,
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "state")]
    pub enum State {
        #[codec(id = 1)]
        Fresh,
        #[codec(id = 2)]
        Aged {
            #[codec(id = 1)]
            days: u32,
        },
        #[codec(id = 7)]
        Sold,
    }
}

/// The same again, and fields in the middle and at the end.
pub mod three {
    use timely_persist::Codec;

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "goods")]
    pub struct Item {
        #[codec(id = 3, default = 5)]
        pub shop: u32,
        #[codec(id = 1)]
        pub shelf: i64,
        #[codec(id = 9, default = "m")]
        pub size: String,
        #[codec(id = 2)]
        pub name: Option<String>,
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "stock")]
    pub struct Stock {
        #[codec(id = 5, default = -1)]
        pub weight: i32,
        #[codec(id = 1)]
        pub count: Option<u32>,
        #[codec(id = 2)]
        pub state: Option<State>,
        #[codec(id = 6, default)]
        pub notes: Vec<String>,
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "state")]
    pub enum State {
        #[codec(id = 1)]
        Fresh,
        #[codec(id = 2)]
        Aged {
            #[codec(id = 2, default = true)]
            known: bool,
            #[codec(id = 1)]
            days: u32,
        },
        #[codec(id = 7)]
        Sold,
        #[codec(id = 8)]
        Lost {
            #[codec(id = 1)]
            place: String,
        },
    }
}

/// What the last version has of a row of any.
pub type Row = (three::Item, three::Stock);

impl From<one::Item> for two::Item {
    fn from(one::Item { shelf, name }: one::Item) -> Self {
        Self { shop: 5, shelf: shelf.into(), name }
    }
}

impl From<one::Stock> for two::Stock {
    fn from(one::Stock { pieces, state }: one::Stock) -> Self {
        let state = match state {
            one::State::Fresh => two::State::Fresh,
            one::State::Old(days) => two::State::Aged { days: days.into() },
        };
        Self { count: Some(pieces.into()), state }
    }
}

impl From<two::Item> for three::Item {
    fn from(two::Item { shop, shelf, name }: two::Item) -> Self {
        Self { shop: shop.into(), shelf: shelf.into(), size: "m".to_owned(), name: Some(name) }
    }
}

impl From<two::Stock> for three::Stock {
    fn from(two::Stock { count, state }: two::Stock) -> Self {
        let state = match state {
            two::State::Fresh => three::State::Fresh,
            two::State::Aged { days } => three::State::Aged { known: true, days },
            two::State::Sold => three::State::Sold,
        };
        Self { weight: -1, count, state: Some(state), notes: Vec::new() }
    }
}

/// Keys or values of a version: many equal ones, those of the versions before among them.
pub trait Any: timely_persist::Data {
    fn any(random: &mut Random) -> Self;
}

impl Any for one::Item {
    fn any(random: &mut Random) -> Self {
        Self { shelf: *random.pick(&[i8::MIN, -1, 0, 1, i8::MAX]), name: (*random.pick(&NAMES)).to_owned() }
    }
}

impl Any for one::Stock {
    fn any(random: &mut Random) -> Self {
        let state = if random.percent(50) { one::State::Fresh } else { one::State::Old(*random.pick(&[0, 255])) };
        Self { pieces: *random.pick(&[0, 1, u16::MAX]), state }
    }
}

impl Any for two::Item {
    fn any(random: &mut Random) -> Self {
        let old = one::Item::any(random).into();
        if random.percent(50) { old } else { Self { shop: 3 + random.below(5) as u8, ..old } }
    }
}

impl Any for two::Stock {
    fn any(random: &mut Random) -> Self {
        let old: Self = one::Stock::any(random).into();
        match random.below(4) {
            0 => Self { count: None, ..old },
            1 => Self { state: two::State::Sold, ..old },
            _ => old,
        }
    }
}

impl Any for three::Item {
    fn any(random: &mut Random) -> Self {
        let old: Self = two::Item::any(random).into();
        match random.below(4) {
            0 => Self { name: None, ..old },
            1 => Self { size: (*random.pick(&["l", "s"])).to_owned(), ..old },
            _ => old,
        }
    }
}

impl Any for three::Stock {
    fn any(random: &mut Random) -> Self {
        let old: Self = two::Stock::any(random).into();
        let lost = || three::State::Lost { place: "sea".to_owned() };
        match random.below(6) {
            0 => Self { weight: *random.pick(&[-2, 0]), ..old },
            1 => Self { state: random.percent(50).then(lost), ..old },
            2 => Self { notes: vec!["wet".to_owned()], ..old },
            _ => old,
        }
    }
}
