//! Fetching one part: a task on the client's runtime, owned by the operator that waits for it.

use futures::FutureExt;
use tokio::task::AbortHandle;

use timely_persist::{
    Client, Data, Diff, Error, ErrorKind, ExchangeablePart, FetchedPart, InflightPermit, InflightShare, LeaseId, Shard,
    Time,
};

use crate::error::{SourceError, SourceErrorKind};
use crate::foreign::{Code, call, finish};
use crate::mailbox::{Closed, Sender};
use crate::settings::{Pauses, Settings};

/// What a fetch operator hears from its tasks.
#[derive(Debug)]
pub(crate) enum Delivery<K: Data, V: Data, T: Time, D: Diff> {
    /// Some of the part is there; the rest, too, if its room in the pool comes along.
    Fetched(LeaseId, FetchedPart<K, V, T, D>, Option<InflightPermit>),
    /// The part will never be there.
    Failed(LeaseId, SourceError),
    /// Storage does not answer; the task keeps trying.
    Stalled(LeaseId, SourceError),
}

/// A running fetch. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Fetching {
    task: AbortHandle,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What became of starting a fetch.
#[derive(Debug)]
pub(crate) enum Started<K: Data, V: Data, T: Time, D: Diff> {
    /// The part is there.
    Here(FetchedPart<K, V, T, D>, InflightPermit),
    /// It will be delivered.
    Fetching(Fetching),
}

/// Starts fetches.
pub(crate) struct Fetches<K: Data, V: Data, T: Time, D: Diff> {
    shard: Shard<K, V, T, D>,
    client: Client,
    share: InflightShare,
    settings: Settings<T>,
    deliveries: Sender<Delivery<K, V, T, D>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Fetches<K, V, T, D> {
    /// Fetches for one worker, which hears of them in this mailbox.
    pub(crate) fn new(
        shard: &Shard<K, V, T, D>,
        settings: &Settings<T>,
        deliveries: Sender<Delivery<K, V, T, D>>,
    ) -> Self {
        let client = shard.client().clone();
        let share = client.inflight_share();
        Self { shard: shard.clone(), client, share, settings: settings.clone(), deliveries }
    }

    /// Starts fetching a part, as soon as the client's pool has room for it. One that came along with its description is
    /// there at once: no thread need be woken to get it, nor the operator to hear of it.
    pub(crate) fn start(&self, part: ExchangeablePart<T>) -> Started<K, V, T, D> {
        if part.is_inline()
            && let Some(permit) = self.share.acquire(part.bytes()).now_or_never()
            && let Ok(Some(Ok(fetched))) = call(Code::Types, || attempt(&self.shard, &part).now_or_never())
        {
            return Started::Here(fetched, permit);
        }
        // Also where something is wrong with an inline part: a task may wait and try again, and says what it is.
        let (lease, deliveries, shard) = (part.lease_id(), self.deliveries.clone(), self.settings.shard);
        let fetch = fetch(self.shard.clone(), part, self.share.clone(), self.settings.clone(), deliveries.clone());
        let task = self.client.runtime().spawn(async move {
            if let Err(panic) = finish(Code::Types, fetch).await {
                let _ = deliveries.send(Delivery::Failed(lease, panic.of_shard(shard))).await;
            } // or the operator is gone: nobody waits for the part
        });
        Started::Fetching(Fetching { task: task.abort_handle() })
    }
}

async fn attempt<K: Data, V: Data, T: Time, D: Diff>(
    shard: &Shard<K, V, T, D>,
    part: &ExchangeablePart<T>,
) -> Result<FetchedPart<K, V, T, D>, Error> {
    shard.fetcher().await?.fetch(part).await
}

async fn fetch<K: Data, V: Data, T: Time, D: Diff>(
    shard: Shard<K, V, T, D>,
    part: ExchangeablePart<T>,
    share: InflightShare,
    settings: Settings<T>,
    deliveries: Sender<Delivery<K, V, T, D>>,
) -> Result<(), Closed> {
    let lease = part.lease_id();
    let mut permit = Some(share.acquire(part.bytes()).await);
    let mut pauses = Pauses::of(&settings);
    let mut pieces = shard.fetcher().fetch_pieces(&part);
    while permit.is_some() {
        match pieces.next().await {
            Ok(piece) => {
                let room = permit.take_if(|_| pieces.is_finished());
                deliveries.send(Delivery::Fetched(lease, piece, room)).await?;
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                let notice = SourceError::of(&error).of_kind(SourceErrorKind::Stalled).of_shard(settings.shard);
                deliveries.send(Delivery::Stalled(lease, notice)).await?;
                pauses.pause().await;
            }
            Err(error) => {
                let error = SourceError::of(&error).of_shard(settings.shard);
                return deliveries.send(Delivery::Failed(lease, error)).await;
            }
        }
    }
    Ok(())
}
