//! A sink without a dataflow: the leader's protocol and those of its workers, with the operator's own tasks, on a real
//! writer and real batches. Mail between workers, rows, frontiers and what tasks bring come in an order that the seed
//! chooses, and the process may crash while anything is under way.
//!
//! The rows are those of the run's [`Input`]; the frontier is that of what this copy has made of it and of the rows that no
//! worker has taken in yet, as a dataflow would show it. What each copy asks for and shows is held against both.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use timely::PartialOrder;
use timely::progress::Antichain;
use timely::scheduling::SyncActivator;
use timely::scheduling::activate::Activations;
use timely_persist::{Error, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::actors::{Actor, Program, SimTime, Turn, WriterOf, is_too_old};
use crate::common::mailbox::{Found, Receiver, mailbox};
use crate::feed::Feed;
use crate::input::{Input, Running};
use crate::random::Random;
use crate::sink::error::SinkError;
use crate::sink::gather::{self, Gather};
use crate::sink::kept::Kept;
use crate::sink::lead::{self, Lead};
use crate::sink::message::{Ask, Letter, Order};
use crate::sink::pile::Rows;
use crate::sink::settings::Settings;
use crate::sink::staging::{DELIVERIES_MAX, Delivery, Staging, Task, Work};
use crate::sink::writing::{Append, Beside, EVENTS_MAX, Enable, write};
use crate::times::Row;

/// How long a copy rests that has nothing to do, at most.
const IDLE_MS: usize = 200;

/// How long after the end of a copy its program stops it, at most.
const STOPS_AFTER_MS: usize = 3_000;

/// What a copy is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It writes.
    Sink,
    /// It writes as well, but is later than the others.
    Standby,
    /// It writes only after a while.
    Promote,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Sink, Self::Standby, Self::Promote];

    /// What it is called in a setting.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Standby => "standby",
            Self::Promote => "promote",
        }
    }
}

/// What befalls a copy, beside a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Nothing,
    /// One of its buttons is pressed, and later the others.
    Pressed(Instant),
    /// Its input ends, in the middle of a step.
    Ends(Instant),
}

type Act<T, P> = gather::Action<T, Rows<<P as Program>::Key, <P as Program>::Value, T, i64>, Kept<T>>;

/// What is under way; dropped, it is ended.
struct Tasks<T: SimTime, P: Program> {
    _opening: Option<Task>,
    spilling: Option<Work<Delivery<P::Key, P::Value, T, i64>>>,
    staging: Option<Work<Delivery<P::Key, P::Value, T, i64>>>,
}

impl<T: SimTime, P: Program> Tasks<T, P> {
    /// What one has brought that took no waiting. The operator hears it at once; here other things may come first, as
    /// they do where it takes longer.
    fn ready(&mut self) -> Option<Delivery<P::Key, P::Value, T, i64>> {
        for task in [&mut self.spilling, &mut self.staging] {
            if let Some(Work::Ready(delivery)) = task.take_if(|task| matches!(task, Work::Ready(_))) {
                return Some(delivery);
            }
        }
        None
    }

    fn is_ready(&self) -> bool {
        [&self.spilling, &self.staging].into_iter().any(|task| matches!(task, Some(Work::Ready(_))))
    }
}

/// What the operator keeps on a worker, and its mail.
struct Worker<T: SimTime, P: Program> {
    gather: Gather<T, Rows<P::Key, P::Value, T, i64>, Kept<T>>,
    staging: Staging<P::Key, P::Value, T, i64>,
    writer: Option<WriterOf<P, T>>,
    deliveries: Receiver<Delivery<P::Key, P::Value, T, i64>>,
    tasks: Tasks<T, P>,
    waiting: Vec<Act<T, P>>,
    inbox: VecDeque<Order<T>>,
    outbox: VecDeque<Letter<T>>,
}

impl<T: SimTime, P: Program> Worker<T, P> {
    fn collect(&mut self, ((key, value), time, diff): Row<T>) {
        let row = P::row(&key, value);
        let writer = self.writer.as_ref();
        if let Some(added) = self.gather.collect(&time, |pile| pile.add(std::iter::once((row, diff)), &time, writer)) {
            added.unwrap();
        }
        let mut actions = Vec::new();
        self.gather.spill(&mut actions);
        self.act(actions);
    }

