//! The leader's task: opens the writer, follows the shard's upper, and appends what the workers have staged.
//!
//! It lives on the client's runtime and ends with its mailbox. Cancelled at any point, an append may have happened or not:
//! the next start finds out by the shard's upper.

use futures::future::BoxFuture;
use timely::progress::Antichain;
use timely_persist::{AppendOutcome, Batch, Data, Diff, Error, ErrorKind, Shard, Time, WriteHandle};
use tokio::sync::mpsc;

use crate::common::end::{End, until_closed};
use crate::common::foreign::{Code, finish};
use crate::common::mailbox::{Closed, Sender};
use crate::sink::error::SinkError;
use crate::sink::lead::{Event, Outcome};
use crate::sink::settings::Settings;

const ENABLE_AFTER: Code = Code("the future that the sink was to `enable_after`");

/// What waits at once for the leader's operator to hear it. More would only wait there.
pub(crate) const EVENTS_MAX: usize = 4;

/// A future to wait for.
pub(crate) type Enable = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the leader's task has to do beside appending.
pub(crate) struct Beside<T: Time> {
    /// What to wait for before anything is committed.
    pub(crate) enable: Option<Enable>,
    /// Who is told of each commit.
    pub(crate) told: Option<Box<dyn Told<T>>>,
    /// Why nothing may be written.
    pub(crate) refused: Option<Error>,
}

/// Who is told of commits, to let the inputs move on.
pub(crate) trait Told<T: Time>: Send {
    /// A commit over `[from, upper)` was made.
    fn committed<'a>(&'a mut self, from: &'a Antichain<T>, upper: &'a Antichain<T>)
    -> BoxFuture<'a, Result<(), Error>>;
}

/// What is to be appended, over `[lower, upper)` in one commit.
#[derive(Debug)]
pub(crate) struct Append<T> {
    pub(crate) lower: Antichain<T>,
    pub(crate) upper: Antichain<T>,
    pub(crate) batches: Vec<Vec<u8>>,
}

/// Writes until nobody asks for more.
pub(crate) async fn write<K: Data, V: Data, T: Time, D: Diff>(
    shard: Shard<K, V, T, D>,
    settings: Settings<T>,
    Beside { enable, told, refused }: Beside<T>,
    appends: mpsc::Receiver<Append<T>>,
    mailbox: Sender<Event<T>>,
) {
    let (id, listening) = (shard.id(), mailbox.clone());
    let task = Writing { settings, mailbox, told, stalled: false };
    let failed = |error| Event::Failed(SinkError::Failed(error));
    until_closed(id, &listening, task.run(shard, enable, refused, appends), failed).await;
}

struct Writing<T: Time> {
    settings: Settings<T>,
    mailbox: Sender<Event<T>>,
    told: Option<Box<dyn Told<T>>>,
    /// Whether it was said last that storage does not answer.
    stalled: bool,
}

