//! A source whose position is the time.
//!
//! Always: the shard's upper is the next position that is wanted, and nothing else is remembered. A position is committed
//! as a whole; what is not committed is read from the source again.

use std::pin::{Pin, pin};
use std::time::Duration;

use futures::stream::{Stream, StreamExt};
use tokio::time::Instant;

use crate::client::Shard;
use crate::write::BatchBuilder;
use timely_persist_types::codec::{Data, Diff};
use timely_persist_types::error::{Error, ErrorKind};

use super::appender::{Appender, Settled, add_rows, pause, rest};
use super::error::IngestError;
use super::position::{Position, at};
use super::{COMMIT_BYTES, COMMIT_INTERVAL};

type Told<T> = Box<dyn FnMut(&T) + Send>;

/// Brings a source whose positions are times (commit numbers, LSNs, the offsets of one partition) into a shard, each
/// position once.
///
/// It begins where the shard ends: [`Ingest::run`] hands the shard's upper to the caller, who opens the source there. So
/// there is no other record of what was read, and whatever stops it (a crash, a lost answer, a dropped future), the next
/// run goes on behind the last position that was committed. Any number of copies may run at once, if the source gives all
/// of them the same rows: each position is taken from the first that commits it.
///
/// ```
/// use std::convert::Infallible;
///
/// use futures::stream;
/// use timely::progress::Antichain;
/// use timely_persist::{Client, ShardId, ingest::Ingest};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::open("memory:").await?;
/// let shard = client.shard::<String, (), u64, i64>(ShardId::new());
/// let words = ["apples", "pears", "plums"];
///
/// // The source: at each position one word. It is opened at the position from which on the shard has nothing.
/// let source = |from: u64| {
///     let words = words.into_iter().enumerate().skip(from as usize);
///     stream::iter(words.map(|(position, word)| Ok::<_, Infallible>((position as u64, [((word.to_owned(), ()), 1)]))))
/// };
/// let ingested = Ingest::new(&shard).run(source).await?;
/// assert_eq!((ingested.upper, ingested.rows), (3, 3));
///
/// // Again: the shard has all of it.
/// let ingested = Ingest::new(&shard).run(source).await?;
/// assert_eq!((ingested.upper, ingested.rows), (3, 0));
///
/// let reader = shard.open_reader("example").await?;
/// assert_eq!(reader.snapshot_and_fetch(Antichain::from_elem(2)).await?.len(), 3);
/// # Ok(())
/// # }
/// ```
pub struct Ingest<K: Data, V: Data, T: Position, D: Diff> {
    shard: Shard<K, V, T, D>,
    purpose: String,
    commit_interval: Duration,
    commit_bytes: usize,
    until: Option<T>,
    told: Told<T>,
}

/// What a run of [`Ingest`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ingested<T> {
    /// The shard's upper: it has all positions before this one.
    pub upper: T,
    /// Positions that the source gave.
    pub positions: u64,
    /// Of these, positions that the shard had already: before `from`, because the source could only be opened at an earlier
    /// one, or written by another copy meanwhile.
    pub skipped: u64,
    /// Rows in commits of this run, before consolidation.
    pub rows: u64,
    /// Commits of this run.
    pub commits: u64,
    /// How often the source was opened again because rows were lost on their way to storage.
    pub reopened: u64,
}

impl<K: Data, V: Data, T: Position, D: Diff> Ingest<K, V, T, D> {
    /// Into this shard. No I/O.
    pub fn new(shard: &Shard<K, V, T, D>) -> Self {
        Self {
            shard: shard.clone(),
            purpose: "ingest".to_owned(),
            commit_interval: COMMIT_INTERVAL,
            commit_bytes: COMMIT_BYTES,
            until: None,
            told: Box::new(|_| {}),
        }
    }

