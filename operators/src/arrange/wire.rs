//! Segments on their way to another process: times and diffs as words, keys and values as one Arrow stream.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Field, Schema};
use bytes::Bytes;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use timely_persist::codec::{Builder, Codec64, Column, DecodeError};
use timely_persist::{Codec, Data, Diff, Time};

use crate::arrange::flat::like;
use crate::arrange::segment::{Columns, Segment};

/// What is sent.
#[derive(Serialize, Deserialize)]
struct Message {
    worker: u64,
    /// Eight bytes for each row, or for all.
    times: Bytes,
    /// Likewise.
    diffs: Bytes,
    /// Keys and values.
    columns: Bytes,
}

impl<K: Data, V: Data, T: Time, D: Diff> Serialize for Segment<K, V, T, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mut keys, mut values) = (like::<K>(Some(&self.rows.keys)), like::<V>(Some(&self.rows.values)));
        for row in 0..self.rows.len() {
            keys.push(self.rows.key(row));
            values.push(self.rows.value(row));
        }
        let columns = [keys.finish(), values.finish()].map(|column| column.map_err(S::Error::custom));
        let [keys, values] = columns;
        let columns = write([keys?, values?]).map_err(S::Error::custom)?.into();
        let (times, diffs) = (words(&self.rows.times), words(&self.rows.diffs));
        Message { worker: self.worker, times, diffs, columns }.serialize(serializer)
    }
}

impl<'de, K: Data, V: Data, T: Time, D: Diff> Deserialize<'de> for Segment<K, V, T, D> {
    fn deserialize<S: Deserializer<'de>>(deserializer: S) -> Result<Self, S::Error> {
        let Message { worker, times, diffs, columns } = Message::deserialize(deserializer)?;
        let batch = read(&columns).map_err(S::Error::custom)?;
        let [keys, values] = batch.columns() else {
            return Err(S::Error::custom("a segment without keys and values"));
        };
        let (keys, values) = (built::<K>(keys), built::<V>(values));
        let rows = Columns::of(
            keys.map_err(S::Error::custom)?,
            values.map_err(S::Error::custom)?,
            of_words(&times).map_err(S::Error::custom)?,
            of_words(&diffs).map_err(S::Error::custom)?,
        );
        let rows = rows.ok_or_else(|| S::Error::custom("a segment of columns of different lengths"))?;
        Ok(Self { worker, rows: Arc::new(rows) })
    }
}

fn words<A: Codec64>(values: &[A]) -> Bytes {
    values.iter().flat_map(Codec64::encode).collect()
}

fn of_words<A: Codec64>(bytes: &[u8]) -> Result<Vec<A>, DecodeError> {
    let (words, rest) = bytes.as_chunks();
    match rest {
        [] => words.iter().map(|word| A::decode(*word)).collect(),
        _ => Err(DecodeError(format!("{} bytes are no words", bytes.len()))),
    }
}

/// The values of an array.
fn built<C: Codec>(array: &dyn Array) -> Result<C::Builder, DecodeError> {
    let column = C::Column::try_new(array, None)?;
    let mut builder = C::Builder::default();
    (0..column.len()).for_each(|row| builder.push(column.get(row)));
    Ok(builder)
}

fn write(columns: [ArrayRef; 2]) -> Result<Vec<u8>, ArrowError> {
    let field = |column: &ArrayRef| Field::new("", column.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    writer.write(&RecordBatch::try_new(schema, columns.into())?)?;
    writer.into_inner()
}

fn read(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let batch = StreamReader::try_new(bytes, None)?.next();
    batch.unwrap_or_else(|| Err(ArrowError::IpcError("a segment without rows".to_owned())))
}
