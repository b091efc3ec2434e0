//! The operator that hands out parts: on the leader it tells the protocol (`handout.rs`) what it hears, and does what the
//! protocol says; on the others it only sees the end.
//!
//! Always: what is sent goes under the capabilities of the frontier that the protocol holds. The feedback edge leads nowhere
//! further, so it holds no frontier back.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession};
use timely::dataflow::operators::{Capability, CapabilitySet};
use timely::scheduling::SyncActivator;
use timely_persist::{Error, ErrorKind, ExchangeablePart, ShardId, Time};

use crate::common::button::Stopping;
use crate::common::error::SourceError;
use crate::common::foreign::{TYPES, call};
use crate::common::inputs::Inputs;
use crate::common::mailbox::{Found, Receiver, Sender, mailbox};
use crate::common::placement::leader;
use crate::common::wake::WakeOperator;
use crate::source::handout::{Action, Event, Fault, Handout};
use crate::source::leader::{Heard, LETTERS_MAX};
use crate::source::message::{Home, Sent};
use crate::source::settings::Settings;
use crate::source::steps::Steps;

/// What is sent to the workers.
pub(crate) type Desc<T> = Sent<ExchangeablePart<T>>;

/// The streams that leave the operator.
pub(crate) struct HandedOut<'scope, T: Time> {
    pub(crate) descs: StreamVec<'scope, T, Desc<T>>,
    pub(crate) errors: StreamVec<'scope, T, SourceError>,
}

/// Builds the operator. On the leader, `lead` is called with where to send what is heard.
pub(crate) fn hand_out<'scope, T: Time>(
    settings: &Settings<T>,
    home: StreamVec<'scope, T, Home>,
    stopping: &mut Stopping<'scope, T>,
    lead: impl FnOnce(Sender<Heard<T>>),
) -> HandedOut<'scope, T> {
    let scope = home.scope();
    let mut builder = OperatorBuilder::new(format!("{}: hand out", settings.name), scope);
    let address = builder.operator_info().address.to_vec();
    let leader = leader(&address, scope.peers());
    let wake = || scope.worker().sync_activator_for(address.clone());
    let (descs_output, descs) = builder.new_output();
    let (errors_output, errors) = builder.new_output();
    let mut descs_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Desc<T>>>>::from(descs_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<SourceError>>>::from(errors_output);
    let to_leader = Exchange::new(move |_: &Home| leader as u64);
    let mut home = builder.new_input_connection(home, to_leader, []);
    let _stop = builder.new_input_connection::<Vec<Infallible>, _, _>(stopping.edge.clone(), Pipeline, []);

    stopping.button.wakes(wake());
    let (pressed, complete) = (stopping.button.watch(), stopping.complete.clone());
    let inputs = Inputs::of(scope);
    inputs.add(stopping.button.watch());
    let protocol = (scope.index() == leader).then(|| Handout::new(settings, scope.peers()));
    let mut leading = protocol.map(|protocol| Leading::new(protocol, settings.shard, wake, lead));
    builder.build(move |capabilities| {
        if let Some(leading) = &mut leading {
            leading.begin(capabilities);
        } // the others have nothing to say
        move |frontiers| {
            let _ = &inputs; // known for as long as the source is there
            let mut outputs = Outputs { descs: descs_output.activate(), errors: errors_output.activate() };
            home.for_each(|_, letters| {
                for letter in letters.drain(..) {
                    if let Some(leading) = &mut leading {
                        leading.handle(Event::Home(letter), &mut outputs);
                    }
                }
            });
            let [home_frontier, stop_frontier] = frontiers else {
                return; // there are two inputs
            };
            if home_frontier.is_empty() {
                complete.declare();
            }
            if let Some(leading) = &mut leading {
                if stop_frontier.is_empty() {
                    leading.handle(Event::Stopped, &mut outputs);
                } else if pressed.get() {
                    leading.handle(Event::Pressed, &mut outputs);
                }
                leading.work(&mut outputs);
            }
        }
    });
    HandedOut { descs, errors }
}

/// The operator's outputs, during one activation.
struct Outputs<'a, T: Time> {
    descs: OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<Desc<T>>>>,
    errors: OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<SourceError>>>,
}

