//! Sinks: what a caller asks for, and what it gets.

mod error;
mod gather;
mod kept;
mod lead;
mod message;
mod operator;
mod pile;
#[cfg(test)]
mod protocol_model;
#[cfg(test)]
mod protocol_test;
mod resume;
mod settings;
mod staging;
mod standby;
mod writing;

use std::convert::Infallible;
use std::hash::Hash;
use std::time::Duration;

use differential_dataflow::VecCollection;
use differential_dataflow::hashable::Hashable;
use futures::FutureExt;
use futures::future::BoxFuture;
use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::{ConnectLoop, Exchange, Feedback};
use timely::progress::Antichain;
use timely_persist::{Data, Diff, Error, Shard, ShardId, Time};

pub use self::error::SinkError;
use self::operator::{Leading, Updates, sink};
pub use self::resume::Resume;
pub use self::resume::held::Input;
pub use self::resume::open::ResumeBuilder;
pub use self::resume::retention::Retention;
use self::settings::Settings;
use self::writing::{Beside, Enable, Told, write};
use crate::common::button::{Button, stopping};
use crate::common::inputs::Inputs;

/// A collection that is kept in a shard.
#[must_use = "a sink that is dropped is stopped"]
pub struct Sink<'scope, T: Time> {
    /// Nothing, with the shard's upper as its frontier: what is before it is durable, whoever wrote it. It becomes empty when
    /// the sink is done: `until` was reached, or the input ended and all its rows are in the shard.
    pub progress: StreamVec<'scope, T, Infallible>,
    /// What the sink has to say about itself, on one of the workers.
    pub errors: StreamVec<'scope, T, SinkError>,
    /// Stops the sink.
    pub button: Button,
}

/// Keeps a collection in a shard: [`PersistSink`] without options, for a dataflow that begins at the least time. The
/// [crate](crate) has an example.
pub fn persist_sink<'scope, K: Data, V: Data, T: Time, D: Diff>(
    updates: VecCollection<'scope, T, (K, V), D>,
    shard: &Shard<K, V, T, D>,
) -> Sink<'scope, T> {
    PersistSink::new(shard).build(updates)
}

