//! One decoded record batch: rows to look at in place.
//!
//! Always: all four columns have the same length and every word of time and diff has been decoded once, so access
//! cannot fail. Cloning shares the buffers, which are those that were fetched wherever the part was not compressed.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::Buffer;

use super::schema::OTHER_TYPE;
use timely_persist_types::codec::{Builder, Codec, Codec64, Column, Data, DecodeError, Diff, EncodeError, Time};
use timely_persist_types::error::{Error, ErrorKind};

/// A run of consecutive rows of a part.
pub struct Chunk<K: Codec, V: Codec, T, D> {
    columns: Arc<Columns<K, V>>,
    marker: PhantomData<fn() -> (T, D)>,
}

#[derive(Debug)]
struct Columns<K: Codec, V: Codec> {
    keys: K::Column,
    values: V::Column,
    times: Words,
    diffs: Words,
    memory_bytes: usize,
}

impl<K: Codec, V: Codec, T, D> Clone for Chunk<K, V, T, D> {
    fn clone(&self) -> Self {
        Self { columns: Arc::clone(&self.columns), marker: PhantomData }
    }
}

impl<K: Codec, V: Codec, T, D> fmt::Debug for Chunk<K, V, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk of {} rows", self.columns.times.len())
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Chunk<K, V, T, D> {
    /// A chunk of four arrays, in the order of the columns. `Corrupt` if they do not hold what these types write.
    pub(super) fn try_new(arrays: &[ArrayRef], memory_bytes: usize) -> Result<Self, Error> {
        let columns = Columns::try_new::<T, D>(arrays, memory_bytes);
        let columns = columns.map_err(|error| {
            Error::corrupt("a part with a block that does not decode").advise(OTHER_TYPE).because(error)
        })?;
        Ok(Self { columns: Arc::new(columns), marker: PhantomData })
    }

    /// Whether both share their buffers: one is a clone of the other.
    #[inline]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.columns, &other.columns)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.columns.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of some of the rows, which keeps nothing else alive. `Bug` for rows that are not there.
    pub fn copy(&self, rows: Range<usize>) -> Result<Self, Error> {
        if rows.start > rows.end || rows.end > self.len() {
            let message = format!("there are no rows {rows:?} in a chunk of {}", self.len());
            return Err(Error::new(ErrorKind::Bug, message));
        }
        let failed = |error: EncodeError| Error::invalid("rows that cannot be copied").because(error);
        let (mut keys, mut values) = (K::Builder::default(), V::Builder::default());
        rows.clone().for_each(|row| keys.push(self.keys().get(row)));
        rows.clone().for_each(|row| values.push(self.values().get(row)));
        let (times, diffs) = (self.columns.times.copy(rows.clone()), self.columns.diffs.copy(rows.clone()));
        let (keys, values) = (keys.finish().map_err(failed)?, values.finish().map_err(failed)?);
        let memory_bytes = self.columns.memory_bytes * rows.len() / self.len().max(1);
        let columns = Columns::<K, V> {
            keys: K::Column::try_new(&keys, None).map_err(|error| Error::corrupt(error.0).advise(OTHER_TYPE))?,
            values: V::Column::try_new(&values, None).map_err(|error| Error::corrupt(error.0).advise(OTHER_TYPE))?,
            times,
            diffs,
            memory_bytes,
        };
        Ok(Self { columns: Arc::new(columns), marker: PhantomData })
    }

    /// The memory that the columns keep alive, in bytes. Without compression it is the fetched block itself.
    pub fn memory_bytes(&self) -> usize {
        self.columns.memory_bytes
    }

    /// The keys of all rows.
    #[inline]
    pub fn keys(&self) -> &K::Column {
        &self.columns.keys
    }

    /// The values of all rows.
    #[inline]
    pub fn values(&self) -> &V::Column {
        &self.columns.values
    }

    /// The time of row `index`, which the caller keeps below [`Chunk::len`]; so for its diff.
    #[inline]
    pub fn time(&self, index: usize) -> T {
        self.columns.times.get(index)
    }

    /// The diff of row `index`.
    #[inline]
    pub fn diff(&self, index: usize) -> D {
        self.columns.diffs.get(index)
    }

    /// All rows, borrowed, in order.
    #[inline]
    pub fn refs(&self) -> impl ExactSizeIterator<Item = (K::Ref<'_>, V::Ref<'_>, T, D)> {
        let columns = &*self.columns;
        (0..self.len()).map(move |index| {
            let (time, diff) = (columns.times.get(index), columns.diffs.get(index));
            (columns.keys.get(index), columns.values.get(index), time, diff)
        })
    }

    /// All rows, owned, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = ((K, V), T, D)> {
        self.refs().map(|(key, value, time, diff)| ((K::from_ref(key), V::from_ref(value)), time, diff))
    }
}

impl<K: Data, V: Data> Columns<K, V> {
    fn try_new<T: Time, D: Diff>(arrays: &[ArrayRef], memory_bytes: usize) -> Result<Self, DecodeError> {
        let [keys, values, times, diffs] = arrays else {
            return Err(DecodeError("a record batch with other columns".to_owned()));
        };
        let columns = Self {
            keys: K::Column::try_new(keys, None)?,
            values: V::Column::try_new(values, None)?,
            times: Words::try_new::<T>(times)?,
            diffs: Words::try_new::<D>(diffs)?,
            memory_bytes,
        };
        let rows = columns.times.len();
        if columns.keys.len() != rows || columns.values.len() != rows || columns.diffs.len() != rows {
            return Err(DecodeError("columns of different lengths".to_owned()));
        }
        Ok(columns)
    }
}

/// A column of eight-byte words, all of which decode as the type they were opened with.
#[derive(Debug)]
struct Words(Buffer);

impl Words {
    fn try_new<C: Codec64>(array: &ArrayRef) -> Result<Self, DecodeError> {
        if *array.data_type() != C::data_type() {
            return Err(DecodeError(format!("a column of {} instead of {}", array.data_type(), C::data_type())));
        }
        if array.null_count() > 0 {
            return Err(DecodeError(format!("{} nulls among words", array.null_count())));
        }
        let data = array.to_data();
        let words = data.buffers().first().and_then(|buffer| {
            let (start, len) = (data.offset().checked_mul(8)?, data.len().checked_mul(8)?);
            (start.checked_add(len)? <= buffer.len()).then(|| Self(buffer.slice_with_length(start, len)))
        });
        let words = words.ok_or_else(|| DecodeError(format!("{} is not eight bytes wide", C::data_type())))?;
        words.as_slice().iter().try_for_each(|word| C::decode(*word).map(drop))?;
        Ok(words)
    }

    fn copy(&self, rows: Range<usize>) -> Self {
        Self(Buffer::from_slice_ref(self.as_slice()[rows].as_flattened()))
    }

    #[inline]
    fn as_slice(&self) -> &[[u8; 8]] {
        self.0.as_slice().as_chunks().0
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.len() / 8
    }

    #[inline]
    fn get<C: Codec64>(&self, index: usize) -> C {
        C::decode(self.as_slice()[index]).expect("every word was decoded when the column was opened")
    }
}
