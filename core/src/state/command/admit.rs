//! Whether a shard is one that rows of these types can be written to and read from.

use std::sync::Arc;

use crate::state::{Change, Standing, State, Types};
use timely_persist_types::codec::Time;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::SchemaId;

/// Lets whoever opens the shard to write in: an error if it holds other types, or is finalized. With the changes that make a
/// fresh shard remember its types.
pub fn admit<T: Time>(state: &State<T>, types: &Types) -> Result<Vec<Change<T>>, Error> {
    if types.projects() {
        return Err(only_reads(state));
    }
    let changes = settle_types(state, types)?;
    is_open(state).map(|()| changes)
}

/// The same for whoever reads: all rows of the shard must have a form in these types.
pub fn admit_reader<T: Time>(state: &State<T>, types: &Types) -> Result<Vec<Change<T>>, Error> {
    let changes = match Standing::of(types, state) {
        Ok(Standing::Fresh | Standing::Latest) => settle_types(state, types)?,
        Ok(Standing::Older(_) | Standing::Next) => Vec::new(),
        // Types that the shard never had may be some of its fields all the same: the lenses decide.
        Err(_) if types.projects() && types.count_alike(state) => Vec::new(),
        Err(difference) => return Err(other_types(state, &difference)),
    };
    for id in 0..=state.latest_schema().0 {
        let _ = types.lens_of(state, SchemaId(id))?;
    }
    is_open(state).map(|()| changes)
}

pub(super) fn only_reads<T: Time>(state: &State<T>) -> Error {
    Error::invalid("a handle that projects reads, and does not write").of_shard(state.shard)
}

fn is_open<T: Time>(state: &State<T>) -> Result<(), Error> {
    match state.finalized {
        true => Err(Error::new(ErrorKind::Finalized, "there is nothing to open").of_shard(state.shard)),
        false => Ok(()),
    }
}

/// Whether a writer of this generation may still write: an error if a newer one has begun.
pub fn admit_generation<T: Time>(state: &State<T>, generation: u64) -> Result<(), Error> {
    if generation >= state.generation {
        return Ok(());
    }
    let theirs = state.generation;
    let message = format!("its writers are of generation {theirs} by now, and this one is of generation {generation}");
    Err(Error::new(ErrorKind::Fenced { generation: theirs }, message).of_shard(state.shard))
}

fn other_types<T: Time>(state: &State<T>, difference: &str) -> Error {
    let message = format!("its rows are of other types than those it was opened with: the {difference}");
    Error::new(ErrorKind::CodecMismatch, message).of_shard(state.shard)
}

/// The changes that make a fresh shard remember its types; an error if it has others, or has had these before.
pub fn settle_types<T: Time>(state: &State<T>, types: &Types) -> Result<Vec<Change<T>>, Error> {
    let latest = state.latest_schema();
    let mismatch = |newer, message: &str| {
        Err(Error::new(ErrorKind::SchemaMismatch { latest, newer }, message.to_owned()).of_shard(state.shard))
    };
    match Standing::of(types, state).map_err(|difference| other_types(state, &difference))? {
        Standing::Latest => Ok(Vec::new()),
        Standing::Older(_) => mismatch(true, "its types have changed since this program was built"),
        Standing::Next => mismatch(false, "the types of this program have changed since the shard was written"),
        Standing::Fresh => match types.names.untraced() {
            None => {
                let mut changes = vec![Change::Codecs(Arc::clone(&types.names))];
                if !types.names_say_all() {
                    changes.push(Change::SchemaAdded(SchemaId(0), Arc::clone(&types.schema)));
                }
                Ok(changes)
            }
            Some(reason) => {
                let message = format!(
                    "{reason}: store another form of the value, such as its text or its numbers, or implement Codec"
                );
                Err(Error::new(ErrorKind::Invalid, message).of_shard(state.shard))
            }
        },
    }
}
