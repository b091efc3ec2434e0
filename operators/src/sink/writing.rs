//! The leader's task: opens the writer, follows the shard's upper, and appends what the workers have staged.
//!
//! It lives on the client's runtime and ends with its mailbox. Cancelled at any point, an append may have happened or not:
//! the next start finds out by the shard's upper.

use timely::progress::Antichain;
use timely_persist::{AppendOutcome, Batch, Data, Diff, Error, ErrorKind, Shard, Time, WriteHandle};
use tokio::sync::mpsc;

use crate::common::foreign::{Code, TYPES, finish};
use crate::common::mailbox::{Closed, Sender};
use crate::sink::error::SinkError;
use crate::sink::lead::{Event, Outcome};
use crate::sink::settings::Settings;

const ENABLE_AFTER: Code = Code("the future that the sink was to `enable_after`");

/// What waits at once for the leader's operator to hear it. More would only wait there.
pub(crate) const EVENTS_MAX: usize = 4;

/// What to wait for before anything is committed.
pub(crate) type Enable = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

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
    enable: Option<Enable>,
    appends: mpsc::Receiver<Append<T>>,
    mailbox: Sender<Event<T>>,
) {
    let task = Writing { settings, mailbox, stalled: false };
    let mailbox = task.mailbox.clone();
    let id = shard.id();
    let written = finish(TYPES, task.run(shard, enable, appends));
    tokio::select! {
        biased;
        () = mailbox.closed() => {}
        ended = written => {
            let ended = ended.unwrap_or_else(|panic| Err(End::Failed(panic.of_shard(id))));
            if let Err(End::Failed(error)) = ended {
                let _ = mailbox.send(Event::Failed(SinkError::Failed(error.of_shard(id)))).await;
            }
        }
    }
}

/// Why writing ended early.
enum End {
    Failed(Error),
    Closed,
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        End::Closed
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error)
    }
}

struct Writing<T: Time> {
    settings: Settings<T>,
    mailbox: Sender<Event<T>>,
    /// Whether it was said last that storage does not answer.
    stalled: bool,
}

impl<T: Time> Writing<T> {
    async fn run<K: Data, V: Data, D: Diff>(
        mut self,
        shard: Shard<K, V, T, D>,
        enable: Option<Enable>,
        mut appends: mpsc::Receiver<Append<T>>,
    ) -> Result<(), End> {
        let mut writer = self.open(&shard).await?;
        let enabled = async {
            match enable {
                Some(enable) => finish(ENABLE_AFTER, enable).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(enabled);
        let mut waits = self.settings.waits;
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
                    ready.map_err(|panic| End::Failed(panic.of_shard(self.settings.shard)))?;
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
            match shard.open_writer(&self.settings.name).await {
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
        let outcome = loop {
            let mut all: Vec<&mut Batch<T>> = batches.iter_mut().collect();
            match writer.append_batches(&mut all, lower.clone(), upper.clone()).await {
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
            AppendOutcome::Covered { .. } => (Outcome::Covered { same: true }, upper),
            _ => (Outcome::Committed, upper),
        };
        self.mailbox.send(Event::Appended(outcome)).await?;
        Ok(upper)
    }

    /// Storage did not answer: says so once, and rests for a moment. Any other error is the end.
    async fn stall(&mut self, error: Error) -> Result<(), End> {
        if error.kind() != ErrorKind::Unavailable {
            return Err(End::Failed(error));
        }
        if !std::mem::replace(&mut self.stalled, true) {
            let notice = SinkError::Stalled(error.of_shard(self.settings.shard));
            self.mailbox.send(Event::Notice(notice)).await?;
        }
        tokio::time::sleep(self.settings.pause).await;
        Ok(())
    }

    async fn recover(&mut self) -> Result<(), Closed> {
        if std::mem::take(&mut self.stalled) {
            self.mailbox.send(Event::Notice(SinkError::Recovered(self.settings.shard))).await?;
        }
        Ok(())
    }
}
