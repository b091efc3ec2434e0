//! Segments on their way to another process: times and diffs as words, keys and values as one Arrow stream.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Field, Schema};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use timely_persist::codec::{Builder, Column};
use timely_persist::{Data, Diff, Time};

use crate::arrange::segment::{Columns, Segment};

/// What is sent.
#[derive(Serialize, Deserialize)]
struct Message {
    worker: u64,
    times: Vec<[u8; 8]>,
    diffs: Vec<[u8; 8]>,
    /// Keys and values.
    columns: Vec<u8>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Serialize for Segment<K, V, T, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mut keys, mut values) = (K::Builder::default(), V::Builder::default());
        let (mut times, mut diffs) = (Vec::new(), Vec::new());
        for row in 0..self.rows.len() {
            keys.push(self.rows.key(row));
            values.push(self.rows.value(row));
            times.push(self.rows.time(row).encode());
            diffs.push(self.rows.diff(row).encode());
        }
        let columns = [keys.finish(), values.finish()].map(|column| column.map_err(S::Error::custom));
        let [keys, values] = columns;
        let columns = write([keys?, values?]).map_err(S::Error::custom)?;
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
        let keys = K::Column::try_new(keys, None).map_err(S::Error::custom)?;
        let values = V::Column::try_new(values, None).map_err(S::Error::custom)?;
        let rows = times.len();
        if [Column::<K>::len(&keys), Column::<V>::len(&values), diffs.len()] != [rows; 3] {
            return Err(S::Error::custom("a segment of columns of different lengths"));
        }
        let mut columns = Columns::default();
        for (row, (time, diff)) in times.into_iter().zip(diffs).enumerate() {
            let time = T::decode(time).map_err(S::Error::custom)?;
            let diff = D::decode(diff).map_err(S::Error::custom)?;
            columns.push(Column::<K>::get(&keys, row), Column::<V>::get(&values, row), time, diff);
        }
        Ok(Self { worker, rows: Arc::new(columns) })
    }
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
