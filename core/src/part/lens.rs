//! Parts that were written when keys or values had another shape.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema};
use bytes::Bytes;

use timely_persist_types::codec::{self, Data, DecodeError, Diff, Incompatible, Lens, Shape, Time};
use timely_persist_types::error::{Error, ErrorKind};

use super::schema::{KEY, OTHER_TYPE, VALUE, of_columns};
use super::stats::StatsLens;

/// How the rows of a part become those that a program knows.
///
/// Always: of [`RowLens::between`], rows are as they were in order and in number, and whoever merges them need not know. Those of
/// [`RowLens::projecting`] may be equal and in any order: nobody merges them.
#[derive(Debug)]
pub struct RowLens {
    key: ColumnLens,
    value: ColumnLens,
    /// The same of statistics.
    stats: StatsLens,
}

/// The same of one column.
#[derive(Debug)]
struct ColumnLens {
    lens: Lens,
    /// The column as it was written; `None` where it is as the program writes it.
    stored: Option<Field>,
}

impl ColumnLens {
    fn new(name: &str, lens: Lens, stored: &Shape) -> Self {
        let stored = (!lens.is_identity()).then(|| stored.field(name)).flatten();
        Self { lens, stored }
    }
}

impl RowLens {
    /// From keys and values of these shapes to those of others; `None` if they are the same. Or why there is none.
    pub fn between(stored: [&Shape; 2], here: [&Shape; 2]) -> Result<Option<Arc<Self>>, Incompatible> {
        Self::of(stored, here, Lens::between)
    }

    /// The same for a reader of older shapes: it leaves out what they do not know.
    pub fn projecting(stored: [&Shape; 2], here: [&Shape; 2]) -> Result<Option<Arc<Self>>, Incompatible> {
        Self::of(stored, here, Lens::projecting)
    }

    fn of(
        stored: [&Shape; 2],
        here: [&Shape; 2],
        lens: impl Fn(&Shape, &Shape) -> Result<Lens, Incompatible>,
    ) -> Result<Option<Arc<Self>>, Incompatible> {
        let key = ColumnLens::new(KEY, lens(stored[0], here[0])?, stored[0]);
        let value = ColumnLens::new(VALUE, lens(stored[1], here[1])?, stored[1]);
        let is_identity = key.lens.is_identity() && value.lens.is_identity();
        let stats = || StatsLens::between([(KEY, stored[0], here[0]), (VALUE, stored[1], here[1])]);
        Ok((!is_identity).then(|| Arc::new(Self { key, value, stats: stats() })))
    }

    /// Where a row may have no place in the other schema: what holds anything but the default of a retired field.
    pub fn partial(&self) -> Vec<String> {
        [(KEY, &self.key), (VALUE, &self.value)]
            .into_iter()
            .flat_map(|(name, column)| column.lens.partial().into_iter().map(move |path| format!("{name}: {path}")))
            .collect()
    }

    /// The schema of a part as it was written.
    pub(super) fn schema<K: Data, V: Data, T: Time, D: Diff>(&self) -> Schema {
        let field = |lens: &ColumnLens, here: Field| lens.stored.clone().unwrap_or(here);
        of_columns::<T, D>(field(&self.key, codec::field::<K>(KEY)), field(&self.value, codec::field::<V>(VALUE)))
    }

    /// What is known of the rows of a part as the program knows them, of the encoded statistics that were written with it. Empty,
    /// that is unknown, if those are.
    pub fn stats(&self, stats: &[u8]) -> Bytes {
        self.stats.map_encoded(stats)
    }

    /// The columns as the program knows them.
    pub(super) fn map(&self, columns: &RecordBatch) -> Result<Vec<ArrayRef>, Error> {
        let mut columns = columns.columns().to_vec();
        for (column, lens) in columns.iter_mut().zip([&self.key, &self.value]) {
            *column = lens.lens.map(column).map_err(|error| self.refuse(error))?;
        }
        Ok(columns)
    }

    fn refuse(&self, error: DecodeError) -> Error {
        match self.partial().as_slice() {
            [] => Error::corrupt("a part whose rows cannot be read as the types of this program").advise(OTHER_TYPE),
            places => {
                let places = places.join(", ");
                let message = format!("a row has no place in the types of this program: see {places}");
                Error::new(ErrorKind::CodecMismatch, message).advise("read it with types that have a place for it")
            }
        }
        .because(error)
    }
}
