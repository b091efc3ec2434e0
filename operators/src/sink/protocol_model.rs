//! What the protocol's test runs on: kinds of times, rows, and a shard that decides as the library does.

use timely::PartialOrder;
use timely::order::Product;
use timely::progress::{Antichain, Timestamp};
use timely_persist::Time;

use crate::common::random::Random;
use crate::sink::gather::Pile;
use crate::sink::lead::Outcome;

/// A kind of time, of which a shard may have rows.
pub(crate) trait Kind: Time + Copy {
    /// A time.
    fn any(random: &mut Random) -> Self;

    /// The frontiers that an input shows, each beyond the one before, until all rows are complete.
    fn chain(random: &mut Random) -> Vec<Antichain<Self>>;

    /// Where a dataflow may begin again that wrote up to here; `None` where only at the beginning.
    fn as_of(random: &mut Random, held: Self, upper: &Antichain<Self>) -> Self;
}

impl Kind for u64 {
    fn any(random: &mut Random) -> Self {
        random.below(12)
    }

    fn chain(random: &mut Random) -> Vec<Antichain<Self>> {
        let mut chain: Vec<_> = (0..13).filter(|_| !random.one_in(3)).collect();
        chain.push(13);
        chain.into_iter().map(Antichain::from_elem).collect()
    }

    fn as_of(random: &mut Random, held: Self, upper: &Antichain<Self>) -> Self {
        match upper.first() {
            Some(upper) if *upper > held => held + random.below(upper - held),
            _ => held,
        }
    }
}

impl Kind for Product<u32, u32> {
    fn any(random: &mut Random) -> Self {
        Product::new(random.below(4) as u32, random.below(4) as u32)
    }

    fn chain(random: &mut Random) -> Vec<Antichain<Self>> {
        let mut at: Antichain<Self> = Antichain::from_elem(Product::minimum());
        let mut chain = vec![at.clone()];
        while at.elements().iter().any(|time| time.outer < 4 && time.inner < 4) {
            // One of its times steps on: no row is at that time any more.
            let stepping = random.below(at.len() as u64) as usize;
            let mut times = at.elements().to_vec();
            let Product { outer, inner } = times.swap_remove(stepping);
            times.extend([Product::new(outer + 1, inner), Product::new(outer, inner + 1)]);
            at = times.into();
            chain.push(at.clone());
        }
        chain.push(vec![Product::new(64, 0), Product::new(0, 64)].into());
        chain
    }

    fn as_of(_: &mut Random, held: Self, _: &Antichain<Self>) -> Self {
        held
    }
}

pub(crate) type Row<T> = (T, u32);

#[derive(Debug)]
pub(crate) struct Rows<T>(pub(crate) Vec<Row<T>>);

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Kind> Pile for Rows<T> {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn rows(&self) -> u64 {
        self.0.len() as u64
    }
}

pub(crate) fn encode<T: Kind>(rows: &[Row<T>]) -> Vec<u8> {
    rows.iter().flat_map(|(time, row)| time.encode().into_iter().chain(row.to_le_bytes())).collect()
}

pub(crate) fn decode<T: Kind>(bytes: &[u8]) -> Vec<Row<T>> {
    let row = |bytes: &[u8]| {
        let (time, row) = bytes.split_at(8);
        (T::decode(time.try_into().unwrap()).unwrap(), u32::from_le_bytes(row.try_into().unwrap()))
    };
    bytes.chunks_exact(12).map(row).collect()
}

/// The shard.
#[derive(Clone, Debug)]
pub(crate) struct Shard<T> {
    pub(crate) upper: Antichain<T>,
    pub(crate) rows: Vec<Row<T>>,
    /// Where the inputs can still be read.
    pub(crate) held: T,
}

impl<T: Kind> Shard<T> {
    pub(crate) fn append(&mut self, lower: &Antichain<T>, upper: &Antichain<T>, batches: &[Vec<u8>]) -> Outcome<T> {
        if PartialOrder::less_equal(upper, &self.upper) {
            let within = |time: &T| lower.less_equal(time) && !upper.less_equal(time);
            let mut theirs: Vec<_> = self.rows.iter().filter(|(time, _)| within(time)).copied().collect();
            let mut ours: Vec<_> = batches.iter().flat_map(|batch| decode::<T>(batch)).collect();
            theirs.sort();
            ours.sort();
            return Outcome::Covered { same: theirs == ours };
        }
        if !PartialOrder::less_equal(lower, &self.upper) {
            return Outcome::Gap(self.upper.clone());
        }
        if !PartialOrder::less_equal(&self.upper, upper) {
            return Outcome::Apart { upper: self.upper.clone(), batches: batches.to_vec() };
        }
        let rows = batches.iter().flat_map(|batch| decode::<T>(batch));
        self.rows.extend(rows.filter(|(time, _)| self.upper.less_equal(time) && !upper.less_equal(time)));
        self.upper.clone_from(upper);
        Outcome::Committed
    }
}
