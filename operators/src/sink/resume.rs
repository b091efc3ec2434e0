//! Where a pipeline begins when it starts again, and what keeps its inputs readable from there.
//!
//! A pipeline has one critical since on each of its inputs, its *hold*, and one on its output, the *keeper*, under ids that
//! every start derives alike (`identity`). Whose they are lies in their fencing tokens (`owner`). Always:
//!
//! * No hold passes the lower of a commit that was made (I7). So the furthest of them, where a restart begins, is strictly
//!   before the output's upper, or the output is empty.
//! * Before the first commit the holds stand still: every process finds them where the first one made them.
//! * A hold has the mark *begun* in its token from the first commit that it hears of, so before it moves. An output that is
//!   empty under a hold with that mark has lost commits, and is not taken for a new one (`judge`).
//! * A start writes nothing before it has seen that it may go on (`open`).
//!
//! Not here: any dataflow, and what is appended. `committed` is told of commits, and makes none.

pub(crate) mod held;
mod hold;
mod identity;
mod judge;
pub(crate) mod open;
mod owner;
pub(crate) mod retention;

use std::time::Duration;

use futures::future::{join, try_join_all};
use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{EncodedFrontier, Error, ShardId, Time};
use tokio::time::Instant;

use self::hold::Hold;
use self::retention::Marks;

/// Where a pipeline from some shards, the inputs, into another, the output, begins when it starts again; and what keeps
/// the inputs readable from there on.
///
/// A dataflow whose sources start at [`Resume::as_of`] and whose sink tells of each commit by [`Resume::committed`] writes
/// every time of its output exactly once, whatever crashes in between:
///
/// ```
/// use timely::progress::Antichain;
/// use timely_persist::{Appended, Client, Shard, ShardId};
/// use timely_persist_operators::Resume;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), timely_persist::Error> {
/// let client = Client::open("memory:").await?;
/// let orders: Shard<String, u64, u64, i64> = client.shard(ShardId::new());
/// let prices: Shard<u64, u64, u64, i64> = client.shard(ShardId::new());
/// let revenue: Shard<String, u64, u64, i64> = client.shard(ShardId::new());
/// let at = Antichain::from_elem;
/// # orders.open_writer("orders").await?.advance_upper(&at(8)).await?;
/// # prices.open_writer("prices").await?.advance_upper(&at(9)).await?;
///
/// // The first run: all times from the beginning are to be written.
/// let mut resume = Resume::of("revenue", &revenue).input(&orders).input(&prices).open().await?;
/// assert!(resume.first_run());
/// // ... the sources start at `resume.as_of()`, and what comes out is appended; a sink does this by itself:
/// let mut writer = revenue.open_writer("revenue").await?;
/// for (lower, upper) in [(0, 5), (5, 8)] {
///     let rows = [(("apples".to_owned(), 30), lower, 1)];
///     assert_eq!(writer.append(rows, at(lower), at(upper)).await?, Appended::Committed);
///     resume.committed(&at(lower), &at(upper)).await?;
/// }
/// drop((resume, writer)); // a crash
///
/// // The next run starts at a time before the output's upper, 8, at which both inputs can be read.
/// let resume = Resume::open("revenue", &revenue, [&orders as &dyn timely_persist_operators::Input<_>, &prices]).await?;
/// assert!(!resume.first_run() && resume.as_of().less_than(&8));
/// orders.open_reader_at("orders", resume.as_of()).await?;
///
/// // Who keeps the history of the orders, and of what?
/// for hold in orders.holds().await? {
///     println!("{}, from {:?} on", hold.purpose, hold.since);
/// }
/// # assert!(orders.holds().await?.iter().any(|hold| hold.purpose.contains("revenue")));
/// # client.shutdown().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Several processes
///
/// Each process of a cluster opens a `Resume` of the same name, and only the one with the sink's leader calls
/// [`Resume::committed`]. They say that they belong together by the same
/// [`incarnation`](crate::ResumeBuilder::incarnation): the first of them takes the holds over, the others join it. So all
/// of them have the same `as_of`, because holds move only after a commit, and no commit is made before every worker has
/// built the dataflow.
///
/// Taking over fences the predecessor: if it still runs, its next [`Resume::committed`] that would move a hold fails, and no
/// hold moves under a dataflow that is about to start. What the predecessor *writes* is not its holds' business: give
/// the sink a generation.
///
/// Copies of a pipeline that run at the same time on purpose (a hot standby, say) each have a name of their own, or all the
/// same incarnation.
///
/// A clone has the same holds.
#[derive(Clone, Debug)]
pub struct Resume<T: Time> {
    name: String,
    output: ShardId,
    incarnation: u64,
    as_of: Antichain<T>,
    first_run: bool,
    hold_interval: Duration,
    inputs: Vec<Hold<T>>,
    keeper: Hold<T>,
    marks: Marks<T>,
    /// When it was last tried to move the holds.
    tried: Option<Instant>,
}

