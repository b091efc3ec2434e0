//! The remap shard: which offsets of a source's partitions each tick has.
//!
//! Always: a tick is bound by one append, and whoever wins that decides for everybody. Offsets only grow. What is read here
//! is what the log has, never what an append only hoped for: after each append, won or lost, the shard is read.

use std::collections::VecDeque;

use timely::progress::Antichain;

use crate::client::Shard;
use crate::read::{LeasedPart, Listen, ListenEvent, SinceDowngrade, SinceHandle};
use crate::write::{Appended, WriteHandle};
use timely_persist_io::life::guarded;
use timely_persist_types::codec::Data;
use timely_persist_types::error::{EncodedFrontier, Error, ErrorKind};
use timely_persist_types::ids::{CriticalReaderId, ShardId};

use super::appender::the_time;
use super::bindings::{Binding, Bindings, Offsets, Row};
use super::position::at;

/// The name of the critical reader that keeps the bindings which the data shard does not have yet. Each remap shard has one:
/// `remap keeper` in ASCII, and a version.
const KEEPER: u128 = 0x7265_6d61_7020_6b65_6570_6572_0000_0001;

/// Its fencing token: whoever binds may move it on, so it fences nobody.
const KEEPER_OPAQUE: u64 = 0;

/// What its handles are for.
const PURPOSE: &str = "remap";

/// The first tick that is ever bound. So at tick 0 nothing is bound, and it can always be read.
const FIRST_TICK: u64 = 1;

/// Binds the offsets of a source's partitions to *ticks*, the times of a data shard, in a shard of its own.
///
/// The remap shard is a collection: at each tick it has, for each partition, one row `(partition, offset)`, where all
/// offsets before that one are bound at that tick or before. So a dataflow may read it like any other. A tick is the
/// client's [`Clock`](crate::clock::Clock) in milliseconds, but beyond the tick before whatever the clock says:
/// `max(previous + 1, now)`.
///
/// Any number of copies may bind. Of two that bind at once, one wins, and the other learns what is bound now. A remap shard
/// belongs to one data shard.
///
/// ```
/// use timely_persist::{Client, ShardId, ingest::{Offsets, Remap}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), timely_persist::Error> {
/// let client = Client::open("memory:").await?;
/// let mut remap = Remap::open(&client.shard::<String, u64, u64, i64>(ShardId::new())).await?;
///
/// let first = remap.bind(&Offsets::from([("orders".to_owned(), 10)])).await?;
/// let second = remap.bind(&Offsets::from([("orders".to_owned(), 12), ("items".to_owned(), 3)])).await?;
/// assert!(second > first);
/// assert_eq!(remap.offsets_at(first).await?, Some(Offsets::from([("orders".to_owned(), 10)])));
///
/// // What the second tick has beyond the first: these rows are the data shard's at that tick.
/// let binding = remap.bindings(second).next().expect("it was bound");
/// assert_eq!(binding.ranges, [("items".to_owned(), 0..3), ("orders".to_owned(), 10..12)]);
/// # Ok(())
/// # }
/// ```
pub struct Remap<P: Data> {
    shard: Shard<P, u64, u64, i64>,
    writer: WriteHandle<P, u64, u64, i64>,
    listen: Listen<P, u64, u64, i64>,
    keeper: SinceHandle<u64>,
    /// What was heard and not read yet, so that cancelling loses none of it.
    unread: VecDeque<Heard>,
    /// Rows that were read, at ticks that may have more.
    rows: Vec<Row<P>>,
    bindings: Bindings<P>,
    /// What this was asked to bind so far.
    asked: Offsets<P>,
    /// What was found wrong with the rows: then the bindings are of no use any more.
    contradiction: Option<Error>,
}

enum Heard {
    Part(LeasedPart<u64>),
    Progress(u64),
}

