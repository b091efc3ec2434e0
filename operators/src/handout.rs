//! The operator that hands out parts: on the leader it turns the steps of a listener into descriptors for all workers, on
//! the others it does nothing.
//!
//! Always: nothing goes out, and the frontier stands at its beginning, before all workers have said that they were asked for
//! the same; if they were not, each is told. A part goes out under the capabilities of the frontier before its step, and the frontier moves on only behind
//! it; what is out stays within the credit; a part that is out is held by this operator, as a leased value, until its
//! worker sends it home on the feedback edge. That edge leads nowhere further, so it holds no frontier back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession};
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Antichain;
use timely::scheduling::SyncActivator;
use timely_persist::{LeasedPart, ShardId, Time};

use crate::agreement::{Agreement, Asked};
use crate::button::{Button, Complete};
use crate::credit::Credit;
use crate::error::{SourceError, SourceErrorKind};
use crate::foreign::{Code, call};
use crate::leader::{Heard, beginning, recovered};
use crate::mailbox::{Found, Receiver, Sender, mailbox};
use crate::message::{Home, PartDesc, Returned, Sent, join};
use crate::settings::{LETTERS_MAX, Settings, leader};
use crate::steps::{Offered, Step, Steps, WakeOperator, shown};

/// The streams that leave the operator.
pub(crate) struct Handout<'scope, T: Time> {
    pub(crate) descs: StreamVec<'scope, T, Sent<T>>,
    pub(crate) errors: StreamVec<'scope, T, SourceError>,
}

/// Builds the operator. On the leader, `lead` is called with where to send what is heard.
pub(crate) fn handout<'scope, T: Time>(
    scope: Scope<'scope, T>,
    settings: &Settings<T>,
    home: StreamVec<'scope, T, Home>,
    stop: StreamVec<'scope, T, Infallible>,
    button: &mut Button,
    complete: Complete,
    lead: impl FnOnce(Sender<Heard<T>>),
) -> Handout<'scope, T> {
    let mut builder = OperatorBuilder::new(format!("{}: hand out", settings.name), scope);
    let address = builder.operator_info().address.to_vec();
    let leader = leader(&address, scope.peers());
    let leads = scope.index() == leader;
    let wake = |address: &[usize]| -> SyncActivator { scope.worker().sync_activator_for(address.to_vec()) };
    let (descs_output, descs) = builder.new_output();
    let (errors_output, errors) = builder.new_output();
    let mut descs_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Sent<T>>>>::from(descs_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<SourceError>>>::from(errors_output);
    let to_leader = Exchange::new(move |_: &Home| leader as u64);
    let mut home = builder.new_input_connection(home, to_leader, []);
    let _stop = builder.new_input_connection(stop, Pipeline, []);

    button.wakes(wake(&address));
    let pressed = button.watch();
    let begin = settings.as_of.as_ref().map(|as_of| shown(&beginning(as_of), &settings.until));
    let over = begin.as_ref().is_some_and(|begin| begin.is_empty());
    // The task opens the reader while the workers are still being heard.
    let letters = (leads && !over).then(|| {
        let (sender, receiver) = mailbox(LETTERS_MAX, wake(&address));
        lead(sender);
        receiver
    });
    let workers = scope.peers();
    let credit = Credit::new(workers, settings.inflight_bytes_max);
    let (shard, until) = (settings.shard, settings.until.clone());
    let waker = Arc::new(WakeOperator(wake(&address))).into();
    builder.build(move |mut capabilities| {
        let errors_rights = CapabilitySet::from(capabilities.split_off(1));
        let rights = CapabilitySet::from(capabilities);
        let mut state = State {
            shard,
            workers,
            agreement: (leads && workers > 1).then(|| Agreement::among(workers)),
            begin,
            rights,
            errors_rights,
            letters,
            steps: None,
            waker,
            stalled: false,
            until,
            queue: VecDeque::new(),
            credit,
        };
        match leads {
            true => state.begin(),
            false => state.end(),
        }
        move |frontiers| {
            let mut descs = descs_output.activate();
            home.for_each(|_, letters| {
                for letter in letters.drain(..) {
                    match letter {
                        Home::Asked(asked) => state.hear(asked, &mut descs),
                        Home::Returned(returned) => state.take_back(returned),
                    }
                }
            });
            let [home_frontier, stop_frontier] = frontiers else {
                return; // there are two inputs
            };
            if home_frontier.is_empty() {
                complete.declare();
            }
            if stop_frontier.is_empty() {
                state.end();
            } else if pressed.get() {
                state.rest();
            }
            state.work(&mut descs, &mut errors_output.activate());
        }
    });
    Handout { descs, errors }
}

