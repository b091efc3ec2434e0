//! One critical reader of a pipeline, moved by the start that owns it.

use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{Error, ErrorKind, ShardId, SinceDowngrade, SinceHandle, Time};

use super::owner::Owner;

/// A critical reader that is, or was, of this incarnation.
#[derive(Clone, Debug)]
pub(super) struct Hold<T: Time> {
    handle: SinceHandle<T>,
    incarnation: u64,
}

/// What came of taking a reader over.
pub(super) enum Taken<T: Time> {
    /// It is of this incarnation, as are all others that are so.
    Taken(Hold<T>),
    /// It is of this later one.
    Later(u64),
}

impl<T: Time> Hold<T> {
    /// Makes the reader this incarnation's, with the mark *begun* if the output has had commits.
    pub(super) async fn take(mut handle: SinceHandle<T>, incarnation: u64, begun: bool) -> Result<Taken<T>, Error> {
        let mut fresh = true;
        loop {
            let now = Owner::of(handle.opaque());
            if now.incarnation > incarnation {
                return Ok(Taken::Later(now.incarnation));
            }
            let mine = Owner { incarnation, begun: now.begun || begun };
            // After a mismatch the handle knows the token, but not the since: asking again tells.
            if fresh && mine == now {
                return Ok(Taken::Taken(Self { handle, incarnation }));
            }
            let since = handle.since().clone();
            match handle.compare_and_downgrade_since(now.opaque(), (mine.opaque(), &since)).await? {
                SinceDowngrade::Downgraded { .. } => return Ok(Taken::Taken(Self { handle, incarnation })),
                SinceDowngrade::OpaqueMismatch { .. } => fresh = false,
            }
        }
    }

    /// The start that has it.
    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(super) fn shard(&self) -> ShardId {
        self.handle.shard_id()
    }

    /// Where it stood when it last heard of itself.
    pub(super) fn since(&self) -> &Antichain<T> {
        self.handle.since()
    }

    /// Whether the output has had commits, as its token says.
    pub(super) fn begun(&self) -> bool {
        Owner::of(self.handle.opaque()).begun
    }

    /// Moves it to `since`, if that is beyond where it stands, and gives it the mark *begun*. No I/O where it has both.
    pub(super) async fn advance(&mut self, name: &str, since: &Antichain<T>) -> Result<(), Error> {
        if self.begun() && PartialOrder::less_equal(since, self.since()) {
            return Ok(());
        }
        match self.set(since, true).await? {
            Set::Here => Ok(()),
            Set::Fenced(by) => Err(fenced(name, self.shard(), by)),
            Set::Gone => Err(retired(name, self.shard())),
        }
    }

    /// An error if it is another incarnation's now. One that is gone is nobody's.
    pub(super) async fn confirm(&mut self, name: &str) -> Result<(), Error> {
        let (since, begun) = (self.since().clone(), self.begun());
        match self.set(&since, begun).await? {
            Set::Here | Set::Gone => Ok(()),
            Set::Fenced(by) => Err(fenced(name, self.shard(), by)),
        }
    }

    async fn set(&mut self, since: &Antichain<T>, begun: bool) -> Result<Set, Error> {
        loop {
            let now = Owner::of(self.handle.opaque());
            if now.incarnation != self.incarnation {
                return Ok(Set::Fenced(now.incarnation));
            }
            // The others of this incarnation may have marked it meanwhile.
            let mine = Owner { begun: now.begun || begun, ..now };
            match self.handle.compare_and_downgrade_since(now.opaque(), (mine.opaque(), since)).await {
                Ok(SinceDowngrade::Downgraded { .. }) => return Ok(Set::Here),
                Ok(SinceDowngrade::OpaqueMismatch { .. }) => {}
                Err(error) if error.kind() == ErrorKind::Invalid => return Ok(Set::Gone),
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes it, whosever it is.
    pub(super) async fn remove(self) -> Result<(), Error> {
        self.handle.expire().await
    }
}

/// What came of setting a reader's since and token.
enum Set {
    /// It stands there, or beyond.
    Here,
    /// This other incarnation has it.
    Fenced(u64),
    /// It was removed.
    Gone,
}

/// The error of a start that another one has taken the pipeline over from.
pub(super) fn fenced(name: &str, shard: ShardId, by: u64) -> Error {
    let message = format!("the pipeline {name:?} was taken over by another start of it, incarnation {by}");
    let advice = "end this one; processes that belong together say so by one `incarnation`, and copies that run side by \
                  side on purpose by names of their own";
    Error::invalid(message).advise(advice).of_shard(shard)
}

/// The error of a pipeline that was retired while it ran.
fn retired(name: &str, shard: ShardId) -> Error {
    let message = format!("the pipeline {name:?} was retired: nothing keeps this shard for it any more");
    Error::invalid(message).advise("end it, or open its `Resume` again").of_shard(shard)
}
