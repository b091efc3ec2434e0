//! The operator of a sink, on every worker: it collects rows, stages them when it is asked, and on the leader asks. It tells
//! the protocols (`gather.rs`, `lead.rs`) what it hears, and does what they say.
//!
//! Always: it neither waits nor blocks. The mail between workers is an edge that leads nowhere further, so it holds no
//! frontier back; nor does the input, as what is shown is what is in the shard.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::iter;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession};
use timely::dataflow::operators::{Capability, CapabilitySet};
use timely::progress::Antichain;
use timely::scheduling::Activator;
use timely_persist::{Data, Diff, Error, ErrorKind, InflightHold, Shard, ShardId, Time, WriteHandle};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::common::button::Stopping;
use crate::common::foreign::{TYPES, call};
use crate::common::inputs::Inputs;
use crate::common::mailbox::{Found, Receiver, Sender, mailbox};
use crate::common::placement::leader;
use crate::sink::error::SinkError;
use crate::sink::gather::{self, Gather};
use crate::sink::kept::Kept;
use crate::sink::lead::{self, Lead};
use crate::sink::message::{Letter, Mail, Order};
use crate::sink::pile::Rows;
use crate::sink::settings::Settings;
use crate::sink::staging::{DELIVERIES_MAX, Delivery, Staging, Task, Work};
use crate::sink::writing::{Append, EVENTS_MAX};

/// The rows of a collection, as they travel.
pub(crate) type Updates<'scope, K, V, T, D> = StreamVec<'scope, T, ((K, V), T, D)>;

/// The streams that leave the operator.
pub(crate) struct Written<'scope, T: Time> {
    pub(crate) mail: StreamVec<'scope, T, Mail<T>>,
    pub(crate) progress: StreamVec<'scope, T, Infallible>,
    pub(crate) errors: StreamVec<'scope, T, SinkError>,
}

/// Where the operator's outputs lie.
const MAIL: usize = 0;
const PROGRESS: usize = 1;
const ERRORS: usize = 2;

/// What the leader's task needs.
pub(crate) struct Leading<T: Time> {
    pub(crate) appends: mpsc::Receiver<Append<T>>,
    pub(crate) mailbox: Sender<lead::Event<T>>,
}

