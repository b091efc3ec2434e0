//! A source of several partitions, whose position is an offset in each.
//!
//! Always: first a tick is bound, then its rows are written, then the source is told. Each step may be the last one of this
//! run: the next one finds the ticks that are bound and not in the data shard, and writes exactly the rows that are between
//! their offsets. What decides is in the two shards, and nothing is remembered beside them.

use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use futures::stream::{Stream, StreamExt};
use tokio::time::Instant;

use crate::client::Shard;
use crate::write::BatchBuilder;
use timely_persist_types::codec::{Data, Diff};
use timely_persist_types::error::{Error, ErrorKind};

use super::appender::{Appender, Settled, add_rows, pause, rest};
use super::bindings::{Binding, Offsets};
use super::partition_error::IngestPartitionsError;
use super::position::at;
use super::remap::Remap;
use super::{KEPT_TICKS, TICK_INTERVAL, TICK_OFFSETS_MAX};

/// A source of rows `((K, V), D)` at offsets of several partitions.
///
/// The implementor guarantees that an offset of a partition always gives the same rows, whoever asks and however often, and
/// that the ends only grow: also between copies, so whoever asks a replica that lags waits in [`PartitionedSource::ends`]
/// until it has caught up.
pub trait PartitionedSource<K, V, D>: Send {
    /// What names a partition.
    type Partition: Data;
    /// The rows at one offset.
    type Rows: IntoIterator<Item = ((K, V), D), IntoIter: Send>;
    /// What it fails with.
    type Error: Send;

    /// Where each partition ends now: the offset that comes next. Partitions that it leaves out have nothing new. `None` once
    /// nothing will ever come beyond what it answered last.
    fn ends(&mut self) -> impl Future<Output = Result<Option<Offsets<Self::Partition>>, Self::Error>> + Send;

    /// The rows at these offsets of a partition, by offset, in ascending order. Offsets that it leaves out have no rows. If
    /// it does not have all of them yet, it waits.
    fn read(
        &mut self,
        partition: &Self::Partition,
        offsets: Range<u64>,
    ) -> impl Stream<Item = Result<(u64, Self::Rows), Self::Error>> + Send;

    /// The first offset of a partition that it still has. It is asked after each [`PartitionedSource::read`], whose rows are
    /// written only if they cannot have been gone while it read. Without an implementation it has all of them for ever.
    fn earliest(&mut self, partition: &Self::Partition) -> impl Future<Output = Result<u64, Self::Error>> + Send {
        let _ = partition;
        std::future::ready(Ok(0))
    }

    /// All offsets before these are durable in the data shard, and it may forget them. It may be told the same again.
    fn acknowledge(
        &mut self,
        durable: &Offsets<Self::Partition>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Brings a source of several partitions into a data shard, each offset once, at ticks that a remap shard binds them to.
///
/// Whatever stops it, the next run goes on: a tick that was bound is written with exactly the rows between its offsets, read
/// again from the source, which hears of them only then ([`PartitionedSource::acknowledge`]). Any number of copies may run
/// at once: whoever binds first decides for all, and each tick is taken from the first that writes it.
///
/// ```
/// use std::convert::Infallible;
/// use std::ops::Range;
///
/// use futures::stream::{self, Stream};
/// use timely_persist::{Client, ShardId};
/// use timely_persist::ingest::{IngestPartitions, Offsets, PartitionedSource};
///
/// /// Two partitions of numbers, all there from the beginning. At offset `n` is the number `n`.
/// struct Numbers {
///     told: bool,
///     acknowledged: Offsets<String>,
/// }
///
/// impl PartitionedSource<String, u64, i64> for Numbers {
///     type Partition = String;
///     type Rows = [((String, u64), i64); 1];
///     type Error = Infallible;
///
///     async fn ends(&mut self) -> Result<Option<Offsets<String>>, Infallible> {
///         let first = !std::mem::replace(&mut self.told, true);
///         Ok(first.then(|| Offsets::from([("even".to_owned(), 2), ("odd".to_owned(), 3)])))
///     }
///
///     fn read(
///         &mut self,
///         partition: &String,
///         offsets: Range<u64>,
///     ) -> impl Stream<Item = Result<(u64, Self::Rows), Infallible>> + Send {
///         let partition = partition.clone();
///         stream::iter(offsets.map(move |offset| Ok((offset, [((partition.clone(), offset), 1)]))))
///     }
///
///     async fn acknowledge(&mut self, durable: &Offsets<String>) -> Result<(), Infallible> {
///         self.acknowledged = durable.clone();
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::open("memory:").await?;
/// let remap = client.shard::<String, u64, u64, i64>(ShardId::new());
/// let data = client.shard::<String, u64, u64, i64>(ShardId::new());
///
/// let mut source = Numbers { told: false, acknowledged: Offsets::new() };
/// let ingested = IngestPartitions::new(&remap, &data).run(&mut source).await?;
/// assert_eq!((ingested.ticks, ingested.rows), (1, 5));
/// assert_eq!(source.acknowledged, Offsets::from([("even".to_owned(), 2), ("odd".to_owned(), 3)]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct IngestPartitions<P: Data, K: Data, V: Data, D: Diff> {
    remap: Shard<P, u64, u64, i64>,
    data: Shard<K, V, u64, D>,
    purpose: String,
    tick_interval: Duration,
    tick_offsets_max: u64,
}

/// What a run of [`IngestPartitions`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestedPartitions {
    /// The data shard's upper: it has all ticks before this one.
    pub upper: u64,
    /// Ticks that this run wrote.
    pub ticks: u64,
    /// Rows in them, before consolidation.
    pub rows: u64,
    /// How often it began again from what the shards have, because rows were lost on their way to storage, or a lease was.
    pub restarted: u64,
}

