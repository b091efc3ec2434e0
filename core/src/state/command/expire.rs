//! Leaving a shard: readers and writers that say so, and those that have lapsed.

use crate::state::{Change, State};
use timely_persist_types::codec::Time;
use timely_persist_types::ids::{CriticalReaderId, LeasedReaderId, WriterId};

use super::{Command, Decision, Moment};

/// Removes a leased reader. The since is not recomputed: that is for those who still read to say.
#[derive(Clone, Copy, Debug)]
pub struct ExpireReader(pub LeasedReaderId);

impl<T: Time> Command<T> for ExpireReader {
    const NAME: &'static str = "expire reader";
    type Reply = ();

    fn decide(&self, state: &State<T>, _moment: &Moment) -> Decision<T, ()> {
        Decision::of(state.readers.get(&self.0).map(|_| Change::ReaderRemoved(self.0)).into_iter().collect())
    }
}

/// Removes a critical reader.
#[derive(Clone, Copy, Debug)]
pub struct ExpireCritical(pub CriticalReaderId);

impl<T: Time> Command<T> for ExpireCritical {
    const NAME: &'static str = "expire critical reader";
    type Reply = ();

    fn decide(&self, state: &State<T>, _moment: &Moment) -> Decision<T, ()> {
        Decision::of(state.critical.get(&self.0).map(|_| Change::CriticalRemoved(self.0)).into_iter().collect())
    }
}

/// Removes a writer's record.
#[derive(Clone, Copy, Debug)]
pub struct ExpireWriter(pub WriterId);

impl<T: Time> Command<T> for ExpireWriter {
    const NAME: &'static str = "expire writer";
    type Reply = ();

    fn decide(&self, state: &State<T>, _moment: &Moment) -> Decision<T, ()> {
        Decision::of(state.writers.get(&self.0).map(|_| Change::WriterRemoved(self.0)).into_iter().collect())
    }
}

/// Wants nothing of its own: every commit removes those that have lapsed, as this process has seen.
#[derive(Clone, Copy, Debug)]
pub struct RemoveLapsed;

impl<T: Time> Command<T> for RemoveLapsed {
    const NAME: &'static str = "remove lapsed";
    type Reply = ();

    fn decide(&self, _state: &State<T>, _moment: &Moment) -> Decision<T, ()> {
        Decision::Reply(())
    }
}
