//! The columns of a part, by the types of its rows.

use arrow_schema::{Field, Schema};

use timely_persist_types::codec::{self, Data, Diff, Time};

/// What helps where the bytes are those that were written, by their checksum, and do not read back all the same.
pub(super) const OTHER_TYPE: &str = "if a type of the program was changed, use it as it was when the shard was written; \
                                     otherwise restore the part from a backup";

/// The schema of a part of these types.
pub(super) fn schema<K: Data, V: Data, T: Time, D: Diff>() -> Schema {
    Schema::new(vec![
        codec::field::<K>("key"),
        codec::field::<V>("value"),
        Field::new("time", T::data_type(), false),
        Field::new("diff", D::data_type(), false),
    ])
}
