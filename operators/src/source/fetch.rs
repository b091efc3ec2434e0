//! Fetching and emitting, as each worker does it: a value that is told what happened and says what to do. It does nothing
//! itself, and knows no dataflow, no task and no clock.
//!
//! Always:
//! * F1 For each part that came and has not been emitted the capabilities that came with it are kept; parts are complete in
//!   any order.
//! * F2 A part goes home exactly once: after its last row, or given up.
//! * F3 Of a part that is given up the capabilities are kept, so that nobody takes its absence for the truth, until all
//!   workers have stopped.
//! * F4 After a stop or a panic nothing more is fetched or emitted; what comes is given up.
//!
//! `C` are the capabilities of a message, `P` is a part to fetch, `R` some of its rows in memory.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use timely_persist::{Error, ErrorKind, LeaseId, ShardId};

use crate::common::error::SourceError;
use crate::source::message::Returned;

/// Pieces of parts that a fetch operator has in memory beside one for each part that is being fetched, and as many wait
/// for it: those are emitted while the next are read. More would only take memory.
pub(crate) const PIECES_MAX: usize = 4;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event<C, P, R> {
    /// A part came, to be fetched; `audit`: only to check the filter that discarded it.
    Part { lease: LeaseId, part: P, audit: bool, capabilities: C },
    /// The workers were asked for different things.
    Disagreement { message: String, capabilities: C },
    /// The fetch of a part brought something.
    Brought { lease: LeaseId, brought: Brought<R> },
    /// The rows that were to be emitted next were, or were looked at.
    Emitted,
    /// The same, of an audit that found a row that matters.
    FoundWrong,
    /// The code that was to make something of them panicked.
    Panicked(Error),
    /// This worker's button was pressed.
    Pressed,
    /// Those of all workers were, or the source is complete.
    Stopped,
}

/// What the fetch of a part brings.
#[derive(Debug)]
pub(crate) enum Brought<R> {
    /// Some of its rows; `last`: the rest, too.
    Rows { rows: R, last: bool },
    /// Word that storage does not answer; the fetch keeps trying.
    Stalled(Error),
    /// Word that the part will never be there.
    Failed(Error),
}

/// What to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<C> {
    /// Send a part home, and end its fetch if it is under way.
    Return { capabilities: C, returned: Returned },
    /// Say this.
    Report { capabilities: C, error: SourceError },
}

/// What is to be done with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Emit,
    /// Look whether one of them matters.
    Audit,
    /// Nothing: it is known already that one does.
    Skip,
}

/// The parts of one worker.
#[derive(Debug)]
pub(crate) struct Fetch<C, P, R> {
    shard: ShardId,
    fetch_concurrency: usize,
    waiting: VecDeque<(Rc<Held<C>>, P)>,
    fetching: BTreeMap<LeaseId, Rc<Held<C>>>,
    ready: VecDeque<Ready<C, R>>,
    /// The capabilities of parts that were not emitted and never will be.
    given_up: Vec<C>,
    /// Whether nothing more is emitted.
    rests: bool,
    /// Whether the capabilities are not needed any more.
    ended: bool,
    /// Whether it was said last that storage does not answer.
    stalled: bool,
}

/// A part that came and has not gone home.
#[derive(Debug)]
struct Held<C> {
    lease: LeaseId,
    audit: bool,
    /// Whether it was said that the filter is wrong about it.
    said: Cell<bool>,
    capabilities: C,
}

/// Rows of a part, in memory.
#[derive(Debug)]
struct Ready<C, R> {
    held: Rc<Held<C>>,
    rows: R,
    last: bool,
}

impl<C: Clone, P, R> Fetch<C, P, R> {
    /// No part yet; at most so many fetches at once.
    pub(crate) fn new(shard: ShardId, fetch_concurrency: usize) -> Self {
        Self {
            shard,
            fetch_concurrency,
            waiting: VecDeque::new(),
            fetching: BTreeMap::new(),
            ready: VecDeque::new(),
            given_up: Vec::new(),
            rests: false,
            ended: false,
            stalled: false,
        }
    }

    /// Something happened.
    pub(crate) fn handle(&mut self, event: Event<C, P, R>, actions: &mut Vec<Action<C>>) {
        match event {
            Event::Part { lease, part, audit, capabilities } => {
                let held = Rc::new(Held { lease, audit, said: Cell::new(false), capabilities });
                match self.rests {
                    true => self.give_up(&held, actions),
                    false => self.waiting.push_back((held, part)),
                }
            }
            Event::Disagreement { message, capabilities } => {
                actions.push(Action::Report { capabilities, error: disagreement(&message) });
            }
            Event::Brought { lease, brought } => match brought {
                Brought::Rows { rows, last } => self.receive(lease, rows, last, actions),
                Brought::Stalled(error) => self.stall(lease, error, actions),
                Brought::Failed(error) => self.fail(lease, error, actions),
            },
            Event::Emitted => self.emitted(actions),
            Event::FoundWrong => {
                if let Some(Ready { held, .. }) = self.ready.front()
                    && !held.said.replace(true)
                {
                    actions.push(held.report(SourceError::FilterWrong(self.shard)));
                }
                self.emitted(actions);
            }
            Event::Panicked(error) => {
                actions.extend(self.ready.front().map(|ready| ready.held.report(SourceError::Failed(error))));
                self.rest(actions);
            }
            Event::Pressed => self.rest(actions),
            Event::Stopped => {
                self.rest(actions);
                self.ended = true;
                self.given_up.clear();
            }
        }
    }

