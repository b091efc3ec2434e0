//! Sources: what a caller asks for, and what it gets.

mod capabilities;
mod closures;
pub(crate) mod emit;
mod fetch;
mod fetch_operator;
mod fetch_task;
mod handout;
mod handout_operator;
mod leader;
mod message;
#[cfg(test)]
mod protocol_test;
mod settings;
mod steps;

use std::convert::Infallible;
use std::future::Future;

use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, ConnectLoop, Feedback};
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Antichain;
use timely_persist::{Data, Diff, PartStats, Shard, ShardId, Time};

use self::closures::Closures;
pub(crate) use self::closures::MAP;
use self::emit::{Keep, Kept, Mapped, Owned, Rows};
use self::fetch_operator::fetch;
use self::handout_operator::hand_out;
use self::leader::{Leading, lead};
use self::settings::Settings;
use crate::common::button::{Button, stopping};
use crate::common::error::SourceError;

/// A shard as a collection.
#[must_use = "a source that is dropped is stopped"]
pub struct Source<'scope, K: Data, V: Data, T: Time, D: Diff> {
    /// The contents as of `as_of`, at times advanced by it, then each change at its time.
    ///
    /// Its frontier stands at `as_of` as soon as all workers have built it, and is where the shard's upper was when
    /// everything before it had been emitted.
    pub updates: VecCollection<'scope, T, (K, V), D>,
    /// What the source has to say about itself. Each error and notice is said on one worker, but that workers disagree on
    /// all.
    pub errors: StreamVec<'scope, T, SourceError>,
    /// Nothing, with the frontier of `updates`: to be probed without a copy of the data.
    pub progress: StreamVec<'scope, T, Infallible>,
    /// Stops the source.
    pub button: Button,
}

/// What a closure made of a shard's rows.
#[must_use = "a source that is dropped is stopped"]
pub struct MappedSource<'scope, T: Time, O> {
    /// What it made of them.
    pub stream: StreamVec<'scope, T, O>,
    /// As in [`Source`].
    pub errors: StreamVec<'scope, T, SourceError>,
    /// As in [`Source`].
    pub progress: StreamVec<'scope, T, Infallible>,
    /// As in [`Source`].
    pub button: Button,
}

/// Reads a shard from `as_of` on: [`PersistSource`] without options.
pub fn persist_source<'scope, K: Data, V: Data, T: Time, D: Diff>(
    scope: Scope<'scope, T>,
    shard: &Shard<K, V, T, D>,
    as_of: Antichain<T>,
) -> Source<'scope, K, V, T, D> {
    PersistSource::new(shard).as_of(as_of).build(scope)
}

