//! Sorted rows into an object, a record batch at a time.
//!
//! Always: memory is the encoded output plus one chunk; every byte written is covered by a checksum, as the module
//! says. Not here: sorting. [`PartBuilder`](super::PartBuilder) does that.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, make_array};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_schema::{DataType, SchemaRef};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::bounds::TimeBounds;
use super::format::{PartEncoder, PartFormat, Written, check_types};
use super::meta::{EncodedPart, PartMeta};
use super::schema::schema;
use super::stats::StatsCollector;
use super::words::{check_diff, check_time};
use timely_persist_types::codec::{Builder, Codec64, Data, Diff, EncodeError, Time};
use timely_persist_types::config::{Compression, WriteConfig};
use timely_persist_types::error::Error;
use timely_persist_types::ids::SchemaId;

/// The most bytes of one row's key and value: 1 GiB. Together with a chunk of as much it stays below the 2 GiB that
/// Arrow's 32-bit offsets address.
pub const ROW_BYTES_MAX: usize = 1 << 30;

/// How a part is encoded. It shows in the bytes only; readers take any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// How the buffers are compressed.
    pub compression: Compression,
    /// The most rows of a record batch: what a reader has to decode at once.
    pub chunk_rows_max: usize,
    /// The most bytes of a record batch before compression, unless a single row has more: what a reader keeps in memory
    /// for each part that it merges.
    pub chunk_bytes_max: usize,
}

impl Default for EncodeOptions {
    /// Chunks of 8,192 rows or 1 MiB: large enough that their headers (about 1 KiB) and a range request each do not
    /// count, small enough that a merge of hundreds of runs fits in memory and a chunk in a cache.
    fn default() -> Self {
        Self { compression: Compression::None, chunk_rows_max: 8_192, chunk_bytes_max: 1 << 20 }
    }
}

impl EncodeOptions {
    /// As these limits say.
    pub fn of(config: &WriteConfig) -> Self {
        Self { compression: config.compression, ..Self::default() }
    }
}

/// Checks that a row can be stored, and reads back, and says how many bytes it takes.
#[inline]
pub(super) fn row_size<K: Data, V: Data>(key: K::Ref<'_>, value: V::Ref<'_>) -> Result<usize, Error> {
    let size = match (K::size(key), V::size(value)) {
        (Ok(key), Ok(value)) => key.saturating_add(value),
        (Err(error), _) | (_, Err(error)) => return Err(not_encodable(error)),
    };
    if size > ROW_BYTES_MAX {
        return Err(Error::invalid(format!("a row of {size} bytes; the most is {ROW_BYTES_MAX}")));
    }
    K::check(key).map_err(|error| not_readable("key", error))?;
    V::check(value).map_err(|error| not_readable("value", error))?;
    // The two words.
    Ok(size + 16)
}

#[cold]
fn not_readable(what: &str, error: EncodeError) -> Error {
    Error::invalid(format!("a row with the {what} {error}"))
}

fn not_encodable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid("a row that cannot be encoded").because(error)
}

/// Writes rows that are already sorted and consolidated.
pub struct SortedPartWriter<K: Data, V: Data, T: Time, D: Diff> {
    options: EncodeOptions,
    schema: SchemaRef,
    format: PartFormat,
    encoder: PartEncoder,
    keys: K::Builder,
    values: V::Builder,
    times: Vec<u64>,
    diffs: Vec<u64>,
    /// The sizes of the rows in the builders, summed.
    chunk_bytes: usize,
    rows: u64,
    decoded_bytes: u64,
    bounds: TimeBounds<T>,
    /// Of the rows' words, modulo 2⁶⁴.
    diff_sum: u64,
    stats: StatsCollector,
    /// Only where the order is asserted: the last row.
    last: Option<((K, V, T), D)>,
    marker: PhantomData<fn() -> (T, D)>,
}

impl<K: Data, V: Data, T: Time, D: Diff> SortedPartWriter<K, V, T, D> {
    /// A writer of no rows yet.
    pub fn new(options: &EncodeOptions) -> Result<Self, Error> {
        Self::with_capacity(options, 0)
    }

    /// A writer that has room for an object of so many bytes of rows: it need not grow, which takes up to three times
    /// that.
    pub fn with_capacity(options: &EncodeOptions, bytes: usize) -> Result<Self, Error> {
        Self::in_memory(options, bytes, Vec::new())
    }

