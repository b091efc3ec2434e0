//! Handing out, as the leader does it: a value that is told what happened and says what to do. It does nothing itself, and
//! knows no dataflow, no task and no clock.
//!
//! Always:
//! * H1 Nothing goes out, and the frontier stands at its minimum, before all workers have said that they were asked for the
//!   same. If they were not, each is told, once.
//! * H2 A part goes out once, under the frontier before its step; the frontier that is held moves on only when all parts of
//!   the step are out.
//! * H3 What is out stays within the credit (`common/credit.rs`), and is kept until its worker sends it home.
//! * H4 After a stop, an error, or a part that comes home without having been emitted, nothing more goes out, and the
//!   frontier is held; only where the collection begins may still be shown. When all have stopped, nothing is held.

use std::collections::VecDeque;

use timely::progress::Antichain;
use timely_persist::{Error, LeaseId, LeasedPart, ShardId, Time};

use crate::common::agreement::{Agreement, Asked};
use crate::common::credit::Credit;
use crate::common::error::SourceError;
use crate::common::frontier::{beginning, shown};
use crate::source::message::{Home, Order, Returned, Sent};
use crate::source::settings::Settings;

/// A part that may be lent to a worker. Dropping it gives its lease back.
pub(crate) trait Lend {
    /// What is sent.
    type Part;

    /// The part's bytes, in memory.
    fn bytes(&self) -> u64;

    /// What to send, and by which name it comes home.
    fn lend(&self) -> (LeaseId, Self::Part);
}

impl<T: Time> Lend for LeasedPart<T> {
    type Part = timely_persist::ExchangeablePart<T>;

    fn bytes(&self) -> u64 {
        LeasedPart::bytes(self)
    }

    fn lend(&self) -> (LeaseId, Self::Part) {
        let part = self.to_exchangeable();
        (part.lease_id(), part)
    }
}

/// Parts, and where the collection stands behind them.
#[derive(Debug)]
pub(crate) struct Step<T: Time, L = LeasedPart<T>> {
    pub(crate) parts: Vec<Offered<L>>,
    /// `None` if it stands where it stood; the empty frontier ends the collection.
    pub(crate) progress: Option<Antichain<T>>,
}

/// A part to hand out.
#[derive(Debug)]
pub(crate) struct Offered<L> {
    pub(crate) part: L,
    /// Whether the filter discarded it.
    pub(crate) audit: bool,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event<T: Time, L = LeasedPart<T>> {
    /// A worker has sent this.
    Home(Home),
    /// The reader is there: the collection begins at this `as_of`.
    Opened(Antichain<T>),
    /// The next step.
    Step(Step<T, L>),
    /// Something to pass on.
    Notice(SourceError),
    /// The end, before the collection's.
    Failed(Error),
    /// This worker's button was pressed.
    Pressed,
    /// Those of all workers were.
    Stopped,
}

/// What to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<T: Time, P> {
    /// Send these, under what is held.
    Send(Vec<Sent<P>>),
    /// Say this, under what is held.
    Report(SourceError),
    /// Hold no more than this frontier.
    Hold(Antichain<T>),
    /// Ask for no more events but those of workers and buttons.
    ShutDown,
    /// Note that somebody broke the rules.
    Fault(Fault<T>),
}

/// What nobody should have done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault<T: Time> {
    /// A part came home that was not out.
    NotOut(LeaseId),
    /// A frontier came that is behind the last.
    Backwards(Antichain<T>),
}

/// What is handed out, and what is to be.
#[derive(Debug)]
pub(crate) struct Handout<T: Time, L = LeasedPart<T>> {
    shard: ShardId,
    workers: usize,
    until: Antichain<T>,
    /// What the workers say that they were asked for; `None` when they agree.
    agreement: Option<Agreement>,
    /// Where the collection begins, if that is known without the reader and not yet shown.
    begin: Option<Antichain<T>>,
    /// Whether steps are wanted.
    listens: bool,
    /// Whether the last notice was that the log does not answer.
    stalled: bool,
    queue: VecDeque<Waiting<T, L>>,
    /// Where the collection stands behind the queue.
    frontier: Antichain<T>,
    /// Where it stands before the queue.
    held: Antichain<T>,
    credit: Credit<LeaseId, L>,
}

/// Parts that wait for credit, and where the collection stands before them.
#[derive(Debug)]
struct Waiting<T: Time, L> {
    at: Antichain<T>,
    parts: VecDeque<Offered<L>>,
}

type Actions<T, L> = Vec<Action<T, <L as Lend>::Part>>;

impl<T: Time, L: Lend> Handout<T, L> {
    /// Nothing out yet, and nothing known but what the source was asked for.
    pub(crate) fn new(settings: &Settings<T>, workers: usize) -> Self {
        let minimum = Antichain::from_elem(T::minimum());
        let mut this = Self {
            shard: settings.shard,
            workers,
            until: settings.until.clone(),
            agreement: (workers > 1).then(|| Agreement::among(workers)),
            begin: settings.as_of.as_ref().map(|as_of| beginning(as_of, &settings.until)),
            listens: true,
            stalled: false,
            queue: VecDeque::new(),
            frontier: minimum.clone(),
            held: minimum,
            credit: Credit::new(workers, settings.max_inflight_bytes),
        };
        this.listens = this.begin.as_ref().is_none_or(|begin| !begin.is_empty());
        if this.agreement.is_none()
            && let Some(begin) = this.begin.take()
        {
            (this.frontier, this.held) = (begin.clone(), begin);
        }
        this
    }