    fn take(&mut self, delivery: Delivery<P::Key, P::Value, T, i64>) {
        match delivery {
            Delivery::Opened(writer) => {
                self.writer = Some(writer);
                let waiting = std::mem::take(&mut self.waiting);
                self.act(waiting);
            }
            Delivery::Spilled { time, batch } => {
                self.tasks.spilling = None;
                self.happen(gather::Event::Spilled { time, batch });
                let mut actions = Vec::new();
                self.gather.spill(&mut actions);
                self.act(actions);
            }
            Delivery::Staged(answer) => {
                self.tasks.staging = None;
                self.outbox.push_back(Letter::Answer(answer));
            }
            Delivery::Notice(error) => {
                if error.is_final() {
                    self.rest();
                }
                self.outbox.push_back(Letter::Report(error));
            }
        }
    }

    fn obey(&mut self, order: Order<T>) {
        match order {
            Order::Floor(floor) => self.happen(gather::Event::Floor(floor)),
            Order::Ask(ask) => self.happen(gather::Event::Ask(ask)),
            Order::Rest | Order::End => self.rest(),
        }
    }

    fn happen(&mut self, event: gather::Event<T, Kept<T>>) {
        let mut actions = Vec::new();
        self.gather.handle(event, &mut actions);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Act<T, P>>) {
        for action in actions {
            let Some(writer) = &self.writer else {
                self.waiting.push(action);
                continue;
            };
            let (spills, work) = match action {
                gather::Action::Spill { time, pile } => {
                    assert!(self.tasks.spilling.is_none(), "two spills are under way");
                    (true, self.staging.spill(time, pile, writer))
                }
                gather::Action::Stage { ask, piles, batches, rows_later } => {
                    assert!(self.tasks.staging.is_none(), "two answers are under way");
                    (false, self.staging.answer(ask, piles, batches, rows_later, writer))
                }
            };
            let task = if spills { &mut self.tasks.spilling } else { &mut self.tasks.staging };
            *task = Some(work.unwrap());
        }
    }

