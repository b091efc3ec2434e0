//! Rows in any order into an object: collects, sorts, consolidates, writes.
//!
//! Always: keys and values lie in contiguous memory and only an index of (prefix, row) is sorted, so a row costs no
//! allocation and input that is sorted already costs one pass.

use std::ops::Range;

use timely_persist_types::codec::{Builder, Data, Diff, Digest, Time};
use timely_persist_types::config::piece_bytes;
use timely_persist_types::error::Error;

use super::format::file_bytes;
use super::meta::EncodedPart;
use super::sum::too_large;
use super::words::{check_apart, check_time};
use super::writer::{EncodeOptions, SortedPartWriter, row_size};

/// The bytes that a value is taken to have before it is seen.
const VALUE_BYTES: usize = 16;

/// Collects updates of one part.
#[derive(Debug)]
pub struct PartBuilder<K: Data, V: Data, T: Time, D: Diff> {
    keys: K::Builder,
    values: V::Builder,
    times: Vec<T>,
    diffs: Vec<D>,
    sizes: Vec<u32>,
    /// The prefix of each key with its row: what is sorted.
    order: Vec<(u64, u32)>,
    bytes: usize,
}

impl<K: Data, V: Data, T: Time, D: Diff> Default for PartBuilder<K, V, T, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> PartBuilder<K, V, T, D> {
    /// A builder of no rows yet.
    pub fn new() -> Self {
        Self {
            keys: K::Builder::default(),
            values: V::Builder::default(),
            times: Vec::new(),
            diffs: Vec::new(),
            sizes: Vec::new(),
            order: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds an update. `Invalid` if the row is too large, its serde implementation fails, its time or diff cannot be
    /// stored, or there are more than four billion; it was not added then, and the builder can be used on.
    #[inline]
    pub fn push(&mut self, key: K::Ref<'_>, value: V::Ref<'_>, time: &T, diff: &D) -> Result<(), Error> {
        let size = row_size::<K, V>(key, value)?;
        check_time(time)?;
        check_apart(diff)?;
        let Ok(row) = u32::try_from(self.order.len()) else {
            return Err(Error::invalid(format!("more than {} updates in one part", u32::MAX)));
        };
        self.order.push((K::prefix(key), row));
        self.keys.push(key);
        self.values.push(value);
        self.times.push(time.clone());
        self.diffs.push(diff.clone());
        self.sizes.push(u32::try_from(size).unwrap_or(u32::MAX)); // never larger: see `ROW_BYTES_MAX`
        self.bytes += size;
        Ok(())
    }

    /// Makes room for so many more updates.
    pub fn reserve(&mut self, rows: usize) {
        self.keys.reserve(rows, rows * VALUE_BYTES);
        self.values.reserve(rows, rows * VALUE_BYTES);
        self.times.reserve(rows);
        self.diffs.reserve(rows);
        self.sizes.reserve(rows);
        self.order.reserve(rows);
    }

    /// The updates so far.
    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// The memory that the updates take, in bytes, within a small factor; also about the length of the object when it
    /// is not compressed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The digest of the updates; `None` if diffs of this type have none. It reads all of them, in the order in which they came.
    pub fn digest(&self) -> Option<u64> {
        let mut digest = Digest::new();
        for (row, (time, diff)) in self.times.iter().zip(&self.diffs).enumerate() {
            digest.add::<K, V, T, D>(self.keys.get(row), self.values.get(row), time, diff);
        }
        digest.sum()
    }

    /// The part, or `None` if all updates cancel out. Errors as in [`PartBuilder::sort`].
    pub fn finish(self, options: &EncodeOptions) -> Result<Option<EncodedPart<T>>, Error> {
        let sorted = self.sort()?;
        sorted.encode(0..sorted.rows.len(), options, Vec::new())
    }

    /// The updates in order, those of one row summed. `Invalid` if the diffs of one add up beyond what their type holds.
    pub fn sort(mut self) -> Result<SortedRows<K, V, T, D>, Error> {
        let Self { keys, values, times, diffs, order, .. } = &mut self;
        let key = |row: u32| keys.get(row as usize);
        let value = |row: u32| values.get(row as usize);
        let time = |row: u32| &times[row as usize];
        // First by numbers alone, which is several times faster; what they cannot tell apart then by the rows
        // themselves.
        order.sort_unstable_by_key(|(prefix, _)| *prefix);
        for ties in order.chunk_by_mut(|a, b| a.0 == b.0).filter(|ties| ties.len() > 1) {
            ties.sort_unstable_by(|a, b| {
                let values = || value(a.1).cmp(&value(b.1));
                let times = || time(a.1).cmp(time(b.1));
                key(a.1).cmp(&key(b.1)).then_with(values).then_with(times).then_with(|| a.1.cmp(&b.1))
            });
        }
        let same = |a: &(u64, u32), b: &(u64, u32)| {
            a.0 == b.0 && key(a.1) == key(b.1) && value(a.1) == value(b.1) && time(a.1) == time(b.1)
        };
        let mut rows = Vec::with_capacity(order.len());
        for group in order.chunk_by(same) {
            let row = group[0].1;
            let all = group.iter().map(|(_, row)| &diffs[*row as usize]);
            match D::total(&diffs[row as usize], all.clone().skip(1)) {
                Some(sum) if sum.is_zero() => {}
                Some(sum) if sum.check().is_ok() => rows.push((row, sum)),
                Some(_) => {
                    let apart = D::apart(all).into_iter().filter(|diff| !diff.is_zero());
                    rows.extend(apart.map(|diff| (row, diff)));
                }
                None => {
                    let (key, value, time) = (key(row), value(row), time(row));
                    return Err(too_large::<D>(
                        format_args!("({key:?}, {value:?}) at {time:?}"),
                        "nothing was written",
                    ));
                }
            }
        }
        Ok(SortedRows { columns: self, rows })
    }
}

/// Updates in order: what the parts of a run are cut from, by several threads at once.
#[derive(Debug)]
pub struct SortedRows<K: Data, V: Data, T: Time, D: Diff> {
    /// The updates as they came. Their sizes are of use: computing them again would wait for memory twice.
    columns: PartBuilder<K, V, T, D>,
    /// Where each row lies, and its sum of diffs; of one that has no word, several.
    rows: Vec<(u32, D)>,
}

impl<K: Data, V: Data, T: Time, D: Diff> SortedRows<K, V, T, D> {
    /// How many they are.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Ranges of the rows that make parts of about `bytes_max` bytes or less, all about equally large: as many as are
    /// wanted, unless those would be of less than `bytes_min` bytes. Of a tiny `bytes_max` no more than `PIECES_MAX`.
    pub fn cut(&self, bytes_max: usize, bytes_min: usize, wanted: usize) -> Vec<Range<usize>> {
        let total = self.bytes(&self.rows);
        let bytes_max = piece_bytes(bytes_max, total).max(1);
        let parts = total.div_ceil(bytes_max).max(wanted.min(total / bytes_min.max(1))).max(1);
        let part_bytes = total.div_ceil(parts);
        let mut ranges = Vec::with_capacity(parts);
        let (mut start, mut bytes) = (0, 0);
        for (index, (row, _)) in self.rows.iter().enumerate() {
            bytes += self.columns.sizes[*row as usize] as usize;
            if bytes >= part_bytes {
                ranges.push(start..index + 1);
                (start, bytes) = (index + 1, 0);
            }
        }
        if start < self.rows.len() {
            ranges.push(start..self.rows.len());
        }
        ranges
    }

    /// The part of a range of the rows; `None` if it is empty. In memory that was used before, if that is enough: see
    /// [`SortedRows::encoded_bytes`].
    pub fn encode(
        &self,
        range: Range<usize>,
        options: &EncodeOptions,
        memory: Vec<u8>,
    ) -> Result<Option<EncodedPart<T>>, Error> {
        let Some(rows) = self.rows.get(range).filter(|rows| !rows.is_empty()) else {
            return Ok(None);
        };
        self.write(rows, SortedPartWriter::in_memory(options, self.bytes(rows), memory)?)
    }

    /// The memory in which the part of a range is encoded, in bytes.
    pub fn encoded_bytes(&self, range: Range<usize>) -> usize {
        self.rows.get(range).map_or(0, |rows| file_bytes(self.bytes(rows)))
    }

    /// All rows as a part that lies in a log entry, if they are so few that they fit into one record batch: without the
    /// file around it. `None` if there are none.
    pub fn encode_small(&self, options: &EncodeOptions) -> Result<Option<EncodedPart<T>>, Error> {
        if self.rows.len() > options.chunk_rows_max || self.bytes(&self.rows) > options.chunk_bytes_max {
            return self.encode(0..self.rows.len(), options, Vec::new());
        }
        self.write(&self.rows, SortedPartWriter::message(options)?)
    }

    fn write(
        &self,
        rows: &[(u32, D)],
        mut writer: SortedPartWriter<K, V, T, D>,
    ) -> Result<Option<EncodedPart<T>>, Error> {
        let PartBuilder { keys, values, times, sizes, .. } = &self.columns;
        writer.gather(rows, sizes, keys, values, times)?;
        writer.finish()
    }

    /// A builder of no rows in the memory of these.
    pub fn into_empty(self) -> PartBuilder<K, V, T, D> {
        let mut columns = self.columns;
        let PartBuilder { keys, values, times, diffs, sizes, order, bytes } = &mut columns;
        keys.clear();
        values.clear();
        times.clear();
        diffs.clear();
        sizes.clear();
        order.clear();
        *bytes = 0;
        columns
    }

    fn bytes(&self, rows: &[(u32, D)]) -> usize {
        rows.iter().map(|(row, _)| self.columns.sizes[*row as usize] as usize).sum()
    }
}
