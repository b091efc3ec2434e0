//! The operator that fetches parts and emits their rows, on every worker.
//!
//! Always: for each part that came and has not been emitted, this operator holds the rights that came with it; parts
//! complete in any order. A part goes home on the feedback edge exactly once: after its rows, or when it is given up. Of a
//! part that is given up the rights are kept, so that nobody takes its absence for the truth.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession};
use timely::dataflow::{Scope, StreamVec};
use timely_persist::{Data, Diff, ExchangeablePart, InflightPermit, LeaseId, Shard, ShardId, Time};

use crate::button::Button;
use crate::emit::{Containers, DataSession, EMIT_FUEL, Emission, Rows};
use crate::error::{SourceError, SourceErrorKind};
use crate::fetching::{Delivery, Fetches, Fetching, Started};
use crate::mailbox::{Found, Receiver, mailbox};
use crate::message::{HOME, Home, PartDesc, Returned, Rights, Sent};
use crate::settings::{PIECES_MAX, Settings};

/// The streams that leave the operator.
pub(crate) struct Fetched<'scope, T: Time, O> {
    pub(crate) data: StreamVec<'scope, T, O>,
    pub(crate) home: StreamVec<'scope, T, Home>,
    pub(crate) errors: StreamVec<'scope, T, SourceError>,
}

/// Builds the operator.
pub(crate) fn fetch<'scope, K: Data, V: Data, T: Time, D: Diff, R: Rows<K, V, T, D>>(
    scope: Scope<'scope, T>,
    shard: &Shard<K, V, T, D>,
    settings: &Settings<T>,
    descs: StreamVec<'scope, T, Sent<T>>,
    stop: StreamVec<'scope, T, Infallible>,
    button: &mut Button,
    rows: R,
) -> Fetched<'scope, T, R::Out> {
    let mut builder = OperatorBuilder::new(format!("{}: fetch", settings.name), scope);
    let address = builder.operator_info().address;
    // The order of the outputs is that of `message::{DATA, HOME, ERRORS}`.
    let (data_output, data) = builder.new_output();
    let (home_output, home) = builder.new_output();
    let (errors_output, errors) = builder.new_output();
    let mut data_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<R::Out>>>::from(data_output);
    let mut home_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Home>>>::from(home_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<SourceError>>>::from(errors_output);
    let mut descs = builder.new_input(descs, Exchange::new(|sent: &Sent<T>| sent.worker()));
    let _stop = builder.new_input_connection(stop, Pipeline, []);

    button.wakes(scope.worker().sync_activator_for(address.to_vec()));
    let pressed = button.watch();
    let again = scope.activator_for(address.clone());
    again.activate(); // the introduction waits for nothing
    let wake = scope.worker().sync_activator_for(address.to_vec());
    let (sender, deliveries) = mailbox(PIECES_MAX, wake);
    let mut state = State {
        settings: settings.clone(),
        fetches: Fetches::new(shard, settings, sender),
        deliveries,
        waiting: VecDeque::new(),
        fetching: HashMap::new(),
        ready: VecDeque::new(),
        given_up: Rights::none(),
        rests: false,
        stalled: None,
        rows,
        containers: Containers::new(),
    };
    let asked = (scope.peers() > 1).then(|| settings.asked(scope.index()));
    builder.build(move |mut initial| {
        let mut introduction = asked.map(|asked| (asked, initial.swap_remove(HOME)));
        drop(initial); // other rights come with parts
        move |frontiers| {
            let mut outputs = Outputs {
                data: data_output.activate(),
                home: home_output.activate(),
                errors: errors_output.activate(),
            };
            if let Some((asked, right)) = introduction.take() {
                outputs.home.session(&right).give(Home::Asked(asked));
            }
            if pressed.get() {
                state.rest(&mut outputs);
            }
            descs.for_each(|message, sent| {
                let rights = Rights::of(&message);
                for sent in sent.drain(..) {
                    match sent {
                        Sent::Part(desc) => state.receive(desc, &rights, &mut outputs),
                        Sent::Disagreement { message, .. } => state.disagree(&message, &rights, &mut outputs),
                    }
                }
            });
            if frontiers.get(1).is_some_and(|stop| stop.is_empty()) {
                state.rest(&mut outputs);
                state.hear(&mut outputs); // whatever was still delivered is freed
                state.given_up = Rights::none();
                return;
            }
            state.hear(&mut outputs);
            state.start(&mut outputs);
            state.emit(&mut outputs);
            state.start(&mut outputs);
            let more = !state.ready.is_empty() || !state.deliveries.is_empty();
            state.containers.prepare(more);
            if more {
                again.activate();
            }
        }
    });
    Fetched { data, home, errors }
}

