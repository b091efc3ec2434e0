//! What programs make of a row. The model knows a row by a text and a number, whatever its types are in a version of a program.

use timely_persist::{Data, Listen, PartFetcher, ReadHandle, Shard, WriteHandle};

use super::SimTime;
use crate::random::Random;
use crate::times::Row;

/// A version of a program: the types of its rows.
pub trait Program: Sized + Send + Sync + 'static {
    type Key: Data;
    type Value: Data;
    /// The version before, or the same where there is none.
    type Older: Program;
    /// Which it is, of those that a shard sees: 0 is the first.
    const VERSION: u32;

    /// The row that the model knows by these.
    fn row(text: &str, number: u64) -> (Self::Key, Self::Value);

    /// By what the model knows this row.
    fn plain(key: Self::Key, value: Self::Value) -> (String, u64);

    /// A number that no other row has, made of this one; perhaps of a row that no older program can write.
    fn fresh(_random: &mut Random, number: u64) -> u64 {
        number
    }
}

pub type ShardOf<P, T> = Shard<<P as Program>::Key, <P as Program>::Value, T, i64>;
pub type WriterOf<P, T> = WriteHandle<<P as Program>::Key, <P as Program>::Value, T, i64>;
pub type ReaderOf<P, T> = ReadHandle<<P as Program>::Key, <P as Program>::Value, T, i64>;
pub type ListenOf<P, T> = Listen<<P as Program>::Key, <P as Program>::Value, T, i64>;
pub type FetcherOf<P, T> = PartFetcher<<P as Program>::Key, <P as Program>::Value, T, i64>;
/// A row as a program has it.
pub type RowOf<P, T> = ((<P as Program>::Key, <P as Program>::Value), T, i64);

/// The rows of a program.
pub fn typed<P: Program, T: SimTime>(rows: &[Row<T>]) -> Vec<RowOf<P, T>> {
    rows.iter().map(|((text, number), time, diff)| (P::row(text, *number), time.clone(), *diff)).collect()
}

/// The rows of the model.
pub fn plain<P: Program, T>(rows: impl IntoIterator<Item = RowOf<P, T>>) -> Vec<Row<T>> {
    rows.into_iter().map(|((key, value), time, diff)| (P::plain(key, value), time, diff)).collect()
}

/// The program whose types never change, and are what the model knows.
pub struct Plain;

impl Program for Plain {
    type Key = String;
    type Value = u64;
    type Older = Self;
    const VERSION: u32 = 0;

    fn row(text: &str, number: u64) -> (String, u64) {
        (text.to_owned(), number)
    }

    fn plain(key: String, value: u64) -> (String, u64) {
        (key, value)
    }
}