impl<T: Time> Resume<T> {
    /// How often holds are moved where [`hold_interval`](crate::ResumeBuilder::hold_interval) does not say it. 10 s: a move
    /// is an entry in the log of every input, as dear as a small append, and all that it saves is history of so many
    /// seconds.
    pub const HOLD_INTERVAL: Duration = Duration::from_secs(10);

    /// The pipeline.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shard that it writes.
    pub fn output(&self) -> ShardId {
        self.output
    }

    /// The start that it belongs to: see [`incarnation`](crate::ResumeBuilder::incarnation).
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Where the sources start: a time strictly before the output's upper, or any if the output was empty, at which all
    /// inputs can be read. The same in all processes of one incarnation.
    pub fn as_of(&self) -> Antichain<T> {
        self.as_of.clone()
    }

    /// Whether the output was empty. It may differ between processes where a predecessor still writes; `as_of` does not.
    /// Then the first commit begins at the minimum of all times, and must end beyond [`Resume::as_of`].
    pub fn first_run(&self) -> bool {
        self.first_run
    }

    /// Is told that the output has everything before `upper`, and that the commit which made it so began at `lower`. Moves
    /// the inputs' holds to `lower`, and the output's since as far as its [`Retention`](crate::Retention) lets it: at once
    /// after the first commit, later at most every [`hold_interval`](crate::ResumeBuilder::hold_interval). In between it
    /// does no I/O. To be called after the commit, and only by the sink's leader.
    ///
    /// `Invalid`, and nothing is moved, if `upper` is not beyond `lower` and beyond [`Resume::as_of`]: such a commit cannot
    /// have been made on what was read from there. `Invalid` too if another start has taken the pipeline over, or if it was
    /// retired: this one is to end. `Unavailable` if storage did not answer: the commit is made all the same, and the holds
    /// lag, which is always right; they are tried again after `hold_interval`. Cancelling leaves it so, too. Repeating a
    /// call changes nothing.
    pub async fn committed(&mut self, lower: &Antichain<T>, upper: &Antichain<T>) -> Result<(), Error> {
        self.check_commit(lower, upper)?;
        self.marks.note(lower);
        if self.tried.is_some_and(|tried| tried.elapsed() < self.hold_interval) {
            return Ok(());
        }
        // Set first: where storage does not answer, not every commit is to wait for it.
        self.tried = Some(Instant::now());
        let (name, inputs, keeper) = (self.name.as_str(), &mut self.inputs, &mut self.keeper);
        let held = try_join_all(inputs.iter_mut().map(|hold| hold.advance(name, lower)));
        let kept = async {
            match self.marks.allowed() {
                Some(since) => keeper.advance(name, since).await,
                None => Ok(()),
            }
        };
        let (held, kept) = join(held, kept).await;
        held?;
        kept
    }

    fn check_commit(&self, lower: &Antichain<T>, upper: &Antichain<T>) -> Result<(), Error> {
        let wrong = match () {
            () if !PartialOrder::less_than(lower, upper) => "it has no times".to_owned(),
            () if !PartialOrder::less_than(&self.as_of, upper) => {
                format!("it ends at or before the as_of {}, so its contents are not known yet", shown(&self.as_of))
            }
            () => return Ok(()),
        };
        let message = format!("no commit is over [{}, {}): {wrong}", shown(lower), shown(upper));
        Err(Error::invalid(message).of_shard(self.output))
    }

    /// Removes the pipeline's holds from its inputs and its output: they keep no history for it any more. For a pipeline
    /// that will not run again. One that does not run is retired by
    /// [`ResumeBuilder::retire`](crate::ResumeBuilder::retire).
    ///
    /// `Invalid`, and nothing is removed, if another start has taken the pipeline over. `Unavailable` if storage did not
    /// answer: some holds may be removed. Cancelling leaves it so, too;
    /// [`ResumeBuilder::retire`](crate::ResumeBuilder::retire) removes the rest.
    pub async fn retire(mut self) -> Result<(), Error> {
        let name = self.name.as_str();
        let mut holds: Vec<Hold<T>> = self.inputs.drain(..).chain([self.keeper]).collect();
        try_join_all(holds.iter_mut().map(|hold| hold.confirm(name))).await?;
        try_join_all(holds.into_iter().map(Hold::remove)).await?;
        Ok(())
    }
}

/// A frontier in a message.
fn shown<T: Time>(frontier: &Antichain<T>) -> EncodedFrontier {
    EncodedFrontier::new(frontier)
}