/// Builds the operator. On the leader, `write` is called with where its task hears and is heard.
pub(crate) fn sink<'scope, K: Data, V: Data, T: Time, D: Diff>(
    shard: &Shard<K, V, T, D>,
    settings: &Settings<T>,
    updates: Updates<'scope, K, V, T, D>,
    mail: StreamVec<'scope, T, Mail<T>>,
    stopping: &mut Stopping<'scope, T>,
    inputs: Inputs,
    write: impl FnOnce(Leading<T>),
) -> Written<'scope, T> {
    let scope = updates.scope();
    let mut builder = OperatorBuilder::new(settings.name.clone(), scope);
    let address = builder.operator_info().address.to_vec();
    let leader = leader(&address, scope.peers());
    let (mail_output, mail_out) = builder.new_output();
    let (progress_output, progress) = builder.new_output();
    let (errors_output, errors) = builder.new_output();
    let mut mail_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Mail<T>>>>::from(mail_output);
    let progress_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Infallible>>>::from(progress_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<SinkError>>>::from(errors_output);
    let mut updates = builder.new_input_connection(updates, Pipeline, []);
    let mut mail = builder.new_input_connection(mail, Exchange::new(|mail: &Mail<T>| mail.to), []);
    let _stop = builder.new_input_connection::<Vec<Infallible>, _, _>(stopping.edge.clone(), Pipeline, []);

    let wake = || scope.worker().sync_activator_for(address.clone());
    stopping.button.wakes(wake());
    let (pressed, complete) = (stopping.button.watch(), stopping.complete.clone());
    let again = scope.activator_for(address.clone().into());
    again.activate(); // the introduction waits for nothing
    let (sender, deliveries) = mailbox(DELIVERIES_MAX, wake());
    let staging = Staging::new(shard, scope.index(), sender);
    let opening = staging.open(shard, settings);
    let mut leading = (scope.index() == leader).then(|| {
        let (appends, asked) = mpsc::channel(1); // one is under way at most
        let (mailbox, events) = mailbox(EVENTS_MAX, wake());
        write(Leading { appends: asked, mailbox });
        Leader {
            shard: settings.terms.shard,
            protocol: Lead::new(settings.terms.clone(), scope.peers()),
            begun: Instant::now(),
            events: Some(events),
            appends,
            shown: CapabilitySet::new(),
            errors: CapabilitySet::new(),
            again,
            wakes_at: None,
            inputs,
            reports: Vec::new(),
        }
    });
    let mut worker = Worker {
        shard: settings.terms.shard,
        index: scope.index() as u64,
        leader: leader as u64,
        peers: scope.peers() as u64,
        gather: Gather::new(settings.memory_max as u64),
        staging,
        writer: None,
        deliveries,
        tasks: Tasks { opening: Some(opening), ..Tasks::default() },
        waiting: Vec::new(),
        right: None,
        outbox: Vec::new(),
        here: VecDeque::new(),
        held_back: None,
    };
    let mut asked = (scope.peers() > 1).then(|| settings.asked(scope.index()));
    builder.build(move |mut capabilities| {
        let (errors, shown) = (capabilities.swap_remove(ERRORS), capabilities.swap_remove(PROGRESS));
        worker.right = Some(capabilities.swap_remove(MAIL));
        if let Some(leading) = &mut leading {
            (leading.shown, leading.errors) = (CapabilitySet::from_elem(shown), CapabilitySet::from_elem(errors));
        } // the others have nothing to show
        move |frontiers| {
            let _ = &progress_output; // lives as long as the operator
            let mut errors = errors_output.activate();
            let mut mail_session = mail_output.activate();
            if let Some(asked) = asked.take() {
                worker.tell_leader(Letter::Asked(asked));
            }
            if pressed.get() {
                worker.rest();
            }
            worker.hear();
            mail.for_each(|_, letters| {
                letters.drain(..).for_each(|Mail { letter, .. }| read(letter, leading.as_mut(), &mut worker));
            });
            updates.for_each(|_, rows| worker.collect(rows));
            worker.spill();
            let [input, mail_frontier, stop] = frontiers else {
                return; // there are three inputs
            };
            if let Some(leading) = &mut leading {
                let stopped = (stop.is_empty(), pressed.get());
                leading.work(input.frontier().to_owned(), stopped, &mut worker);
                while let Some(letter) = worker.here.pop_front() {
                    worker.send(&mut mail_session); // an end leaves nothing to be sent
                    read(letter, Some(leading), &mut worker);
                }
                leading.report(&mut errors);
            }
            if stop.is_empty() {
                worker.end();
            }
            worker.hold_back();
            worker.send(&mut mail_session);
            if mail_frontier.is_empty() {
                complete.declare();
            }
        }
    });
    Written { mail: mail_out, progress, errors }
}

/// Does what a letter says.
fn read<K: Data, V: Data, T: Time, D: Diff>(
    letter: Letter<T>,
    leading: Option<&mut Leader<T>>,
    worker: &mut Worker<K, V, T, D>,
) {
    match (letter, leading) {
        (Letter::Order(order), _) => worker.obey(order),
        (letter, Some(leading)) => leading.receive(letter, worker),
        (_, None) => {} // not for this one
    }
}

type MailSession<'a, T> = OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<Mail<T>>>>;
type ErrorSession<'a, T> = OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<SinkError>>>;
type Piles<K, V, T, D> = Gather<T, Rows<K, V, T, D>, Kept<T>>;
type Act<K, V, T, D> = gather::Action<T, Rows<K, V, T, D>, Kept<T>>;

/// What is under way.
#[derive(Default)]
struct Tasks {
    opening: Option<Task>,
    spilling: Option<Task>,
    staging: Option<Task>,
}

