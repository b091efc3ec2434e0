//! Opening a pipeline's holds, and removing those of one that does not run.
//!
//! It is looked at, judged, taken over, and judged again: the first look writes nothing, so that what cannot go on leaves
//! everything as it was. The second judgement counts, because only then nobody else moves the holds. In both, the output's
//! upper is read after the holds: they move behind it, so what is read is never a hold that is ahead.

use std::time::Duration;

use futures::future::{join_all, try_join_all};
use timely::order::TotalOrder;
use timely::progress::Antichain;
use timely_persist::{CriticalReaderId, Data, Diff, Error, ErrorKind, Shard, ShardId, SinceHandle, Time};

use super::Resume;
use super::held::Input;
use super::hold::{Hold, Taken, fenced};
use super::identity::{Pipeline, Role};
use super::judge::{Standing, Start, judge};
use super::owner::{INCARNATION_MAX, Owner};
use super::retention::{Marks, Retention};

/// How often an open begins again because others opened the pipeline meanwhile. 100: each time somebody else got ahead, and
/// a pipeline that is started so often at one moment is a mistake.
const ROUNDS_MAX: usize = 100;

/// Collects what a [`Resume`] is made of.
#[must_use = "it does nothing before it is opened"]
pub struct ResumeBuilder<'a, T: Time> {
    name: String,
    output: &'a dyn Input<T>,
    inputs: Vec<&'a dyn Input<T>>,
    retention: Retention,
    hold_interval: Duration,
    incarnation: Option<u64>,
}

impl<T: Time + TotalOrder> Resume<T> {
    /// The pipeline of this name into `output`. The name is of the pipeline, not of its version: the next version goes on
    /// under it. At most 512 bytes. No I/O before [`ResumeBuilder::open`].
    ///
    /// Times are totally ordered: of partially ordered ones the join of several sinces can be beyond the upper.
    pub fn of<'a, K: Data, V: Data, D: Diff>(
        name: impl Into<String>,
        output: &'a Shard<K, V, T, D>,
    ) -> ResumeBuilder<'a, T> {
        ResumeBuilder {
            name: name.into(),
            output,
            inputs: Vec::new(),
            retention: Retention::default(),
            hold_interval: Self::HOLD_INTERVAL,
            incarnation: None,
        }
    }

    /// The same as [`Resume::of`] with these inputs, opened.
    pub async fn open<'a, K: Data, V: Data, D: Diff>(
        name: &str,
        output: &'a Shard<K, V, T, D>,
        inputs: impl IntoIterator<Item = &'a dyn Input<T>>,
    ) -> Result<Self, Error> {
        let builder = inputs.into_iter().fold(Self::of(name, output), ResumeBuilder::input);
        builder.open().await
    }
}

impl<'a, T: Time + TotalOrder> ResumeBuilder<'a, T> {
    /// A shard that the pipeline reads. All of them are to be named: one that is not may be merged beyond where the next
    /// start begins. One that a later version does not read any more keeps its hold until somebody opens that by the id that
    /// [`Shard::holds`] shows, and expires it.
    pub fn input(mut self, input: &'a dyn Input<T>) -> Self {
        if self.inputs.iter().all(|known| known.shard() != input.shard()) {
            self.inputs.push(input);
        }
        self
    }