    fn rest(&mut self) {
        self.tasks = Tasks { _opening: None, spilling: None, staging: None };
        self.waiting.clear();
        self.happen(gather::Event::Rest);
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The dataflow makes a step.
    Make,
    /// A worker takes a row in.
    Collect(usize),
    /// A worker hears the leader.
    Order(usize),
    /// A worker hears what its tasks bring.
    Deliver(usize),
    /// The leader hears a worker.
    Mail(usize),
    /// The leader hears its task.
    Event,
    /// The leader sees the frontier of its port, or is woken.
    See,
}

/// One copy of a sink: all its workers.
struct Sink<T: SimTime, P: Program> {
    role: Role,
    begun: Instant,
    feed: Feed<T>,
    workers: Vec<Worker<T, P>>,
    /// Which worker leads.
    leads: usize,
    leader: Lead<T>,
    events: Receiver<lead::Event<T>>,
    appends: mpsc::Sender<Append<T>>,
    /// The port's frontier, as the leader saw it last.
    seen: Antichain<T>,
    wakes: Option<Instant>,
    enabled: bool,
    progress: Antichain<T>,
    /// What is out, and how many have answered it.
    out: Option<(Ask<T>, usize)>,
    fate: Fate,
    /// When the program stops it.
    stops: Option<Instant>,
    /// What is to be told.
    story: Vec<String>,
    turn: Arc<Turn>,
    /// Whether that had happened when it began.
    turned: bool,
}

/// Wakes nobody: the simulator looks.
fn nobody() -> SyncActivator {
    SyncActivator::new(Vec::new(), Activations::new(None).sync())
}

impl<T: SimTime, P: Program> Sink<T, P> {
    fn begin(actor: &mut Actor<T, P>, input: &Arc<Input<T>>, role: Role, as_of: T) -> Self {
        let random = &mut actor.random;
        let mut settings = Settings::new(actor.shard.id(), actor.shard.client().config());
        settings.name = role.kind().to_owned();
        settings.terms.as_of = Antichain::from_elem(as_of.clone());
        settings.terms.until = input.until.clone();
        settings.terms.commit_interval = Duration::from_millis(*random.pick(&[0, 0, 500, 5_000]));
        settings.terms.commit_bytes = *random.pick(&[1, 200, 8 << 20]);
        settings.memory_max = *random.pick(&[100, 400, 1 << 20]);
        let enable = (role == Role::Promote).then(|| {
            let after = Duration::from_millis(random.below(30_000) as u64);
            Box::pin(tokio::time::sleep(after)) as Enable
        });
        settings.terms.waits = enable.is_some();
        let lag =
            if role == Role::Standby { Duration::from_millis(random.below(5_000) as u64) } else { Duration::ZERO };
        let (feed_input, peers) = (Arc::clone(input), 1 + random.below(4));
        let worker = |index| {
            // Some workers are in a process that never crashes.
            let shard = if random.percent(30) { &actor.elsewhere } else { &actor.shard };
            let (sender, deliveries) = mailbox(DELIVERIES_MAX, nobody());
            let staging = Staging::new(shard, index, sender);
            let tasks = Tasks { _opening: Some(staging.open(shard, &settings)), spilling: None, staging: None };
            Worker {
                gather: Gather::new(settings.memory_max as u64),
                staging,
                writer: None,
                deliveries,
                tasks,
                waiting: Vec::new(),
                inbox: VecDeque::new(),
                outbox: (peers > 1).then(|| Letter::Asked(settings.asked(index))).into_iter().collect(),
            }
        };
        let workers: Vec<_> = (0..peers).map(worker).collect();
        let (sender, events) = mailbox(EVENTS_MAX, nobody());
        let (appends, asked) = mpsc::channel(1);
        let leader = Lead::new(settings.terms.clone(), peers);
        let beside = Beside { enable, told: None, refused: None };
        let writing = write(actor.shard.clone(), settings, beside, asked, sender);
        drop(actor.shard.client().runtime().spawn(writing)); // it ends with its mailbox
        let random = &mut actor.random;
        let at = Instant::now() + Duration::from_millis(random.below(30_000) as u64);
        Self {
            role,
            begun: Instant::now(),
            feed: Feed {
                input: feed_input,
                as_of,
                lag,
                steps: 0,
                ended: false,
                pending: Vec::new(),
                ahead: Vec::new(),
            },
            workers,
            leads: random.below(peers),
            leader,
            events,
            appends,
            seen: Antichain::from_elem(T::minimum()),
            wakes: None,
            enabled: role != Role::Promote,
            progress: Antichain::from_elem(T::minimum()),
            out: None,
            fate: *random.pick(&[Fate::Nothing, Fate::Nothing, Fate::Nothing, Fate::Pressed(at), Fate::Ends(at)]),
            stops: None,
            story: Vec::new(),
            turned: actor.turn().seqno().is_some(),
            turn: actor.turn(),
        }
    }

    fn possible(&self) -> Vec<Next> {
        let mut possible = Vec::new();
        possible.extend(self.feed.may_make().then_some(Next::Make));
        for (index, worker) in self.workers.iter().enumerate() {
            possible.extend((!self.feed.pending.is_empty()).then_some(Next::Collect(index)));
            possible.extend((!worker.inbox.is_empty()).then_some(Next::Order(index)));
            let brought = worker.tasks.is_ready() || !worker.deliveries.is_empty();
            possible.extend(brought.then_some(Next::Deliver(index)));
            possible.extend((!worker.outbox.is_empty()).then_some(Next::Mail(index)));
        }
        possible.extend((!self.events.is_empty()).then_some(Next::Event));
        let woken = self.wakes.is_some_and(|at| at <= Instant::now());
        possible.extend((woken || self.feed.port() != self.seen).then_some(Next::See));
        possible
    }