/// A sink to be built, on all workers, each asked for the same.
///
/// For each time beyond the shard's upper, exactly the rows of the collection at that time are written, once, whatever
/// crashes, and although any number of copies of the dataflow write the same shard. The caller promises that the collection
/// is *definite*: all copies and restarts have the same rows at the same times beyond the upper. A deterministic dataflow
/// over [`persist_source`](crate::persist_source)s keeps that promise.
///
/// **Begin strictly before the shard's upper.** The first rows that a source shows, at its `as_of`, are the contents so far:
/// old rows, unless the shard is empty. Tell the sink the same [`as_of`](Self::as_of): it refuses what would write them twice.
/// Any `as_of` before the upper is right, and the later it is, the less is computed again. The inputs must still be readable
/// there, although the sources have read further: a [critical reader](Shard::open_critical_since) of each keeps what is needed.
///
/// ```
/// # use timely::progress::Antichain;
/// # async fn example(output: timely_persist::Shard<String, u64, u64, i64>) -> Result<(), timely_persist::Error> {
/// let upper = output.inspect().await?.upper;
/// let as_of: Antichain<u64> = upper.iter().map(|time| time.saturating_sub(1)).collect(); // 0 for an empty shard
/// # Ok(())
/// # }
/// ```
///
/// **Diffs** are of the shard's type. Differential's operators give `isize`, unless they are asked for another:
/// `count_core::<i64>()`, `distinct_core::<i64>()`, `threshold`, `reduce_abelian`.
///
/// **Its end.** Give [`until`](Self::until) to the sink, and `progress` becomes empty there. If the sources have an `until` too,
/// they end *with the empty frontier*, and so does an input whose handle was dropped too early: the rows at the last time are
/// [`Uncommitted`](SinkError::Uncommitted), unless [`close_at_end`](Self::close_at_end) says that the end means all are there.
/// To stop before the end, drop the sink's button first, then those of the sources: a sink whose source is stopped under it
/// says [`InputStopped`](SinkError::InputStopped).
///
/// **Its own output, read back.** A source of the same shard in the same dataflow gives what was there *one step before*, if
/// its times are moved on by an edge that says so to timely ([`Feedback`]): the step can be computed as soon as the one before
/// is durable. At `as_of` the dataflow must see what was there at the step before `as_of`, so that is where this source begins, and
/// so far back the shard must be readable:
///
/// ```
/// use differential_dataflow::AsCollection;
/// use timely::dataflow::operators::{ConnectLoop, Feedback, Probe};
/// use timely::dataflow::operators::vec::Map;
/// use timely::progress::Antichain;
/// use timely::worker::Worker;
/// use timely_persist::{Client, Shard, ShardId};
/// use timely_persist_operators::{PersistSink, PersistSource};
///
/// type Numbers = Shard<u64, (), u64, i64>;
///
/// /// At each step, the seeds, and the successor of each number that was there at the step before.
/// fn spread(worker: &mut Worker, seeds: &Numbers, numbers: &Numbers, as_of: u64, until: u64) {
///     let at = Antichain::from_elem;
///     let (progress, buttons) = worker.dataflow::<u64, _, _>(|scope| {
///         let seeds = PersistSource::new(seeds).as_of(at(as_of)).build(scope);
///         let before = PersistSource::new(numbers).as_of(at(as_of.saturating_sub(1))).build(scope);
///         let (edge, delayed) = scope.feedback(1);
///         before.updates.inner.map(|(row, time, diff)| (row, time + 1, diff)).connect_loop(edge);
///         let successors = delayed.as_collection().map(|(number, ())| (number + 1, ()));
///         let all = seeds.updates.concat(successors).distinct_core::<i64>();
///         let sink = PersistSink::new(numbers).as_of(at(as_of)).until(at(until)).build(all);
///         (sink.progress.probe().0, [sink.button, seeds.button, before.button])
///     });
///     while !progress.done() {
///         worker.step_or_park(None);
///     }
///     drop(buttons);
/// }
///
/// # let client = futures::executor::block_on(Client::open("memory:"))?;
/// # let [seeds, numbers]: [Numbers; 2] = [(); 2].map(|()| client.shard(ShardId::new()));
/// # let fill = async {
/// #     let (from, to) = (Antichain::from_elem(0), Antichain::from_elem(9));
/// #     let _ = seeds.open_writer("example").await?.append([((0, ()), 0, 1)], from, to).await?;
/// #     seeds.open_critical_since(timely_persist::CriticalReaderId::from_u128(1), 0).await?;
/// #     numbers.open_critical_since(timely_persist::CriticalReaderId::from_u128(1), 0).await
/// # };
/// # futures::executor::block_on(fill)?;
/// # let kept = numbers.clone();
/// timely::execute_directly(move |worker| {
///     spread(worker, &seeds, &numbers, 0, 3); // 0, 1, 2 at step 2
///     spread(worker, &seeds, &numbers, 2, 6); // a restart: the upper is 3
/// });
/// # let read = async { kept.open_reader("example").await?.snapshot_and_fetch(Antichain::from_elem(5)).await };
/// # let rows = futures::executor::block_on(read)?;
/// # assert_eq!(rows, (0..6).map(|number| ((number, ()), 5, 1)).collect::<Vec<_>>());
/// # Ok::<(), timely_persist::Error>(())
/// ```
///
/// [`Feedback`]: timely::dataflow::operators::Feedback
#[must_use = "it does nothing until it is built"]
pub struct PersistSink<K: Data, V: Data, T: Time, D: Diff> {
    shard: Shard<K, V, T, D>,
    settings: Settings<T>,
    enable: Option<Enable>,
    resume: Option<Resume<T>>,
    spread: Option<Spread<K, V, T, D>>,
}

/// Spreads rows over the workers.
type Spread<K, V, T, D> = for<'scope> fn(Updates<'scope, K, V, T, D>) -> Updates<'scope, K, V, T, D>;