    /// How much of its history the output keeps while nobody reads it. [`Retention::Latest`] if it is not said.
    pub fn keep(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// How often holds are moved, at most. [`Resume::HOLD_INTERVAL`] if it is not said. More seldom keeps more history of
    /// the inputs, and costs less.
    pub fn hold_interval(mut self, interval: Duration) -> Self {
        self.hold_interval = interval;
        self
    }

    /// Which start of the pipeline this is: a number, at most 2^63 - 1, that all its processes are given alike, and that
    /// grows from one start to the next: a count, or the time at which whoever starts them did so. A start with a smaller
    /// one than the largest so far is refused.
    ///
    /// If it is not said, the process is alone, and its number is the next one. A number that stays the same, such as the
    /// version of the program, is sound too; but then a predecessor that is still running may move holds while the
    /// new processes start. The sources of those may then differ in their `as_of`, or find it gone (`Since`), and are to be
    /// started again.
    pub fn incarnation(mut self, incarnation: u64) -> Self {
        self.incarnation = Some(incarnation);
        self
    }

    /// Opens the holds, or takes over those of the start before. Where the output is empty, its since moves to
    /// [`Resume::as_of`], so that nobody reads below it an empty collection that never was.
    ///
    /// A few reads and up to two commits for each shard. Nothing is written if it fails for one of these reasons:
    /// * `Invalid`: no name or input, a name that is too long, or a later incarnation has the pipeline.
    /// * `Missing`: the output is empty, but had commits before; an older backup of it was restored, or it is in another
    ///   store. It is not taken for a first run.
    /// * `Since`: an input cannot be read at any time before the output's upper. Older contents of the output were restored,
    ///   or it was written by others before the pipeline had holds, or the pipeline was retired meanwhile.
    /// * `CodecMismatch`, `Finalized`: a shard is of other types, or finalized.
    ///
    /// `Unavailable` if storage did not answer: some holds may be taken. Cancelling leaves it so, too; opening again takes
    /// all.
    pub async fn open(self) -> Result<Resume<T>, Error> {
        self.pipeline().check()?;
        let (found, upper) = self.look().await?;
        let first_run = judge(self.pipeline(), &found.standings, &upper)?.first_run;
        let (inputs, mut keeper) = self.take_over(found.incarnation, !first_run).await?;
        let start = match self.judge_again(&inputs).await {
            Ok(start) => start,
            Err(error) => {
                self.leave(&found, inputs, keeper).await;
                return Err(error);
            }
        };
        if start.first_run {
            keeper.advance(&self.name, &start.as_of).await?;
        }
        Ok(Resume {
            output: self.output.shard(),
            incarnation: keeper.incarnation(),
            name: self.name,
            as_of: start.as_of,
            first_run: start.first_run,
            hold_interval: self.hold_interval,
            inputs,
            keeper,
            marks: Marks::new(self.retention),
            tried: None,
        })
    }

    /// Removes all holds of the pipeline, whoever has them, and says how many there were: for one that does not run and
    /// will not run again. One that still runs is told so at its next commit.
    ///
    /// ```
    /// # use timely_persist::{Client, Shard, ShardId};
    /// # use timely_persist_operators::Resume;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), timely_persist::Error> {
    /// # let client = Client::open("memory:").await?;
    /// # let orders: Shard<String, u64, u64, i64> = client.shard(ShardId::new());
    /// # let revenue: Shard<String, u64, u64, i64> = client.shard(ShardId::new());
    /// # drop(Resume::of("revenue", &revenue).input(&orders).open().await?);
    /// // The program is gone; its two shards still keep history for it.
    /// assert_eq!((orders.holds().await?.len(), revenue.holds().await?.len()), (1, 1));
    /// assert_eq!(Resume::of("revenue", &revenue).input(&orders).retire().await?, 2);
    /// assert_eq!((orders.holds().await?.len(), revenue.holds().await?.len()), (0, 0));
    /// # client.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `Unavailable` if storage did not answer: some may be removed. Cancelling leaves it so, too; repeating it removes the
    /// rest.
    pub async fn retire(self) -> Result<usize, Error> {
        self.pipeline().check()?;
        let remove = |(role, shard): (Role, &'a dyn Input<T>)| {
            let id = self.reader(role, shard);
            async move {
                match shard.find(id).await? {
                    Some(found) => found.expire().await.map(|()| 1),
                    None => Ok(0),
                }
            }
        };
        // All are tried, also if one fails.
        let removed = join_all(self.readers().map(remove)).await;
        let removed: Vec<usize> = removed.into_iter().collect::<Result<_, Error>>()?;
        Ok(removed.iter().sum())
    }

    fn pipeline(&self) -> Pipeline<'_> {
        Pipeline { name: &self.name, output: self.output.shard() }
    }