    /// The same in memory that was used before, if that is enough.
    pub(super) fn in_memory(options: &EncodeOptions, bytes: usize, memory: Vec<u8>) -> Result<Self, Error> {
        Self::of(PartFormat::ArrowIpc, options, bytes, memory)
    }

    /// A writer of a single record batch without a file around it. It takes as many rows as fit in a chunk.
    pub(super) fn message(options: &EncodeOptions) -> Result<Self, Error> {
        Self::of(PartFormat::ArrowMessage, options, 0, Vec::new())
    }

    fn of(format: PartFormat, options: &EncodeOptions, bytes: usize, memory: Vec<u8>) -> Result<Self, Error> {
        let schema = Arc::new(schema::<K, V, T, D>());
        check_types(&schema)?;
        Ok(Self {
            options: options.clone(),
            stats: StatsCollector::new(&schema),
            encoder: format.encoder(&schema, options.compression, bytes, memory).map_err(not_encodable)?,
            format,
            schema,
            keys: K::Builder::default(),
            values: V::Builder::default(),
            times: Vec::new(),
            diffs: Vec::new(),
            chunk_bytes: 0,
            rows: 0,
            decoded_bytes: 0,
            bounds: TimeBounds::new(),
            diff_sum: 0,
            last: None,
            marker: PhantomData,
        })
    }

    /// Adds a row. The caller pushes rows in the order of (key, value, time), each of these at most once unless its diffs
    /// add up beyond what one holds, with a diff that is not zero. `Invalid` if the row is too large, its serde
    /// implementation fails, or its time or diff has no word; it was not added then.
    #[inline]
    pub fn push(&mut self, key: K::Ref<'_>, value: V::Ref<'_>, time: &T, diff: &D) -> Result<(), Error> {
        let size = row_size::<K, V>(key, value)?;
        check_time(time)?;
        check_diff(diff)?;
        if !self.has_room(self.times.len(), self.chunk_bytes + size) {
            self.write_chunk()?;
        }
        if cfg!(debug_assertions) {
            self.assert_order(key, value, time, diff);
        }
        self.keys.push(key);
        self.values.push(value);
        self.chunk_bytes += size;
        self.push_words(time, diff);
        Ok(())
    }

    /// Adds rows of these sizes that lie scattered in memory, as [`SortedPartWriter::push`] would one by one. Column by
    /// column the processor waits for many of them at once.
    pub(super) fn gather(
        &mut self,
        mut rows: &[(u32, D)],
        sizes: &[u32],
        keys: &K::Builder,
        values: &V::Builder,
        times: &[T],
    ) -> Result<(), Error> {
        while !rows.is_empty() {
            let (mut fitting, mut bytes) = (0, self.chunk_bytes);
            for (row, _) in rows {
                let size = sizes[*row as usize] as usize;
                if !self.has_room(self.times.len() + fitting, bytes + size) {
                    break;
                }
                fitting += 1;
                bytes += size;
            }
            let (now, later) = rows.split_at(fitting);
            self.keys.reserve(fitting, bytes - self.chunk_bytes);
            self.values.reserve(fitting, bytes - self.chunk_bytes);
            self.times.reserve(fitting);
            self.diffs.reserve(fitting);
            if cfg!(debug_assertions) {
                for (row, diff) in now {
                    let row = *row as usize;
                    self.assert_order(keys.get(row), values.get(row), &times[row], diff);
                }
            }
            now.iter().for_each(|(row, _)| self.keys.push(keys.get(*row as usize)));
            now.iter().for_each(|(row, _)| self.values.push(values.get(*row as usize)));
            now.iter().for_each(|(row, diff)| self.push_words(&times[*row as usize], diff));
            self.chunk_bytes = bytes;
            if !later.is_empty() {
                self.write_chunk()?;
            }
            rows = later;
        }
        Ok(())
    }

    /// Whether a chunk of so many rows takes one more, with which it has so many bytes.
    #[inline]
    fn has_room(&self, rows: usize, bytes: usize) -> bool {
        rows == 0 || rows < self.options.chunk_rows_max && bytes <= self.options.chunk_bytes_max.min(ROW_BYTES_MAX)
    }

    #[inline]
    fn push_words(&mut self, time: &T, diff: &D) {
        let word = diff.encode();
        self.times.push(u64::from_ne_bytes(time.encode()));
        self.diffs.push(u64::from_ne_bytes(word));
        self.rows += 1;
        self.bounds.insert(time);
        self.diff_sum = self.diff_sum.wrapping_add(u64::from_le_bytes(word));
    }

