//! Appending until it is settled: what is offered to the shard is offered again, as it is, until its outcome is known.
//!
//! Always: the upper is one that the log had, and never one that a failed call only hoped for. Rows that another copy
//! has written first are left out, by the batch's interval or as a whole.

use std::time::Duration;

use timely::PartialOrder;
use timely::progress::Antichain;

use crate::client::Shard;
use crate::write::{AppendOutcome, Batch, BatchBuilder, WriteHandle};
use timely_persist_types::codec::{Data, Diff};
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::ShardId;

use super::ROWS_PER_TURN;
use super::position::{Position, at};

/// A writer of one of several identical copies.
pub(super) struct Appender<K: Data, V: Data, T: Position, D: Diff> {
    shard: Shard<K, V, T, D>,
    writer: WriteHandle<K, V, T, D>,
    upper: T,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Settled {
    /// This append wrote it, or what another copy had left to be written.
    Committed,
    /// Another copy has written all of it.
    Covered,
    /// It was staged so long ago that its objects may be gone. Its rows must be read again.
    Stale(Error),
}

impl<K: Data, V: Data, T: Position, D: Diff> Appender<K, V, T, D> {
    /// Opens a writer. Errors as in `Shard::open_writer`; `Invalid` if the shard is closed.
    pub(super) async fn open(shard: &Shard<K, V, T, D>, purpose: &str) -> Result<Self, Error> {
        let mut writer = shard.open_writer(purpose).await?;
        let upper = the_time(&writer.fetch_upper().await?, writer.shard_id())?;
        Ok(Self { shard: shard.clone(), writer, upper })
    }

    /// The shard's upper, as it was last heard of.
    pub(super) fn upper(&self) -> &T {
        &self.upper
    }

    pub(super) fn shard_id(&self) -> ShardId {
        self.shard.id()
    }

    /// Looks where the upper is now, until the log answers.
    pub(super) async fn refresh(&mut self) -> Result<(), Error> {
        loop {
            match self.writer.fetch_upper().await {
                Ok(upper) => return self.move_to(&upper),
                Err(error) => self.rest_after(error).await?,
            }
        }
    }

    /// A builder of rows that the shard does not have yet.
    pub(super) fn builder(&self) -> BatchBuilder<K, V, T, D> {
        self.writer.batch_builder(at(&self.upper))
    }

    /// Appends what of `batch` is before `upper` and beyond the shard's, and waits for storage until that is settled.
    /// Then the shard's upper is at `upper` or beyond. Cancelled, it may happen or not.
    pub(super) async fn settle(&mut self, batch: &mut Batch<T>, upper: &T) -> Result<Settled, Error> {
        while PartialOrder::less_than(&self.upper, upper) {
            let (lower, end) = (at(&self.upper), at(upper));
            match self.writer.append_batches(&mut [&mut *batch], lower, end).await {
                Ok(AppendOutcome::Committed { .. }) => {
                    self.upper = upper.clone();
                    return Ok(Settled::Committed);
                }
                Ok(AppendOutcome::Covered { .. }) => {
                    let current = self.writer.upper().clone();
                    self.move_to(&current)?;
                }
                Ok(AppendOutcome::Gap { current }) => self.move_to(&current)?, // which is an error: it went back
                // Its rows were checked when it was staged: what a commit can find wrong with it is its age.
                Err(error) if error.kind() == ErrorKind::Invalid => return Ok(Settled::Stale(error)),
                Err(error) => self.rest_after(error).await?,
            }
        }
        Ok(Settled::Covered)
    }

    /// Waits before storage is asked again, after an error that passes; all others are given back.
    pub(super) async fn rest_after(&self, error: Error) -> Result<(), Error> {
        if error.kind() != ErrorKind::Unavailable {
            return Err(error);
        }
        tracing::warn!(shard = %self.shard.id(), %error, "ingestion waits for storage");
        rest(&self.shard).await
    }

    fn move_to(&mut self, current: &Antichain<T>) -> Result<(), Error> {
        let current = the_time(current, self.shard.id())?;
        if PartialOrder::less_than(&current, &self.upper) {
            let message =
                format!("the upper went back from {:?} to {current:?}: an older store was restored", self.upper);
            let advice = "run it again: it goes on from where the shard is now";
            return Err(Error::invalid(message).advise(advice).of_shard(self.shard.id()));
        }
        self.upper = current;
        Ok(())
    }
}

/// Adds the rows of one time. Errors and cancelling as of `BatchBuilder::add`: then some of them are in the builder.
pub(super) async fn add_rows<K: Data, V: Data, T: Position, D: Diff>(
    builder: &mut BatchBuilder<K, V, T, D>,
    time: &T,
    rows: impl IntoIterator<Item = ((K, V), D)>,
) -> Result<(), Error> {
    let mut turn = 0;
    for ((key, value), diff) in rows {
        builder.add(&key, &value, time, &diff).await?;
        turn += 1;
        if turn == ROWS_PER_TURN {
            turn = 0;
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Waits as long as whoever asks storage in vain.
pub(super) async fn rest<K: Data, V: Data, T: Position, D: Diff>(shard: &Shard<K, V, T, D>) -> Result<(), Error> {
    pause(shard, shard.client().config().store.retry_pause_max).await
}

/// Waits. `Closed` once the client has ended.
pub(super) async fn pause<K: Data, V: Data, T: Position, D: Diff>(
    shard: &Shard<K, V, T, D>,
    time: Duration,
) -> Result<(), Error> {
    let sleep = async move {
        tokio::time::sleep(time).await;
        Ok(())
    };
    shard.client().context().life.within(sleep).await
}

/// The one time of a frontier; an error for the empty one.
pub(super) fn the_time<T: Position>(frontier: &Antichain<T>, shard: ShardId) -> Result<T, Error> {
    frontier.elements().first().cloned().ok_or_else(|| {
        let advice = "nothing can be written to it any more: use another shard";
        Error::invalid("the shard is closed: its upper, or its since, is empty").advise(advice).of_shard(shard)
    })
}
