//! Entries and states as bytes: an envelope with a checksum around a protobuf message.
//!
//! The envelope is eight bytes of magic (kind and version), eight of checksum (XXH3 of the rest), then the message.
//! Reading answers every byte string with a value or an error, never a panic, and never trusts a length.

mod convert;
mod proto;
mod refusals;
mod shapes;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::ids::{SchemaId, ShardId};

use super::{Batch, Entry, Part, Schema, StagedTypes, State};

/// Kind and version: who knows a version knows all before it.
type Magic = [u8; 8];

const ENTRY_MAGIC: Magic = *b"tpentry1";
const STATE_MAGIC: Magic = *b"tpstate1";
/// A state with a generation of writers. Who does not know of it would pass over that field, and let a writer go on that is
/// fenced: so it must not read the rest either. A state without one is written as before, and older programs read it.
const FENCED_STATE_MAGIC: Magic = *b"tpstate2";
/// A state with schemas, which tell how parts are to be read: likewise.
const SCHEMAS_STATE_MAGIC: Magic = *b"tpstate3";
/// How much of a magic names the kind; the rest is its version.
const KIND_BYTES: usize = 7;
const FIRST_VERSION: &[u8] = b"1";
const HEADER_BYTES: usize = 16;

impl<T: Time> Entry<T> {
    /// The bytes of the entry. Equal entries have equal bytes.
    pub fn encode(&self) -> Bytes {
        seal(ENTRY_MAGIC, &convert::entry_to_proto(self))
    }

    /// The entry of these bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self, Error> {
        let message: proto::Entry = open(ENTRY_MAGIC, bytes)?;
        convert::entry_from_proto(message)
    }
}

impl<T: Time> State<T> {
    /// The bytes of a rollup.
    pub fn encode(&self) -> Bytes {
        seal(self.magic(), &convert::state_to_proto(self))
    }

    /// The earliest version that has all that is in the state.
    fn magic(&self) -> Magic {
        match (self.schemas.is_empty(), self.generation) {
            (true, 0) => STATE_MAGIC,
            (true, _) => FENCED_STATE_MAGIC,
            (false, _) => SCHEMAS_STATE_MAGIC,
        }
    }

    /// The state of a rollup, checked against the invariants and the shard it should be of.
    pub fn decode(bytes: &Bytes, shard: ShardId) -> Result<Self, Error> {
        let message: proto::State = open(SCHEMAS_STATE_MAGIC, bytes)?;
        let state = convert::state_from_proto(message)?;
        if state.shard != shard {
            return Err(Error::corrupt(format!("this is a rollup of {}", state.shard)));
        }
        if !bytes.starts_with(&state.magic()) {
            return Err(Error::corrupt("its version is not that of what it holds"));
        }
        state.check().map_err(Error::corrupt)?;
        Ok(state)
    }
}

fn seal(magic: Magic, message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + message.encoded_len());
    bytes.put_slice(&magic);
    bytes.put_u64_le(0);
    message.encode(&mut bytes).expect("a growing buffer takes every message");
    let checksum = xxh3_64(&bytes[HEADER_BYTES..]);
    bytes[magic.len()..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes.freeze()
}

/// The message in an envelope of this kind, of this version or one before it.
fn open<M: Message + Default>(newest: Magic, bytes: &Bytes) -> Result<M, Error> {
    let Some((header, message)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(Error::corrupt(format!("only {} bytes", bytes.len())));
    };
    let (magic, checksum) = header.split_at(newest.len());
    let (kind, version) = magic.split_at(KIND_BYTES);
    if kind != &newest[..KIND_BYTES] || version < FIRST_VERSION {
        return Err(Error::corrupt("not written by this library"));
    }
    if version > &newest[KIND_BYTES..] {
        return Err(refusals::newer("its version"));
    }
    if checksum != xxh3_64(message).to_le_bytes() {
        return Err(Error::corrupt("the checksum does not match"));
    }
    M::decode(bytes.slice(HEADER_BYTES..)).map_err(|error| Error::corrupt("not a valid message").because(error))
}

const STAGED_MAGIC: Magic = *b"tpstage1";
/// A staged batch with a digest, which the process that appends it must not lose.
const DIGESTED_MAGIC: Magic = *b"tpstage2";
/// One whose types' names do not say what its rows look like, or which is not of schema 0.
const SCHEMA_STAGED_MAGIC: Magic = *b"tpstage3";
const PART_MAGIC: Magic = *b"tppart_1";
/// A part that is not of schema 0.
const EVOLVED_PART_MAGIC: Magic = *b"tppart_2";

/// A staged batch as bytes, for another process to append.
pub fn encode_staged<T: Time>(shard: ShardId, types: &StagedTypes, batch: &Batch<T>) -> Bytes {
    let implied = types.id == SchemaId(0) && Schema::of_names(&types.names) == *types.schema;
    let magic = match (implied, batch.digest) {
        (false, _) => SCHEMA_STAGED_MAGIC,
        (true, Some(_)) => DIGESTED_MAGIC,
        (true, None) => STAGED_MAGIC,
    };
    seal(magic, &convert::staged_to_proto(shard, types, !implied, batch))
}

/// The staged batch of these bytes, with its shard and its types.
pub fn decode_staged<T: Time>(bytes: &Bytes) -> Result<(ShardId, StagedTypes, Batch<T>), Error> {
    convert::staged_from_proto(open(SCHEMA_STAGED_MAGIC, bytes)?)
}

const SCHEMA_MAGIC: Magic = *b"tpschem1";

/// A schema as bytes, for another process that fetches parts of it.
pub fn encode_schema(schema: &Schema) -> Bytes {
    seal(SCHEMA_MAGIC, &shapes::schema_to_proto(schema))
}

/// The schema of these bytes.
pub fn decode_schema(bytes: &Bytes) -> Result<Arc<Schema>, Error> {
    shapes::schema_from_proto(open(SCHEMA_MAGIC, bytes)?)
}

/// A part's description as bytes, for another process to fetch.
pub fn encode_part<T: Time>(part: &Part<T>) -> Bytes {
    let magic = if part.meta.schema == SchemaId(0) { PART_MAGIC } else { EVOLVED_PART_MAGIC };
    seal(magic, &convert::part_to_proto(part))
}

/// The part's description of these bytes.
pub fn decode_part<T: Time>(bytes: &Bytes) -> Result<Part<T>, Error> {
    convert::part_from_proto(open(EVOLVED_PART_MAGIC, bytes)?)
}
