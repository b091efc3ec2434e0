//! The operator that fetches parts and emits their rows, on every worker: it tells the protocol (`fetch.rs`) what it hears,
//! does what the protocol says, and in between emits the rows that come next.
//!
//! Always: one activation emits no more than its fuel pays for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::InputCapability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession};
use timely_persist::{Data, Diff, ExchangeablePart, LeaseId, Shard, ShardId, Time};

use crate::common::button::Stopping;
use crate::common::error::SourceError;
use crate::common::mailbox::{Found, Receiver, mailbox};
use crate::source::capabilities::{Capabilities, HOME};
use crate::source::emit::{Containers, DataSession, Rows};
use crate::source::fetch::{Action, Event, Fetch, PIECES_MAX, Task};
use crate::source::fetch_task::{Delivery, FetchTask, Fetches, Piece};
use crate::source::handout_operator::Desc;
use crate::source::message::{Home, Order, Sent};
use crate::source::settings::Settings;

/// The streams that leave the operator.
pub(crate) struct Fetched<'scope, T: Time, O> {
    pub(crate) data: StreamVec<'scope, T, O>,
    pub(crate) home: StreamVec<'scope, T, Home>,
    pub(crate) errors: StreamVec<'scope, T, SourceError>,
}

/// Builds the operator.
pub(crate) fn fetch<'scope, K: Data, V: Data, T: Time, D: Diff, R: Rows<K, V, T, D>>(
    shard: &Shard<K, V, T, D>,
    settings: &Settings<T>,
    descs: StreamVec<'scope, T, Desc<T>>,
    stopping: &mut Stopping<'scope, T>,
    rows: R,
) -> Fetched<'scope, T, R::Out> {
    let scope = descs.scope();
    let mut builder = OperatorBuilder::new(format!("{}: fetch", settings.name), scope);
    let address = builder.operator_info().address;
    // The order of the outputs is that of `Capabilities`.
    let (data_output, data) = builder.new_output();
    let (home_output, home) = builder.new_output();
    let (errors_output, errors) = builder.new_output();
    let mut data_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<R::Out>>>::from(data_output);
    let mut home_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Home>>>::from(home_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<SourceError>>>::from(errors_output);
    let mut descs = builder.new_input(descs, Exchange::new(|sent: &Desc<T>| sent.worker));
    let _stop = builder.new_input_connection::<Vec<Infallible>, _, _>(stopping.edge.clone(), Pipeline, []);

    let wake = || scope.worker().sync_activator_for(address.to_vec());
    stopping.button.wakes(wake());
    let pressed = stopping.button.watch();
    let again = scope.activator_for(address.clone());
    again.activate(); // the introduction waits for nothing
    let (sender, deliveries) = mailbox(PIECES_MAX, wake());
    let mut fetching = Fetching::new(Fetches::new(shard, settings, sender), deliveries, settings, rows);
    let asked = (scope.peers() > 1).then(|| settings.asked(scope.index()));
    builder.build(move |mut initial| {
        let mut introduction = asked.map(|asked| (asked, initial.swap_remove(HOME)));
        drop(initial); // other capabilities come with parts
        move |frontiers| {
            let mut outputs = Outputs {
                data: data_output.activate(),
                home: home_output.activate(),
                errors: errors_output.activate(),
            };
            if let Some((asked, capability)) = introduction.take() {
                outputs.home.session(&capability).give(Home::Asked(asked));
            }
            if pressed.get() {
                fetching.handle(Event::Pressed, &mut outputs);
            }
            descs.for_each(|message, sent| fetching.receive(&message, sent, &mut outputs));
            if frontiers.get(1).is_some_and(|stop| stop.is_empty()) {
                return fetching.stop(&mut outputs);
            }
            if fetching.work(&mut outputs) {
                again.activate();
            }
        }
    });
    Fetched { data, home, errors }
}

/// The operator's outputs, during one activation.
struct Outputs<'a, T: Time, O: Clone + 'static> {
    data: DataSession<'a, T, O>,
    home: OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<Home>>>,
    errors: OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<SourceError>>>,
}

type Protocol<K, V, T, D> = Fetch<Rc<Capabilities<T>>, ExchangeablePart<T>, Piece<K, V, T, D>>;
type Happened<K, V, T, D> = Event<Rc<Capabilities<T>>, ExchangeablePart<T>, Piece<K, V, T, D>>;

