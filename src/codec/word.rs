//! The eight-byte form of times and diffs.

use std::fmt;

use arrow_schema::DataType;
use timely::order::Product;

use super::DecodeError;

/// A time or a diff in eight bytes.
///
/// The implementor guarantees that `decode(encode(x)) == Ok(x)` and that different values have different words.
pub trait Codec64: Clone + fmt::Debug + Send + Sync + 'static {
    /// The name that a shard remembers: two types with one name must read each other's words.
    const NAME: &'static str;

    /// The word, as it lies in a column: little-endian for the integers.
    fn encode(&self) -> [u8; 8];

    /// The value of a word, or why it has none.
    fn decode(word: [u8; 8]) -> Result<Self, DecodeError>;

    /// The Arrow type of a column of words: eight bytes wide. Other tools see it.
    fn data_type() -> DataType {
        DataType::FixedSizeBinary(8)
    }
}

impl Codec64 for u64 {
    const NAME: &'static str = "u64";

    fn encode(&self) -> [u8; 8] {
        self.to_le_bytes()
    }

    fn decode(word: [u8; 8]) -> Result<Self, DecodeError> {
        Ok(u64::from_le_bytes(word))
    }

    fn data_type() -> DataType {
        DataType::UInt64
    }
}

impl Codec64 for i64 {
    const NAME: &'static str = "i64";

    fn encode(&self) -> [u8; 8] {
        self.to_le_bytes()
    }

    fn decode(word: [u8; 8]) -> Result<Self, DecodeError> {
        Ok(i64::from_le_bytes(word))
    }

    fn data_type() -> DataType {
        DataType::Int64
    }
}

/// The outer coordinate in the low half, the inner one in the high half.
impl Codec64 for Product<u32, u32> {
    const NAME: &'static str = "(u32,u32)";

    fn encode(&self) -> [u8; 8] {
        (u64::from(self.outer) | u64::from(self.inner) << 32).to_le_bytes()
    }

    fn decode(word: [u8; 8]) -> Result<Self, DecodeError> {
        let bits = u64::from_le_bytes(word);
        Ok(Product::new(bits as u32, (bits >> 32) as u32))
    }
}