    fn go_on(&mut self, next: Next, random: &mut Random) {
        match next {
            Next::Make => self.feed.make(&self.progress),
            Next::Collect(index) => {
                let row = self.feed.pending.swap_remove(random.below(self.feed.pending.len()));
                self.workers[index].collect(row);
            }
            Next::Order(index) => {
                let order = self.workers[index].inbox.pop_front();
                order.into_iter().for_each(|order| self.workers[index].obey(order));
            }
            Next::Deliver(index) => {
                let worker = &mut self.workers[index];
                if let Some(delivery) = worker.tasks.ready() {
                    worker.take(delivery);
                } else if let Found::Letter(delivery) = worker.deliveries.look() {
                    worker.take(delivery);
                }
            }
            Next::Mail(index) => {
                let letter = self.workers[index].outbox.pop_front();
                letter.into_iter().for_each(|letter| self.receive(letter));
            }
            Next::Event => match self.events.look() {
                Found::Letter(event) => self.hear(event),
                Found::Nothing => {}
                Found::Ended => assert!(self.stops.is_some(), "the leader's task has ended and said nothing"),
            },
            Next::See => {
                let bytes = self.workers[self.leads].gather.bytes();
                let port = self.feed.port();
                self.wakes = None;
                self.seen.clone_from(&port);
                self.tell_leader(lead::Event::Frontier(port, bytes));
            }
        }
    }

    /// What befalls the copy; whether that is all.
    fn befall(&mut self) -> bool {
        let now = Instant::now();
        let late = self.feed.input.is_over(); // whoever runs then goes on to the end
        match self.fate {
            Fate::Pressed(at) if at <= now && !late => {
                self.fate = Fate::Nothing;
                self.stops = Some(now + Duration::from_millis(STOPS_AFTER_MS as u64));
                if self.begun.elapsed().as_millis().is_multiple_of(2) {
                    self.tell_leader(lead::Event::Pressed);
                }
                self.workers[0].rest();
            }
            Fate::Ends(at) if at <= now && !late => {
                self.fate = Fate::Nothing;
                self.feed.end();
            }
            _ => {}
        }
        if self.stops.is_some_and(|at| at <= now) {
            self.tell_leader(lead::Event::Stopped);
            assert!(self.leader.is_over(), "it was stopped, and is not over");
        }
        self.leader.is_over()
    }

    fn receive(&mut self, letter: Letter<T>) {
        let event = match letter {
            Letter::Asked(asked) => lead::Event::Asked(asked),
            Letter::Answer(answer) => {
                self.out.iter_mut().for_each(|(_, answers)| *answers += 1);
                lead::Event::Answer(answer)
            }
            Letter::Report(error) if error.is_final() => lead::Event::Failed(error),
            Letter::Report(error) => lead::Event::Notice(error),
            Letter::Order(order) => panic!("the leader's order was sent to the leader: {order:?}"),
        };
        self.tell_leader(event);
    }

    /// The leader's task says something.
    fn hear(&mut self, event: lead::Event<T>) {
        match &event {
            lead::Event::Enabled => self.enabled = true,
            lead::Event::Upper(upper) => self.check_in_shard(upper),
            lead::Event::Appended(outcome) => {
                let out = self.out.take();
                self.story.push(format!("{:?}: {outcome:?}", out.as_ref().map(|(ask, _)| ask)));
                if let (lead::Outcome::Committed | lead::Outcome::Covered { .. }, Some((ask, _))) = (outcome, out) {
                    self.check_in_shard(&ask.upper);
                }
            }
            _ => {}
        }
        self.tell_leader(event);
    }

    fn check_in_shard(&self, upper: &Antichain<T>) {
        let there = self.feed.input.judge.upper();
        assert!(
            PartialOrder::less_equal(upper, &there),
            "{upper:?} is said to be in the shard, which ends at {there:?}"
        );
        self.feed.input.check(&there);
    }

