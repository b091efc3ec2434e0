//! Commands: what is asked of a shard, each a type with a name, and what it decides on a state, as a pure function.
//!
//! [`Command::decide`] takes the state (whose `seqno` is already that of the entry being decided) and the [`Moment`],
//! and returns a [`Decision`]. It is called again after every conflict, so it changes nothing and keeps nothing. Every
//! command on a finalized shard has a calm answer. No decision stands anywhere else.

mod admit;
mod append;
mod critical;
mod evolve;
mod expire;
mod finalize;
mod leased;
mod replace;
mod upkeep;

pub use admit::{admit, admit_generation, admit_reader, settle_types};
pub use append::{Append, AppendReply, Expect, Lower};
pub use critical::{CriticalReply, DowngradeCritical, OpenCritical};
pub use evolve::{Evolve, EvolveReply};
pub use expire::{ExpireCritical, ExpireReader, ExpireWriter, RemoveLapsed};
pub use finalize::{Finalize, FinalizeReply};
pub use leased::{Register, Renew, Renewal, RenewalReply, too_early};
pub use replace::Replace;
pub use upkeep::{DeleteGarbage, RecordTime, SetRollup};

use timely_persist_types::clock::millis;
use timely_persist_types::codec::Time;
use timely_persist_types::config::{StoreLimits, UpkeepConfig};
use timely_persist_types::error::Error;

use super::upkeep::rollup_interval;
use super::{Change, State};

/// What is asked of a shard.
pub trait Command<T: Time>: Send + 'static {
    /// What a log line and a metric call it: a few words, a verb first.
    const NAME: &'static str;

    /// What whoever asks is told.
    type Reply: Send + 'static;

    /// What it adds to a log entry, in bytes, as far as that can be much.
    fn entry_bytes(&self) -> usize {
        0
    }

    /// What becomes of it in this state, at this moment. Nothing else may sway it.
    fn decide(&self, state: &State<T>, moment: &Moment) -> Decision<T, Self::Reply>;
}

/// What a command decided.
#[derive(Debug)]
pub enum Decision<T: Time, R> {
    /// Commit these facts, then give this reply.
    Commit(Vec<Change<T>>, R),
    /// Change nothing and give this reply. It counts only on a fresh state: the machine looks at the log again before.
    Reply(R),
}

impl<T: Time> Decision<T, ()> {
    /// Commits these facts, if there are any.
    fn of(changes: Vec<Change<T>>) -> Self {
        if changes.is_empty() { Decision::Reply(()) } else { Decision::Commit(changes, ()) }
    }
}

impl<T: Time, R> Decision<T, Result<R, Error>> {
    /// What was decided, or was refused with an error.
    fn or_refusal(decided: Result<Decision<T, R>, Error>) -> Self {
        match decided {
            Ok(Decision::Commit(changes, reply)) => Decision::Commit(changes, Ok(reply)),
            Ok(Decision::Reply(reply)) => Decision::Reply(Ok(reply)),
            Err(error) => Decision::Reply(Err(error)),
        }
    }
}

/// What a decision knows beside the state.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The shard's wall time, in milliseconds.
    pub now_ms: u64,
    /// The limits of whoever decides.
    pub limits: Limits,
}

/// The limits that decisions go by.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How old an object may be when a commit begins to refer to it, in milliseconds: older ones may have been taken for
    /// lost, and deleted. Half of the age at which the leak sweep does so: the other half is what clocks may differ by.
    pub blob_age_max_ms: u64,
    /// The log entries between two rollups.
    pub rollup_interval: u64,
    /// The objects that one step of finalizing takes on.
    pub finalize_objects_max: usize,
}

impl Limits {
    /// Those of a client, on a store with these.
    pub fn of(store: &StoreLimits, upkeep: &UpkeepConfig) -> Self {
        Self {
            blob_age_max_ms: millis(store.commit_age_max()),
            rollup_interval: rollup_interval(upkeep),
            finalize_objects_max: upkeep.sweep_step_objects_max,
        }
    }
}
