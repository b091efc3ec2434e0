//! Committing: a group of commands becomes one entry.
//!
//! Whoever gets the committer's lock leads: it decides for all that wait in the queue, commits once, answers them all.
//! The others find their answer ready when they get the lock. So a commit never needs a thread of its own, and a burst
//! of commands costs few entries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::codec::Time;
use crate::error::{Error, ErrorKind};
use crate::ids::Token;
use crate::life::lock;
use crate::state::command::{Command, Limits, Moment, RemoveLapsed};
use crate::state::{Change, Entry, Sightings, State};

use super::Machine;
use super::request::{Applied, Pending};
use super::write_entry::Written;

type Group<T> = Vec<Box<dyn Pending<T>>>;

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
            let count = queue.len().min(self.context.config.group_commits_max.max(1));
            queue.drain(..count).collect()
        };
        match self.commit(&mut group).await {
            Ok(doubtful) => group.into_iter().for_each(|pending| pending.answer(doubtful)),
            Err(error) => group.into_iter().for_each(|pending| pending.fail(error.clone())),
        }
    }

    /// Commits what the group decides; whether an earlier try may have taken effect unseen.
    async fn commit(&self, group: &mut Group<T>) -> Result<bool, Error> {
        let mut retry = self.context.life.retry(self.context.config.commit_deadline);
        let mut fresh = false;
        let mut doubtful = false;
        loop {
            if self.state.borrow().seqno == crate::ids::SeqNo::ZERO && !fresh {
                self.catch_up(&mut retry).await?;
                fresh = true;
            }
            let state = self.state();
            let mut draft = State::clone(&state);
            draft.seqno = state.seqno.next();
            draft.wall_ms = state.wall_ms.max(self.context.clock.wall_ms());
            let changes = self.decide(group, &state, &mut draft)?;
            if changes.is_empty() {
                if fresh {
                    return Ok(doubtful);
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
            // Whatever wins this position, we hear of it here: the follower needs no waking for it.
            self.own.store(draft.seqno.0, Ordering::Release);
            let written = self.write_entry(state.seqno, entry.encode(), &mut retry).await;
            let written = written.inspect_err(|_| {
                self.own.store(0, Ordering::Release);
                lock(&self.sightings).look_again();
            })?;
            match written {
                Written::Committed => {
                    let commands = || group.iter().map(|pending| pending.name()).collect::<Vec<_>>();
                    tracing::trace!(shard = %self.shard, seqno = %draft.seqno, commands = ?commands(), "committed");
                    self.install_own(draft);
                    return Ok(doubtful);
                }
                Written::Conflict { unseen } => {
                    lock(&self.sightings).look_again(); // whoever was to be removed still stands
                    doubtful |= unseen;
                    if retry.is_over() {
                        return Err(overtaken(doubtful));
                    }
                    self.catch_up(&mut retry).await?;
                    // Where another entry has won there is nothing to wait for.
                    if self.state.borrow().seqno == state.seqno {
                        self.explain_conflict(&mut retry).await?;
                        if !retry.pause().await {
                            return Err(overtaken(doubtful));
                        }
                    }
                    fresh = true;
                }
            }
        }
    }

    /// Lets each of the group decide on what those before it decided; `draft` becomes the state after all of them, and
    /// was `state` before.
    fn decide(&self, group: &mut Group<T>, state: &State<T>, draft: &mut State<T>) -> Result<Vec<Change<T>>, Error> {
        let moment = Moment { now_ms: draft.wall_ms, limits: Limits::of(&self.context.config) };
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
        step(draft, <RemoveLapsed as Command<T>>::NAME, lapsed)?;
        for pending in group.iter_mut() {
            let decided = pending.decide(draft, &moment);
            step(draft, pending.name(), decided)?;
        }
        match changes.iter().find_map(|change| draft.check_change(change).err()) {
            None => Ok(changes),
            Some(misfit) => {
                let message = format!("refused to write an entry that breaks an invariant ({misfit})");
                Err(Error::new(ErrorKind::Bug, message))
            }
        }
    }

    /// Who has lapsed in this state.
    pub(super) fn look(&self, sightings: &mut Sightings, state: &State<T>) -> Vec<Change<T>> {
        let retention = Duration::from_millis(self.context.blobs.writer_retention_ms());
        sightings.look(state, self.begun.elapsed(), self.context.clock.wall_ms(), retention, &self.context.config)
    }
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
