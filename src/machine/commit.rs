//! Committing: a group of commands becomes one entry.
//!
//! Whoever gets the committer's lock leads: it decides for all that wait in the queue, commits once, answers them all.
//! The others find their answer ready when they get the lock. So a commit never needs a thread of its own, and a burst
//! of commands costs few entries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use timely_persist_core::state::command::{Command, Limits, Moment, RemoveLapsed};
use timely_persist_core::state::{Change, Entry, Sightings, State};
use timely_persist_io::life::{Retry, Stopwatch, lock};
use timely_persist_types::codec::Time;
use timely_persist_types::config::LogConfig;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::{SeqNo, Token};
use timely_persist_types::record::{Committed, Uncommitted};

use super::Machine;
use super::request::{Applied, Pending};
use super::write_entry::Written;

type Group<T> = Vec<Box<dyn Pending<T>>>;

/// How a group of commands was settled.
struct Settled {
    /// Whether an earlier try may have taken effect unseen.
    doubtful: bool,
    /// The entry that it came to, unless it only has replies.
    committed: Option<Committed>,
}

/// What it takes to settle a group.
struct Effort {
    begun: Stopwatch,
    /// Compare-and-sets.
    tries: u64,
}

/// What a group wants to commit.
struct Decided<T: Time> {
    changes: Vec<Change<T>>,
    /// So many of them, the first ones, nobody asked for: they remove who has lapsed.
    lapsed: usize,
}

