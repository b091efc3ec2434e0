//! Whether a shard is one that rows of these types can be written to and read from.

use std::sync::Arc;

use crate::state::{Change, CodecNames, State};
use timely_persist_types::codec::Time;
use timely_persist_types::error::{Error, ErrorKind};

/// Lets whoever opens the shard in: an error if it holds other types, or is finalized. With the change that makes a fresh
/// shard remember its types.
pub fn admit<T: Time>(state: &State<T>, names: &Arc<CodecNames>) -> Result<Vec<Change<T>>, Error> {
    let changes = settle_codecs(state, names)?;
    match state.finalized {
        true => Err(Error::new(ErrorKind::Finalized, "there is nothing to open").of_shard(state.shard)),
        false => Ok(changes),
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

/// The change that makes a fresh shard remember its types; an error if it holds others.
pub fn settle_codecs<T: Time>(state: &State<T>, names: &Arc<CodecNames>) -> Result<Vec<Change<T>>, Error> {
    let refuse = |kind, message: String| Err(Error::new(kind, message).of_shard(state.shard));
    match &state.codecs {
        None => match names.untraced() {
            None => Ok(vec![Change::Codecs(Arc::clone(names))]),
            Some(reason) => refuse(
                ErrorKind::Invalid,
                format!(
                    "{reason}: store another form of the value, such as its text or its numbers, or implement Codec"
                ),
            ),
        },
        Some(known) => match known.difference(names) {
            None => Ok(Vec::new()),
            Some(difference) => refuse(
                ErrorKind::CodecMismatch,
                format!("its rows are of other types than those it was opened with: the {difference}"),
            ),
        },
    }
}