impl<P: Data> Remap<P> {
    /// Opens a remap shard and reads what it has. Some commits: a reader, and the first time a critical reader, which keeps
    /// the bindings that the data shard may not have ([`Remap::compact`]).
    ///
    /// Errors as in `Shard::open_writer` and `Shard::open_reader`; `Invalid` for a shard that is closed, or whose since was
    /// moved beyond its upper; `Corrupt` where its rows are not what binding writes. Cancelled, it may leave readers behind:
    /// one expires, the other is found again.
    pub async fn open(shard: &Shard<P, u64, u64, i64>) -> Result<Self, Error> {
        let keeper = shard.open_critical_since(CriticalReaderId::from_u128(KEEPER), KEEPER_OPAQUE).await?;
        let writer = shard.open_writer(PURPOSE).await?;
        let reader = shard.open_reader(PURPOSE).await?;
        let since = the_time(reader.since(), shard.id())?;
        let listen = reader.subscribe(at(&since)).await?;
        let mut remap = Self {
            shard: shard.clone(),
            writer,
            listen,
            keeper,
            unread: VecDeque::new(),
            rows: Vec::new(),
            bindings: Bindings::new(since),
            asked: Offsets::new(),
            contradiction: None,
        };
        let upper = remap.fetch_upper().await?;
        if since > 0 && upper <= since {
            let message = format!("the since of the remap shard, {since}, is beyond its upper, {upper}");
            let advice =
                "what is bound cannot be told any more: begin with an empty data shard and an empty remap shard";
            return Err(Error::invalid(message).advise(advice).of_shard(remap.shard.id()));
        }
        remap.read_to(upper).await?;
        Ok(remap)
    }

    /// The shard.
    pub fn shard_id(&self) -> ShardId {
        self.shard.id()
    }

    /// Up to where each partition is bound, as far as this handle has read. No I/O.
    pub fn offsets(&self) -> &Offsets<P> {
        self.bindings.offsets()
    }

    /// All ticks before this are decided, as far as this handle has read. No I/O.
    pub fn upper(&self) -> u64 {
        self.bindings.upper()
    }

    /// Ticks before this are not known apart any more, as far as this handle has read. No I/O.
    pub fn since(&self) -> u64 {
        self.bindings.since()
    }

    pub(super) fn has_base(&self) -> bool {
        self.bindings.has_base()
    }