/// What the operator keeps.
struct State<K: Data, V: Data, T: Time, D: Diff, R: Rows<K, V, T, D>> {
    settings: Settings<T>,
    fetches: Fetches<K, V, T, D>,
    deliveries: Receiver<Delivery<K, V, T, D>>,
    waiting: VecDeque<(Rc<Held<T>>, ExchangeablePart<T>)>,
    fetching: HashMap<LeaseId, (Rc<Held<T>>, Fetching)>,
    ready: VecDeque<Ready<K, V, T, D>>,
    /// The rights of parts that were not emitted and never will be.
    given_up: Rights<T>,
    /// Whether nothing more is emitted.
    rests: bool,
    /// The part whose fetch found that storage does not answer.
    stalled: Option<LeaseId>,
    rows: R,
    containers: Containers<R::Out>,
}

/// Rows of a part, in memory.
struct Ready<K: Data, V: Data, T: Time, D: Diff> {
    held: Rc<Held<T>>,
    emission: Emission<K, V, T, D>,
    /// The room that the part takes in the pool, if these are its last rows.
    last: Option<InflightPermit>,
}

/// A part that came and has not gone home.
struct Held<T: Time> {
    lease: LeaseId,
    bytes: u64,
    audit: bool,
    /// Whether it was said that the filter is wrong about it.
    said: Cell<bool>,
    rights: Rc<Rights<T>>,
}

/// The operator's outputs, during one activation.
struct Outputs<'a, T: Time, O: Clone + 'static> {
    data: DataSession<'a, T, O>,
    home: OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<Home>>>,
    errors: OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<SourceError>>>,
}

impl<T: Time, O: Clone + 'static> Outputs<'_, T, O> {
    fn send_home(&mut self, held: &Held<T>, emitted: bool) {
        let returned = Returned { lease: held.lease, bytes: held.bytes, emitted };
        self.home.session(&held.rights.home).give(Home::Returned(returned));
    }

    fn say(&mut self, held: &Held<T>, error: SourceError) {
        self.errors.session(&held.rights.errors).give(error);
    }
}

/// A part that the filter discarded has rows that matter.
fn wrong_filter(shard: ShardId, lease: LeaseId) -> SourceError {
    let message = "the filter discarded a part with rows that the source keeps";
    let error = SourceError::new(SourceErrorKind::FilterWrong, message, shard);
    tracing::error!(%error, %lease, "a wrong filter");
    error
}

impl<K: Data, V: Data, T: Time, D: Diff, R: Rows<K, V, T, D>> State<K, V, T, D, R> {
    /// A part came.
    fn receive(&mut self, desc: PartDesc<T>, rights: &Rc<Rights<T>>, outputs: &mut Outputs<'_, T, R::Out>) {
        let (lease, bytes) = (desc.part.lease_id(), desc.part.bytes());
        let (audit, said, rights) = (desc.audit, Cell::new(false), Rc::clone(rights));
        let held = Rc::new(Held { lease, bytes, audit, said, rights });
        match self.rests {
            true => self.give_up(&held, outputs),
            false => self.waiting.push_back((held, desc.part)),
        }
    }

    /// The workers were asked for different things. The leader holds the frontier.
    fn disagree(&mut self, message: &str, rights: &Rights<T>, outputs: &mut Outputs<'_, T, R::Out>) {
        let message = format!(
            "the workers build this source with different settings: {message}; nothing was read; give the same on all workers"
        );
        let error = SourceError::new(SourceErrorKind::Invalid, message, self.settings.shard);
        tracing::error!(%error, "a source stopped with an error and holds its frontier");
        outputs.errors.session(&rights.errors).give(error);
    }