/// What the operator keeps.
struct State<T: Time> {
    shard: ShardId,
    workers: usize,
    /// What the workers say that they were asked for; `None` when they agree.
    agreement: Option<Agreement>,
    /// Where the collection begins, if that is known without the reader.
    begin: Option<Antichain<T>>,
    /// For descriptors, at the frontier.
    rights: CapabilitySet<T>,
    /// For errors, at the frontier.
    errors_rights: CapabilitySet<T>,
    /// Where the leader's task is heard; `None` when nothing is wanted from it any more. Dropping it ends the task.
    letters: Option<Receiver<Heard<T>>>,
    /// The steps behind the first.
    steps: Option<Box<dyn Steps<T>>>,
    /// Wakes the operator when there is a step.
    waker: Waker,
    /// Whether the last notice was that the log does not answer.
    stalled: bool,
    until: Antichain<T>,
    queue: VecDeque<Waiting<T>>,
    credit: Credit<LeasedPart<T>>,
}

/// Parts that wait for credit, with the right to send them.
struct Waiting<T: Time> {
    rights: CapabilitySet<T>,
    parts: VecDeque<Offered<T>>,
}

type Descs<'a, T> = OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<Sent<T>>>>;
type Errors<'a, T> = OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<SourceError>>>;

impl<T: Time> State<T> {
    /// Shows where the collection begins, once the workers agree.
    fn begin(&mut self) {
        if self.agreement.is_none()
            && let Some(begin) = self.begin.take()
        {
            self.progress(&begin);
        }
    }

    /// A worker says what it was asked for. All are told if they do not agree, and the frontier is held.
    fn hear(&mut self, asked: Asked, descs: &mut Descs<'_, T>) {
        match self.agreement.as_mut().and_then(|agreement| agreement.hear(asked)) {
            Some(Ok(())) => {
                self.agreement = None;
                self.begin();
            }
            Some(Err(message)) if !self.rights.is_empty() => {
                self.rest();
                let told =
                    (0..self.workers as u64).map(|worker| Sent::Disagreement { worker, message: message.clone() });
                descs.session(&self.rights).give_iterator(told);
            }
            Some(Err(_)) | None => {} // everybody has stopped, or some are still to be heard
        }
    }

    /// A part came home. One that was not emitted never will be, so nothing more is handed out.
    fn take_back(&mut self, returned: Returned) {
        if self.credit.take_back(returned.lease).is_none() {
            tracing::error!(lease = %returned.lease, "a part came home that was not out");
        }
        if !returned.emitted {
            self.rest();
        }
    }

