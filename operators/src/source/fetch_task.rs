//! Fetching one part: a task on the client's runtime, owned by the operator that waits for it.

use futures::FutureExt;
use tokio::task::AbortHandle;

use timely_persist::{
    Client, Data, Diff, Error, ErrorKind, ExchangeablePart, FetchedPart, InflightPermit, InflightShare, LeaseId, Shard,
    Time,
};

use crate::common::foreign::{TYPES, call, finish};
use crate::common::mailbox::{Closed, Sender};
use crate::source::emit::Emission;
use crate::source::fetch::Brought;
use crate::source::settings::Settings;

/// Rows of a part, in memory.
#[derive(Debug)]
pub(crate) struct Piece<K: Data, V: Data, T: Time, D: Diff> {
    pub(crate) emission: Emission<K, V, T, D>,
    /// The room that the part takes in the pool, if these are its last rows.
    _room: Option<InflightPermit>,
}

/// What a fetch operator hears from its tasks.
#[derive(Debug)]
pub(crate) struct Delivery<K: Data, V: Data, T: Time, D: Diff> {
    pub(crate) lease: LeaseId,
    pub(crate) brought: Brought<Piece<K, V, T, D>>,
}

/// Rows, and the part's room if they are its last.
fn rows<K: Data, V: Data, T: Time, D: Diff>(
    part: FetchedPart<K, V, T, D>,
    room: Option<InflightPermit>,
) -> Brought<Piece<K, V, T, D>> {
    let last = room.is_some();
    Brought::Rows { rows: Piece { emission: Emission::new(part), _room: room }, last }
}

/// A running fetch. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct FetchTask {
    task: AbortHandle,
}

impl Drop for FetchTask {
    fn drop(&mut self) {
        self.task.abort();
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

    /// The rows of a part that came along with its description, if the client's pool has room for it now: no thread need be
    /// woken to get them, nor the operator to hear of them.
    pub(crate) fn at_once(&self, part: &ExchangeablePart<T>) -> Option<Brought<Piece<K, V, T, D>>> {
        if !part.is_inline() {
            return None;
        }
        let permit = self.share.acquire(part.bytes()).now_or_never()?;
        let fetched = call(TYPES, || attempt(&self.shard, part).now_or_never()).ok()??;
        Some(rows(fetched.ok()?, Some(permit)))
    }

    /// Starts fetching a part, as soon as the client's pool has room for it.
    pub(crate) fn start(&self, part: ExchangeablePart<T>) -> FetchTask {
        // Also where something is wrong with an inline part: a task may wait and try again, and says what it is.
        let (lease, deliveries, shard) = (part.lease_id(), self.deliveries.clone(), self.settings.shard);
        let fetch = fetch(self.shard.clone(), part, self.share.clone(), self.settings.clone(), deliveries.clone());
        let task = self.client.runtime().spawn(async move {
            if let Err(panic) = finish(TYPES, fetch).await {
                let _ = deliveries.send(Delivery { lease, brought: Brought::Failed(panic.of_shard(shard)) }).await;
            } // or the operator is gone: nobody waits for the part
        });
        FetchTask { task: task.abort_handle() }
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
    let mut pieces = shard.fetcher().fetch_pieces(&part);
    while permit.is_some() {
        share.not_held_back().await;
        let brought = match pieces.next().await {
            Ok(piece) => rows(piece, permit.take_if(|_| pieces.is_finished())),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                let brought = Brought::Stalled(error.of_shard(settings.shard));
                deliveries.send(Delivery { lease, brought }).await?;
                tokio::time::sleep(settings.pause).await;
                continue;
            }
            Err(error) => {
                permit = None;
                Brought::Failed(error.of_shard(settings.shard))
            }
        };
        deliveries.send(Delivery { lease, brought }).await?;
    }
    Ok(())
}
