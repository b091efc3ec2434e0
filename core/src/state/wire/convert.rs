//! Between the state's own types and their durable shapes.

use std::sync::Arc;

use timely::progress::Antichain;

use crate::part::{PartFormat, PartMeta};
use crate::state::{
    Batch, Change, CodecNames, CriticalReader, Description, Entry, LeasedReader, Location, Part, RollupRef, Schema,
    StagedTypes, State, WriterRecord,
};
use timely_persist_types::codec::{Codec64, Time};
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::{CriticalReaderId, LeasedReaderId, SchemaId, SeqNo, ShardId, Token, WriterId};

use super::proto;
use super::refusals::{missing, newer};
use super::shapes::{schema_from_proto, schema_to_proto};

pub(super) fn entry_to_proto<T: Time>(entry: &Entry<T>) -> proto::Entry {
    proto::Entry {
        token: id_bytes(entry.token.as_u128()),
        previous: id_bytes(entry.previous.as_u128()),
        wall_ms: entry.wall_ms,
        changes: entry.changes.iter().map(change_to_proto).collect(),
        rollup: entry.rollup.as_ref().map(rollup_to_proto),
    }
}

pub(super) fn entry_from_proto<T: Time>(entry: proto::Entry) -> Result<Entry<T>, Error> {
    for change in &entry.changes {
        if let Some(proto::Fact::Codecs(names)) = &change.fact {
            check_times::<T>(names)?;
        }
    }
    Ok(Entry {
        token: Token::from_u128(id_bits(&entry.token)?),
        previous: Token::from_u128(id_bits(&entry.previous)?),
        wall_ms: entry.wall_ms,
        changes: entry.changes.into_iter().map(change_from_proto).collect::<Result<_, _>>()?,
        rollup: entry.rollup.map(rollup_from_proto),
    })
}

pub(super) fn state_to_proto<T: Time>(state: &State<T>) -> proto::State {
    let readers = state.readers.iter().map(|(id, reader)| reader_to_proto(*id, reader));
    let critical = state.critical.iter().map(|(id, reader)| critical_to_proto(*id, reader));
    let writers = state.writers.iter().map(|(id, record)| writer_to_proto(*id, record));
    let garbage = state.garbage.iter().map(|(seqno, names)| garbage_to_proto(*seqno, names));
    proto::State {
        shard: id_bytes(state.shard.as_u128()),
        seqno: state.seqno.0,
        wall_ms: state.wall_ms,
        codecs: state.codecs.as_ref().map(|names| codecs_to_proto(names)),
        since: Some(frontier_to_proto(&state.since)),
        batches: state.batches.iter().map(|batch| batch_to_proto(batch)).collect(),
        readers: readers.collect(),
        critical: critical.collect(),
        writers: writers.collect(),
        garbage: garbage.collect(),
        rollup: state.rollup.as_ref().map(rollup_to_proto),
        finalized: state.finalized,
        token: id_bytes(state.token.as_u128()),
        generation: state.generation,
        schemas: state.schemas.iter().map(|schema| schema_to_proto(schema)).collect(),
    }
}

pub(super) fn state_from_proto<T: Time>(message: proto::State) -> Result<State<T>, Error> {
    message.codecs.as_ref().map_or(Ok(()), check_times::<T>)?;
    let mut state = State::new(ShardId::from_u128(id_bits(&message.shard)?));
    state.seqno = SeqNo(message.seqno);
    state.token = Token::from_u128(id_bits(&message.token)?);
    state.wall_ms = message.wall_ms;
    state.codecs = message.codecs.map(|names| Arc::new(codecs_from_proto(names)));
    for schema in message.schemas {
        state.schemas.push_back(schema_from_proto(schema)?);
    }
    state.since = frontier_from_proto(message.since)?;
    for batch in message.batches {
        let batch = batch_from_proto(batch)?;
        state.totals.add(&batch);
        state.batches.push_back(Arc::new(batch));
    }
    for reader in message.readers {
        let (id, reader) = reader_from_proto(reader)?;
        state.readers.insert(id, reader);
    }
    for reader in message.critical {
        let (id, reader) = critical_from_proto(reader)?;
        state.critical.insert(id, reader);
    }
    for record in message.writers {
        let (id, record) = writer_from_proto(record)?;
        state.writers.insert(id, record);
    }
    for garbage in message.garbage {
        state.totals.garbage += garbage.names.len() as u64;
        state.garbage.insert(SeqNo(garbage.seqno), Arc::new(garbage.names));
    }
    state.rollup = message.rollup.map(rollup_from_proto);
    state.generation = message.generation;
    state.finalized = message.finalized;
    Ok(state)
}