/// What the operator keeps.
struct Fetching<K: Data, V: Data, T: Time, D: Diff, R: Rows<K, V, T, D>> {
    shard: ShardId,
    protocol: Protocol<K, V, T, D>,
    fetches: Fetches<K, V, T, D>,
    /// The fetches under way.
    tasks: HashMap<LeaseId, FetchTask>,
    deliveries: Receiver<Delivery<K, V, T, D>>,
    rows: R,
    containers: Containers<R::Out>,
    /// Empty, but for its memory.
    actions: Vec<Action<Rc<Capabilities<T>>>>,
}

impl<K: Data, V: Data, T: Time, D: Diff, R: Rows<K, V, T, D>> Fetching<K, V, T, D, R> {
    fn new(
        fetches: Fetches<K, V, T, D>,
        deliveries: Receiver<Delivery<K, V, T, D>>,
        settings: &Settings<T>,
        rows: R,
    ) -> Self {
        Self {
            shard: settings.shard,
            protocol: Fetch::new(settings.shard, settings.fetch_concurrency),
            fetches,
            tasks: HashMap::new(),
            deliveries,
            rows,
            containers: Containers::new(),
            actions: Vec::new(),
        }
    }

    /// Something happened.
    fn handle(&mut self, event: Happened<K, V, T, D>, outputs: &mut Outputs<'_, T, R::Out>) {
        self.protocol.handle(event, &mut self.actions);
        for action in self.actions.drain(..) {
            match action {
                Action::Return { capabilities, returned } => {
                    self.tasks.remove(&returned.lease);
                    outputs.home.session(&capabilities.home).give(Home::Returned(returned));
                }
                Action::Report { capabilities, error } => {
                    error.trace();
                    outputs.errors.session(&capabilities.errors).give(error);
                }
            }
        }
    }

    /// A message of the leader's.
    fn receive(&mut self, message: &InputCapability<T>, sent: &mut Vec<Desc<T>>, outputs: &mut Outputs<'_, T, R::Out>) {
        let all = Capabilities::of(message);
        for Sent { order, .. } in sent.drain(..) {
            let capabilities = Rc::clone(&all);
            let event = match order {
                Order::Fetch { part, audit } => Event::Part { lease: part.lease_id(), part, audit, capabilities },
                Order::Disagree(message) => Event::Disagreement { message, capabilities },
            };
            self.handle(event, outputs);
        }
    }

    /// All workers have stopped, or the source is complete.
    fn stop(&mut self, outputs: &mut Outputs<'_, T, R::Out>) {
        self.handle(Event::Stopped, outputs);
        self.hear(outputs); // whatever was still delivered is freed
    }

    /// Goes on with what there is. Whether there is more.
    fn work(&mut self, outputs: &mut Outputs<'_, T, R::Out>) -> bool {
        self.hear(outputs);
        self.start(outputs);
        self.emit(outputs);
        self.start(outputs);
        let more = self.protocol.has_rows() || !self.deliveries.is_empty();
        self.containers.prepare(more);
        more
    }

    /// Takes what the fetches brought.
    fn hear(&mut self, outputs: &mut Outputs<'_, T, R::Out>) {
        while self.protocol.has_room()
            && let Found::Letter(Delivery { lease, brought }) = self.deliveries.look()
        {
            self.handle(Event::Brought { lease, brought }, outputs);
        }
    }

    /// Starts fetches.
    fn start(&mut self, outputs: &mut Outputs<'_, T, R::Out>) {
        while let Some((lease, part)) = self.protocol.next_fetch() {
            match self.fetches.at_once(&part) {
                Some(brought) => self.handle(Event::Brought { lease, brought }, outputs),
                None => drop(self.tasks.insert(lease, self.fetches.start(part))),
            }
        }
    }

    /// Emits rows of what was fetched, until none are left or the fuel is used up.
    fn emit(&mut self, outputs: &mut Outputs<'_, T, R::Out>) {
        let mut fuel = R::FUEL;
        while fuel > 0
            && let Some((capabilities, Piece { emission, .. }, task)) = self.protocol.next_rows()
        {
            let looked = match task {
                Task::Emit => emission
                    .emit(&mut self.rows, &capabilities.data, &mut outputs.data, &mut self.containers, &mut fuel)
                    .map(|()| false),
                Task::Audit => emission.is_wanted(&mut self.rows),
                Task::Skip => Ok(false),
            };
            let event = match looked {
                Ok(false) if task == Task::Emit && !emission.is_done() => return,
                Ok(false) => Event::Emitted,
                Ok(true) => Event::FoundWrong,
                Err(panic) => Event::Panicked(panic.of_shard(self.shard)),
            };
            fuel -= 1.min(fuel); // what has no rows takes some, too
            self.handle(event, outputs);
        }
    }
}
