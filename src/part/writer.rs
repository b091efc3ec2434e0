//! Sorted rows into an object, a record batch at a time.
//!
//! Always: memory is the encoded output plus one chunk; every byte written is covered by a checksum, as the module
//! says. Not here: sorting. [`PartBuilder`](super::PartBuilder) does that.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, make_array};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::bounds::TimeBounds;
use super::layout::buffer_widths;
use super::meta::{EncodeOptions, EncodedPart, PartFormat, PartMeta};
use super::stats::StatsCollector;
use super::tail::{BLOCKS_KEY, BlockList, BlockSum};
use crate::codec::{self, Builder, Codec64, Data, Diff, EncodeError, Time};
use crate::config::Compression;
use crate::error::Error;

/// The most bytes of one row's key and value: 1 GiB. Together with a chunk of as much it stays below the 2 GiB that
/// Arrow's 32-bit offsets address.
pub const ROW_BYTES_MAX: usize = 1 << 30;

/// Bytes of an object that do not come from rows, generously: header and footer of a part of common types.
const OVERHEAD_BYTES: usize = 4_096;

/// The names of the columns, in their order.
pub(super) const COLUMNS: [&str; 4] = ["key", "value", "time", "diff"];

/// The schema of a part of these types.
pub(super) fn schema<K: Data, V: Data, T: Time, D: Diff>() -> Schema {
    let [key, value, time, diff] = COLUMNS;
    Schema::new(vec![
        codec::field::<K>(key),
        codec::field::<V>(value),
        Field::new(time, T::data_type(), false),
        Field::new(diff, D::data_type(), false),
    ])
}

/// Checks that a row can be stored and says how many bytes it takes.
#[inline]
pub(super) fn row_size<K: Data, V: Data>(key: K::Ref<'_>, value: V::Ref<'_>) -> Result<usize, Error> {
    let size = match (K::size(key), V::size(value)) {
        (Ok(key), Ok(value)) => key.saturating_add(value),
        (Err(error), _) | (_, Err(error)) => return Err(not_encodable(error)),
    };
    if size > ROW_BYTES_MAX {
        return Err(Error::invalid(format!("a row of {size} bytes; the most is {ROW_BYTES_MAX}")));
    }
    // The two words.
    Ok(size + 16)
}

fn not_encodable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid("a row that cannot be encoded").because(error)
}