    /// Reads what others have bound meanwhile. One read of the log.
    ///
    /// `Unavailable` if storage did not answer, `LeaseExpired` if this handle's reader was lost: then open the remap again,
    /// which loses nothing. `Corrupt` as in [`Remap::open`]. Cancelling leaves nothing.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        let upper = self.fetch_upper().await?;
        self.read_to(upper).await
    }

    /// Binds these offsets, those of them that are beyond what is bound, to the next tick. Gives a tick at which all of them
    /// are bound: the new one; or, where others have bound them meanwhile, the last one.
    ///
    /// `Invalid` if one of them is below what this handle was asked to bind before: the source went back. Nothing is bound
    /// then. Other errors as in [`Remap::refresh`]: after one, and when cancelled, it may have happened; binding again does
    /// no harm.
    pub async fn bind(&mut self, offsets: &Offsets<P>) -> Result<u64, Error> {
        self.check_whole()?;
        self.check_forward(offsets)?;
        self.asked.extend(offsets.iter().map(|(partition, end)| (partition.clone(), *end)));
        loop {
            let ranges = self.bindings.beyond(offsets);
            if ranges.is_empty() {
                return Ok(self.bindings.upper().saturating_sub(1));
            }
            let upper = self.bindings.upper();
            let (tick, new) = self.next_tick()?;
            let rows = self.bindings.rows(tick, &ranges);
            match self.writer.compare_and_append(rows, at(&upper), at(&new)).await? {
                Appended::Committed => self.read_to(new).await?,
                Appended::UpperMismatch { current } => self.read_to(the_time(&current, self.shard.id())?).await?,
            }
        }
    }

    /// The tick to be bound next, and the one behind it.
    fn next_tick(&self) -> Result<(u64, u64), Error> {
        let now = self.shard.client().context().clock.wall_ms();
        let tick = self.bindings.upper().max(now).max(FIRST_TICK);
        match tick.checked_add(1) {
            Some(new) => Ok((tick, new)),
            None => {
                let message = format!("tick {tick} is the last that there is, and nothing could be bound behind it");
                Err(Error::invalid(message).advise("correct the clock").of_shard(self.shard.id()))
            }
        }
    }

    fn check_forward(&self, offsets: &Offsets<P>) -> Result<(), Error> {
        let before = |partition| self.asked.get(partition).copied().unwrap_or(0);
        match offsets.iter().find(|(partition, end)| **end < before(partition)) {
            None => Ok(()),
            Some((partition, end)) => {
                let before = before(partition);
                let message = format!("the offsets of partition {partition:?} went back from {before} to {end}");
                let advice = "the source was set back: begin with an empty data shard and an empty remap shard";
                Err(Error::invalid(message).advise(advice).of_shard(self.shard.id()))
            }
        }
    }

    /// The offsets at a tick: for each partition, all before this one are bound at the tick or before. `None` as long as
    /// others may still bind there. One read of the log where this handle has not read so far.
    ///
    /// `Since` if the tick is not known apart any more. Other errors as in [`Remap::refresh`].
    pub async fn offsets_at(&mut self, tick: u64) -> Result<Option<Offsets<P>>, Error> {
        if tick < self.bindings.since() {
            let earliest = EncodedFrontier::new(&at(&self.bindings.since()));
            let message = format!("which offsets tick {tick} has is not known apart any more");
            return Err(Error::new(ErrorKind::Since { earliest }, message).of_shard(self.shard.id()));
        }
        if tick >= self.bindings.upper() {
            self.refresh().await?;
        }
        Ok(self.bindings.at(tick))
    }

    /// What is bound at ticks from this one on, in order, as far as this handle has read: with the data shard's upper, what
    /// that lacks. No I/O.
    pub fn bindings(&self, from: u64) -> impl Iterator<Item = &Binding<P>> {
        self.bindings.from(from)
    }

    /// The data shard's upper is here: bindings before it are not wanted apart any more, and the remap shard may merge
    /// them. A commit. Cancelling loses nothing, nor does leaving it out, but the remap shard grows.
    ///
    /// What is passed must be the data shard's upper as the log had it: if the rows of a tick beyond it are not there, they
    /// can never be told from others again. Errors as in [`Remap::refresh`].
    pub async fn compact(&mut self, data_upper: u64) -> Result<(), Error> {
        self.check_whole()?;
        // The offsets at the tick before are where the rows of the next one begin.
        let since = data_upper.min(self.bindings.upper()).saturating_sub(1);
        if since <= self.bindings.since() {
            return Ok(());
        }
        let new = (KEEPER_OPAQUE, &Antichain::from_elem(since));
        match self.keeper.compare_and_downgrade_since(KEEPER_OPAQUE, new).await? {
            SinceDowngrade::Downgraded { .. } => {
                self.bindings.merge_up_to(since);
                Ok(())
            }
            SinceDowngrade::OpaqueMismatch { current } => {
                let message = format!("the critical reader of the remap shard was taken over, with {current}");
                let advice = "leave that reader to the remap, or the shard grows";
                Err(Error::invalid(message).advise(advice).of_shard(self.shard.id()))
            }
        }
    }

    async fn fetch_upper(&mut self) -> Result<u64, Error> {
        the_time(&self.writer.fetch_upper().await?, self.shard.id())
    }

    fn check_whole(&self) -> Result<(), Error> {
        self.contradiction.clone().map_or(Ok(()), Err)
    }

    /// Reads the bindings of all ticks before `upper`, which the log has.
    async fn read_to(&mut self, upper: u64) -> Result<(), Error> {
        self.check_whole()?;
        while self.bindings.upper() < upper {
            if self.unread.is_empty() {
                self.hear().await?;
            }
            self.read_next().await?;
        }
        Ok(())
    }

    async fn hear(&mut self) -> Result<(), Error> {
        let events = self.listen.next().await?;
        if events.is_empty() {
            the_time(self.listen.frontier(), self.shard.id())?; // it is done
        }
        for event in events {
            match event {
                ListenEvent::Updates(parts) => self.unread.extend(parts.into_iter().map(Heard::Part)),
                ListenEvent::Progress(frontier) => {
                    self.unread.push_back(Heard::Progress(the_time(&frontier, self.shard.id())?));
                }
            }
        }
        Ok(())
    }

    /// Reads the next of what was heard.
    async fn read_next(&mut self) -> Result<(), Error> {
        match self.unread.front() {
            None => return Ok(()),
            Some(Heard::Part(part)) => {
                let fetched = self.listen.fetcher().fetch(part).await?;
                let read = guarded(|| Ok(fetched.rows().collect::<Vec<_>>()));
                self.rows.extend(read.map_err(|error| error.of_shard(self.shard.id()))?);
            }
            Some(Heard::Progress(upper)) => {
                let (upper, rows) = (*upper, std::mem::take(&mut self.rows));
                if let Err(contradiction) = self.bindings.take_in(rows, upper) {
                    let advice = "somebody else wrote to it: restore it from a backup, with its data shard";
                    let message = format!("the remap shard has rows that no binding writes: {contradiction}");
                    let error = Error::corrupt(message).advise(advice).of_shard(self.shard.id());
                    self.contradiction = Some(error.clone());
                    return Err(error);
                }
            }
        }
        self.unread.pop_front();
        Ok(())
    }
}

impl<P: Data> std::fmt::Debug for Remap<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (shard, upper) = (self.shard.id(), self.bindings.upper());
        f.debug_struct("Remap").field("shard", &shard).field("upper", &upper).finish_non_exhaustive()
    }
}