fn change_to_proto<T: Time>(change: &Change<T>) -> proto::Change {
    use proto::Fact;
    let fact = match change {
        Change::Codecs(names) => Fact::Codecs(codecs_to_proto(names)),
        Change::BatchAdded(batch) => Fact::BatchAdded(batch_to_proto(batch)),
        Change::EmptyExtended(upper) => Fact::EmptyExtended(frontier_to_proto(upper)),
        Change::BatchesReplaced { count, with, garbage } => Fact::BatchesReplaced(proto::Replacement {
            count: *count,
            with: Some(batch_to_proto(with)),
            garbage: Some(garbage_to_proto(SeqNo::ZERO, garbage)),
        }),
        Change::ReaderSet(id, reader) => Fact::ReaderSet(reader_to_proto(*id, reader)),
        Change::ReaderRemoved(id) => Fact::ReaderRemoved(id_bytes(id.as_u128())),
        Change::CriticalSet(id, reader) => Fact::CriticalSet(critical_to_proto(*id, reader)),
        Change::CriticalRemoved(id) => Fact::CriticalRemoved(id_bytes(id.as_u128())),
        Change::WriterSet(id, record) => Fact::WriterSet(writer_to_proto(*id, record)),
        Change::WriterRemoved(id) => Fact::WriterRemoved(id_bytes(id.as_u128())),
        Change::SinceSet(since) => Fact::SinceSet(frontier_to_proto(since)),
        Change::RollupSet(rollup) => Fact::RollupSet(rollup_to_proto(rollup)),
        Change::GarbageDeleted { seqno, count } => {
            Fact::GarbageDeleted(proto::GarbageDeleted { seqno: seqno.0, count: *count })
        }
        Change::GenerationSet(generation) => Fact::GenerationSet(*generation),
        Change::SchemaAdded(id, schema) => {
            Fact::SchemaAdded(proto::SchemaAdded { id: id.0, schema: Some(schema_to_proto(schema)) })
        }
        Change::Finalized { garbage } => Fact::Finalized(garbage_to_proto(SeqNo::ZERO, garbage)),
    };
    proto::Change { fact: Some(fact) }
}

fn change_from_proto<T: Time>(change: proto::Change) -> Result<Change<T>, Error> {
    use proto::Fact;
    Ok(match change.fact.ok_or_else(|| newer("a fact in this entry"))? {
        Fact::Codecs(names) => Change::Codecs(Arc::new(codecs_from_proto(names))),
        Fact::BatchAdded(batch) => Change::BatchAdded(Arc::new(batch_from_proto(batch)?)),
        Fact::EmptyExtended(upper) => Change::EmptyExtended(frontier_from_proto(Some(upper))?),
        Fact::BatchesReplaced(replacement) => Change::BatchesReplaced {
            count: replacement.count,
            with: Arc::new(batch_from_proto(replacement.with.ok_or_else(missing)?)?),
            garbage: Arc::new(replacement.garbage.map(|garbage| garbage.names).unwrap_or_default()),
        },
        Fact::ReaderSet(reader) => {
            let (id, reader) = reader_from_proto(reader)?;
            Change::ReaderSet(id, reader)
        }
        Fact::ReaderRemoved(id) => Change::ReaderRemoved(LeasedReaderId::from_u128(id_bits(&id)?)),
        Fact::CriticalSet(reader) => {
            let (id, reader) = critical_from_proto(reader)?;
            Change::CriticalSet(id, reader)
        }
        Fact::CriticalRemoved(id) => Change::CriticalRemoved(CriticalReaderId::from_u128(id_bits(&id)?)),
        Fact::WriterSet(record) => {
            let (id, record) = writer_from_proto(record)?;
            Change::WriterSet(id, record)
        }
        Fact::WriterRemoved(id) => Change::WriterRemoved(WriterId::from_u128(id_bits(&id)?)),
        Fact::SinceSet(since) => Change::SinceSet(frontier_from_proto(Some(since))?),
        Fact::RollupSet(rollup) => Change::RollupSet(rollup_from_proto(rollup)),
        Fact::GarbageDeleted(deleted) => Change::GarbageDeleted { seqno: SeqNo(deleted.seqno), count: deleted.count },
        Fact::GenerationSet(generation) => Change::GenerationSet(generation),
        Fact::SchemaAdded(added) => {
            Change::SchemaAdded(SchemaId(added.id), schema_from_proto(added.schema.ok_or_else(missing)?)?)
        }
        Fact::Finalized(garbage) => Change::Finalized { garbage: Arc::new(garbage.names) },
    })
}

