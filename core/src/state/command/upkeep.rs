//! What upkeep records: rollups, deletions, the shard's time.

use crate::state::{Change, RollupRef, State, is_stale};
use timely_persist_types::codec::Time;
use timely_persist_types::ids::SeqNo;

use super::{Command, Decision, Moment};

/// Makes a rollup the newest, unless the newest is nearly as new: closer than the interval between two. `false` refuses:
/// the rollup is not used.
///
/// Several processes find at the same time that one is due. If each wrote its own, their entries would make the next
/// due.
#[derive(Clone, Debug)]
pub struct SetRollup(pub RollupRef);

impl<T: Time> Command<T> for SetRollup {
    const NAME: &'static str = "set rollup";
    type Reply = bool;

    fn decide(&self, state: &State<T>, moment: &Moment) -> Decision<T, bool> {
        let SetRollup(rollup) = self;
        if state.rollup.as_ref().is_some_and(|newest| newest == rollup) {
            return Decision::Reply(true);
        }
        let newest = state.rollup.as_ref().map_or(SeqNo::ZERO, |newest| newest.seqno);
        let due = rollup.seqno.0 >= newest.0.saturating_add(moment.limits.rollup_interval.max(1));
        let fresh = !is_stale(&rollup.name, moment.now_ms, moment.limits.blob_age_max_ms);
        match due && fresh && rollup.seqno <= state.seqno {
            true => Decision::Commit(vec![Change::RollupSet(rollup.clone())], true),
            false => Decision::Reply(false),
        }
    }
}

/// Records that these objects, the first of the garbage at their positions, were deleted.
///
/// Two sweeps may have deleted the same ones: the second finds other names in front, or none, and records nothing.
#[derive(Clone, Debug)]
pub struct DeleteGarbage(pub Vec<(SeqNo, Vec<String>)>);

impl<T: Time> Command<T> for DeleteGarbage {
    const NAME: &'static str = "delete garbage";
    type Reply = ();

    fn decide(&self, state: &State<T>, _moment: &Moment) -> Decision<T, ()> {
        let stands = |(seqno, names): &&(SeqNo, Vec<String>)| {
            !names.is_empty() && state.garbage.get(seqno).is_some_and(|known| known.starts_with(names))
        };
        let deleted = self.0.iter().filter(stands);
        let change =
            |(seqno, names): &(SeqNo, Vec<String>)| Change::GarbageDeleted { seqno: *seqno, count: names.len() as u64 };
        Decision::of(deleted.map(change).collect())
    }
}

/// Changes nothing but the shard's time, which is that of this commit from here on.
#[derive(Clone, Copy, Debug)]
pub struct RecordTime;

impl<T: Time> Command<T> for RecordTime {
    const NAME: &'static str = "record time";
    type Reply = ();

    fn decide(&self, state: &State<T>, _moment: &Moment) -> Decision<T, ()> {
        // A fact that is true of every state.
        Decision::Commit(vec![Change::SinceSet(state.since.clone())], ())
    }
}
