//! Copying a shard into one of other types: for changes that no lens allows.

use futures::FutureExt;
use futures::future::BoxFuture;
use timely::PartialOrder;
use timely::progress::Antichain;

use crate::read::{FetchAhead, Listen, ListenEvent, ReadHandle};
use crate::write::{Appended, BatchBuilder, WriteHandle};
use timely_persist_core::state::command::too_early;
use timely_persist_core::state::storable;
use timely_persist_io::life::guarded;
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;

use super::Shard;

/// A copy of a shard, row by row, from [`Shard::rewrite_into`]: awaited, it copies and follows.
#[must_use = "nothing is copied until it is awaited"]
pub struct Rewrite<K: Data, V: Data, K2: Data, V2: Data, T: Time, D: Diff, F> {
    course: Course<K, V, K2, V2, T, D>,
    map: F,
}

/// From where to where, and how far.
struct Course<K: Data, V: Data, K2: Data, V2: Data, T: Time, D: Diff> {
    from: Shard<K, V, T, D>,
    into: Shard<K2, V2, T, D>,
    until: Antichain<T>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Shard<K, V, T, D> {
    /// Copies this shard into another, each row as what `map` makes of it: for a change of types that [`Shard::evolve`] refuses,
    /// such as a field that is dropped, or another order. The copy has the contents from this shard's since on, each update at
    /// its time, once; then it follows until this shard is closed, or up to where [`Rewrite::until`] says. Readers of `into` see
    /// its upper behind this shard's.
    ///
    /// Where it was stopped it goes on when it is called again with the same `map`, also in another process; several at once do
    /// no harm. Nobody else writes to `into` meanwhile. It begins with an empty shard, whose since it moves to this one's, so
    /// that nobody reads there what was merged away here.
    ///
    /// ```
    /// # use timely::progress::Antichain;
    /// # use timely_persist::{Client, ShardId};
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let client = Client::open("memory:").await?;
    /// # let at = |time: u64| Antichain::from_elem(time);
    /// let wide = client.shard::<String, u64, u64, i64>(ShardId::new());
    /// # let _ = wide.open_writer("").await?.append([(("pears".to_owned(), 7), 0, 1)], at(0), at(1)).await?;
    /// let narrow = client.shard::<String, u8, u64, i64>(ShardId::new());
    /// wide.rewrite_into(&narrow, |item, count| (item, count.min(255) as u8)).until(at(1)).await?;
    /// let rows = narrow.open_reader("example").await?.snapshot_and_fetch(at(0)).await?;
    /// assert_eq!(rows, [(("pears".to_owned(), 7), 0, 1)]);
    /// # Ok::<(), timely_persist::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// `Since` if this shard does not keep apart any more what follows the copy, because it rested for longer than a lease
    /// while others moved the since on: a critical reader of this shard, not beyond the copy's upper, prevents that. `Invalid`
    /// if `into` has rows that are not a copy's, or readers that this shard's history is too short for, or if `map` panics.
    /// Other errors as in [`Shard::open_writer`], [`Shard::open_reader`] and `PartFetcher::fetch`. After an error, and when
    /// cancelled, the copy is as far as its upper.
    ///
    /// It holds `config.read.inflight_bytes_max` bytes of parts and one batch that is being built in memory.
    pub fn rewrite_into<K2: Data, V2: Data, F>(
        &self,
        into: &Shard<K2, V2, T, D>,
        map: F,
    ) -> Rewrite<K, V, K2, V2, T, D, F>
    where
        F: FnMut(K, V) -> (K2, V2) + Send + 'static,
    {
        Rewrite { course: Course { from: self.clone(), into: into.clone(), until: Antichain::new() }, map }
    }
}

impl<K: Data, V: Data, K2: Data, V2: Data, T: Time, D: Diff, F> Rewrite<K, V, K2, V2, T, D, F> {
    /// The same, done once the copy has everything at times not beyond `until`, and nothing else.
    pub fn until(mut self, until: Antichain<T>) -> Self {
        self.course.until = until;
        self
    }
}

impl<K: Data, V: Data, K2: Data, V2: Data, T: Time, D: Diff, F> IntoFuture for Rewrite<K, V, K2, V2, T, D, F>
where
    F: FnMut(K, V) -> (K2, V2) + Send + 'static,
{
    type Output = Result<(), Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.course.run(self.map).boxed()
    }
}

/// What the copy does not have yet, as it comes.
struct Rest<K: Data, V: Data, T: Time, D: Diff> {
    listen: Listen<K, V, T, D>,
    /// Keeps in the shard what the copy would need if it were stopped now: the listener is ahead of it.
    hold: ReadHandle<K, V, T, D>,
}

impl<K: Data, V: Data, K2: Data, V2: Data, T: Time, D: Diff> Course<K, V, K2, V2, T, D> {
    async fn run(self, mut map: impl FnMut(K, V) -> (K2, V2) + Send) -> Result<(), Error> {
        if self.from.id() == self.into.id() {
            return Err(Error::invalid("a shard cannot be rewritten into itself").of_shard(self.from.id()));
        }
        storable(&self.until, self.from.id())?;
        let mut writer = self.into.open_writer(&self.purpose()).await?;
        loop {
            let upper = writer.fetch_upper().await?;
            if self.is_done(&upper) {
                return Ok(());
            }
            let rest = self.begin(&upper).await?;
            self.copy(rest, &mut map, &mut writer, upper).await?;
        }
    }

