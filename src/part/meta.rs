//! What the state knows about a part.
use bytes::Bytes;
use timely::progress::Antichain;
/// Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartFormat {
    /// Arrow.
    ArrowIpc,
}
/// Meta.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq)]
pub struct PartMeta<T> {
    pub format: PartFormat,
    pub encoded_bytes: u64,
    pub decoded_bytes: u64,
    pub tail_bytes: u64,
    pub rows: u64,
    pub checksum: u64,
    pub time_lower: Antichain<T>,
    pub time_upper: Vec<T>,
    pub diff_sum: [u8; 8],
    pub stats: Bytes,
}
/// Encoded
#[allow(missing_docs)]
pub struct EncodedPart<T> {
    pub bytes: Bytes,
    pub meta: PartMeta<T>,
}

impl PartFormat {
    /// Number.
    pub fn number(self) -> u32 {
        1
    }
    /// From.
    pub fn from_number(n: u32) -> Option<Self> {
        (n == 1).then_some(Self::ArrowIpc)
    }
}