pub(super) fn staged_to_proto<T: Time>(
    shard: ShardId,
    types: &StagedTypes,
    with_schema: bool,
    batch: &Batch<T>,
) -> proto::Staged {
    proto::Staged {
        shard: id_bytes(shard.as_u128()),
        codecs: Some(codecs_to_proto(&types.names)),
        batch: Some(batch_to_proto(batch)),
        schema: with_schema.then(|| schema_to_proto(&types.schema)),
        schema_id: types.id.0,
    }
}

pub(super) fn staged_from_proto<T: Time>(staged: proto::Staged) -> Result<(ShardId, StagedTypes, Batch<T>), Error> {
    let batch: Batch<T> = batch_from_proto(staged.batch.ok_or_else(missing)?)?;
    let names = Arc::new(codecs_from_proto(staged.codecs.ok_or_else(missing)?));
    let shard = ShardId::from_u128(id_bits(&staged.shard)?);
    let schema = match staged.schema {
        Some(schema) => schema_from_proto(schema)?,
        None => Arc::new(Schema::of_names(&names)),
    };
    let id = SchemaId(staged.schema_id);
    if batch.parts().any(|part| part.meta.schema != id) {
        return Err(Error::corrupt("a staged batch with a part of another schema"));
    }
    Ok((shard, StagedTypes { names, schema, id }, batch))
}

fn batch_to_proto<T: Time>(batch: &Batch<T>) -> proto::Batch {
    let run = |run: &Vec<Part<T>>| proto::Run { parts: run.iter().map(part_to_proto).collect() };
    proto::Batch {
        lower: Some(frontier_to_proto(&batch.desc.lower)),
        upper: Some(frontier_to_proto(&batch.desc.upper)),
        since: Some(frontier_to_proto(&batch.desc.since)),
        runs: batch.runs.iter().map(run).collect(),
        digest: batch.digest,
    }
}

fn batch_from_proto<T: Time>(batch: proto::Batch) -> Result<Batch<T>, Error> {
    let run = |run: proto::Run| run.parts.into_iter().map(part_from_proto).collect::<Result<Vec<_>, _>>();
    Ok(Batch {
        desc: Description {
            lower: frontier_from_proto(batch.lower)?,
            upper: frontier_from_proto(batch.upper)?,
            since: frontier_from_proto(batch.since)?,
        },
        runs: batch.runs.into_iter().map(run).collect::<Result<_, _>>()?,
        digest: batch.digest,
    })
}

/// The durable shape of a part. Also what travels between processes.
pub(super) fn part_to_proto<T: Time>(part: &Part<T>) -> proto::Part {
    let (blob, inline) = match &part.location {
        Location::Blob(name) => (Some(name.clone()), None),
        Location::Inline(bytes) => (None, Some(bytes.clone())),
    };
    let meta = &part.meta;
    proto::Part {
        blob,
        inline,
        format: meta.format.number(),
        encoded_bytes: meta.encoded_bytes,
        decoded_bytes: meta.decoded_bytes,
        tail_bytes: meta.tail_bytes,
        rows: meta.rows,
        checksum: meta.checksum,
        time_lower: Some(frontier_to_proto(&meta.time_lower)),
        time_upper: meta.time_upper.iter().map(word).collect(),
        diff_sum: u64::from_le_bytes(meta.diff_sum),
        stats: meta.stats.clone(),
        schema: meta.schema.0,
    }
}

pub(super) fn part_from_proto<T: Time>(part: proto::Part) -> Result<Part<T>, Error> {
    let location = match (part.blob, part.inline) {
        (Some(name), None) if is_blob_name(&name) => Location::Blob(name),
        (None, Some(bytes)) => Location::Inline(bytes),
        _ => return Err(missing()),
    };
    let meta = PartMeta {
        schema: SchemaId(part.schema),
        format: PartFormat::from_number(part.format).ok_or_else(|| newer("the format of a part"))?,
        encoded_bytes: part.encoded_bytes,
        decoded_bytes: part.decoded_bytes,
        tail_bytes: part.tail_bytes,
        rows: part.rows,
        checksum: part.checksum,
        time_lower: frontier_from_proto(part.time_lower)?,
        time_upper: part.time_upper.into_iter().map(unword).collect::<Result<_, _>>()?,
        diff_sum: part.diff_sum.to_le_bytes(),
        stats: part.stats,
    };
    Ok(Part { location, meta })
}

/// Names are joined to a folder: nothing in them may lead elsewhere.
fn is_blob_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn garbage_to_proto(seqno: SeqNo, names: &Arc<Vec<String>>) -> proto::Garbage {
    proto::Garbage { names: names.to_vec(), seqno: seqno.0 }
}

fn rollup_to_proto(rollup: &RollupRef) -> proto::Rollup {
    proto::Rollup { seqno: rollup.seqno.0, name: rollup.name.clone() }
}