    /// Hands out what the credit allows, and hears what comes next.
    fn work(&mut self, descs: &mut Descs<'_, T>, errors: &mut Errors<'_, T>) {
        while self.agreement.is_none() && self.send(descs) {
            let Some(letters) = &mut self.letters else {
                return;
            };
            match letters.look() {
                Found::Letter(Heard::Opened(as_of)) => {
                    let begin = shown(&beginning(&as_of), &self.until);
                    self.progress(&begin);
                }
                Found::Letter(Heard::Step(step)) => self.take(step, errors),
                Found::Letter(Heard::Steps(steps)) => self.steps = Some(steps),
                Found::Letter(Heard::Notice(notice)) => {
                    self.stalled = *notice.kind() == SourceErrorKind::Stalled;
                    errors.session(&self.errors_rights).give(notice);
                }
                Found::Letter(Heard::Failed(error)) => self.fail(error, errors),
                Found::Nothing => match self.poll_step() {
                    Poll::Ready(Ok(step)) => self.take(step, errors),
                    Poll::Ready(Err(error)) => self.fail(error, errors),
                    Poll::Pending => return,
                },
                Found::Ended => {
                    // It says so before it ends on its own account: the runtime ended it.
                    let message = "the client was shut down under the source";
                    self.fail(SourceError::new(SourceErrorKind::Unavailable, message, self.shard), errors);
                }
            }
        }
    }

    /// The next step, if the listener was handed over and has one.
    fn poll_step(&mut self) -> Poll<Result<Step<T>, SourceError>> {
        let mut task = Context::from_waker(&self.waker);
        let poll = || self.steps.as_mut().map_or(Poll::Pending, |steps| steps.poll_step(&mut task));
        call(Code::Types, poll).unwrap_or_else(|panic| Poll::Ready(Err(panic.of_shard(self.shard))))
    }

    /// Queues the parts of a step, and moves on behind it.
    fn take(&mut self, Step { parts, progress }: Step<T>, errors: &mut Errors<'_, T>) {
        if !parts.is_empty() {
            self.queue.push_back(Waiting { rights: self.rights.clone(), parts: parts.into() });
        }
        if let Some(frontier) = progress {
            if frontier.is_empty() && std::mem::take(&mut self.stalled) {
                errors.session(&self.errors_rights).give(recovered(self.shard)); // the last word of a source is no alarm
            }
            self.progress(&frontier);
        }
    }

    /// Says what went wrong, and holds the frontier.
    fn fail(&mut self, error: SourceError, errors: &mut Errors<'_, T>) {
        tracing::error!(%error, "a source stopped with an error and holds its frontier");
        errors.session(&self.errors_rights).give(error);
        self.rest();
    }

    /// Hands out parts; whether all are out.
    fn send(&mut self, descs: &mut Descs<'_, T>) -> bool {
        while let Some(step) = self.queue.front_mut() {
            let mut session = descs.session(&step.rights);
            while let Some(next) = step.parts.front() {
                let bytes = next.part.bytes();
                if !self.credit.allows(bytes) {
                    return false;
                }
                if let Some(Offered { part, audit }) = step.parts.pop_front() {
                    let exchangeable = part.to_exchangeable();
                    let worker = self.credit.send(exchangeable.lease_id(), bytes, part) as u64;
                    session.give(Sent::Part(PartDesc { worker, part: exchangeable, audit }));
                }
            }
            drop(session);
            self.queue.pop_front();
        }
        true
    }

    /// The collection stands here.
    fn progress(&mut self, frontier: &Antichain<T>) {
        let moved = self.rights.try_downgrade(frontier.iter()).and(self.errors_rights.try_downgrade(frontier.iter()));
        if moved.is_err() {
            // A reader never goes back. If it did, holding the frontier would be all that is left to do.
            tracing::error!(?frontier, "a source heard of a frontier behind its own");
            self.rest();
        }
        if frontier.is_empty() {
            (self.letters, self.steps) = (None, None);
        }
    }

    /// Hands out nothing more, but holds the frontier, as something is missing.
    fn rest(&mut self) {
        (self.letters, self.steps) = (None, None);
        for step in self.queue.drain(..) {
            join(&mut self.rights, &step.rights);
        }
    }

    /// Gives up. What is out is held until it comes home.
    fn end(&mut self) {
        self.rest();
        self.begin = None;
        self.rights = CapabilitySet::new();
        self.errors_rights = CapabilitySet::new();
    }
}