impl<T: Time> Machine<T> {
    /// Leads commits until the answer is there.
    pub(super) async fn lead_until<R>(
        self: Arc<Self>,
        mut answer: oneshot::Receiver<Result<Applied<R>, Error>>,
    ) -> Result<Applied<R>, Error> {
        loop {
            let _committer = self.committer.lock().await;
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Err(Error::unavailable("the commit was abandoned, it may have happened")
                        .advise("the same call with the same arguments settles it"));
                }
                Err(oneshot::error::TryRecvError::Empty) => self.lead().await,
            }
        }
    }

    async fn lead(&self) {
        let mut group: Group<T> = {
            let mut queue = lock(&self.queue);
            let count = self.group_size(queue.iter().map(|pending| pending.entry_bytes()));
            queue.drain(..count).collect()
        };
        let mut effort = Effort { begun: self.context.life.stopwatch(), tries: 0 };
        let settled = self.commit(&mut group, &mut effort).await;
        self.report(&group, &settled, effort);
        match settled {
            Ok(Settled { doubtful, .. }) => group.into_iter().for_each(|pending| pending.answer(doubtful)),
            Err(error) => group.into_iter().for_each(|pending| pending.fail(error.clone())),
        }
    }

    /// How many commands of so many bytes each go into one entry: as many as its limits let, at least one.
    fn group_size(&self, commands: impl Iterator<Item = usize>) -> usize {
        let LogConfig { group_commits_max, entry_bytes_max, .. } = self.context.log.config;
        let mut bytes = 0usize;
        let fits = |more: &usize| {
            bytes = bytes.saturating_add(*more);
            bytes <= entry_bytes_max
        };
        commands.take(group_commits_max).take_while(fits).count().max(1)
    }

    /// Tells how the group ended.
    fn report(&self, group: &Group<T>, settled: &Result<Settled, Error>, Effort { begun, tries }: Effort) {
        let (life, shard) = (&self.context.life, self.shard);
        if let Ok(Settled { committed: Some(committed), .. }) = settled {
            tracing::trace!(%shard, seqno = %committed.seqno, commands = ?committed.commands, "committed");
            return life.tell(|to| to.committed(shard, committed));
        }
        life.tell(|to| {
            let uncommitted = Uncommitted { commands: self.names(group), tries, elapsed: begun.elapsed() };
            match settled {
                Ok(_) => to.refused(shard, &uncommitted),
                Err(_) => to.gave_up(shard, &uncommitted),
            }
        });
    }

    /// What the commands are called, if anybody hears of it: an append that nobody hears of allocates nothing for it.
    fn names(&self, group: &Group<T>) -> Vec<&'static str> {
        let is_heard = self.context.life.is_recorded() || tracing::enabled!(tracing::Level::TRACE);
        group.iter().filter(|_| is_heard).map(|pending| pending.name()).collect()
    }

    /// Commits what the group decides.
    async fn commit(&self, group: &mut Group<T>, effort: &mut Effort) -> Result<Settled, Error> {
        let mut retry = self.context.log.retry();
        let mut fresh = false;
        let mut doubtful = false;
        loop {
            if self.state.borrow().seqno == SeqNo::ZERO && !fresh {
                self.catch_up(&mut retry).await?;
                fresh = true;
            }
            let state = self.state();
            let mut draft = State::clone(&state);
            draft.seqno = state.seqno.next();
            draft.wall_ms = state.wall_ms.max(self.context.clock.wall_ms());
            let Decided { changes, lapsed } = self.decide(group, &state, &mut draft)?;
            if changes.is_empty() {
                if fresh {
                    return Ok(Settled { doubtful, committed: None });
                }
                self.catch_up(&mut retry).await?;
                fresh = true;
                lock(&self.sightings).look_again(); // they are of a state that may be old
                continue;
            }
            let token = Token::from_u128(self.context.entropy.bits());
            let (previous, rollup) = (state.token, draft.rollup.clone());
            draft.token = token;
            let entry = Entry { token, previous, wall_ms: draft.wall_ms, changes, rollup };
            let bytes = entry.encode();
            let length = bytes.len() as u64;
            // Whatever wins this position, we hear of it here: the follower needs no waking for it.
            self.own.store(draft.seqno.0, Ordering::Release);
            let written = self.write_entry(state.seqno, bytes, &mut retry, &mut effort.tries).await;
            let written = written.inspect_err(|_| {
                self.own.store(0, Ordering::Release);
                lock(&self.sightings).look_again();
            })?;
            match written {
                Written::Committed => {
                    let (readers_lapsed, writers_lapsed) = lapsed_of(&entry.changes[..lapsed]);
                    let committed = Committed {
                        commands: self.names(group),
                        seqno: draft.seqno,
                        tries: effort.tries,
                        changes: entry.changes.len() as u64,
                        bytes: length,
                        readers_lapsed,
                        writers_lapsed,
                        elapsed: effort.begun.elapsed(),
                    };
                    self.install_own(draft);
                    return Ok(Settled { doubtful, committed: Some(committed) });
                }
                Written::Conflict { unseen } => {
                    doubtful |= unseen;
                    self.give_way(state.seqno, doubtful, &mut retry).await?;
                    fresh = true;
                }
            }
        }
    }

    /// Another entry stands behind the state of this number: reads on, or says why there is no time left.
    async fn give_way(&self, seqno: SeqNo, doubtful: bool, retry: &mut Retry<'_>) -> Result<(), Error> {
        lock(&self.sightings).look_again(); // whoever was to be removed still stands
        if retry.is_over() {
            return Err(overtaken(doubtful));
        }
        self.catch_up(retry).await?;
        // Where another entry has won there is nothing to wait for.
        if self.state.borrow().seqno == seqno {
            self.explain_conflict(retry).await?;
            if !retry.pause().await {
                return Err(overtaken(doubtful));
            }
        }
        Ok(())
    }

    /// Lets each of the group decide on what those before it decided; `draft` becomes the state after all of them, and
    /// was `state` before.
    fn decide(&self, group: &mut Group<T>, state: &State<T>, draft: &mut State<T>) -> Result<Decided<T>, Error> {
        let moment = Moment { now_ms: draft.wall_ms, limits: Limits::of(&self.context.limits, &self.context.upkeep) };
        let mut changes = Vec::new();
        let mut step = |draft: &mut State<T>, command: &str, decided: Vec<Change<T>>| {
            for change in decided {
                // Our own facts on our own state: a misfit is a mistake in a decision, not in storage.
                draft.apply_change(&change).map_err(|misfit| {
                    let message =
                        format!("refused to write a fact of {command} that does not fit ({misfit}): {change:?}");
                    Error::new(ErrorKind::Bug, message)
                })?;
                changes.push(change);
            }
            Ok::<(), Error>(())
        };
        let lapsed = {
            let mut sightings = lock(&self.sightings);
            if sightings.due(self.begun.elapsed()) { self.look(&mut sightings, state) } else { Vec::new() }
        };
        let lapsed_count = lapsed.len();
        step(draft, <RemoveLapsed as Command<T>>::NAME, lapsed)?;
        for pending in group.iter_mut() {
            let decided = pending.decide(draft, &moment);
            step(draft, pending.name(), decided)?;
        }
        match changes.iter().find_map(|change| draft.check_change(change).err()) {
            None => Ok(Decided { changes, lapsed: lapsed_count }),
            Some(misfit) => {
                let message = format!("refused to write an entry that breaks an invariant ({misfit})");
                Err(Error::new(ErrorKind::Bug, message))
            }
        }
    }

    /// Who has lapsed in this state.
    pub(super) fn look(&self, sightings: &mut Sightings, state: &State<T>) -> Vec<Change<T>> {
        let retention = Duration::from_millis(self.context.blobs.writer_retention_ms());
        sightings.look(state, self.begun.elapsed(), self.context.clock.wall_ms(), retention, &self.context.lease)
    }
}

/// How many readers, and how many records of writers, these changes remove.
fn lapsed_of<T: Time>(changes: &[Change<T>]) -> (u64, u64) {
    let readers = changes.iter().filter(|change| matches!(change, Change::ReaderRemoved(_))).count();
    (readers as u64, (changes.len() - readers) as u64)
}

/// The error of a commit whose every try met another's entry.
fn overtaken(doubtful: bool) -> Error {
    let message = match doubtful {
        true => "other commits came first until the deadline; it may have happened",
        false => "other commits came first until the deadline; it did not happen",
    };
    Error::unavailable(message)
        .advise("try again with the same arguments; if several write to the shard, let fewer of them do so at once")
}