    fn assert_order(&mut self, key: K::Ref<'_>, value: V::Ref<'_>, time: &T, diff: &D) {
        assert!(!diff.is_zero(), "a row with a diff of zero is not consolidated");
        assert!(time.check().is_ok() && diff.check().is_ok(), "a row at {time:?} with {diff:?} has no words");
        let row = (K::from_ref(key), V::from_ref(value), time.clone());
        let follows = self.last.as_ref().is_none_or(|(last, before)| {
            *last < row
                || *last == row && D::total(before, std::iter::once(diff)).is_none_or(|sum| sum.check().is_err())
        });
        assert!(follows, "rows out of order: {:?}, {row:?}", self.last);
        self.last = Some((row, diff.clone()));
    }

    /// The rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The length of the object so far, in bytes, with the unfinished chunk counted uncompressed.
    pub fn encoded_bytes(&self) -> usize {
        self.encoder.len() + self.chunk_bytes
    }

    /// Writes the rows in the builders.
    fn write_chunk(&mut self) -> Result<(), Error> {
        let (batch, decoded_bytes) = self.take_batch()?;
        self.encoder.write(&batch, decoded_bytes).map_err(not_encodable)
    }

    /// The rows in the builders, and the memory that they take when decoded.
    fn take_batch(&mut self) -> Result<(RecordBatch, u64), Error> {
        let columns = vec![
            self.keys.finish().map_err(not_encodable)?,
            self.values.finish().map_err(not_encodable)?,
            words::<T>(&mut self.times).map_err(not_encodable)?,
            words::<D>(&mut self.diffs).map_err(not_encodable)?,
        ];
        let decoded_bytes = columns.iter().map(|column| buffer_bytes(&column.to_data(), false)).sum();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(not_encodable)?;
        self.decoded_bytes += decoded_bytes;
        self.stats.observe(&batch);
        self.chunk_bytes = 0;
        Ok((batch, decoded_bytes))
    }

    /// The object and what to remember of it; `None` if no row was pushed.
    pub fn finish(mut self) -> Result<Option<EncodedPart<T>>, Error> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.write_chunk()?;
        let Written { mut bytes, tail_start } = self.encoder.finish().map_err(not_encodable)?;
        // Room that was not needed: an inline part stays in memory.
        if bytes.len() < bytes.capacity() / 2 {
            bytes.shrink_to_fit();
        }
        let meta = PartMeta {
            format: self.format,
            schema: SchemaId(0),
            encoded_bytes: bytes.len() as u64,
            decoded_bytes: self.decoded_bytes,
            tail_bytes: (bytes.len() - tail_start) as u64,
            rows: self.rows,
            checksum: xxh3_64(&bytes[tail_start..]),
            time_lower: self.bounds.lower,
            time_upper: self.bounds.upper,
            diff_sum: self.diff_sum.to_le_bytes(),
            stats: self.stats.finish(self.rows, bytes.len() as u64).encode(),
        };
        Ok(Some(EncodedPart { bytes: Bytes::from(bytes), meta }))
    }
}

/// A column of the words, which are taken.
fn words<C: Codec64>(words: &mut Vec<u64>) -> Result<ArrayRef, EncodeError> {
    let words = std::mem::take(words);
    let width = match C::data_type() {
        DataType::FixedSizeBinary(width) => usize::try_from(width).ok(),
        other => other.primitive_width(),
    };
    if width != Some(size_of::<u64>()) {
        return Err(EncodeError(format!("{} as the column of an eight-byte word", C::data_type())));
    }
    let data = ArrayData::builder(C::data_type()).len(words.len()).add_buffer(Buffer::from_vec(words));
    Ok(make_array(data.build().map_err(|error| EncodeError(error.to_string()))?))
}

/// The bytes of the buffers that are written for an array, before compression and padding. Units in a list, which have no
/// buffer, count a bit each: a reader bounds by the bytes how many values there can be.
fn buffer_bytes(data: &ArrayData, in_list: bool) -> u64 {
    let nulls = data.nulls().map_or(0, |nulls| nulls.buffer().len());
    let buffers: usize = data.buffers().iter().map(Buffer::len).sum();
    let units = if in_list && *data.data_type() == DataType::Null { data.len().div_ceil(8) } else { 0 };
    let in_list = in_list || matches!(data.data_type(), DataType::List(_));
    (nulls + buffers + units) as u64 + data.child_data().iter().map(|child| buffer_bytes(child, in_list)).sum::<u64>()
}