    /// The next part to fetch, if one more may be under way; no more, too, than are waited for by emission.
    pub(crate) fn next_fetch(&mut self) -> Option<(LeaseId, P)> {
        if self.fetching.len() >= self.fetch_concurrency || self.ready.len() > self.fetch_concurrency {
            return None;
        }
        let (held, part) = self.waiting.pop_front()?;
        let lease = held.lease;
        self.fetching.insert(lease, held);
        Some((lease, part))
    }

    /// Whether more rows may be fetched before some are emitted.
    pub(crate) fn has_room(&self) -> bool {
        self.ready.len() < PIECES_MAX
    }

    /// The rows to emit next, with the part's capabilities. What became of them is an event.
    pub(crate) fn next_rows(&mut self) -> Option<(&C, &mut R, Task)> {
        let Ready { held, rows, .. } = self.ready.front_mut()?;
        let task = match (held.audit, held.said.get()) {
            (false, _) => Task::Emit,
            (true, false) => Task::Audit,
            (true, true) => Task::Skip,
        };
        Some((&held.capabilities, rows, task))
    }

    /// Whether rows wait to be emitted.
    pub(crate) fn has_rows(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Rows are there.
    fn receive(&mut self, lease: LeaseId, rows: R, last: bool, actions: &mut Vec<Action<C>>) {
        let held = match last {
            true => self.fetching.remove(&lease),
            false => self.fetching.get(&lease).cloned(),
        };
        if let Some(held) = held {
            self.recover(&held, actions);
            self.ready.push_back(Ready { held, rows, last });
        }
    }

    /// Storage does not answer. It is said once.
    fn stall(&mut self, lease: LeaseId, error: Error, actions: &mut Vec<Action<C>>) {
        if let Some(held) = self.fetching.get(&lease)
            && !std::mem::replace(&mut self.stalled, true)
        {
            actions.push(held.report(SourceError::Stalled(error)));
        }
    }

    /// A fetch ended with an error.
    fn fail(&mut self, lease: LeaseId, error: Error, actions: &mut Vec<Action<C>>) {
        if let Some(held) = self.fetching.remove(&lease) {
            if error.kind() != ErrorKind::Closed {
                self.recover(&held, actions); // that is no answer of the store's
            }
            actions.push(held.report(SourceError::Failed(error)));
            self.ready.retain(|ready| ready.held.lease != lease);
            self.give_up(&held, actions);
        }
    }

    /// Storage has answered. Says so, if it had not.
    fn recover(&mut self, held: &Held<C>, actions: &mut Vec<Action<C>>) {
        if std::mem::take(&mut self.stalled) {
            actions.push(held.report(SourceError::recovered("store", self.shard)));
        }
    }

    /// All rows of the first piece were emitted.
    fn emitted(&mut self, actions: &mut Vec<Action<C>>) {
        if let Some(Ready { held, last: true, .. }) = self.ready.pop_front() {
            actions.push(held.send_home(true));
        }
    }

    /// Sends a part home that was not emitted, and keeps its capabilities.
    fn give_up(&mut self, held: &Held<C>, actions: &mut Vec<Action<C>>) {
        actions.push(held.send_home(false));
        if !self.ended {
            self.given_up.push(held.capabilities.clone());
        }
    }

    /// Gives everything up.
    fn rest(&mut self, actions: &mut Vec<Action<C>>) {
        self.rests = true;
        let waiting = self.waiting.drain(..).map(|(held, _)| held);
        let fetching = std::mem::take(&mut self.fetching).into_values();
        let ready = self.ready.drain(..).filter(|ready| ready.last).map(|ready| ready.held);
        let all: Vec<_> = waiting.chain(fetching).chain(ready).collect();
        for held in all {
            self.give_up(&held, actions);
        }
    }
}

impl<C: Clone> Held<C> {
    fn send_home(&self, emitted: bool) -> Action<C> {
        let returned = Returned { lease: self.lease, emitted };
        Action::Return { capabilities: self.capabilities.clone(), returned }
    }

    fn report(&self, error: SourceError) -> Action<C> {
        Action::Report { capabilities: self.capabilities.clone(), error }
    }
}

/// What each worker says where they were asked for different things: the same, and so of no shard, which may be one of them.
/// The leader holds the frontier.
fn disagreement(message: &str) -> SourceError {
    let message = format!(
        "the workers build this source with different settings: {message}; nothing was read; give the same on all workers"
    );
    SourceError::Failed(Error::invalid(message))
}