    /// Whether steps are wanted, now or later.
    pub(crate) fn listens(&self) -> bool {
        self.listens
    }

    /// The frontier that is held: under it goes what is sent next.
    pub(crate) fn held(&self) -> &Antichain<T> {
        &self.held
    }

    /// Something happened.
    pub(crate) fn handle(&mut self, event: Event<T, L>, actions: &mut Actions<T, L>) {
        match event {
            Event::Home(Home::Asked(asked)) => self.hear(asked, actions),
            Event::Home(Home::Returned(returned)) => self.take_back(returned, actions),
            Event::Pressed => self.rest(actions),
            Event::Stopped => self.end(actions),
            _ if !self.listens => {} // too late: its parts are given back
            Event::Opened(as_of) => self.progress(beginning(&as_of, &self.until), actions),
            Event::Step(step) => self.take(step, actions),
            Event::Notice(notice) => {
                self.stalled = matches!(notice, SourceError::Stalled(_));
                actions.push(Action::Report(notice));
            }
            Event::Failed(error) => {
                actions.push(Action::Report(SourceError::Failed(error)));
                self.rest(actions);
            }
        }
    }

    /// Hands out what the credit allows. Whether all are out, so that the next step is wanted now.
    pub(crate) fn hand_out(&mut self, actions: &mut Actions<T, L>) -> bool {
        if self.agreement.is_some() {
            return false;
        }
        while let Some(step) = self.queue.front_mut() {
            let mut sent = Vec::new();
            while let Some(Offered { part: leased, audit }) =
                step.parts.pop_front_if(|next| self.credit.allows(next.part.bytes()))
            {
                let (lease, part) = leased.lend();
                let worker = self.credit.send(lease, leased.bytes(), leased) as u64;
                sent.push(Sent { worker, order: Order::Fetch { part, audit } });
            }
            let all = step.parts.is_empty();
            if !sent.is_empty() {
                actions.push(Action::Send(sent));
            }
            if !all {
                return false;
            }
            self.queue.pop_front();
            self.hold(actions);
        }
        self.listens
    }

    /// A worker says what it was asked for.
    fn hear(&mut self, asked: Asked, actions: &mut Actions<T, L>) {
        match self.agreement.as_mut().and_then(|agreement| agreement.hear(asked)) {
            Some(Ok(())) => {
                self.agreement = None;
                if let Some(begin) = self.begin.take() {
                    self.progress(begin, actions);
                }
            }
            Some(Err(message)) if !self.held.is_empty() => {
                self.rest(actions);
                let told = |worker| Sent { worker, order: Order::Disagree(message.clone()) };
                actions.push(Action::Send((0..self.workers as u64).map(told).collect()));
            }
            Some(Err(_)) | None => {} // everybody has stopped, or some are still to be heard
        }
    }

    /// A part came home. One that was not emitted never will be, so nothing more is handed out.
    fn take_back(&mut self, returned: Returned, actions: &mut Actions<T, L>) {
        if self.credit.take_back(&returned.lease).is_none() {
            actions.push(Action::Fault(Fault::NotOut(returned.lease)));
        }
        if !returned.emitted {
            self.rest(actions);
        }
    }

    /// Queues the parts of a step, and moves on behind it.
    fn take(&mut self, Step { parts, progress }: Step<T, L>, actions: &mut Actions<T, L>) {
        if !parts.is_empty() {
            self.queue.push_back(Waiting { at: self.frontier.clone(), parts: parts.into() });
        }
        if let Some(frontier) = progress {
            let frontier = shown(&frontier, &self.until);
            if frontier.is_empty() && std::mem::take(&mut self.stalled) {
                actions.push(Action::Report(SourceError::recovered("log", self.shard))); // the last word of a source is no alarm
            }
            self.progress(frontier, actions);
        }
    }

    /// The collection stands here, behind the queue.
    fn progress(&mut self, frontier: Antichain<T>, actions: &mut Actions<T, L>) {
        if !frontier.elements().iter().all(|time| self.frontier.less_equal(time)) {
            // A reader never goes back. If it did, holding the frontier would be all that is left to do.
            actions.push(Action::Fault(Fault::Backwards(frontier)));
            return self.rest(actions);
        }
        if frontier.is_empty() {
            self.listen_no_more(actions);
        }
        self.frontier = frontier;
        self.hold(actions);
    }

    /// Holds the frontier before the queue.
    fn hold(&mut self, actions: &mut Actions<T, L>) {
        let held = self.queue.front().map_or(&self.frontier, |step| &step.at);
        if *held != self.held {
            self.held.clone_from(held);
            actions.push(Action::Hold(held.clone()));
        }
    }

    /// Hands out nothing more, but holds the frontier, as something is missing.
    fn rest(&mut self, actions: &mut Actions<T, L>) {
        self.listen_no_more(actions);
        if !self.queue.is_empty() {
            self.queue.clear();
            self.frontier.clone_from(&self.held);
        }
    }

    /// Gives up. What is out is kept until it comes home.
    fn end(&mut self, actions: &mut Actions<T, L>) {
        self.rest(actions);
        (self.begin, self.frontier) = (None, Antichain::new());
        self.hold(actions);
    }

    fn listen_no_more(&mut self, actions: &mut Actions<T, L>) {
        if std::mem::take(&mut self.listens) {
            actions.push(Action::ShutDown);
        }
    }
}