    fn purpose(&self) -> String {
        format!("rewrite {} into {}", self.from.id(), self.into.id())
    }

    fn is_done(&self, upper: &Antichain<T>) -> bool {
        upper.is_empty() || (!self.until.is_empty() && PartialOrder::less_equal(&self.until, upper))
    }

    /// What follows where the copy ends.
    async fn begin(&self, upper: &Antichain<T>) -> Result<Rest<K, V, T, D>, Error> {
        let hold = self.from.open_reader(&self.purpose()).await?;
        let since = hold.since().clone();
        let reader = hold.fork(&self.purpose()).await?;
        let kept_until = |until: &Antichain<T>| until.is_empty() || !PartialOrder::less_equal(until, &since);
        if !kept_until(&self.until) {
            return Err(too_early(self.from.id(), &self.until, &since));
        }
        let listen = if *upper == Antichain::from_elem(T::minimum()) {
            self.begin_history(&since).await?;
            reader.subscribe(since).await?
        } else {
            self.check_kept(upper, &since).await?;
            reader.listen_from(upper.clone())
        };
        Ok(Rest { listen: listen.until(self.until.clone()), hold })
    }

    /// Lets the copy's history begin where the shard's does: before it has any row.
    async fn begin_history(&self, since: &Antichain<T>) -> Result<(), Error> {
        let mut reader = self.into.open_reader(&self.purpose()).await?;
        let moved = reader.downgrade_since(since).await;
        let expired = reader.expire().await;
        moved.and(expired)?;
        let begins = self.into.inspect().await?.since;
        if PartialOrder::less_equal(since, &begins) {
            return Ok(());
        }
        let (begins, since) = (begins.elements(), since.elements());
        let message = format!("it has readers at {begins:?}, and what is to be copied is known from {since:?} on");
        Err(Error::invalid(message).of_shard(self.into.id()).advise("expire them, or copy into another shard"))
    }

    /// An error if updates at times from the copy's upper on are not told apart any more from those before.
    async fn check_kept(&self, upper: &Antichain<T>, since: &Antichain<T>) -> Result<(), Error> {
        let theirs = self.from.inspect().await?.upper;
        if !PartialOrder::less_equal(upper, &theirs) {
            let (upper, theirs) = (upper.elements(), theirs.elements());
            let message = format!("its upper, {upper:?}, is beyond {theirs:?}, that of the shard that it is a copy of");
            return Err(Error::invalid(message).of_shard(self.into.id()).advise("copy into an empty shard"));
        }
        let merged = since.elements().iter().any(|time| upper.less_equal(time));
        // Where times are partially ordered, the since moves those beyond the upper too, unless it is before all of them.
        if merged || !PartialOrder::less_equal(since, upper) {
            return Err(too_early(self.from.id(), upper, since));
        }
        Ok(())
    }

    /// Copies what comes, until it is done or another copy is ahead.
    async fn copy(
        &self,
        rest: Rest<K, V, T, D>,
        map: &mut (impl FnMut(K, V) -> (K2, V2) + Send),
        writer: &mut WriteHandle<K2, V2, T, D>,
        mut upper: Antichain<T>,
    ) -> Result<(), Error> {
        let Rest { mut listen, mut hold } = rest;
        while !self.is_done(&upper) {
            let mut builder = writer.batch_builder(upper.clone());
            let frontier = self.step(&mut listen, map, &mut builder).await?;
            let mut batch = builder.finish(frontier.clone()).await?;
            match writer.compare_and_append_batch(&mut [&mut batch], upper, frontier.clone()).await? {
                Appended::Committed => upper = frontier,
                Appended::UpperMismatch { .. } => break,
            }
            hold.maybe_downgrade_since(listen.since()).await?;
        }
        listen.expire().await?;
        hold.expire().await
    }

    /// Adds all rows to the batch that come before the next frontier, and says which that is.
    async fn step(
        &self,
        listen: &mut Listen<K, V, T, D>,
        map: &mut (impl FnMut(K, V) -> (K2, V2) + Send),
        builder: &mut BatchBuilder<K2, V2, T, D>,
    ) -> Result<Antichain<T>, Error> {
        loop {
            let events = listen.next().await?;
            let is_over = events.is_empty();
            let mut frontier = None;
            for event in events {
                match event {
                    ListenEvent::Updates(parts) => {
                        let read = &self.from.client().config().read;
                        self.add(FetchAhead::new(listen.fetcher(), parts, read), map, builder).await?;
                    }
                    ListenEvent::Progress(progress) => frontier = Some(progress),
                }
            }
            if let Some(mut frontier) = frontier.or_else(|| is_over.then(|| listen.frontier().clone())) {
                // Rows beyond `until` were left out.
                frontier.extend(self.until.iter().cloned());
                return Ok(frontier);
            }
        }
    }

    async fn add(
        &self,
        mut parts: FetchAhead<K, V, T, D>,
        map: &mut (impl FnMut(K, V) -> (K2, V2) + Send),
        builder: &mut BatchBuilder<K2, V2, T, D>,
    ) -> Result<(), Error> {
        while let Some(part) = parts.next().await? {
            for block in part {
                let rows = guarded(|| {
                    let own = |(key, value, time, diff)| (map(K::from_ref(key), V::from_ref(value)), time, diff);
                    Ok(block.refs().map(own).collect::<Vec<_>>())
                });
                builder.add_rows(rows.map_err(|error| error.of_shard(self.from.id()))?).await?;
            }
        }
        Ok(())
    }
}