impl<P: Data, K: Data, V: Data, D: Diff> IngestPartitions<P, K, V, D> {
    /// Into this data shard, at ticks of this remap shard, which belongs to it alone. No I/O.
    pub fn new(remap: &Shard<P, u64, u64, i64>, data: &Shard<K, V, u64, D>) -> Self {
        Self {
            remap: remap.clone(),
            data: data.clone(),
            purpose: "ingest".to_owned(),
            tick_interval: TICK_INTERVAL,
            tick_offsets_max: TICK_OFFSETS_MAX,
        }
    }

    /// What its writer to the data shard is for, for people. Default `ingest`.
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), ..self }
    }

    /// How often the source is asked for its ends. A tick is bound only if there is something new, and the next one at once
    /// where one could not have all. Default [`TICK_INTERVAL`].
    pub fn tick_interval(self, tick_interval: Duration) -> Self {
        Self { tick_interval, ..self }
    }

    /// The most offsets of one partition that are bound to one tick, at least one: the rows of a tick are committed together.
    /// Default [`TICK_OFFSETS_MAX`].
    pub fn tick_offsets_max(self, tick_offsets_max: u64) -> Self {
        Self { tick_offsets_max: tick_offsets_max.max(1), ..self }
    }

    /// Ingests until the source has ended or failed. Both shards stay open.
    ///
    /// Opening the shards fails as `Remap::open` and `Shard::open_writer` do, and where the two do not belong together: then
    /// nothing is written. From then on `Unavailable` is waited out. Other errors are those of [`IngestPartitionsError`].
    /// Cancelling is as good as a crash: the next run finds what was bound and what was written.
    pub async fn run<S>(self, source: &mut S) -> Result<IngestedPartitions, IngestPartitionsError<P, S::Error>>
    where
        S: PartitionedSource<K, V, D, Partition = P>,
    {
        let mut run = Run { summary: IngestedPartitions::default(), ends: Offsets::new(), stale: None };
        let mut session = Session::open(&self).await?;
        while let Err(trouble) = session.ingest(source, &mut run).await {
            run.begin_again(trouble, &self.data).await?;
            session = self.reopen().await?;
        }
        Ok(IngestedPartitions { upper: *session.data.upper(), ..run.summary })
    }

    async fn reopen(&self) -> Result<Session<'_, P, K, V, D>, Error> {
        loop {
            match Session::open(self).await {
                Err(error) if passes(&error) => rest(&self.data).await?,
                opened => return opened,
            }
        }
    }
}

/// Whether beginning again from what the shards have helps.
fn passes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::LeaseExpired { .. })
}

/// What outlives a session.
struct Run<P> {
    summary: IngestedPartitions,
    /// Where the partitions end, as far as the source has said.
    ends: Offsets<P>,
    /// After how many ticks a batch was too old to be committed.
    stale: Option<u64>,
}

impl<P: Data> Run<P> {
    /// Waits before the next session, where one helps.
    async fn begin_again<E, K: Data, V: Data, D: Diff>(
        &mut self,
        trouble: Trouble<P, E>,
        data: &Shard<K, V, u64, D>,
    ) -> Result<(), IngestPartitionsError<P, E>> {
        let ticks = Some(self.summary.ticks);
        let error = match trouble {
            Trouble::Over(error) => return Err(error),
            Trouble::Stale(error) if self.stale == ticks => return Err(error.into()),
            Trouble::Stale(error) => {
                self.stale = ticks;
                error
            }
            Trouble::Again(error) => error,
        };
        tracing::warn!(shard = %data.id(), %error, "ingestion begins again from what the shards have");
        self.summary.restarted += 1;
        Ok(rest(data).await?)
    }
}