/// What the leader's operator keeps.
struct Leading<T: Time> {
    shard: ShardId,
    protocol: Handout<T>,
    /// For the protocol's frontier, one set for each output.
    capabilities: [CapabilitySet<T>; 2],
    /// Where the leader's task is heard; `None` when nothing is wanted from it any more. Dropping it ends the task.
    letters: Option<Receiver<Heard<T>>>,
    /// The steps behind the first.
    steps: Option<Box<dyn Steps<T>>>,
    /// Wakes the operator when there is a step.
    waker: Waker,
    /// Empty, but for its memory.
    actions: Vec<Action<T, ExchangeablePart<T>>>,
}

impl<T: Time> Leading<T> {
    /// Starts the task: it opens the reader while the workers are still being heard.
    fn new(
        protocol: Handout<T>,
        shard: ShardId,
        wake: impl Fn() -> SyncActivator,
        lead: impl FnOnce(Sender<Heard<T>>),
    ) -> Self {
        let letters = protocol.listens().then(|| {
            let (sender, receiver) = mailbox(LETTERS_MAX, wake());
            lead(sender);
            receiver
        });
        let (capabilities, waker) =
            ([CapabilitySet::new(), CapabilitySet::new()], Arc::new(WakeOperator(wake())).into());
        Self { shard, protocol, capabilities, letters, steps: None, waker, actions: Vec::new() }
    }

    /// Holds what the protocol holds in the beginning.
    fn begin(&mut self, capabilities: Vec<Capability<T>>) {
        let held = self.protocol.held().clone();
        for (set, capability) in self.capabilities.iter_mut().zip(capabilities) {
            set.insert(capability);
            set.downgrade(held.iter());
        }
    }

    /// Something happened.
    fn handle(&mut self, event: Event<T>, outputs: &mut Outputs<'_, T>) {
        self.protocol.handle(event, &mut self.actions);
        self.act(outputs);
    }

    /// Hands out what the credit allows, and hears what comes next.
    fn work(&mut self, outputs: &mut Outputs<'_, T>) {
        loop {
            let wants_step = self.protocol.hand_out(&mut self.actions);
            self.act(outputs);
            let Some(event) = wants_step.then(|| self.next_event()).flatten() else {
                return;
            };
            self.handle(event, outputs);
        }
    }

    /// What the leader's task tells, or a step, if there is one.
    fn next_event(&mut self) -> Option<Event<T>> {
        loop {
            match self.letters.as_mut()?.look() {
                Found::Letter(Heard::Event(event)) => return Some(event),
                Found::Letter(Heard::Steps(steps)) => self.steps = Some(steps),
                Found::Nothing => return self.next_step(),
                Found::Ended => {
                    // It says so before it ends on its own account: the runtime ended it.
                    let error = Error::new(ErrorKind::Closed, "the client was shut down under the source");
                    return Some(Event::Failed(error.of_shard(self.shard)));
                }
            }
        }
    }

    /// The next step, if the listener was handed over and has one.
    fn next_step(&mut self) -> Option<Event<T>> {
        let mut task = Context::from_waker(&self.waker);
        let steps = self.steps.as_mut()?;
        match call(TYPES, || steps.poll_step(&mut task)) {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(Ok(step))) => Some(Event::Step(step)),
            Ok(Poll::Ready(Err(error))) => Some(Event::Failed(error)),
            Err(panic) => Some(Event::Failed(panic.of_shard(self.shard))),
        }
    }

    /// Does what the protocol says.
    fn act(&mut self, outputs: &mut Outputs<'_, T>) {
        let [descs, errors] = &mut self.capabilities;
        for action in self.actions.drain(..) {
            match action {
                Action::Send(sent) => outputs.descs.session(&*descs).give_iterator(sent.into_iter()),
                Action::Report(error) => {
                    error.trace();
                    outputs.errors.session(&*errors).give(error);
                }
                Action::Hold(frontier) => {
                    descs.downgrade(frontier.iter());
                    errors.downgrade(frontier.iter());
                }
                Action::ShutDown => (self.letters, self.steps) = (None, None),
                Action::Fault(Fault::NotOut(lease)) => {
                    tracing::error!(%lease, "a part came home that was not out");
                }
                Action::Fault(Fault::Backwards(frontier)) => {
                    tracing::error!(?frontier, "a source heard of a frontier behind its own");
                }
            }
        }
    }
}
