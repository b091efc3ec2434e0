//! Putting rows into storage, off the worker's thread: tasks on the client's runtime, owned by the operator that waits for
//! them.
//!
//! Always: adding rows to a batch is done on the worker, so it scales with workers; sorting, encoding and uploading are done
//! by the library's own threads. A few rows need neither: they are ready at once.

use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use timely::progress::Antichain;
use timely_persist::{
    Batch, BatchBuilder, Client, Data, Diff, Error, ErrorKind, InflightHold, Shard, ShardId, Time, WriteHandle,
};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::common::foreign::{TYPES, finish};
use crate::common::mailbox::Sender;
use crate::sink::error::SinkError;
use crate::sink::kept::Kept;
use crate::sink::message::{Answer, Ask};
use crate::sink::pile::Rows;
use crate::sink::settings::Settings;

/// What waits at once for a worker's operator to hear it: what it has asked for comes one by one.
pub(crate) const DELIVERIES_MAX: usize = 4;

/// What a sink's operator hears from its tasks.
pub(crate) enum Delivery<K: Data, V: Data, T: Time, D: Diff> {
    /// Batches can be built now.
    Opened(WriteHandle<K, V, T, D>),
    /// Rows of one time are in storage.
    Spilled { time: T, batch: Kept<T> },
    /// An answer is ready.
    Staged(Answer),
    /// Something to say.
    Notice(SinkError),
}

/// A task. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What became of work: ready, or on its way.
pub(crate) enum Work<R> {
    Ready(R),
    Under(Task),
}

/// Stages the rows of one worker.
pub(crate) struct Staging<K: Data, V: Data, T: Time, D: Diff> {
    client: Client,
    shard: ShardId,
    worker: usize,
    pause: Duration,
    deliveries: Sender<Delivery<K, V, T, D>>,
}

type Working<K, V, T, D> = Pin<Box<dyn Future<Output = Delivery<K, V, T, D>> + Send>>;

impl<K: Data, V: Data, T: Time, D: Diff> Staging<K, V, T, D> {
    /// For this worker, which hears in this mailbox.
    pub(crate) fn new(shard: &Shard<K, V, T, D>, worker: usize, deliveries: Sender<Delivery<K, V, T, D>>) -> Self {
        let client = shard.client().clone();
        let pause = client.config().store.retry_pause_max;
        Self { client, shard: shard.id(), worker, pause, deliveries }
    }

    /// Opens what builds batches; tries again for as long as the log does not answer.
    pub(crate) fn open(&self, shard: &Shard<K, V, T, D>, settings: &Settings<T>) -> Task {
        let (shard, settings) = (shard.clone(), settings.clone());
        let opened = async move {
            loop {
                match shard.open_writer_in(&settings.name, settings.generation).await {
                    Err(error) if error.kind() == ErrorKind::Unavailable => tokio::time::sleep(settings.pause).await,
                    opened => return opened.map(Delivery::Opened), // the leader's task says why it takes so long
                }
            }
        };
        self.spawn(self.guarded(opened))
    }

    /// Puts rows of one time into storage.
    pub(crate) fn spill(
        &self,
        time: T,
        rows: Rows<K, V, T, D>,
        writer: &WriteHandle<K, V, T, D>,
    ) -> Result<Work<Delivery<K, V, T, D>>, Error> {
        let builder = rows.into_builder(&time, writer)?;
        let (patience, runtime) = (self.patience(), self.client.runtime().clone());
        let renewal_age = self.client.config().limits.renewal_age();
        let stored = async move {
            let batch = patience.finish(builder, Antichain::new()).await?;
            let batch = Kept::new(&runtime, |asked| patience.keep(batch, renewal_age, asked));
            Ok(Delivery::Spilled { time, batch })
        };
        Ok(self.work(self.guarded(stored)))
    }

    /// Makes an answer.
    pub(crate) fn answer(
        &self,
        ask: Ask<T>,
        piles: Vec<(T, Rows<K, V, T, D>)>,
        batches: Vec<Kept<T>>,
        rows_later: u64,
        writer: &WriteHandle<K, V, T, D>,
    ) -> Result<Work<Delivery<K, V, T, D>>, Error> {
        let (seq, worker) = (ask.seq, self.worker);
        let mut few = writer.batch_builder(ask.lower).digested();
        let mut many = Vec::new();
        for (time, rows) in piles {
            many.extend(rows.split(&time, &mut few)?);
        }
        let patience = self.patience();
        let staged = async move {
            let batches = patience.finish_all(few, ask.upper, many, batches).await?;
            let batches = batches.into_iter().map(|batch| batch.into_bytes().to_vec()).collect();
            Ok(Delivery::Staged(Answer { seq, worker, batches, rows_later }))
        };
        Ok(self.work(self.guarded(staged)))
    }