/// Why a session ends.
enum Trouble<P, E> {
    /// What it held is gone.
    Again(Error),
    /// A batch is too old to be committed.
    Stale(Error),
    /// For good.
    Over(IngestPartitionsError<P, E>),
}

impl<P, E> From<Error> for Trouble<P, E> {
    fn from(error: Error) -> Self {
        match passes(&error) {
            true => Self::Again(error),
            false => Self::Over(error.into()),
        }
    }
}

/// The open shards.
struct Session<'a, P: Data, K: Data, V: Data, D: Diff> {
    settings: &'a IngestPartitions<P, K, V, D>,
    remap: Remap<P>,
    data: Appender<K, V, u64, D>,
}

impl<'a, P: Data, K: Data, V: Data, D: Diff> Session<'a, P, K, V, D> {
    /// Opens both shards, and sees whether they belong together.
    async fn open(settings: &'a IngestPartitions<P, K, V, D>) -> Result<Self, Error> {
        // In this order: whoever merges bindings does it behind the data shard's upper, so the upper read later is beyond
        // them; and whoever writes data has read its binding before, so the remap read later has it.
        let mut remap = Remap::open(&settings.remap).await?;
        let data = Appender::open(&settings.data, &settings.purpose).await?;
        remap.refresh().await?;
        check_pair(&remap, &data)?;
        Ok(Self { settings, remap, data })
    }

    /// Ingests until the source has ended, or something is in the way.
    async fn ingest<S>(&mut self, source: &mut S, run: &mut Run<P>) -> Result<(), Trouble<P, S::Error>>
    where
        S: PartitionedSource<K, V, D, Partition = P>,
    {
        self.acknowledge(source).await?; // what a run before could not any more
        loop {
            let begun = Instant::now();
            // Asked only after what was bound is known: a copy that bound it had seen ends as far as that.
            let ends = source.ends().await.map_err(|error| self.failed(error))?;
            let has_ended = ends.is_none();
            if let Some(ends) = ends {
                self.check_ends(&ends)?;
                run.ends.extend(ends);
            }
            self.write_bound(source, &mut run.summary).await?;
            while self.is_before(&run.ends) {
                self.remap.bind(&self.capped(&run.ends)).await?;
                self.write_bound(source, &mut run.summary).await?;
            }
            if has_ended {
                return Ok(());
            }
            let waits = self.settings.tick_interval.saturating_sub(begun.elapsed());
            pause(&self.settings.data, waits).await?;
            self.remap.refresh().await?;
        }
    }

    /// Up to where a partition is bound.
    fn bound(&self, partition: &P) -> u64 {
        self.remap.offsets().get(partition).copied().unwrap_or(0)
    }

    /// Whether there is more than is bound.
    fn is_before(&self, ends: &Offsets<P>) -> bool {
        ends.iter().any(|(partition, end)| self.bound(partition) < *end)
    }

    /// Refuses ends before what is bound.
    fn check_ends<E>(&self, ends: &Offsets<P>) -> Result<(), Trouble<P, E>> {
        match ends.iter().find(|(partition, end)| **end < self.bound(partition)) {
            None => Ok(()),
            Some((partition, end)) => Err(Trouble::Over(IngestPartitionsError::Back {
                shard: self.data.shard_id(),
                partition: partition.clone(),
                bound: self.bound(partition),
                end: *end,
            })),
        }
    }

    /// The ends, or as much of them as one tick may have.
    fn capped(&self, ends: &Offsets<P>) -> Offsets<P> {
        let most = |partition| self.bound(partition).saturating_add(self.settings.tick_offsets_max);
        ends.iter().map(|(partition, end)| (partition.clone(), (*end).min(most(partition)))).collect()
    }

    /// Writes the ticks that are bound and not in the data shard, and tells the source of each.
    async fn write_bound<S>(
        &mut self,
        source: &mut S,
        summary: &mut IngestedPartitions,
    ) -> Result<(), Trouble<P, S::Error>>
    where
        S: PartitionedSource<K, V, D, Partition = P>,
    {
        while let Some(binding) = self.next_binding() {
            if let Some(builder) = self.stage(source, &binding).await? {
                let rows = self.write(builder, binding.tick + 1).await?;
                summary.ticks += u64::from(rows.is_some());
                summary.rows += rows.unwrap_or(0);
            }
            self.acknowledge(source).await?;
            self.compact().await?;
        }
        Ok(())
    }