/// A source to be built, on all workers, each asked for the same.
///
/// Nothing comes before every worker has built it. Then the workers compare what they were asked for: if the shard, `name`,
/// `as_of`, `until`, `snapshot` or `project` differ, or only some were given a closure, then each worker says
/// [`Invalid`](timely_persist::ErrorKind::Invalid) on its `errors`, with what differs, and the frontier is held.
#[must_use = "it does nothing until it is built"]
pub struct PersistSource<K: Data, V: Data, T: Time, D: Diff> {
    shard: Shard<K, V, T, D>,
    settings: Settings<T>,
    leading: Leading,
    keep: Option<Keep<K, V>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> PersistSource<K, V, T, D> {
    /// A source of everything that is in the shard and comes to it, from its since on.
    pub fn new(shard: &Shard<K, V, T, D>) -> Self {
        let settings = Settings::new(shard.id(), shard.client().config());
        Self { shard: shard.clone(), settings, leading: Leading { filter: None, start: None }, keep: None }
    }

    /// Its name, for logs and for `shard.holds()`. Default: made of the shard's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// The name that it has now.
    pub(crate) fn name_of(&self) -> &str {
        &self.settings.name
    }

    /// The shard that it reads.
    pub(crate) fn shard_id(&self) -> ShardId {
        self.shard.id()
    }

    /// Where it begins. An `as_of` in the future waits, with the frontier standing there; the empty one gives the empty
    /// collection. Default: the shard's since when the reader is opened, which is as far back as anybody holds it. A program
    /// that may be killed and started again sooner than a lease runs out should say it: each start would hold, at that since,
    /// what the killed one held.
    pub fn as_of(mut self, as_of: Antichain<T>) -> Self {
        self.settings.as_of = Some(as_of);
        self
    }

    /// Where it ends: updates beyond it are left out, and once it is reached the frontier becomes empty. Default: never.
    pub fn until(mut self, until: Antichain<T>) -> Self {
        self.settings.until = until;
        self
    }

    /// Whether it begins with the contents as of `as_of`, or only with what comes strictly after. Default true.
    pub fn snapshot(mut self, snapshot: bool) -> Self {
        self.settings.snapshot = snapshot;
        self
    }

    /// Reads a shard whose types have changed since this program was built: each row without what its types do not know, as
    /// [`Shard::projecting`] says. Rows that differ in the shard may be equal here. A row that has no place in these types is an
    /// error, and the frontier is held.
    pub fn project(mut self) -> Self {
        self.shard = self.shard.projecting();
        self.settings.project = true;
        self
    }

    /// Whether it projects.
    pub(crate) fn projects(&self) -> bool {
        self.settings.project
    }

    /// Bytes of parts that all workers together may have between being handed out and emitted, in memory size. One part
    /// may always go, however large. Default: `config.read.inflight_bytes_max`, which also bounds all sources of this process
    /// together.
    pub fn max_inflight_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_inflight_bytes = bytes as u64;
        self
    }

    /// Fetches under way at once, on each worker; at least 1. Default: `config.read.fetches_max`, which also bounds all of
    /// this process together. What a fetch takes in memory is bounded by [`max_inflight_bytes`](Self::max_inflight_bytes).
    pub fn fetch_concurrency(mut self, fetches: usize) -> Self {
        self.settings.fetch_concurrency = fetches.max(1);
        self
    }

    /// Leaves out parts that it says no to, unread. Parts without statistics are kept.
    ///
    /// Together with [`filter_rows`](Self::filter_rows) it reads the parts that may have a wanted row, and of those the rows:
    ///
    /// ```
    /// # use timely_persist::{Client, Codec, Shard, ShardId};
    /// # use timely_persist_operators::PersistSource;
    /// #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    /// #[codec(name = "sale")]
    /// struct Sale {
    ///     #[codec(id = 1)]
    ///     day: u32,
    ///     #[codec(id = 2)]
    ///     pieces: u64,
    /// }
    /// # let client = futures::executor::block_on(Client::open("memory:"))?;
    /// let shard: Shard<String, Sale, u64, i64> = client.shard(ShardId::new());
    /// let week = 20_000..20_007;
    /// let parts = week.clone();
    /// let sales = PersistSource::new(&shard)
    ///     .filter(move |stats| stats.may_hold("value.day", parts.clone()))
    ///     .filter_rows(move |_, sale| week.contains(&sale.day));
    /// # drop(sales);
    /// # Ok::<(), timely_persist::Error>(())
    /// ```
    ///
    /// It may be asked on any thread, and it must be right: where it says no, no row of the part may matter to the caller.
    /// Where the source knows which rows matter ([`filter_rows`](Self::filter_rows), or [`map`](Self::map) that gives
    /// nothing for the others), one in `config.read.filter_audit_one_in` of the parts left out is fetched all the same; if
    /// a row of it matters, `errors` says [`FilterWrong`](crate::SourceError::FilterWrong).
    pub fn filter(mut self, keep: impl Fn(&PartStats) -> bool + Send + 'static) -> Self {
        self.leading.filter = Some(Box::new(keep));
        self
    }

    /// Leaves out rows that it says no to, before they are copied. It runs on the worker's own thread.
    pub fn filter_rows(mut self, keep: impl for<'a> FnMut(K::Ref<'a>, V::Ref<'a>) -> bool + 'static) -> Self {
        self.keep = Some(Box::new(keep));
        self
    }

