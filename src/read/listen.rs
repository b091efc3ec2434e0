//! Following a shard: what happens after a time, with or without the snapshot before it.
//!
//! A listener stands at a *position*, the upper of the newest batch that it has shown. Compaction may merge a batch
//! that was shown with one that was not; then each row's time tells which it was of. That works because the reader's
//! since stays one step behind: no element of it is beyond the position, so compaction, which moves times only up to
//! the since, moves none from before the position to beyond it.

use std::sync::Arc;
use std::task::{self, Poll};

use futures::future::BoxFuture;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use timely::PartialOrder;
use timely::progress::Antichain;

use crate::fetch::Window;
use crate::machine::Health;
use timely_persist_core::state::{State, advance_frontier, passed, storable};
use timely_persist_io::life::{Supervised, guarded};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;
use timely_persist_types::ids::LeaseId;

use super::ahead::FetchAhead;
use super::{LeasedPart, PartFetcher, ReadHandle};

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenEvent<T, U> {
    /// No more updates will come at times not beyond this.
    Progress(Antichain<T>),
    /// Updates, at times beyond the progress so far.
    Updates(Vec<U>),
}

/// A listener that begins with the snapshot.
pub type Subscribe<K, V, T, D> = Listen<K, V, T, D>;

/// Hears everything that happens in a shard after an `as_of`, at its time; with the snapshot there, at `as_of`, if it
/// came from [`ReadHandle::subscribe`].
///
/// It may be dropped at any moment. Parts that are out keep the reader registered.
pub struct Listen<K: Data, V: Data, T: Time, D: Diff> {
    handle: ReadHandle<K, V, T, D>,
    as_of: Antichain<T>,
    until: Antichain<T>,
    /// Whether the snapshot is wanted and has not been shown yet.
    snapshot: bool,
    /// All batches before this were shown.
    position: Antichain<T>,
    /// The position as a reader from `as_of` on sees it.
    frontier: Antichain<T>,
    /// What the since moves to as soon as the position is strictly beyond it.
    candidate: Antichain<T>,
    /// Resolves when there is a step to take; made when it is first waited for.
    ready: Option<BoxFuture<'static, Result<(), Error>>>,
    _follow: Arc<Supervised>,
}

impl<K: Data, V: Data, T: Time, D: Diff> ReadHandle<K, V, T, D> {
    /// Everything that happens strictly after `as_of`, at its time. Errors as in [`ReadHandle::snapshot`].
    pub async fn listen(self, as_of: Antichain<T>) -> Result<Listen<K, V, T, D>, Error> {
        self.check_as_of(&as_of)?;
        Ok(Listen::new(self, as_of, false))
    }

    /// The snapshot at `as_of` and everything after it, in one pass. Errors as in [`ReadHandle::snapshot`].
    pub async fn subscribe(self, as_of: Antichain<T>) -> Result<Subscribe<K, V, T, D>, Error> {
        self.check_as_of(&as_of)?;
        Ok(Listen::new(self, as_of, true))
    }