    /// What its writer is for, for people. Default `ingest`.
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), ..self }
    }

    /// At most one commit in so much time, if its rows are fewer than [`Ingest::commit_bytes`]: positions that come
    /// meanwhile are committed together. The first one after a quiet time is committed at once. Zero: each position by
    /// itself. Default [`COMMIT_INTERVAL`].
    pub fn commit_interval(self, commit_interval: Duration) -> Self {
        Self { commit_interval, ..self }
    }

    /// Commits at the end of the position whose rows make it so many bytes in memory. A position may have any number of rows:
    /// from `config.write.run_bytes_max` on they go to storage before the commit. Zero: each position by itself. Default
    /// [`COMMIT_BYTES`].
    pub fn commit_bytes(self, commit_bytes: usize) -> Self {
        Self { commit_bytes, ..self }
    }

    /// Ends when the shard's upper is at this position or beyond: positions from it on are not written. Default never.
    pub fn until(self, until: T) -> Self {
        Self { until: Some(until), ..self }
    }

    /// Tells what the source may forget: all positions before the one that `told` is called with are in the shard, by this
    /// run or another. It is called before the source is opened and after each commit, never earlier than that, and
    /// should return soon.
    pub fn on_durable(self, told: impl FnMut(&T) + Send + 'static) -> Self {
        Self { told: Box::new(told), ..self }
    }

    /// Opens the source with `open` at the position from which on the shard has nothing, and appends what it gives until it
    /// ends or fails, or `until` is reached. The shard stays open: a run after it goes on.
    ///
    /// The source gives each position once, with all of its rows, in ascending order; positions that it leaves out have no
    /// rows. It may begin before `from`: what the shard has is dropped and counted ([`Ingested::skipped`]). While storage
    /// does not answer, nothing is taken from it, and the same commit is offered until it is settled. If rows are lost on
    /// their way to storage, the source is dropped and opened again. A source that is opened by a future is
    /// `stream::once(open(from)).try_flatten()`.
    ///
    /// Opening the writer fails as `Shard::open_writer` does; from then on `Unavailable` is waited out. Other errors are
    /// those of [`IngestError`]. Cancelling is as good as a crash: what was offered is committed or not, and the next run
    /// goes on behind it.
    pub async fn run<F, S, R, E>(self, mut open: F) -> Result<Ingested<T>, IngestError<T, E>>
    where
        F: FnMut(T) -> S,
        S: Stream<Item = Result<(T, R), E>>,
        R: IntoIterator<Item = ((K, V), D)>,
    {
        let appender = Appender::open(&self.shard, &self.purpose).await?;
        let mut run = Run::new(self, appender);
        run.tell();
        while !run.is_done() {
            let from = run.appender.upper().clone();
            let ended = {
                let source = pin!(open(from));
                run.read(source).await
            };
            match ended {
                Ok(()) => break,
                Err(Trouble::Again(error)) => run.begin_again(&error).await?,
                Err(Trouble::Over(error)) => return Err(error),
            }
        }
        Ok(run.into_summary())
    }
}

/// A run.
struct Run<K: Data, V: Data, T: Position, D: Diff> {
    settings: Ingest<K, V, T, D>,
    appender: Appender<K, V, T, D>,
    pending: Option<Pending<K, V, T, D>>,
    /// When the last commit ended.
    committed: Option<Instant>,
    /// Whether a batch was too old to be committed, and none was committed since.
    stale: bool,
    summary: Ingested<T>,
}

/// Rows that are to be committed together.
struct Pending<K: Data, V: Data, T: Position, D: Diff> {
    builder: BatchBuilder<K, V, T, D>,
    /// All positions before this are complete.
    upper: T,
}

/// Why reading the source stops.
enum Trouble<T, E> {
    /// Rows were lost on their way: the source is to be read again.
    Again(Error),
    /// For good.
    Over(IngestError<T, E>),
}

impl<T, E> From<Error> for Trouble<T, E> {
    /// Of an error of staging: what was staged is gone.
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => Self::Again(error),
            _ => Self::Over(error.into()),
        }
    }
}

/// What there is to do.
enum Next<I> {
    /// To take this in; `None` at the end.
    Item(Option<I>),
    /// To commit.
    Due,
}

impl<K: Data, V: Data, T: Position, D: Diff> Run<K, V, T, D> {
    fn new(settings: Ingest<K, V, T, D>, appender: Appender<K, V, T, D>) -> Self {
        let upper = appender.upper().clone();
        let summary = Ingested { upper, positions: 0, skipped: 0, rows: 0, commits: 0, reopened: 0 };
        Self { settings, appender, pending: None, committed: None, stale: false, summary }
    }

    fn into_summary(self) -> Ingested<T> {
        Ingested { upper: self.appender.upper().clone(), ..self.summary }
    }

    fn tell(&mut self) {
        (self.settings.told)(self.appender.upper());
    }

    /// Whether the shard has all that is wanted.
    fn is_done(&self) -> bool {
        self.settings.until.as_ref().is_some_and(|until| until.less_equal(self.appender.upper()))
    }

    /// Takes in all that the source gives.
    async fn read<S, R, E>(&mut self, mut source: Pin<&mut S>) -> Result<(), Trouble<T, E>>
    where
        S: Stream<Item = Result<(T, R), E>>,
        R: IntoIterator<Item = ((K, V), D)>,
    {
        let mut last = None;
        while !self.is_done() {
            match self.next(source.as_mut()).await? {
                Next::Due => self.commit().await?,
                Next::Item(None) => return self.commit().await,
                Next::Item(Some(Err(error))) => {
                    self.commit().await?;
                    return Err(Trouble::Over(IngestError::Source { shard: self.appender.shard_id(), error }));
                }
                Next::Item(Some(Ok((position, rows)))) => {
                    self.check_order(&position, last.as_ref())?;
                    self.take(&position, rows).await?;
                    last = Some(position);
                }
            }
        }
        Ok(())
    }