    /// Reads nothing before this future is done. The reader is opened before, so what it is to read stays readable.
    pub fn start_after(mut self, start: impl Future<Output = ()> + Send + 'static) -> Self {
        self.leading.start = Some(Box::pin(start));
        self
    }

    /// Adds the source to a dataflow, as a collection of owned rows.
    pub fn build<'scope>(self, scope: Scope<'scope, T>) -> Source<'scope, K, V, T, D> {
        let MappedSource { stream, errors, progress, button } = self.build_rows(scope, Owned);
        Source { updates: stream.as_collection(), errors, progress, button }
    }

    /// The same, with a closure that sees each row where it lies, before anything is allocated, and gives what goes
    /// downstream: an `Option` filters, an array or an iterator flat-maps.
    ///
    /// ```
    /// # use differential_dataflow::AsCollection;
    /// # use timely_persist::{Client, Shard, ShardId};
    /// # use timely_persist_operators::PersistSource;
    /// # let client = futures::executor::block_on(Client::open("memory:"))?;
    /// let shard: Shard<String, u64, u64, i64> = client.shard(ShardId::new());
    /// # timely::execute_directly(move |worker| worker.dataflow(|scope| {
    /// let of_rust = PersistSource::new(&shard).map(|path: &str, lines, time, diff| {
    ///     let extension = path.rsplit('.').next();
    ///     (extension == Some("rs")).then_some((lines, time, diff))
    /// });
    /// let source = of_rust.build(scope);
    /// let lines = source.stream.as_collection().count();
    /// # drop((lines, source.button));
    /// # }));
    /// # Ok::<(), timely_persist::Error>(())
    /// ```
    ///
    /// It runs on the worker's own thread, and may keep what it likes.
    pub fn map<F, I>(self, logic: F) -> MapSource<K, V, T, D, F>
    where
        F: for<'a> FnMut(K::Ref<'a>, V::Ref<'a>, T, D) -> I + 'static,
        I: IntoIterator,
        I::Item: Clone + 'static,
    {
        MapSource { source: self, logic }
    }

    pub(crate) fn build_rows<'scope, R: Rows<K, V, T, D>>(
        self,
        scope: Scope<'scope, T>,
        rows: R,
    ) -> MappedSource<'scope, T, R::Out> {
        let Self { shard, mut settings, leading, keep } = self;
        let closures = Closures {
            filter: leading.filter.is_some(),
            filter_rows: keep.is_some(),
            map: rows.judges(),
            start_after: leading.start.is_some(),
        };
        let rows = Kept::by(keep, rows);
        settings.audits = rows.judges();
        settings.closures = closures;
        let mut stopping = stopping(scope, &settings.name);
        let (handle, home) = scope.feedback(Default::default());
        let runtime = shard.client().runtime().clone();
        let leader = |mailbox| {
            drop(runtime.spawn(lead(shard.clone(), settings.clone(), leading, mailbox))); // it ends with its mailbox
        };
        let handed_out = hand_out(&settings, home, &mut stopping, leader);
        let fetched = fetch(&shard, &settings, handed_out.descs, &mut stopping, rows);
        fetched.home.connect_loop(handle);
        let errors = handed_out.errors.concat(fetched.errors);
        let progress = errors.clone().flat_map(|_| None);
        MappedSource { stream: fetched.data, errors, progress, button: stopping.button }
    }
}

/// A source to be built whose rows go through a closure.
#[must_use = "it does nothing until it is built"]
pub struct MapSource<K: Data, V: Data, T: Time, D: Diff, F> {
    source: PersistSource<K, V, T, D>,
    logic: F,
}

impl<K: Data, V: Data, T: Time, D: Diff, F, I> MapSource<K, V, T, D, F>
where
    F: for<'a> FnMut(K::Ref<'a>, V::Ref<'a>, T, D) -> I + 'static,
    I: IntoIterator,
    I::Item: Clone + 'static,
{
    /// Adds the source to a dataflow.
    pub fn build<'scope>(self, scope: Scope<'scope, T>) -> MappedSource<'scope, T, I::Item> {
        self.source.build_rows(scope, Mapped::by(self.logic))
    }
}
