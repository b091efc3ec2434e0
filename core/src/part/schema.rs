//! The columns of a part, by the types of its rows.

use arrow_schema::{Field, Schema};

use timely_persist_types::codec::{self, Data, Diff, Time};

/// What the column of keys is called.
pub(super) const KEY: &str = "key";

/// What the column of values is called.
pub(super) const VALUE: &str = "value";

/// What helps where the bytes are those that were written, by their checksum, and do not read back all the same.
pub(super) const OTHER_TYPE: &str = "if a type of the program was changed, use it as it was when the shard was written; \
                                     otherwise restore the part from a backup";

/// The schema of a part of these types.
pub(super) fn schema<K: Data, V: Data, T: Time, D: Diff>() -> Schema {
    of_columns::<T, D>(codec::field::<K>(KEY), codec::field::<V>(VALUE))
}

/// The schema of a part with these columns of keys and values.
pub(super) fn of_columns<T: Time, D: Diff>(key: Field, value: Field) -> Schema {
    Schema::new(vec![key, value, Field::new("time", T::data_type(), false), Field::new("diff", D::data_type(), false)])
}
