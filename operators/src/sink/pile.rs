//! What a worker has collected of one time: a few rows as they came, many in the columns of a batch.

use timely::progress::Antichain;
use timely_persist::{BatchBuilder, Data, Diff, Error, Time, WriteHandle};

use crate::sink::gather::Pile;

/// Rows of at most so many bytes are kept as they came: columns are worth their memory from there on.
const FEW_BYTES: u64 = 64 << 10;

/// So many more rows may come, where there are that many bytes already: enough that the memory of the last pile is used
/// again, and little if they do not come.
const MANY_ROWS: usize = 4_096;

/// What a row takes beside its key and value: its diff, and what holds it together, as it came or in columns.
const ROW_BYTES: u64 = 48;

/// Rows of one time.
pub(crate) struct Rows<K: Data, V: Data, T: Time, D: Diff> {
    few: Vec<((K, V), D)>,
    /// Once there are many: a batch that says of no time that it covers it, so that it can be appended with any interval.
    many: Option<BatchBuilder<K, V, T, D>>,
    bytes: u64,
    rows: u64,
}

impl<K: Data, V: Data, T: Time, D: Diff> Default for Rows<K, V, T, D> {
    fn default() -> Self {
        Self { few: Vec::new(), many: None, bytes: 0, rows: 0 }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Pile for Rows<K, V, T, D> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn rows(&self) -> u64 {
        self.rows
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Rows<K, V, T, D> {
    /// Adds rows at the pile's time.
    pub(crate) fn add(
        &mut self,
        rows: impl Iterator<Item = ((K, V), D)>,
        time: &T,
        writer: Option<&WriteHandle<K, V, T, D>>,
    ) -> Result<(), Error> {
        let (bytes, count) = (&mut self.bytes, &mut self.rows);
        let rows = rows.inspect(|((key, value), _)| {
            let size = K::size(key.as_ref()).unwrap_or(0).saturating_add(V::size(value.as_ref()).unwrap_or(0));
            *bytes = bytes.saturating_add(size as u64).saturating_add(ROW_BYTES);
            *count += 1;
        });
        if let Some(many) = &mut self.many {
            return add_all(many, time, rows);
        }
        self.few.extend(rows);
        match writer.filter(|_| self.bytes > FEW_BYTES) {
            Some(writer) => {
                let builder = self.many.insert(any_interval(writer));
                builder.reserve(MANY_ROWS);
                add_all(builder, time, std::mem::take(&mut self.few).into_iter())
            }
            None => Ok(()),
        }
    }

    /// All of them in a batch that can be appended with any interval, once it is finished.
    pub(crate) fn into_builder(
        self,
        time: &T,
        writer: &WriteHandle<K, V, T, D>,
    ) -> Result<BatchBuilder<K, V, T, D>, Error> {
        let mut builder = self.many.unwrap_or_else(|| any_interval(writer));
        add_all(&mut builder, time, self.few.into_iter())?;
        Ok(builder)
    }

    /// Adds the few to a batch; the many are one already.
    pub(crate) fn split(
        self,
        time: &T,
        few: &mut BatchBuilder<K, V, T, D>,
    ) -> Result<Option<BatchBuilder<K, V, T, D>>, Error> {
        add_all(few, time, self.few.into_iter())?;
        Ok(self.many)
    }
}

/// A batch that can be appended with any interval, once it is finished at the end of all times.
fn any_interval<K: Data, V: Data, T: Time, D: Diff>(writer: &WriteHandle<K, V, T, D>) -> BatchBuilder<K, V, T, D> {
    writer.batch_builder(Antichain::from_elem(T::minimum())).digested()
}

/// Adds rows of one time.
fn add_all<K: Data, V: Data, T: Time, D: Diff>(
    builder: &mut BatchBuilder<K, V, T, D>,
    time: &T,
    rows: impl Iterator<Item = ((K, V), D)>,
) -> Result<(), Error> {
    builder.push_rows(rows.map(|(row, diff)| (row, time.clone(), diff)))
}
