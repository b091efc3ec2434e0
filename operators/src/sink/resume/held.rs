//! What is asked of a shard on which a pipeline has a critical reader, whatever its rows are.

use futures::future::{BoxFuture, FutureExt};
use timely::progress::Antichain;
use timely_persist::{CriticalReaderId, Data, Diff, Error, Holder, Shard, ShardId, SinceHandle, Time};

/// A shard of a pipeline, of times `T` and whatever rows: what [`Resume`](crate::Resume) takes as an input. Every
/// [`Shard`] is one, and nothing else.
pub trait Input<T: Time>: Held<T> {}

impl<K: Data, V: Data, T: Time, D: Diff> Input<T> for Shard<K, V, T, D> {}

/// The same, for this crate alone.
pub trait Held<T: Time>: Send + Sync {
    /// Its name.
    fn shard(&self) -> ShardId;

    /// An error if the shard is of other types, or finalized. Writes nothing.
    fn admits(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Its since and its upper.
    fn frontiers(&self) -> BoxFuture<'_, Result<(Antichain<T>, Antichain<T>), Error>>;

    /// The critical reader of this id, if there is one.
    fn find(&self, id: CriticalReaderId) -> BoxFuture<'_, Result<Option<SinceHandle<T>>, Error>>;

    /// The critical reader of this id, made with this token and purpose if there is none.
    fn open(&self, id: CriticalReaderId, opaque: u64, purpose: String) -> BoxFuture<'_, Result<SinceHandle<T>, Error>>;
}

impl<K: Data, V: Data, T: Time, D: Diff> Held<T> for Shard<K, V, T, D> {
    fn shard(&self) -> ShardId {
        self.id()
    }

    fn admits(&self) -> BoxFuture<'_, Result<(), Error>> {
        async { self.open_writer("").await.map(drop) }.boxed()
    }

    fn frontiers(&self) -> BoxFuture<'_, Result<(Antichain<T>, Antichain<T>), Error>> {
        async { self.inspect().await.map(|info| (info.since, info.upper)) }.boxed()
    }

    fn find(&self, id: CriticalReaderId) -> BoxFuture<'_, Result<Option<SinceHandle<T>>, Error>> {
        let find = async move {
            // Opening would make one, so ask first. One that is removed in between is made again, and is nobody's.
            let there = self.holds().await?.iter().any(|hold| hold.holder == Holder::Critical(id));
            match there {
                true => self.open_critical_since_as(id, 0, "").await.map(Some),
                false => Ok(None),
            }
        };
        find.boxed()
    }

    fn open(&self, id: CriticalReaderId, opaque: u64, purpose: String) -> BoxFuture<'_, Result<SinceHandle<T>, Error>> {
        async move { self.open_critical_since_as(id, opaque, &purpose).await }.boxed()
    }
}
