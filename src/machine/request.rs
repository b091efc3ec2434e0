//! A command that waits for its turn, and its answer.

use tokio::sync::oneshot;

use timely_persist_core::state::command::{Command, Decision, Moment};
use timely_persist_core::state::{Change, State};
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;

/// A reply, and whether an earlier try of the same command may have taken effect unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied<R> {
    /// The reply.
    pub reply: R,
    /// If so, what the command wanted to add may be in use although the reply says no: it must not be deleted.
    pub doubtful: bool,
}

/// Where the answer goes.
pub(super) type Answer<R> = oneshot::Sender<Result<Applied<R>, Error>>;

/// A command in the queue, of whatever type.
pub(super) trait Pending<T: Time>: Send {
    /// What it is called.
    fn name(&self) -> &'static str;
    /// What it adds to an entry, in bytes, as far as that can be much.
    fn entry_bytes(&self) -> usize;
    /// Decides on `state` and remembers the reply; the facts to commit, if any.
    fn decide(&mut self, state: &State<T>, moment: &Moment) -> Vec<Change<T>>;
    /// Gives the remembered reply.
    fn answer(self: Box<Self>, doubtful: bool);
    /// Gives an error.
    fn fail(self: Box<Self>, error: Error);
}

pub(super) struct Request<C, R> {
    command: C,
    reply: Option<R>,
    sender: Answer<R>,
}

impl<C, R> Request<C, R> {
    pub(super) fn new(command: C, sender: Answer<R>) -> Self {
        Self { command, reply: None, sender }
    }
}

impl<T: Time, C: Command<T>> Pending<T> for Request<C, C::Reply> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn entry_bytes(&self) -> usize {
        self.command.entry_bytes()
    }

    fn decide(&mut self, state: &State<T>, moment: &Moment) -> Vec<Change<T>> {
        let (changes, reply) = match self.command.decide(state, moment) {
            Decision::Commit(changes, reply) => (changes, reply),
            Decision::Reply(reply) => (Vec::new(), reply),
        };
        self.reply = Some(reply);
        changes
    }

    fn answer(self: Box<Self>, doubtful: bool) {
        if let Some(reply) = self.reply {
            // A caller that has gone needs no answer.
            let _ = self.sender.send(Ok(Applied { reply, doubtful }));
        }
    }

    fn fail(self: Box<Self>, error: Error) {
        let _ = self.sender.send(Err(error));
    }
}