    fn tell_leader(&mut self, event: lead::Event<T>) {
        let mut actions = Vec::new();
        self.leader.handle(event, self.begun.elapsed(), &mut actions);
        for action in actions {
            match action {
                lead::Action::Tell(order) => {
                    if let Order::Ask(ask) = &order {
                        self.check_ask(ask);
                        self.out = Some((ask.clone(), 0));
                    }
                    self.workers.iter_mut().for_each(|worker| worker.inbox.push_back(order.clone()));
                }
                lead::Action::Append { lower, upper, batches } => {
                    let answers = self.out.as_ref().map(|(_, answers)| *answers);
                    assert_eq!(answers, Some(self.workers.len()), "it appends before all have answered");
                    let _ = self.appends.try_send(Append { lower, upper, batches });
                }
                lead::Action::Progress(upper) => self.show(upper),
                lead::Action::Report(error) => self.report(&error),
                lead::Action::Wake(wait) => {
                    assert!(!wait.is_zero(), "it wakes itself for ever");
                    let at = Instant::now() + wait;
                    self.wakes = Some(self.wakes.map_or(at, |earlier| earlier.min(at)));
                }
            }
        }
    }

    /// Whether the leader may ask for this.
    fn check_ask(&self, ask: &Ask<T>) {
        assert!(self.out.is_none(), "two asks are out: {ask:?} and {:?}", self.out);
        assert!(self.enabled, "it asks before it may: {ask:?}");
        let (lower, upper) = (&ask.lower, &ask.upper);
        self.check_in_shard(lower);
        if lower != upper {
            let begins = Antichain::from_elem(self.feed.as_of.clone());
            assert!(PartialOrder::less_than(&begins, upper), "an interval ends where the dataflow begins: {ask:?}");
            let late = self.feed.pending.iter().find(|(_, time, _)| !upper.less_equal(time));
            assert_eq!(late, None, "it asks for what is not there: {ask:?}");
        }
    }

    fn show(&mut self, upper: Antichain<T>) {
        if self.leader.is_over() && upper.is_empty() {
            return;
        }
        assert!(PartialOrder::less_equal(&self.progress, &upper), "the progress goes back");
        self.check_in_shard(&upper);
        self.feed.ahead.retain(|time| upper.less_equal(time));
        self.progress = upper;
    }

    fn report(&mut self, error: &SinkError) {
        self.story.push(format!("says {error}"));
        let bears = match error {
            SinkError::Stalled(_) | SinkError::Recovered(_) => return,
            SinkError::Uncommitted { .. } => self.feed.ended,
            SinkError::Failed(error) => is_too_old(error) || self.turn.refuses_writing::<P>(error, self.turned),
            _ => false,
        };
        assert!(bears, "{error}");
        self.stops = Some(Instant::now() + Duration::from_millis(STOPS_AFTER_MS as u64));
    }
}

impl<T: SimTime, P: Program> Actor<T, P> {
    /// Copies of a sink, one after the other.
    pub async fn sinks(mut self, input: Arc<Input<T>>, role: Role) {
        let running = input.run();
        loop {
            self.rest().await;
            let upper = match self.shard.inspect().await {
                Ok(info) => info.upper,
                Err(error) => {
                    self.check_unavailable(&error);
                    continue;
                }
            };
            let as_of = T::restart(&mut self.random, &input.first_as_of, &upper);
            self.tell(format_args!("{role:?} {} begins at {as_of:?}", running.number));
            let sink = Sink::begin(&mut self, &input, role, as_of);
            self.sink(sink, &running).await;
            if P::VERSION == 0 && self.turn().is_over() {
                return; // it will never write again
            }
        }
    }

    fn check_unavailable(&self, error: &Error) {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }

    async fn sink(&mut self, mut sink: Sink<T, P>, running: &Running<T>) {
        while !sink.befall() {
            let possible = sink.possible();
            let pause = match possible.is_empty() {
                true => 1 + self.random.below(IDLE_MS),
                false => {
                    let next = *self.random.pick(&possible);
                    sink.go_on(next, &mut self.random);
                    if self.random.percent(80) { 0 } else { self.random.below(IDLE_MS) }
                }
            };
            for line in sink.story.drain(..) {
                self.tell(format_args!("{:?} {}: {line}", sink.role, running.number));
            }
            running.show(&sink.progress);
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause as u64)).await;
            }
        }
        if sink.stops.is_none() && !sink.feed.ended {
            // Only its end ends it.
            let upper = sink.feed.input.judge.upper();
            assert!(PartialOrder::less_equal(&sink.feed.input.until, &upper), "it is over at {upper:?}");
            running.show(&Antichain::new());
        }
    }
}