/// What the operator keeps on every worker.
struct Worker<K: Data, V: Data, T: Time, D: Diff> {
    shard: ShardId,
    index: u64,
    leader: u64,
    peers: u64,
    gather: Piles<K, V, T, D>,
    staging: Staging<K, V, T, D>,
    /// What builds batches; `None` until it is open.
    writer: Option<WriteHandle<K, V, T, D>>,
    deliveries: Receiver<Delivery<K, V, T, D>>,
    tasks: Tasks,
    /// What the protocol says and could not be done yet, as nothing builds batches yet.
    waiting: Vec<Act<K, V, T, D>>,
    /// The right to send mail; `None` when nothing is to be said any more.
    right: Option<Capability<T>>,
    outbox: Vec<Mail<T>>,
    /// Letters of the leader to itself: read as soon as there are any.
    here: VecDeque<Letter<T>>,
    held_back: Option<InflightHold>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Worker<K, V, T, D> {
    fn tell_leader(&mut self, letter: Letter<T>) {
        self.tell(self.leader, letter);
    }

    fn tell_all(&mut self, order: &Order<T>) {
        (0..self.peers).for_each(|to| self.tell(to, Letter::Order(order.clone())));
    }

    fn tell(&mut self, to: u64, letter: Letter<T>) {
        match to == self.index {
            true => self.here.push_back(letter),
            false => self.outbox.push(Mail { to, letter }),
        }
    }

    fn fail(&mut self, error: Error) {
        self.rest();
        self.tell_leader(Letter::Report(SinkError::Failed(error.of_shard(self.shard))));
    }

    /// Takes rows in.
    fn collect(&mut self, rows: &mut Vec<((K, V), T, D)>) {
        let (gather, writer) = (&mut self.gather, self.writer.as_ref());
        let collected = call(TYPES, || {
            let mut rows = rows.drain(..).peekable();
            while let Some(time) = rows.peek().map(|(_, time, _)| time.clone()) {
                let mut of_time =
                    iter::from_fn(|| rows.next_if(|(_, at, _)| *at == time)).map(|(row, _, diff)| (row, diff));
                match gather.collect(&time, |pile| pile.add(&mut of_time, &time, writer)) {
                    Some(added) => added?,
                    None => of_time.for_each(drop),
                }
            }
            Ok(())
        });
        match collected.map_err(|panic| panic.of_shard(self.shard)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => self.fail(error),
        }
    }

    /// Puts rows into storage, if too many are in memory.
    fn spill(&mut self) {
        let mut actions = Vec::new();
        self.gather.spill(&mut actions);
        self.act(actions);
    }

    /// Holds back the sources of this process, while more rows would be too many.
    fn hold_back(&mut self) {
        match self.gather.is_full() {
            true if self.held_back.is_none() => self.held_back = Some(self.staging.hold_back()),
            true => {}
            false => self.held_back = None,
        }
    }

    /// Takes what tasks brought.
    fn hear(&mut self) {
        while let Found::Letter(delivery) = self.deliveries.look() {
            self.take(delivery);
        }
    }

    fn take(&mut self, delivery: Delivery<K, V, T, D>) {
        match delivery {
            Delivery::Opened(writer) => {
                (self.writer, self.tasks.opening) = (Some(writer), None);
                let waiting = std::mem::take(&mut self.waiting);
                self.act(waiting);
            }
            Delivery::Spilled { time, batch } => {
                self.tasks.spilling = None;
                self.happen(gather::Event::Spilled { time, batch });
                self.spill();
            }
            Delivery::Staged(answer) => {
                self.tasks.staging = None;
                self.tell_leader(Letter::Answer(answer));
            }
            Delivery::Notice(error) => {
                if error.is_final() {
                    self.rest();
                }
                self.tell_leader(Letter::Report(error));
            }
        }
    }

    /// Does what the leader says.
    fn obey(&mut self, order: Order<T>) {
        match order {
            Order::Floor(floor) => self.happen(gather::Event::Floor(floor)),
            Order::Ask(ask) => self.happen(gather::Event::Ask(ask)),
            Order::Rest => self.rest(),
            Order::End => self.end(),
        }
    }

    fn happen(&mut self, event: gather::Event<T, Kept<T>>) {
        let mut actions = Vec::new();
        self.gather.handle(event, &mut actions);
        self.act(actions);
    }

    /// Does what the protocol says.
    fn act(&mut self, actions: Vec<Act<K, V, T, D>>) {
        for action in actions {
            let Some(writer) = &self.writer else {
                self.waiting.push(action);
                continue;
            };
            let staging = &self.staging;
            let (spills, work) = match action {
                gather::Action::Spill { time, pile } => (true, call(TYPES, || staging.spill(time, pile, writer))),
                gather::Action::Stage { ask, piles, batches, rows_later } => {
                    (false, call(TYPES, || staging.answer(ask, piles, batches, rows_later, writer)))
                }
            };
            match work.unwrap_or_else(|panic| Err(panic.of_shard(self.shard))) {
                Ok(Work::Ready(delivery)) => self.take(delivery),
                Ok(Work::Under(task)) if spills => self.tasks.spilling = Some(task),
                Ok(Work::Under(task)) => self.tasks.staging = Some(task),
                Err(error) => self.fail(error),
            }
        }
    }

    /// Keeps no rows any more, and answers no ask.
    fn rest(&mut self) {
        self.tasks = Tasks::default();
        self.waiting.clear();
        self.happen(gather::Event::Rest);
    }

    /// Has nothing to say any more.
    fn end(&mut self) {
        self.rest();
        self.outbox.clear();
        self.here.clear();
        self.right = None;
        self.writer = None;
    }

    /// Sends what there is to be said.
    fn send(&mut self, session: &mut MailSession<'_, T>) {
        if let Some(right) = self.right.as_ref().filter(|_| !self.outbox.is_empty()) {
            session.session(right).give_iterator(self.outbox.drain(..));
        }
    }
}

/// What the operator keeps on the leader.
struct Leader<T: Time> {
    shard: ShardId,
    protocol: Lead<T>,
    begun: Instant,
    /// Where the leader's task is heard; `None` when nothing is wanted from it any more. Dropping it ends the task.
    events: Option<Receiver<lead::Event<T>>>,
    appends: mpsc::Sender<Append<T>>,
    /// For the frontier that is shown, one for each output.
    shown: CapabilitySet<T>,
    errors: CapabilitySet<T>,
    again: Activator,
    /// When the operator will be woken, if it will.
    wakes_at: Option<Duration>,
    /// The sources of this dataflow.
    inputs: Inputs,
    /// What is to be said.
    reports: Vec<SinkError>,
}

impl<T: Time> Leader<T> {
    /// A worker's mail.
    fn receive<K: Data, V: Data, D: Diff>(&mut self, letter: Letter<T>, worker: &mut Worker<K, V, T, D>) {
        let event = match letter {
            Letter::Asked(asked) => lead::Event::Asked(asked),
            Letter::Answer(answer) => lead::Event::Answer(answer),
            Letter::Report(error) if error.is_final() => lead::Event::Failed(error),
            Letter::Report(error) => lead::Event::Notice(error),
            Letter::Order(_) => return, // the worker's
        };
        self.handle(event, worker);
    }

