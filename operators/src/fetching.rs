//! Fetching one part: a task on the client's runtime, owned by the operator that waits for it.

use std::future::Future;
use std::task::{Context, Waker};

use tokio::task::AbortHandle;

use timely_persist::{
    Client, Data, Diff, ErrorKind, ExchangeablePart, FetchedPart, InflightPermit, InflightShare, LeaseId, Shard, Time,
};

use crate::error::{SourceError, SourceErrorKind};
use crate::mailbox::{Closed, Sender};
use crate::settings::{Pauses, Settings};

/// What a fetch operator hears from its tasks.
#[derive(Debug)]
pub(crate) enum Delivery<K: Data, V: Data, T: Time, D: Diff> {
    /// The part is there.
    Fetched(LeaseId, FetchedPart<K, V, T, D>, InflightPermit),
    /// The part will never be there.
    Failed(LeaseId, SourceError),
    /// Storage does not answer; the task keeps trying.
    Stalled(LeaseId, SourceError),
}

/// A running fetch. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Fetching {
    task: Option<AbortHandle>,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
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
    /// delivered when this returns: no thread need be woken to get it, and the operator once more to hear of it.
    pub(crate) fn start(&self, part: ExchangeablePart<T>) -> Fetching {
        let inline = part.is_inline();
        let fetch = fetch(self.shard.clone(), part, self.share.clone(), self.settings.clone(), self.deliveries.clone());
        let mut fetch = Box::pin(fetch);
        let runtime = self.client.runtime();
        if inline {
            let _entered = runtime.enter();
            if fetch.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                return Fetching { task: None };
            }
        }
        let task = runtime.spawn(async move {
            let _ = fetch.await; // the operator is gone: nobody waits for the part
        });
        Fetching { task: Some(task.abort_handle()) }
    }
}

async fn fetch<K: Data, V: Data, T: Time, D: Diff>(
    shard: Shard<K, V, T, D>,
    part: ExchangeablePart<T>,
    share: InflightShare,
    settings: Settings<T>,
    deliveries: Sender<Delivery<K, V, T, D>>,
) -> Result<(), Closed> {
    let lease = part.lease_id();
    let permit = share.acquire(part.bytes()).await;
    let mut pauses = Pauses::of(&settings);
    loop {
        let fetched = match shard.fetcher().await {
            Ok(fetcher) => fetcher.fetch(&part).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(fetched) => return deliveries.send(Delivery::Fetched(lease, fetched, permit)).await,
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
}