    /// Starts fetches, as many as may be under way; no more, too, than are waited for by emission.
    fn start(&mut self, outputs: &mut Outputs<'_, T, R::Out>) {
        while self.fetching.len() < self.settings.fetches_max
            && self.ready.len() <= self.settings.fetches_max
            && let Some((held, part)) = self.waiting.pop_front()
        {
            match self.fetches.start(part) {
                Started::Fetching(fetching) => {
                    self.fetching.insert(held.lease, (held, fetching));
                }
                Started::Here(part, permit) => {
                    self.recover(&held, outputs);
                    self.ready.push_back(Ready { held, emission: Emission::new(part), last: Some(permit) });
                }
            }
        }
    }

    /// Takes what the fetches brought.
    fn hear(&mut self, outputs: &mut Outputs<'_, T, R::Out>) {
        while self.ready.len() < PIECES_MAX
            && let Found::Letter(delivery) = self.deliveries.look()
        {
            match delivery {
                Delivery::Stalled(lease, notice) => {
                    if let Some((held, _)) = self.fetching.get(&lease)
                        && self.stalled.is_none()
                    {
                        outputs.say(held, notice);
                        self.stalled = Some(lease);
                    }
                }
                Delivery::Fetched(lease, rows, last) => {
                    if let Some((held, _)) = self.fetching.get(&lease) {
                        let held = Rc::clone(held);
                        self.recover(&held, outputs);
                        if last.is_some() {
                            self.fetching.remove(&lease);
                        }
                        self.ready.push_back(Ready { held, emission: Emission::new(rows), last });
                    }
                }
                Delivery::Failed(lease, error) => {
                    if let Some((held, _)) = self.fetching.remove(&lease) {
                        self.recover(&held, outputs);
                        tracing::error!(%error, "a source stopped with an error and holds its frontier");
                        outputs.say(&held, error);
                        self.ready.retain(|ready| ready.held.lease != lease);
                        self.give_up(&held, outputs);
                    }
                }
            }
        }
    }

    /// Storage has answered. Says so, if it had not.
    fn recover(&mut self, held: &Held<T>, outputs: &mut Outputs<'_, T, R::Out>) {
        if self.stalled.take().is_some() {
            let notice = SourceError::new(SourceErrorKind::Recovered, "the store answers again", self.settings.shard);
            outputs.say(held, notice);
        }
    }

    /// Emits rows of what was fetched, until none are left or the fuel is used up.
    fn emit(&mut self, outputs: &mut Outputs<'_, T, R::Out>) {
        let mut fuel = EMIT_FUEL;
        while fuel > 0
            && let Some(Ready { held, emission, .. }) = self.ready.front_mut()
        {
            let looked = match held.audit {
                true if held.said.get() => Ok(()),
                true => emission.is_wanted(&mut self.rows).map(|wanted| {
                    if wanted {
                        held.said.set(true);
                        outputs.say(held, wrong_filter(self.settings.shard, held.lease));
                    }
                }),
                false => {
                    let (containers, data) = (&mut self.containers, &mut outputs.data);
                    emission.emit(&mut self.rows, &held.rights.data, data, containers, &mut fuel)
                }
            };
            if let Err(panic) = looked {
                let (held, error) = (Rc::clone(held), panic.of_shard(self.settings.shard));
                tracing::error!(%error, "a source stopped with an error and holds its frontier");
                outputs.say(&held, error);
                return self.rest(outputs);
            }
            if !held.audit && !emission.is_done() {
                return;
            }
            fuel -= 1.min(fuel); // what has no rows takes some, too
            if let Some(Ready { held, last: Some(_), .. }) = self.ready.pop_front() {
                outputs.send_home(&held, true);
            }
        }
    }

    /// Sends a part home that was not emitted, and keeps its rights.
    fn give_up(&mut self, held: &Held<T>, outputs: &mut Outputs<'_, T, R::Out>) {
        self.given_up.add(&held.rights);
        outputs.send_home(held, false);
    }

    /// Gives everything up.
    fn rest(&mut self, outputs: &mut Outputs<'_, T, R::Out>) {
        self.rests = true;
        let waiting = self.waiting.drain(..).map(|(held, _)| held);
        let fetching = self.fetching.drain().map(|(_, (held, _))| held);
        let ready = self.ready.drain(..).filter(|ready| ready.last.is_some()).map(|ready| ready.held);
        let all: Vec<_> = waiting.chain(fetching).chain(ready).collect();
        for held in all {
            self.give_up(&held, outputs);
        }
    }
}
