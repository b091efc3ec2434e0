//! Parts that were written when keys or values had another shape.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema};

use timely_persist_types::codec::{self, Data, DecodeError, Diff, Incompatible, Lens, Shape, Time};
use timely_persist_types::error::{Error, ErrorKind};

use super::schema::{KEY, OTHER_TYPE, VALUE, of_columns};

/// How the rows of a part become those that a program knows.
///
/// Always: of [`RowLens::between`], rows are as they were in order and in number, and whoever merges them need not know. Those of
/// [`RowLens::projecting`] may be equal and in any order: nobody merges them.
#[derive(Debug)]
pub struct RowLens {
    key: ColumnLens,
    value: ColumnLens,
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
        Self::of(stored, [Lens::between(stored[0], here[0])?, Lens::between(stored[1], here[1])?])
    }

    /// The same for a reader of older shapes: it leaves out what they do not know.
    pub fn projecting(stored: [&Shape; 2], here: [&Shape; 2]) -> Result<Option<Arc<Self>>, Incompatible> {
        Self::of(stored, [Lens::projecting(stored[0], here[0])?, Lens::projecting(stored[1], here[1])?])
    }

    fn of(stored: [&Shape; 2], [key, value]: [Lens; 2]) -> Result<Option<Arc<Self>>, Incompatible> {
        let (key, value) = (ColumnLens::new(KEY, key, stored[0]), ColumnLens::new(VALUE, value, stored[1]));
        let is_identity = key.lens.is_identity() && value.lens.is_identity();
        Ok((!is_identity).then(|| Arc::new(Self { key, value })))
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