impl<K: Data, V: Data, T: Time, D: Diff> PersistSink<K, V, T, D> {
    /// A sink into this shard.
    pub fn new(shard: &Shard<K, V, T, D>) -> Self {
        let settings = Settings::new(shard.id(), shard.client().config());
        Self { shard: shard.clone(), settings, enable: None, resume: None, spread: None }
    }

    /// Its name, for logs and for the writer's purpose. Default: made of the shard's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Where the dataflow begins: the rows are right at times strictly beyond this. If the shard is not empty and its upper is
    /// not strictly beyond, then nothing is written, and `errors` says [`SinkError::Gap`]. If it is empty, the first commit
    /// ends strictly beyond it. Default: the least time, for a collection that is made of all its history.
    pub fn as_of(mut self, as_of: Antichain<T>) -> Self {
        self.settings.terms.as_of = as_of;
        self
    }

    /// Begins where this says, and moves what it holds with the commits: its [`as_of`](Resume::as_of) is the sink's, and is to
    /// be that of the sources. `errors` says [`Failed`](SinkError::Failed) if it is of another shard, or if another start of
    /// the pipeline has taken it over.
    pub fn resume(mut self, resume: &Resume<T>) -> Self {
        self.settings.terms.as_of = resume.as_of();
        self.resume = Some(resume.clone());
        self
    }

    /// Where it ends: rows beyond it are left out, and once the shard reaches it the sink is done. The shard stays open.
    /// Default: never.
    pub fn until(mut self, until: Antichain<T>) -> Self {
        self.settings.terms.until = until;
        self
    }