    /// Goes on with what there is; `stopped`: whether all buttons were pressed, and this worker's.
    fn work<K: Data, V: Data, D: Diff>(
        &mut self,
        frontier: Antichain<T>,
        stopped: (bool, bool),
        worker: &mut Worker<K, V, T, D>,
    ) {
        match stopped {
            (true, _) => self.handle(lead::Event::Stopped, worker),
            (false, true) => self.handle(lead::Event::Pressed, worker),
            (false, false) => {}
        }
        if self.inputs.is_stopped() {
            let error = SinkError::InputStopped(self.shard);
            self.handle(lead::Event::Failed(error), worker);
        }
        while let Some(event) = self.next_event() {
            self.handle(event, worker);
        }
        self.handle(lead::Event::Frontier(frontier, worker.gather.bytes()), worker);
    }

    fn next_event(&mut self) -> Option<lead::Event<T>> {
        match self.events.as_mut()?.look() {
            Found::Letter(event) => Some(event),
            Found::Nothing => None,
            Found::Ended => {
                // It says so before it ends on its own account: the runtime ended it.
                self.events = None;
                let error = Error::new(ErrorKind::Closed, "the client was shut down under the sink");
                Some(lead::Event::Failed(SinkError::Failed(error.of_shard(self.shard))))
            }
        }
    }

    /// Something happened.
    fn handle<K: Data, V: Data, D: Diff>(&mut self, event: lead::Event<T>, worker: &mut Worker<K, V, T, D>) {
        let (mut actions, now) = (Vec::new(), self.begun.elapsed());
        self.protocol.handle(event, now, &mut actions);
        for action in actions {
            match action {
                lead::Action::Tell(order) => worker.tell_all(&order),
                lead::Action::Append { lower, upper, batches } => {
                    // There is room: one is out at most. If the task is gone, that is an event of its own.
                    let _ = self.appends.try_send(Append { lower, upper, batches });
                }
                lead::Action::Progress(upper) => {
                    self.shown.downgrade(upper.iter());
                    if !upper.is_empty() || self.reports.is_empty() {
                        self.errors.downgrade(upper.iter());
                    }
                }
                lead::Action::Report(error) => self.reports.push(error),
                lead::Action::Wake(wait) => self.wake(now, wait),
            }
        }
        if self.protocol.is_over() {
            self.events = None;
        }
    }

    /// Has the operator woken, unless it will be before.
    fn wake(&mut self, now: Duration, wait: Duration) {
        let at = now.saturating_add(wait);
        if self.wakes_at.is_none_or(|known| known <= now || at < known) {
            self.wakes_at = Some(at);
            self.again.activate_after(wait);
        }
    }

    /// Says what there is to be said.
    fn report(&mut self, session: &mut ErrorSession<'_, T>) {
        for error in self.reports.drain(..) {
            error.trace();
            session.session(&self.errors).give(error);
        }
        if self.protocol.is_over() {
            self.errors.downgrade(&[]);
        }
    }
}
