//! Statistics as protobuf: the durable form, which later versions extend by new tags.

use bytes::Bytes;
use prost::Message;

use super::column::{ColumnStats, PartStats};
use crate::part::value::StatValue;

/// The most bytes of encoded statistics. They are part of every copy of a shard's state; columns that do not fit are
/// unknown.
pub const STATS_BYTES_MAX: usize = 4 << 10;

#[derive(Clone, PartialEq, Message)]
struct ProtoStats {
    #[prost(uint64, tag = "1")]
    rows: u64,
    #[prost(uint64, tag = "2")]
    encoded_bytes: u64,
    #[prost(message, repeated, tag = "3")]
    columns: Vec<ProtoColumn>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoColumn {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(uint64, tag = "2")]
    null_count: u64,
    #[prost(message, optional, tag = "3")]
    min: Option<ProtoValue>,
    #[prost(message, optional, tag = "4")]
    max: Option<ProtoValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoValue {
    #[prost(oneof = "ProtoKind", tags = "1, 2, 3, 4, 5")]
    kind: Option<ProtoKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ProtoKind {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(sint64, tag = "2")]
    Signed(i64),
    /// Integers above the signed ones.
    #[prost(uint64, tag = "3")]
    Unsigned(u64),
    #[prost(string, tag = "4")]
    Utf8(String),
    #[prost(bytes = "vec", tag = "5")]
    Bytes(Vec<u8>),
}

impl PartStats {
    /// The durable form.
    pub fn encode(&self) -> Bytes {
        self.encode_within(STATS_BYTES_MAX)
    }

    /// The same in so many bytes, with those columns that fit: first of all the key's, by which parts are sorted, so that
    /// its bounds tell parts of one run apart. Empty, that is unknown, if none fits.
    pub(crate) fn encode_within(&self, bytes_max: usize) -> Bytes {
        let columns = self.columns.iter().map(|column| ProtoColumn {
            path: column.path.clone(),
            null_count: column.null_count,
            min: column.min.as_ref().and_then(encode_value),
            max: column.max.as_ref().and_then(encode_value),
        });
        let mut stats = ProtoStats { rows: self.rows, encoded_bytes: self.encoded_bytes, columns: columns.collect() };
        let fixed = ProtoStats { columns: Vec::new(), ..stats.clone() }.encoded_len();
        let mut total = fixed;
        // Time and diff are at the end and small; the columns that did not fit are unknown to a reader.
        stats.columns.retain(|column| {
            let len = column.encoded_len();
            let len = 1 + prost::length_delimiter_len(len) + len;
            let fits = total + len <= bytes_max;
            total += if fits { len } else { 0 };
            fits
        });
        if total > bytes_max || stats.columns.is_empty() && !self.columns.is_empty() {
            return Bytes::new();
        }
        Bytes::from(stats.encode_to_vec())
    }

    /// Statistics of their durable form; `None`, that is unknown, if they are empty or cannot be decoded.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        let stats = ProtoStats::decode(bytes).ok()?;
        let columns = stats.columns.into_iter().map(|column| ColumnStats {
            path: column.path,
            null_count: column.null_count,
            min: column.min.and_then(decode_value),
            max: column.max.and_then(decode_value),
        });
        Some(Self { rows: stats.rows, encoded_bytes: stats.encoded_bytes, columns: columns.collect() })
    }
}

fn encode_value(value: &StatValue) -> Option<ProtoValue> {
    let kind = match value {
        StatValue::Bool(value) => ProtoKind::Bool(*value),
        StatValue::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
            (Ok(value), _) => ProtoKind::Signed(value),
            (_, Ok(value)) => ProtoKind::Unsigned(value),
            // Unknown.
            _ => return None,
        },
        StatValue::Utf8(value) => ProtoKind::Utf8(value.clone()),
        StatValue::Bytes(value) => ProtoKind::Bytes(value.clone()),
    };
    Some(ProtoValue { kind: Some(kind) })
}

/// `None` also for a kind that a later version added.
fn decode_value(value: ProtoValue) -> Option<StatValue> {
    Some(match value.kind? {
        ProtoKind::Bool(value) => StatValue::Bool(value),
        ProtoKind::Signed(value) => StatValue::Int(value.into()),
        ProtoKind::Unsigned(value) => StatValue::Int(value.into()),
        ProtoKind::Utf8(value) => StatValue::Utf8(value),
        ProtoKind::Bytes(value) => StatValue::Bytes(value),
    })
}