    /// Holds back the sources of this process.
    pub(crate) fn hold_back(&self) -> InflightHold {
        self.client.inflight_hold()
    }

    fn patience(&self) -> Patience<K, V, T, D> {
        Patience { shard: self.shard, pause: self.pause, deliveries: self.deliveries.clone() }
    }

    /// What it comes to; an error, or a panic of the types' code, is the end of the sink.
    fn guarded(
        &self,
        work: impl Future<Output = Result<Delivery<K, V, T, D>, Error>> + Send + 'static,
    ) -> Working<K, V, T, D> {
        let shard = self.shard;
        Box::pin(async move {
            let done = finish(TYPES, work).await.unwrap_or_else(|panic| Err(panic.of_shard(shard)));
            done.unwrap_or_else(|error| Delivery::Notice(SinkError::Failed(error.of_shard(shard))))
        })
    }

    /// Does it at once, if that takes no waiting.
    fn work(&self, mut work: Working<K, V, T, D>) -> Work<Delivery<K, V, T, D>> {
        let entered = self.client.runtime().enter(); // what it waits for may be a timer
        match (&mut work).now_or_never() {
            Some(done) => Work::Ready(done),
            None => {
                drop(entered);
                Work::Under(self.spawn(work))
            }
        }
    }

    fn spawn(&self, work: Working<K, V, T, D>) -> Task {
        let deliveries = self.deliveries.clone();
        let task = self.client.runtime().spawn(async move {
            let _ = deliveries.send(work.await).await; // or the operator is gone: nobody waits for it
        });
        Task(task.abort_handle())
    }
}

/// Storing rows that are nowhere else: for as long as storage does not answer, it is tried again.
struct Patience<K: Data, V: Data, T: Time, D: Diff> {
    shard: ShardId,
    pause: Duration,
    deliveries: Sender<Delivery<K, V, T, D>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Patience<K, V, T, D> {
    /// All of it as batches, of which none is empty.
    async fn finish_all(
        &self,
        few: BatchBuilder<K, V, T, D>,
        upper: Antichain<T>,
        many: Vec<BatchBuilder<K, V, T, D>>,
        kept: Vec<Kept<T>>,
    ) -> Result<Vec<Batch<T>>, Error> {
        let mut batches = try_join_all(kept.into_iter().map(Kept::into_batch)).await?;
        batches.push(self.finish(few, upper).await?);
        for builder in many {
            batches.push(self.finish(builder, Antichain::new()).await?);
        }
        batches.retain(|batch| batch.rows() > 0);
        for batch in &mut batches {
            self.persist(batch, async |batch| batch.renew().await).await?; // which may have waited for long
        }
        Ok(batches)
    }

    /// The rows as a batch.
    async fn finish(&self, mut builder: BatchBuilder<K, V, T, D>, upper: Antichain<T>) -> Result<Batch<T>, Error> {
        self.persist(&mut builder, async |builder| builder.flush().await).await?;
        builder.finish(upper).await
    }

    /// Renews the batch whenever that may be due, until it is asked for.
    async fn keep(
        self,
        mut batch: Batch<T>,
        renewal_age: Duration,
        mut asked: oneshot::Receiver<()>,
    ) -> Result<Batch<T>, Error> {
        let mut wait = renewal_age;
        while tokio::time::timeout(wait, &mut asked).await.is_err() {
            wait = match batch.renew().await {
                Ok(()) => renewal_age,
                Err(error) if error.kind() == ErrorKind::Unavailable => self.pause, // nobody waits for it yet
                Err(error) => {
                    self.tell(SinkError::Failed(error.clone().of_shard(self.shard))).await;
                    return Err(error);
                }
            };
        }
        Ok(batch)
    }

    /// Does it until it is done. Where storage does not answer, that is said once.
    async fn persist<A>(&self, what: &mut A, work: impl AsyncFn(&mut A) -> Result<(), Error>) -> Result<(), Error> {
        let mut stalled = false;
        loop {
            match work(what).await {
                Ok(()) if stalled => {
                    self.tell(SinkError::Recovered(self.shard)).await;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    if !std::mem::replace(&mut stalled, true) {
                        self.tell(SinkError::Stalled(error.of_shard(self.shard))).await;
                    }
                    tokio::time::sleep(self.pause).await;
                }
                done => return done,
            }
        }
    }

    async fn tell(&self, notice: SinkError) {
        let _ = self.deliveries.send(Delivery::Notice(notice)).await; // or the operator is gone: nobody waits for it
    }
}
