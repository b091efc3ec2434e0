//! Transitions: what each command does to a state, as pure functions.
//!
//! Each takes the state (whose `seqno` is already that of the entry being decided), the shard's wall time and the
//! command's own values, and returns a [`super::Decision`]. A `Reply` counts only on a fresh state: the machine looks
//! at the log again before it gives one. Every command on a finalized shard has a calm answer.

mod append;
mod maintenance;
mod readers;

pub use append::{Append, AppendReply, append};
pub use maintenance::{FinalizeReply, Replacement, delete_garbage, finalize, lapsed, lapses_next, replace, set_rollup};
pub use readers::{
    CriticalReply, Registration, Renewal, RenewalReply, downgrade_critical, expire_critical, expire_reader,
    open_critical, register, renew, too_early,
};

use std::sync::Arc;

use crate::codec::Time;
use crate::error::{Error, ErrorKind};

use super::{Change, CodecNames, State};

/// The change that makes a fresh shard remember its types; an error if it holds others.
pub fn settle_codecs<T: Time>(state: &State<T>, names: &Arc<CodecNames>) -> Result<Option<Change<T>>, Error> {
    let refuse = |kind, message: String| Err(Error::new(kind, message).of_shard(state.shard));
    match &state.codecs {
        None => match names.untraced() {
            None => Ok(Some(Change::Codecs(Arc::clone(names)))),
            Some(reason) => refuse(
                ErrorKind::Invalid,
                format!(
                    "{reason}: store another form of the value, such as its text or its numbers, or implement Codec"
                ),
            ),
        },
        Some(known) => match known.difference(names) {
            None => Ok(None),
            Some(difference) => refuse(
                ErrorKind::CodecMismatch,
                format!("its rows are of other types than those it was opened with: the {difference}"),
            ),
        },
    }
}

/// The error of a command that makes no sense on a finalized shard.
pub fn finalized<T: Time>(state: &State<T>) -> Error {
    Error::new(ErrorKind::Finalized, "there is nothing to open").of_shard(state.shard)
}