/// Writes rows that are already sorted and consolidated.
pub struct SortedPartWriter<K: Data, V: Data, T: Time, D: Diff> {
    options: EncodeOptions,
    schema: SchemaRef,
    file: FileWriter<Vec<u8>>,
    blocks: BlockList,
    keys: K::Builder,
    values: V::Builder,
    times: Vec<u64>,
    diffs: Vec<u64>,
    /// The sizes of the rows in the builders, summed.
    chunk_bytes: usize,
    rows: u64,
    decoded_bytes: u64,
    bounds: TimeBounds<T>,
    diff_sum: Option<D>,
    stats: StatsCollector,
    /// Only where the order is asserted: the last row.
    last: Option<(K, V, T)>,
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
        let encoded_bytes = bytes + bytes / 16 + OVERHEAD_BYTES;
        let schema = Arc::new(schema::<K, V, T, D>());
        buffer_widths(&schema).map_err(|other| Error::invalid(format!("a part cannot hold {other}")))?;
        let compression = match options.compression {
            Compression::None => None,
            Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
            Compression::Zstd => Some(CompressionType::ZSTD),
        };
        let write = IpcWriteOptions::default().try_with_compression(compression).map_err(not_encodable)?;
        let file = FileWriter::try_new_with_options(Vec::with_capacity(encoded_bytes), &schema, write);
        let file = file.map_err(not_encodable)?;
        let blocks = BlockList::new(xxh3_64(file.get_ref()));
        Ok(Self {
            options: options.clone(),
            stats: StatsCollector::new(&schema),
            schema,
            file,
            blocks,
            keys: K::Builder::default(),
            values: V::Builder::default(),
            times: Vec::new(),
            diffs: Vec::new(),
            chunk_bytes: 0,
            rows: 0,
            decoded_bytes: 0,
            bounds: TimeBounds::new(),
            diff_sum: None,
            last: None,
            marker: PhantomData,
        })
    }

    /// Adds a row. The caller pushes rows in the order of (key, value, time), each of these at most once, with a diff
    /// that is not zero. `Invalid` if the row is too large or its serde implementation fails; it was not added then.
    #[inline]
    pub fn push(&mut self, key: K::Ref<'_>, value: V::Ref<'_>, time: &T, diff: &D) -> Result<(), Error> {
        let size = row_size::<K, V>(key, value)?;
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
        self.times.push(u64::from_ne_bytes(time.encode()));
        self.diffs.push(u64::from_ne_bytes(diff.encode()));
        self.rows += 1;
        self.bounds.insert(time);
        match &mut self.diff_sum {
            Some(sum) => sum.plus_equals(diff),
            None => self.diff_sum = Some(diff.clone()),
        }
    }

    fn assert_order(&mut self, key: K::Ref<'_>, value: V::Ref<'_>, time: &T, diff: &D) {
        assert!(!diff.is_zero(), "a row with a diff of zero is not consolidated");
        let row = (K::from_ref(key), V::from_ref(value), time.clone());
        assert!(self.last.as_ref().is_none_or(|last| *last < row), "rows out of order: {:?}, {row:?}", self.last);
        self.last = Some(row);
    }

    /// The rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The length of the object so far, in bytes, with the unfinished chunk counted uncompressed.
    pub fn encoded_bytes(&self) -> usize {
        self.file.get_ref().len() + self.chunk_bytes
    }

    fn write_chunk(&mut self) -> Result<(), Error> {
        let rows = self.times.len();
        let columns = vec![
            self.keys.finish().map_err(not_encodable)?,
            self.values.finish().map_err(not_encodable)?,
            words::<T>(&mut self.times).map_err(not_encodable)?,
            words::<D>(&mut self.diffs).map_err(not_encodable)?,
        ];
        let decoded_bytes = columns.iter().map(|column| buffer_bytes(&column.to_data())).sum();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(not_encodable)?;
        let start = self.file.get_ref().len();
        self.file.write(&batch).map_err(not_encodable)?;
        let checksum = xxh3_64(&self.file.get_ref()[start..]);
        self.blocks.push(BlockSum { rows: rows as u64, decoded_bytes, checksum });
        self.decoded_bytes += decoded_bytes;
        self.stats.observe(&batch);
        self.chunk_bytes = 0;
        Ok(())
    }

    /// The object and what to remember of it; `None` if no row was pushed.
    pub fn finish(mut self) -> Result<Option<EncodedPart<T>>, Error> {
        let Some(diff_sum) = self.diff_sum.take() else {
            return Ok(None);
        };
        self.write_chunk()?;
        self.file.write_metadata(BLOCKS_KEY, self.blocks.to_text());
        let tail_start = self.file.get_ref().len();
        let mut bytes = self.file.into_inner().map_err(not_encodable)?;
        // Room that was not needed: an inline part stays in memory.
        if bytes.len() < bytes.capacity() / 2 {
            bytes.shrink_to_fit();
        }
        let meta = PartMeta {
            format: PartFormat::ArrowIpc,
            encoded_bytes: bytes.len() as u64,
            decoded_bytes: self.decoded_bytes,
            tail_bytes: (bytes.len() - tail_start) as u64,
            rows: self.rows,
            checksum: xxh3_64(&bytes[tail_start..]),
            time_lower: self.bounds.lower,
            time_upper: self.bounds.upper,
            diff_sum: diff_sum.encode(),
            stats: self.stats.finish(self.rows, bytes.len() as u64).encode(),
        };
        Ok(Some(EncodedPart { bytes: Bytes::from(bytes), meta }))
    }
}

/// A column of the words, which are taken.
fn words<C: Codec64>(words: &mut Vec<u64>) -> Result<ArrayRef, EncodeError> {
    let words = std::mem::replace(words, Vec::with_capacity(words.len()));
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

/// The bytes of the buffers that are written for an array, before compression and padding.
fn buffer_bytes(data: &ArrayData) -> u64 {
    let nulls = data.nulls().map_or(0, |nulls| nulls.buffer().len());
    let buffers: usize = data.buffers().iter().map(Buffer::len).sum();
    (nulls + buffers) as u64 + data.child_data().iter().map(buffer_bytes).sum::<u64>()
}
