//! The durable shapes of entries and rollups: protobuf messages, tagged by hand.
//!
//! A tag is never used twice, a field never changes its meaning. A fact that old readers must not pass over is a new
//! variant of `Fact`: they refuse an entry with a fact they do not know.

use prost::{Message, Oneof};

use super::shapes::SchemaMessage;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Frontier {
    #[prost(fixed64, repeated, tag = "1")]
    pub(super) times: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) token: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(super) wall_ms: u64,
    #[prost(message, repeated, tag = "3")]
    pub(super) changes: Vec<Change>,
    #[prost(message, optional, tag = "4")]
    pub(super) rollup: Option<Rollup>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) previous: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Rollup {
    #[prost(uint64, tag = "1")]
    pub(super) seqno: u64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Change {
    #[prost(oneof = "Fact", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16")]
    pub(super) fact: Option<Fact>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Fact {
    #[prost(message, tag = "1")]
    Codecs(Codecs),
    #[prost(message, tag = "2")]
    BatchAdded(Batch),
    #[prost(message, tag = "3")]
    EmptyExtended(Frontier),
    #[prost(message, tag = "4")]
    BatchesReplaced(Replacement),
    #[prost(message, tag = "5")]
    ReaderSet(Reader),
    #[prost(bytes = "vec", tag = "6")]
    ReaderRemoved(Vec<u8>),
    #[prost(message, tag = "7")]
    CriticalSet(Critical),
    #[prost(bytes = "vec", tag = "8")]
    CriticalRemoved(Vec<u8>),
    #[prost(message, tag = "9")]
    WriterSet(Writer),
    #[prost(bytes = "vec", tag = "10")]
    WriterRemoved(Vec<u8>),
    #[prost(message, tag = "11")]
    SinceSet(Frontier),
    #[prost(message, tag = "12")]
    RollupSet(Rollup),
    #[prost(message, tag = "13")]
    GarbageDeleted(GarbageDeleted),
    #[prost(message, tag = "14")]
    Finalized(Garbage),
    #[prost(uint64, tag = "15")]
    GenerationSet(u64),
    #[prost(message, tag = "16")]
    SchemaAdded(SchemaAdded),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Codecs {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
    #[prost(string, tag = "3")]
    pub(super) time: String,
    #[prost(string, tag = "4")]
    pub(super) diff: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SchemaAdded {
    #[prost(uint32, tag = "1")]
    pub(super) id: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) schema: Option<SchemaMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Batch {
    #[prost(message, optional, tag = "1")]
    pub(super) lower: Option<Frontier>,
    #[prost(message, optional, tag = "2")]
    pub(super) upper: Option<Frontier>,
    #[prost(message, optional, tag = "3")]
    pub(super) since: Option<Frontier>,
    #[prost(message, repeated, tag = "4")]
    pub(super) runs: Vec<Run>,
    /// Who does not know it may pass over it.
    #[prost(fixed64, optional, tag = "5")]
    pub(super) digest: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Run {
    #[prost(message, repeated, tag = "1")]
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Part {
    #[prost(string, optional, tag = "1")]
    pub(super) blob: Option<String>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(super) inline: Option<bytes::Bytes>,
    #[prost(uint32, tag = "3")]
    pub(super) format: u32,
    #[prost(uint64, tag = "4")]
    pub(super) encoded_bytes: u64,
    #[prost(uint64, tag = "5")]
    pub(super) decoded_bytes: u64,
    #[prost(uint64, tag = "6")]
    pub(super) tail_bytes: u64,
    #[prost(uint64, tag = "7")]
    pub(super) rows: u64,
    #[prost(fixed64, tag = "8")]
    pub(super) checksum: u64,
    #[prost(message, optional, tag = "9")]
    pub(super) time_lower: Option<Frontier>,
    #[prost(fixed64, repeated, tag = "10")]
    pub(super) time_upper: Vec<u64>,
    #[prost(fixed64, tag = "11")]
    pub(super) diff_sum: u64,
    #[prost(bytes = "bytes", tag = "12")]
    pub(super) stats: bytes::Bytes,
    /// Who does not know it would read the part by another schema. So in a log a fact goes before it that he does not know
    /// either, and whatever else carries such a part has a version of its own.
    #[prost(uint32, tag = "13")]
    pub(super) schema: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Replacement {
    #[prost(uint64, tag = "1")]
    pub(super) count: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) with: Option<Batch>,
    #[prost(message, optional, tag = "3")]
    pub(super) garbage: Option<Garbage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Garbage {
    #[prost(string, repeated, tag = "1")]
    pub(super) names: Vec<String>,
    #[prost(uint64, tag = "2")]
    pub(super) seqno: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GarbageDeleted {
    #[prost(uint64, tag = "1")]
    pub(super) seqno: u64,
    #[prost(uint64, tag = "2")]
    pub(super) count: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Reader {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) since: Option<Frontier>,
    #[prost(uint64, tag = "3")]
    pub(super) hold: u64,
    #[prost(uint64, tag = "4")]
    pub(super) heartbeat_ms: u64,
    #[prost(uint64, tag = "5")]
    pub(super) lease_ms: u64,
    #[prost(uint64, tag = "6")]
    pub(super) opened_ms: u64,
    #[prost(string, tag = "7")]
    pub(super) purpose: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Critical {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) since: Option<Frontier>,
    #[prost(fixed64, tag = "3")]
    pub(super) opaque: u64,
    #[prost(string, tag = "4")]
    pub(super) purpose: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Writer {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) tokens: Vec<Vec<u8>>,
    #[prost(uint64, tag = "3")]
    pub(super) last_ms: u64,
}

/// A whole state.
#[derive(Clone, PartialEq, Message)]
pub(super) struct State {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) shard: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(super) seqno: u64,
    #[prost(uint64, tag = "3")]
    pub(super) wall_ms: u64,
    #[prost(message, optional, tag = "4")]
    pub(super) codecs: Option<Codecs>,
    #[prost(message, optional, tag = "5")]
    pub(super) since: Option<Frontier>,
    #[prost(message, repeated, tag = "6")]
    pub(super) batches: Vec<Batch>,
    #[prost(message, repeated, tag = "7")]
    pub(super) readers: Vec<Reader>,
    #[prost(message, repeated, tag = "8")]
    pub(super) critical: Vec<Critical>,
    #[prost(message, repeated, tag = "9")]
    pub(super) writers: Vec<Writer>,
    #[prost(message, repeated, tag = "10")]
    pub(super) garbage: Vec<Garbage>,
    #[prost(message, optional, tag = "11")]
    pub(super) rollup: Option<Rollup>,
    #[prost(bool, tag = "12")]
    pub(super) finalized: bool,
    #[prost(bytes = "vec", tag = "13")]
    pub(super) token: Vec<u8>,
    /// Who does not know it must not take the state for the whole: with it the version is 2.
    #[prost(uint64, tag = "14")]
    pub(super) generation: u64,
    /// Likewise: with any the version is 3.
    #[prost(message, repeated, tag = "15")]
    pub(super) schemas: Vec<SchemaMessage>,
}

/// A batch that is in storage, but not yet in the shard.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Staged {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) shard: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) codecs: Option<Codecs>,
    #[prost(message, optional, tag = "3")]
    pub(super) batch: Option<Batch>,
    /// What its rows look like, if the names of its types do not say so: then the version is 3.
    #[prost(message, optional, tag = "4")]
    pub(super) schema: Option<SchemaMessage>,
    /// The schema of all of its parts: with one that is not 0 the version is 3.
    #[prost(uint32, tag = "5")]
    pub(super) schema_id: u32,
}