    /// Between the beginnings of two commits at least this long passes, unless [`commit_bytes`](Self::commit_bytes) wait: then
    /// a frontier that ticks often makes few commits. Default zero: a commit begins when the one before has ended.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.settings.terms.commit_interval = interval;
        self
    }

    /// Bytes of rows on one worker that do not wait for the interval, in memory size. Default 8 MiB: from there on an object is
    /// as large as storage likes them.
    pub fn commit_bytes(mut self, bytes: usize) -> Self {
        self.settings.terms.commit_bytes = bytes as u64;
        self
    }

    /// Bytes of rows that a worker collects in memory: when there are half as many, those of one time go into storage, while
    /// the next are collected. Default: a third of `config.write.run_bytes_max`, 16 MiB; with what sorts and encodes them it is about five
    /// times that.
    pub fn memory_max(mut self, bytes: usize) -> Self {
        self.settings.memory_max = bytes;
        self
    }

    /// Whether rows are spread over the workers before they are collected: where one worker has most of them, as behind a
    /// source of its own. Default false: what differential's operators give is spread already.
    pub fn exchange(mut self, exchange: bool) -> Self
    where
        K: ExchangeData + Hash,
        V: ExchangeData,
        D: ExchangeData,
    {
        self.settings.exchange = exchange;
        self.spread = exchange.then_some(|rows| rows.exchange(|((key, _), _, _)| key.hashed()));
        self
    }

    /// Commits nothing before this future is done: what another copy commits is followed, and dropped here. So a new process
    /// is brought up beside the old one, and takes over when it has caught up.
    ///
    /// ```
    /// # use timely::dataflow::operators::{Probe, probe::Handle};
    /// # use timely::progress::Antichain;
    /// # use timely::worker::Worker;
    /// # use timely_persist::{Client, Shard, ShardId};
    /// # use timely_persist_operators::{Button, PersistSink, persist_source};
    /// # type Lines = Shard<String, u64, u64, i64>;
    /// # let client = futures::executor::block_on(Client::open("memory:"))?;
    /// # let [input, output]: [Lines; 2] = [(); 2].map(|()| client.shard(ShardId::new()));
    /// # let mut to_input = futures::executor::block_on(input.open_writer("example"))?;
    /// # let mut advance = move |to| futures::executor::block_on(to_input.advance_upper(&Antichain::from_elem(to)));
    /// # fn keep(worker: &mut Worker, input: &Lines, sink: PersistSink<String, u64, u64, i64>) -> (Handle<u64>, [Button; 2]) {
    /// #     worker.dataflow::<u64, _, _>(|scope| {
    /// #         let source = persist_source(scope, input, Antichain::from_elem(0));
    /// #         let sink = sink.build(source.updates);
    /// #         (sink.progress.probe().0, [sink.button, source.button])
    /// #     })
    /// # }
    /// # advance(3)?;
    /// # timely::execute_directly(move |worker| {
    /// let (enable, enabled) = futures::channel::oneshot::channel::<()>();
    /// let (_, old) = keep(worker, &input, PersistSink::new(&output).name("old"));
    /// let enabled = async {
    ///     if enabled.await.is_err() {
    ///         std::future::pending().await // who should have said so is gone
    ///     }
    /// };
    /// let new = PersistSink::new(&output).name("new").enable_after(enabled);
    /// let (progress, new) = keep(worker, &input, new);
    /// while progress.less_than(&3) {
    ///     worker.step_or_park(None); // the old one commits, and both show it
    /// }
    /// drop(old);
    /// enable.send(()).expect("it waits");
    /// # advance(5)?;
    /// while progress.less_than(&5) {
    ///     worker.step_or_park(None); // the new one commits
    /// }
    /// # drop(new);
    /// # Ok::<(), timely_persist::Error>(())
    /// # })?;
    /// # Ok::<(), timely_persist::Error>(())
    /// ```
    pub fn enable_after(mut self, enable: impl Future<Output = ()> + Send + 'static) -> Self {
        self.enable = Some(Box::pin(enable));
        self
    }

    /// The generation of the program that writes: once a newer one has committed, the commits of an older one are refused
    /// ([`ErrorKind::Fenced`](timely_persist::ErrorKind::Fenced)), whatever it still has under way. Default: none, which is
    /// older than every other.
    pub fn generation(mut self, generation: u64) -> Self {
        self.settings.generation = generation;
        self
    }

    /// Whether the end of the input says that all its rows are there: then it closes the shard, for ever, or moves it to
    /// `until`, if that is given. Default false: the shard is left open at the last time that is known to be complete.
    pub fn close_at_end(mut self, close: bool) -> Self {
        self.settings.terms.close_at_end = close;
        self
    }

    /// Adds the sink to a dataflow.
    pub fn build<'scope>(self, updates: VecCollection<'scope, T, (K, V), D>) -> Sink<'scope, T> {
        let Self { shard, mut settings, enable, resume, spread } = self;
        settings.terms.waits = enable.is_some();
        let scope = updates.inner.scope();
        let rows = match spread {
            Some(spread) => spread(updates.inner),
            None => updates.inner,
        };
        let mut stopping = stopping(scope, &settings.name);
        let (handle, mail) = scope.feedback(Default::default());
        let runtime = shard.client().runtime().clone();
        let leader = |Leading { appends, mailbox }: Leading<T>| {
            let refused = resume.as_ref().and_then(|resume| refused(resume, shard.id()));
            let told = resume.map(|resume| Box::new(resume) as Box<dyn Told<T>>);
            let beside = Beside { enable, told, refused };
            let task = write(shard.clone(), settings.clone(), beside, appends, mailbox);
            drop(runtime.spawn(task)); // it ends with its mailbox
        };
        let written = sink(&shard, &settings, rows, mail, &mut stopping, Inputs::of(scope), leader);
        written.mail.connect_loop(handle);
        Sink { progress: written.progress, errors: written.errors, button: stopping.button }
    }
}

impl<T: Time> Told<T> for Resume<T> {
    fn committed<'a>(
        &'a mut self,
        from: &'a Antichain<T>,
        upper: &'a Antichain<T>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.committed(from, upper).boxed()
    }
}

/// Why a sink into this shard cannot resume so.
fn refused<T: Time>(resume: &Resume<T>, shard: ShardId) -> Option<Error> {
    let message = format!("the sink is to resume `{}`, whose output is {}", resume.name(), resume.output());
    let refusal = Error::invalid(message).advise("open the resume with the shard that the sink writes");
    (resume.output() != shard).then(|| refusal.of_shard(shard))
}