fn rollup_from_proto(rollup: proto::Rollup) -> RollupRef {
    RollupRef { seqno: SeqNo(rollup.seqno), name: rollup.name }
}

fn codecs_to_proto(names: &CodecNames) -> proto::Codecs {
    let CodecNames { key, value, time, diff } = names.clone();
    proto::Codecs { key, value, time, diff }
}

fn codecs_from_proto(names: proto::Codecs) -> CodecNames {
    let proto::Codecs { key, value, time, diff } = names;
    CodecNames { key, value, time, diff }
}

/// Times of another type would be misread, before anybody could compare the other types.
fn check_times<T: Time>(names: &proto::Codecs) -> Result<(), Error> {
    if names.time == <T as Codec64>::NAME {
        return Ok(());
    }
    let message = format!("it has times of {}, but was opened for times of {}", names.time, <T as Codec64>::NAME);
    Err(Error::new(ErrorKind::CodecMismatch, message))
}

fn reader_to_proto<T: Time>(id: LeasedReaderId, reader: &LeasedReader<T>) -> proto::Reader {
    proto::Reader {
        id: id_bytes(id.as_u128()),
        since: Some(frontier_to_proto(&reader.since)),
        hold: reader.hold.0,
        heartbeat_ms: reader.heartbeat_ms,
        lease_ms: reader.lease_ms,
        opened_ms: reader.opened_ms,
        purpose: reader.purpose.clone(),
    }
}

fn reader_from_proto<T: Time>(reader: proto::Reader) -> Result<(LeasedReaderId, LeasedReader<T>), Error> {
    let id = LeasedReaderId::from_u128(id_bits(&reader.id)?);
    let reader = LeasedReader {
        since: frontier_from_proto(reader.since)?,
        hold: SeqNo(reader.hold),
        heartbeat_ms: reader.heartbeat_ms,
        lease_ms: reader.lease_ms,
        opened_ms: reader.opened_ms,
        purpose: reader.purpose,
    };
    Ok((id, reader))
}

fn critical_to_proto<T: Time>(id: CriticalReaderId, reader: &CriticalReader<T>) -> proto::Critical {
    proto::Critical {
        id: id_bytes(id.as_u128()),
        since: Some(frontier_to_proto(&reader.since)),
        opaque: reader.opaque,
        purpose: reader.purpose.clone(),
    }
}

fn critical_from_proto<T: Time>(reader: proto::Critical) -> Result<(CriticalReaderId, CriticalReader<T>), Error> {
    let id = CriticalReaderId::from_u128(id_bits(&reader.id)?);
    let since = frontier_from_proto(reader.since)?;
    Ok((id, CriticalReader { since, opaque: reader.opaque, purpose: reader.purpose }))
}

fn writer_to_proto(id: WriterId, record: &WriterRecord) -> proto::Writer {
    proto::Writer {
        id: id_bytes(id.as_u128()),
        tokens: record.tokens.iter().map(|token| id_bytes(token.as_u128())).collect(),
        last_ms: record.last_ms,
    }
}

fn writer_from_proto(record: proto::Writer) -> Result<(WriterId, WriterRecord), Error> {
    let id = WriterId::from_u128(id_bits(&record.id)?);
    let tokens = record.tokens.iter().map(|token| Ok(Token::from_u128(id_bits(token)?)));
    let tokens = tokens.collect::<Result<Vec<_>, Error>>()?;
    Ok((id, WriterRecord { tokens, last_ms: record.last_ms }))
}

fn frontier_to_proto<T: Time>(frontier: &Antichain<T>) -> proto::Frontier {
    proto::Frontier { times: frontier.elements().iter().map(word).collect() }
}

fn frontier_from_proto<T: Time>(frontier: Option<proto::Frontier>) -> Result<Antichain<T>, Error> {
    let times = frontier.ok_or_else(missing)?.times;
    let times = times.into_iter().map(unword).collect::<Result<Vec<T>, _>>()?;
    Ok(times.into())
}

fn word<T: Codec64>(time: &T) -> u64 {
    u64::from_le_bytes(time.encode())
}

fn unword<T: Codec64>(word: u64) -> Result<T, Error> {
    T::decode(word.to_le_bytes()).map_err(|error| Error::corrupt("a time does not decode").because(error))
}

fn id_bytes(bits: u128) -> Vec<u8> {
    bits.to_be_bytes().to_vec()
}

fn id_bits(bytes: &[u8]) -> Result<u128, Error> {
    bytes.try_into().map(u128::from_be_bytes).map_err(|_| Error::corrupt("an id is not 16 bytes long"))
}