    /// Writes a tick; how many rows it has, unless another copy wrote it.
    async fn write<E>(
        &mut self,
        builder: BatchBuilder<K, V, u64, D>,
        upper: u64,
    ) -> Result<Option<u64>, Trouble<P, E>> {
        let mut batch = builder.finish(at(&upper)).await?;
        let rows = batch.rows();
        match self.data.settle(&mut batch, &upper).await? {
            Settled::Stale(error) => Err(Trouble::Stale(error)),
            Settled::Covered => Ok(None),
            Settled::Committed => Ok(Some(rows)),
        }
    }

    /// The first tick that is bound and not in the data shard.
    fn next_binding(&self) -> Option<Binding<P>> {
        self.remap.bindings(*self.data.upper()).next().cloned()
    }

    /// Reads the rows of a tick from the source. `None` if another copy has written it meanwhile, and the source has
    /// forgotten them.
    async fn stage<S>(
        &mut self,
        source: &mut S,
        binding: &Binding<P>,
    ) -> Result<Option<BatchBuilder<K, V, u64, D>>, Trouble<P, S::Error>>
    where
        S: PartitionedSource<K, V, D, Partition = P>,
    {
        let mut builder = self.data.builder();
        for (partition, offsets) in &binding.ranges {
            let mut wanted = offsets.clone();
            let mut read = pin!(source.read(partition, offsets.clone()));
            while let Some(item) = read.next().await {
                let (offset, rows) = item.map_err(|error| self.failed(error))?;
                if !wanted.contains(&offset) {
                    let (shard, partition) = (self.data.shard_id(), partition.clone());
                    return Err(Trouble::Over(IngestPartitionsError::Offset { shard, partition, wanted, offset }));
                }
                wanted.start = offset + 1;
                add_rows(&mut builder, &binding.tick, rows).await?;
            }
        }
        Ok(self.is_whole(source, binding).await?.then_some(builder))
    }

    /// Whether the source had all that was read of it. If not, the tick must be in the data shard already.
    async fn is_whole<S>(&mut self, source: &mut S, binding: &Binding<P>) -> Result<bool, Trouble<P, S::Error>>
    where
        S: PartitionedSource<K, V, D, Partition = P>,
    {
        for (partition, offsets) in &binding.ranges {
            let earliest = source.earliest(partition).await.map_err(|error| self.failed(error))?;
            if earliest > offsets.start {
                self.data.refresh().await?;
                if *self.data.upper() > binding.tick {
                    return Ok(false);
                }
                let (shard, partition, offsets) = (self.data.shard_id(), partition.clone(), offsets.clone());
                return Err(Trouble::Over(IngestPartitionsError::Gone { shard, partition, offsets, earliest }));
            }
        }
        Ok(true)
    }

    /// Tells the source of what the data shard has.
    async fn acknowledge<S>(&mut self, source: &mut S) -> Result<(), Trouble<P, S::Error>>
    where
        S: PartitionedSource<K, V, D, Partition = P>,
    {
        let tick = self.remap.upper().min(*self.data.upper()).saturating_sub(1);
        if !self.remap.has_base() && tick <= self.remap.since() {
            return Ok(());
        }
        let Some(durable) = self.remap.offsets_at(tick).await?.filter(|durable| !durable.is_empty()) else {
            return Ok(());
        };
        source.acknowledge(&durable).await.map_err(|error| self.failed(error))
    }

    /// Has the remap shard merge what the data shard has, if that is much.
    async fn compact(&mut self) -> Result<(), Error> {
        let upper = *self.data.upper();
        let done = self.remap.bindings(0).take_while(|binding| binding.tick < upper).count();
        match done as u64 > KEPT_TICKS {
            true => self.remap.compact(upper).await,
            false => Ok(()),
        }
    }

    fn failed<E>(&self, error: E) -> Trouble<P, E> {
        Trouble::Over(IngestPartitionsError::Source { shard: self.data.shard_id(), error })
    }
}

/// Refuses a remap shard that does not know what the data shard lacks, or what it has.
fn check_pair<P: Data, K: Data, V: Data, D: Diff>(
    remap: &Remap<P>,
    data: &Appender<K, V, u64, D>,
) -> Result<(), Error> {
    let (upper, advice) = (*data.upper(), "use the two shards that belong together, from the same backup");
    let message = if upper > remap.upper() {
        format!(
            "the data shard has ticks up to {upper}, and the remap shard {} has {}",
            remap.shard_id(),
            remap.upper()
        )
    } else if upper <= remap.since() && remap.has_base() {
        format!(
            "the data shard has ticks up to {upper}, and the remap shard {} cannot tell those up to {} apart any more",
            remap.shard_id(),
            remap.since()
        )
    } else {
        return Ok(());
    };
    Err(Error::invalid(message).advise(advice).of_shard(data.shard_id()))
}