    /// The next item, or the news that what was taken in is to be committed.
    async fn next<S: Stream>(&mut self, mut source: Pin<&mut S>) -> Result<Next<S::Item>, Error> {
        let waits = self.committed.map(|at| self.settings.commit_interval.saturating_sub(at.elapsed()));
        match (&self.pending, waits.unwrap_or_default()) {
            (None, _) => Ok(Next::Item(source.next().await)),
            (Some(_), Duration::ZERO) => Ok(Next::Due),
            (Some(_), waits) => tokio::select! {
                biased;
                item = source.next() => Ok(Next::Item(item)),
                due = pause(&self.settings.shard, waits) => due.map(|()| Next::Due),
            },
        }
    }

    fn check_order<E>(&self, position: &T, previous: Option<&T>) -> Result<(), Trouble<T, E>> {
        match previous.filter(|previous| position.less_equal(previous)) {
            None => Ok(()),
            Some(previous) => {
                let (shard, position, previous) = (self.appender.shard_id(), position.clone(), previous.clone());
                Err(Trouble::Over(IngestError::NotBeyond { shard, position, previous }))
            }
        }
    }

    /// Takes in a position, and commits if that makes it many bytes.
    async fn take<R, E>(&mut self, position: &T, rows: R) -> Result<(), Trouble<T, E>>
    where
        R: IntoIterator<Item = ((K, V), D)>,
    {
        self.summary.positions += 1;
        if position.less_than(self.appender.upper()) {
            self.summary.skipped += 1;
            return Ok(());
        }
        if let Some(until) = self.settings.until.clone().filter(|until| until.less_equal(position)) {
            self.pending_mut().upper = until;
            return self.commit().await;
        }
        let Some(next) = position.successor() else {
            self.commit().await?;
            let (shard, position) = (self.appender.shard_id(), position.clone());
            return Err(Trouble::Over(IngestError::Last { shard, position }));
        };
        let is_last = self.settings.until.as_ref() == Some(&next);
        let pending = self.pending_mut();
        if let Err(error) = add_rows(&mut pending.builder, position, rows).await {
            return Err(self.refused(error, next).await);
        }
        pending.upper = next;
        match is_last || pending.builder.bytes() >= self.settings.commit_bytes {
            true => self.commit().await,
            false => Ok(()),
        }
    }

    fn pending_mut(&mut self) -> &mut Pending<K, V, T, D> {
        let appender = &self.appender;
        self.pending.get_or_insert_with(|| Pending { builder: appender.builder(), upper: appender.upper().clone() })
    }

    /// A row was refused: the positions before its own are committed, without what is staged of that.
    async fn refused<E>(&mut self, error: Error, staged_upper: T) -> Trouble<T, E> {
        if error.kind() != ErrorKind::Invalid {
            return error.into();
        }
        match self.commit_staged(staged_upper).await {
            // Where what is staged is of no use as a whole, the first error says why.
            Ok(()) | Err(Trouble::Over(_)) => Trouble::Over(error.into()),
            Err(again) => again,
        }
    }

    /// Commits what is pending.
    async fn commit<E>(&mut self) -> Result<(), Trouble<T, E>> {
        match self.pending.as_ref().map(|pending| pending.upper.clone()) {
            Some(upper) => self.commit_staged(upper).await,
            None => Ok(()),
        }
    }

    /// Commits the complete positions of what is pending, whose rows are before `staged_upper`.
    async fn commit_staged<E>(&mut self, staged_upper: T) -> Result<(), Trouble<T, E>> {
        let Some(Pending { builder, upper }) = self.pending.take() else {
            return Ok(());
        };
        let mut batch = builder.finish(at(&staged_upper)).await?;
        let rows = batch.rows();
        match self.appender.settle(&mut batch, &upper).await.map_err(|error| Trouble::Over(error.into()))? {
            Settled::Committed => {
                self.summary.commits += 1;
                self.summary.rows += rows;
                self.stale = false;
            }
            Settled::Covered => {}
            Settled::Stale(error) if self.stale => return Err(Trouble::Over(error.into())),
            Settled::Stale(error) => {
                self.stale = true;
                return Err(Trouble::Again(error));
            }
        }
        self.committed = Some(Instant::now());
        self.tell();
        Ok(())
    }

    /// What was staged is gone: the source is to be read again from where the shard is now.
    async fn begin_again(&mut self, error: &Error) -> Result<(), Error> {
        let shard = self.appender.shard_id();
        tracing::warn!(%shard, %error, "rows were lost on their way to storage, the source is opened again");
        self.pending = None;
        self.summary.reopened += 1;
        rest(&self.settings.shard).await?;
        self.appender.refresh().await?;
        self.tell();
        Ok(())
    }
}

impl<K: Data, V: Data, T: Position, D: Diff> std::fmt::Debug for Ingest<K, V, T, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shard, purpose, commit_interval, commit_bytes, until, .. } = self;
        let mut shown = f.debug_struct("Ingest");
        shown.field("shard", &shard.id()).field("purpose", purpose).field("commit_interval", commit_interval);
        shown.field("commit_bytes", commit_bytes).field("until", until).finish_non_exhaustive()
    }
}