    /// Everything at times beyond `position`, at its time: a listener that goes on where another stood. The reader's since is
    /// before it, and nothing of it beyond; the shard's upper is there or beyond.
    pub(crate) fn listen_from(self, position: Antichain<T>) -> Listen<K, V, T, D> {
        let as_of = self.since().clone();
        Listen::at(self, as_of, false, position)
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Listen<K, V, T, D> {
    fn new(handle: ReadHandle<K, V, T, D>, as_of: Antichain<T>, snapshot: bool) -> Self {
        Self::at(handle, as_of, snapshot, Antichain::from_elem(T::minimum()))
    }

    fn at(handle: ReadHandle<K, V, T, D>, as_of: Antichain<T>, snapshot: bool, position: Antichain<T>) -> Self {
        let follow = handle.roster().machine().follow();
        Self {
            handle,
            until: Antichain::new(),
            snapshot,
            // For several elements this is not `as_of`: a time below all of them is seen at their meet.
            frontier: advance_frontier(&position, &as_of),
            position,
            candidate: as_of.clone(),
            as_of,
            ready: None,
            _follow: follow,
        }
    }

    /// The same listener, which shows nothing at times beyond `until` and is done there.
    pub fn until(mut self, until: Antichain<T>) -> Self {
        self.until = until;
        self
    }

    /// Everything at times not beyond this was shown.
    pub fn frontier(&self) -> &Antichain<T> {
        &self.frontier
    }

    /// What the reader keeps from being merged away: one step behind the frontier.
    pub fn since(&self) -> &Antichain<T> {
        self.handle.since()
    }

    /// The reader underneath.
    pub fn reader(&self) -> &ReadHandle<K, V, T, D> {
        &self.handle
    }

    /// Fetches what this listener leases.
    pub fn fetcher(&self) -> PartFetcher<K, V, T, D> {
        self.handle.fetcher()
    }

    /// The next events: leased parts, and the progress behind them. Waits until there is something. Empty at the end:
    /// when the frontier is empty, or has reached `until`.
    ///
    /// `LeaseExpired` if the reader was lost, `Invalid` if `until` has a time that cannot be stored. No I/O of its own: it waits for the state in this process, which follows
    /// the log. Cancelling loses nothing.
    pub async fn next(&mut self) -> Result<Vec<ListenEvent<T, LeasedPart<T>>>, Error> {
        std::future::poll_fn(|task| self.poll_next(task)).await
    }

    /// [`Listen::next`] for those who poll by themselves, from any thread: whatever changes the state wakes the task,
    /// on the thread that changed it.
    pub fn poll_next(
        &mut self,
        task: &mut task::Context<'_>,
    ) -> Poll<Result<Vec<ListenEvent<T, LeasedPart<T>>>, Error>> {
        storable(&self.until, self.handle.shard_id())?;
        loop {
            if self.is_done() {
                return Poll::Ready(Ok(Vec::new()));
            }
            let mut ready = self.ready.take().unwrap_or_else(|| self.when_ready());
            let Poll::Ready(stands) = ready.as_mut().poll(task) else {
                self.ready = Some(ready);
                return Poll::Pending;
            };
            let (parts, position) = stands.and_then(|()| self.take_step())?;
            let progress = self.advance(position);
            let mut events = Vec::with_capacity(2);
            if !parts.is_empty() {
                events.push(ListenEvent::Updates(parts));
            }
            events.extend(progress.map(ListenEvent::Progress));
            if !events.is_empty() {
                return Poll::Ready(Ok(events));
            }
        }
    }

    /// Resolves when there is a step to take.
    fn when_ready(&self) -> BoxFuture<'static, Result<(), Error>> {
        let machine = Arc::clone(self.handle.roster().machine());
        let (id, position) = (self.handle.reader_id(), self.position.clone());
        let waits_for_snapshot = self.snapshot.then(|| self.as_of.clone());
        let find = move |state: &State<T>| {
            let upper = state.upper();
            let ready = position != upper && waits_for_snapshot.as_ref().is_none_or(|as_of| passed(&upper, as_of));
            // Or the lease was lost while we waited: the step says so.
            let lost = !state.readers.contains_key(&id);
            (ready || lost).then_some(())
        };
        let life = Arc::clone(machine.life());
        Box::pin(life.within(async move { machine.wait_for(find).await }))
    }

    /// Leases the parts of the next batches, and the position behind them.
    fn take_step(&self) -> Result<(Vec<LeasedPart<T>>, Antichain<T>), Error> {
        let parts_max = self.handle.roster().read().listen_parts_max;
        let (as_of, shown, until) = (self.as_of.clone(), self.position.clone(), self.until.clone());
        let view = Window { snapshot: self.snapshot, shown, until, ..Window::new(as_of) };
        let (runs, position) = self.handle.take(&view, parts_max)?;
        Ok((runs.into_iter().flatten().collect(), position))
    }

    /// Moves to a position; the frontier, if that makes it move.
    fn advance(&mut self, position: Antichain<T>) -> Option<Antichain<T>> {
        self.snapshot = self.snapshot && !passed(&position, &self.as_of);
        self.position = position;
        let candidate = &self.candidate;
        if candidate.elements().iter().all(|time| !self.position.less_equal(time)) {
            self.handle.set_since(candidate);
            self.candidate = advance_frontier(&self.position, &self.as_of);
        }
        let frontier = advance_frontier(&self.position, &self.as_of);
        if frontier == self.frontier {
            return None;
        }
        self.frontier.clone_from(&frontier);
        Some(frontier)
    }

    /// The next events, with the rows themselves. Errors as in [`Listen::next`] and `PartFetcher::fetch`: after one,
    /// and when cancelled, the events of this step are lost; open a listener again at the frontier before it.
    pub async fn fetch_next(&mut self) -> Result<Vec<ListenEvent<T, ((K, V), T, D)>>, Error> {
        let fetcher = self.fetcher();
        loop {
            let mut events = Vec::new();
            for event in self.next().await? {
                events.push(match event {
                    ListenEvent::Progress(frontier) => ListenEvent::Progress(frontier),
                    ListenEvent::Updates(parts) => {
                        let mut fetching = FetchAhead::new(fetcher.clone(), parts, self.handle.roster().read());
                        let mut rows = Vec::new();
                        while let Some(part) = fetching.next().await? {
                            let copied = guarded(|| {
                                rows.extend(part.rows());
                                Ok(())
                            });
                            copied.map_err(|error| error.of_shard(self.handle.shard_id()))?;
                        }
                        ListenEvent::Updates(rows)
                    }
                });
            }
            events.retain(|event| !matches!(event, ListenEvent::Updates(rows) if rows.is_empty()));
            // Parts of which the window shows nothing are no event, and not the end either.
            if !events.is_empty() || self.is_done() {
                return Ok(events);
            }
        }
    }

    /// All events to come, one by one. It ends at the empty frontier, at `until`, or after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<ListenEvent<T, ((K, V), T, D)>, Error>> {
        let steps = stream::unfold(Some(self), |listen| async move {
            let mut listen = listen?;
            match listen.fetch_next().await {
                Ok(events) if events.is_empty() && listen.is_done() => None,
                Ok(events) => Some((Ok(events), Some(listen))),
                Err(error) => Some((Err(error), None)),
            }
        });
        steps.map_ok(|events| stream::iter(events).map(Ok)).try_flatten()
    }

    fn is_done(&self) -> bool {
        self.frontier.is_empty() || (!self.until.is_empty() && PartialOrder::less_equal(&self.until, &self.frontier))
    }

    /// Whether the log answers: a listener waits through outages, and this tells of them.
    pub fn health(&self) -> tokio::sync::watch::Receiver<Health> {
        self.handle.roster().machine().health()
    }

    /// Gives back the lease of a part that was exchanged. `Invalid` if it is not out.
    pub fn return_lease(&self, id: LeaseId) -> Result<(), Error> {
        self.handle.return_lease(id)
    }

    /// Removes the reader from the shard, also if leases of it are out: what they hold may go.
    pub async fn expire(self) -> Result<(), Error> {
        self.handle.expire().await
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> std::fmt::Debug for Listen<K, V, T, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listen").field("reader", &self.handle).field("frontier", &self.frontier).finish_non_exhaustive()
    }
}