    /// The shards on which it has critical readers: its inputs and then its output, which may be an input too.
    fn readers(&self) -> impl Iterator<Item = (Role, &'a dyn Input<T>)> + use<'a, T> {
        let inputs: Vec<_> = self.inputs.iter().map(|input| (Role::Input, *input)).collect();
        inputs.into_iter().chain([(Role::Output, self.output)])
    }

    fn reader(&self, role: Role, shard: &dyn Input<T>) -> CriticalReaderId {
        self.pipeline().reader(role, shard.shard())
    }

    /// What is there, before anything is written.
    async fn look(&self) -> Result<(Found<T>, Antichain<T>), Error> {
        let look = |(role, shard): (Role, &'a dyn Input<T>)| {
            let id = self.reader(role, shard);
            async move {
                shard.admits().await?;
                let hold = shard.find(id).await?;
                let since = match &hold {
                    Some(hold) => hold.since().clone(),
                    None => shard.frontiers().await?.0,
                };
                Ok::<_, Error>((shard.shard(), hold, since))
            }
        };
        let mut found = try_join_all(self.readers().map(look)).await?;
        let (_, upper) = self.output.frontiers().await?;
        let owner = |hold: &SinceHandle<T>| Owner::of(hold.opaque());
        let owners = found.iter().filter_map(|(_, hold, _)| hold.as_ref().map(owner));
        let incarnation = owners.map(|owner| owner.incarnation).max();
        let present = found.iter().map(|(_, hold, _)| hold.is_some()).collect();
        found.truncate(self.inputs.len());
        let standing = |(shard, hold, since): (ShardId, Option<SinceHandle<T>>, Antichain<T>)| {
            let begun = hold.as_ref().is_some_and(|hold| owner(hold).begun);
            Standing { shard, since, begun }
        };
        Ok((Found { standings: found.into_iter().map(standing).collect(), incarnation, present }, upper))
    }

    /// Where it begins, now that nobody else moves its holds.
    async fn judge_again(&self, inputs: &[Hold<T>]) -> Result<Start<T>, Error> {
        let (_, upper) = self.output.frontiers().await?;
        let standing =
            |hold: &Hold<T>| Standing { shard: hold.shard(), since: hold.since().clone(), begun: hold.begun() };
        judge(self.pipeline(), &inputs.iter().map(standing).collect::<Vec<_>>(), &upper)
    }

    /// All readers, as those of this start.
    async fn take_over(&self, before: Option<u64>, begun: bool) -> Result<(Vec<Hold<T>>, Hold<T>), Error> {
        let mut before = before;
        for _ in 0..ROUNDS_MAX {
            let incarnation = self.choose(before)?;
            match self.take_as(incarnation, begun).await? {
                Ok(holds) => return Ok(holds),
                // Somebody else opened it meanwhile.
                Err(later) => before = Some(later),
            }
        }
        Err(fenced(&self.name, self.output.shard(), before.unwrap_or(0)))
    }

    /// The number of this start, where this was the largest before.
    fn choose(&self, before: Option<u64>) -> Result<u64, Error> {
        let (shard, before) = (self.output.shard(), before.unwrap_or(0));
        let chosen = match self.incarnation {
            Some(given) if before > given => return Err(fenced(&self.name, shard, before)),
            Some(given) => given,
            None => before + 1, // of 63 bits
        };
        if chosen <= INCARNATION_MAX {
            return Ok(chosen);
        }
        Err(Error::invalid(format!("an incarnation of {chosen}; it must be at most {INCARNATION_MAX}")).of_shard(shard))
    }

    /// All readers as those of this incarnation, or the later one that one of them is of. One after the other, in the same
    /// order in all processes: so of two that do this at once, the one that is ahead at the first reader mostly stays
    /// ahead.
    async fn take_as(&self, incarnation: u64, begun: bool) -> Result<Result<(Vec<Hold<T>>, Hold<T>), u64>, Error> {
        let mut holds = Vec::with_capacity(self.inputs.len() + 1);
        for (role, shard) in self.readers() {
            let opaque = Owner { incarnation, begun }.opaque();
            let handle = shard.open(self.reader(role, shard), opaque, self.pipeline().purpose(role)).await?;
            match Hold::take(handle, incarnation, begun).await? {
                Taken::Taken(hold) => holds.push(hold),
                Taken::Later(other) => return Ok(Err(other)),
            }
        }
        match holds.pop() {
            Some(keeper) => Ok(Ok((holds, keeper))),
            None => Err(Error::new(ErrorKind::Bug, "a pipeline without an output")), // `readers` ends with it
        }
    }

    /// Removes what was not there when it began, as far as storage lets it: a start that is refused leaves no hold.
    async fn leave(&self, found: &Found<T>, inputs: Vec<Hold<T>>, keeper: Hold<T>) {
        let holds = inputs.into_iter().chain([keeper]).zip(&found.present);
        let made = holds.filter(|(_, present)| !**present).map(|(hold, _)| hold.remove());
        for error in join_all(made).await.into_iter().filter_map(Result::err) {
            tracing::warn!(pipeline = %self.name, %error, "a hold of a start that was refused stays: retire the pipeline");
        }
    }
}

/// What a start finds.
struct Found<T: Time> {
    /// Its inputs.
    standings: Vec<Standing<T>>,
    /// The largest incarnation that has one of its readers.
    incarnation: Option<u64>,
    /// Which of its readers are there.
    present: Vec<bool>,
}

impl<T: Time> std::fmt::Debug for ResumeBuilder<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inputs: Vec<ShardId> = self.inputs.iter().map(|input| input.shard()).collect();
        let (name, output) = (&self.name, self.output.shard());
        f.debug_struct("ResumeBuilder").field("name", name).field("output", &output).field("inputs", &inputs).finish()
    }
}