impl<T: Time> Writing<T> {
    async fn run<K: Data, V: Data, D: Diff>(
        mut self,
        shard: Shard<K, V, T, D>,
        enable: Option<Enable>,
        refused: Option<Error>,
        mut appends: mpsc::Receiver<Append<T>>,
    ) -> Result<(), End> {
        if let Some(refused) = refused {
            return Err(End::Failed(refused));
        }
        let mut writer = self.open(&shard).await?;
        let enabled = async {
            match enable {
                Some(enable) => finish(ENABLE_AFTER, enable).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(enabled);
        let mut waits = self.settings.terms.waits;
        // Not the handle's: that hears of more, while it appends, than the leader does.
        let mut told = writer.upper().clone();
        loop {
            tokio::select! {
                biased; // first what is asked for
                append = appends.recv() => match append {
                    Some(append) => {
                        let upper = self.append(&mut writer, append).await?;
                        if timely::PartialOrder::less_equal(&told, &upper) {
                            told = upper;
                        }
                    }
                    None => return Ok(()),
                },
                ready = &mut enabled, if waits => {
                    waits = false;
                    ready.map_err(|panic| End::Failed(panic.of_shard(self.settings.terms.shard)))?;
                    self.mailbox.send(Event::Enabled).await?;
                }
                moved = writer.wait_for_upper_past(&told), if !told.is_empty() => match moved {
                    Ok(()) => {
                        self.recover().await?;
                        told.clone_from(writer.upper());
                        self.mailbox.send(Event::Upper(told.clone())).await?;
                    }
                    Err(error) => self.stall(error).await?,
                },
            }
        }
    }

    /// Opens the writer; tries again for as long as the log does not answer.
    async fn open<K: Data, V: Data, D: Diff>(
        &mut self,
        shard: &Shard<K, V, T, D>,
    ) -> Result<WriteHandle<K, V, T, D>, End> {
        loop {
            match shard.open_writer_in(&self.settings.name, self.settings.generation).await {
                Ok(writer) => {
                    self.recover().await?;
                    self.mailbox.send(Event::Upper(writer.upper().clone())).await?;
                    return Ok(writer);
                }
                Err(error) => self.stall(error).await?,
            }
        }
    }

    /// Appends, with the same batches until it is known what became of them. How far the shard is then, as the leader hears it.
    async fn append<K: Data, V: Data, D: Diff>(
        &mut self,
        writer: &mut WriteHandle<K, V, T, D>,
        Append { lower, upper, batches }: Append<T>,
    ) -> Result<Antichain<T>, End> {
        let batches = batches.into_iter().map(|batch| writer.batch_from_bytes(&batch.into()));
        let mut batches = batches.collect::<Result<Vec<Batch<T>>, Error>>()?;
        let ours = batches.iter().try_fold(0u64, |sum, batch| batch.digest().map(|digest| sum.wrapping_add(digest)));
        let outcome = loop {
            match try_append(writer, &mut batches, &lower, &upper).await {
                Ok(outcome) => break outcome,
                Err(error) => self.stall(error).await?,
            }
        };
        self.recover().await?;
        let (outcome, upper) = match outcome {
            AppendOutcome::Gap { current } if timely::PartialOrder::less_equal(&lower, &current) => {
                let batches = batches.into_iter().map(|batch| batch.into_bytes().to_vec()).collect();
                (Outcome::Apart { upper: current.clone(), batches }, current)
            }
            AppendOutcome::Gap { current } => (Outcome::Gap(current.clone()), current),
            AppendOutcome::Covered { digest } => {
                let same = digest.zip(ours).is_none_or(|(theirs, ours)| theirs == ours);
                (Outcome::Covered { same }, upper)
            }
            AppendOutcome::Committed { from } => {
                self.mailbox.send(Event::Appended(Outcome::Committed)).await?;
                self.committed(&from, &upper).await?;
                return Ok(upper);
            }
            _ => (Outcome::Committed, upper),
        };
        self.mailbox.send(Event::Appended(outcome)).await?;
        Ok(upper)
    }

    /// Lets the inputs move on to where this commit began. Where storage does not answer they lag, which is right, too.
    async fn committed(&mut self, from: &Antichain<T>, upper: &Antichain<T>) -> Result<(), End> {
        let Some(told) = &mut self.told else { return Ok(()) };
        match told.committed(from, upper).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(shard = %self.settings.terms.shard, %error, "what the inputs keep for a sink was not moved");
                Ok(())
            }
            done => Ok(done?),
        }
    }

    /// Storage did not answer: says so once, and rests for a moment. Any other error is the end.
    async fn stall(&mut self, error: Error) -> Result<(), End> {
        if error.kind() != ErrorKind::Unavailable {
            return Err(End::Failed(error));
        }
        if !std::mem::replace(&mut self.stalled, true) {
            let notice = SinkError::Stalled(error.of_shard(self.settings.terms.shard));
            self.mailbox.send(Event::Notice(notice)).await?;
        }
        tokio::time::sleep(self.settings.pause).await;
        Ok(())
    }

    async fn recover(&mut self) -> Result<(), Closed> {
        if std::mem::take(&mut self.stalled) {
            self.mailbox.send(Event::Notice(SinkError::Recovered(self.settings.terms.shard))).await?;
        }
        Ok(())
    }
}

/// Appends batches that may have waited for long: for another worker's, for the next interval, or for storage.
async fn try_append<K: Data, V: Data, T: Time, D: Diff>(
    writer: &mut WriteHandle<K, V, T, D>,
    batches: &mut [Batch<T>],
    lower: &Antichain<T>,
    upper: &Antichain<T>,
) -> Result<AppendOutcome<T>, Error> {
    for batch in batches.iter_mut() {
        batch.renew().await?;
    }
    let mut all: Vec<&mut Batch<T>> = batches.iter_mut().collect();
    writer.append_batches(&mut all, lower.clone(), upper.clone()).await
}
