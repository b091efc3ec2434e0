//! A source without a dataflow: the leader's protocol and those of its workers, on a real reader and real parts. Messages
//! between them, fetches, rows and buttons come in an order that the seed chooses, and the process may crash at any await.
//!
//! A capability is a counted value here, so the frontier that a dataflow would show is the least of what the leader holds
//! and of all capabilities that live anywhere. It is what is written down, with all rows that were emitted: the model says
//! whether those behind the frontier are exact.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Error, ErrorKind, ExchangeablePart, LeaseId, ShardId};

use crate::actors::{Actor, FetcherOf, Heard, Program, ReaderOf, SimTime, plain};
use crate::random::Random;
use crate::source::fetch::{self, Brought, Fetch, Task};
use crate::source::handout::{self, Handout};
use crate::source::message::{Home, Order, Sent};
use crate::source::settings::Settings;
use crate::source::steps::{ListenSteps, Steps};
use crate::times::Row;

/// How long a step is waited for, when there is nothing else to do.
const PATIENCE: Duration = Duration::from_secs(20);

type Capability<T> = Rc<Antichain<T>>;

/// A part on its way to a worker.
enum Fetching<T: SimTime> {
    Asked(ExchangeablePart<T>),
    /// It is here, and comes in pieces. Not as the client has them: it reads those on threads, which do not replay.
    Here(VecDeque<Vec<Row<T>>>),
}

struct Worker<T: SimTime, P: Program> {
    fetcher: FetcherOf<P, T>,
    protocol: Fetch<Capability<T>, ExchangeablePart<T>, Vec<Row<T>>>,
    inbox: VecDeque<(Sent<ExchangeablePart<T>>, Capability<T>)>,
    outbox: VecDeque<Home>,
    fetching: BTreeMap<LeaseId, Fetching<T>>,
    pressed: bool,
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The leader hears what a worker has sent.
    Home(usize),
    /// A worker hears what the leader has sent.
    Deliver(usize),
    /// A worker fetches a piece of one of its parts.
    Fetch(usize),
    /// A worker emits rows.
    Emit(usize),
    /// A worker's button is pressed.
    Press(usize),
    /// The next step of the listener.
    Step,
}

struct Source<T: SimTime, P: Program> {
    leader: Handout<T>,
    settings: Settings<T>,
    steps: Option<ListenSteps<P::Key, P::Value, T, i64>>,
    workers: Vec<Worker<T, P>>,
    live: Vec<Weak<Antichain<T>>>,
    /// The parts that are out, and their bytes.
    out: BTreeMap<LeaseId, u64>,
    /// All that ever were.
    handed_out: BTreeSet<LeaseId>,
    rows: Vec<Row<T>>,
}

/// Where the collection stands.
fn least<T: SimTime>(frontiers: impl Iterator<Item = Antichain<T>>) -> Antichain<T> {
    frontiers.flat_map(Antichain::into_iter).collect()
}

impl<T: SimTime, P: Program> Source<T, P> {
    /// As many workers as there are fetchers.
    fn new(random: &mut Random, shard: ShardId, as_of: &Antichain<T>, fetchers: Vec<FetcherOf<P, T>>) -> Self {
        let count = fetchers.len();
        let mut settings = Settings::new(shard, &timely_persist::Config::default());
        settings.max_inflight_bytes = *random.pick(&[1, 2_000, 1 << 20]);
        settings.fetch_concurrency = 1 + random.below(3);
        settings.as_of = random.percent(50).then(|| as_of.clone());
        let leader = Handout::new(&settings, count);
        let worker = |(index, fetcher)| Worker {
            fetcher,
            protocol: Fetch::new(shard, settings.fetch_concurrency),
            inbox: VecDeque::new(),
            outbox: (count > 1).then(|| Home::Asked(settings.asked(index))).into_iter().collect(),
            fetching: BTreeMap::new(),
            pressed: false,
        };
        let workers = fetchers.into_iter().enumerate().map(worker).collect();
        Self {
            leader,
            settings,
            steps: None,
            workers,
            live: Vec::new(),
            out: BTreeMap::new(),
            handed_out: BTreeSet::new(),
            rows: Vec::new(),
        }
    }

    fn frontier(&mut self) -> Antichain<T> {
        self.live.retain(|capability| capability.strong_count() > 0);
        let capabilities = self.live.iter().filter_map(Weak::upgrade).map(|capability| (*capability).clone());
        least(capabilities.chain([self.leader.held().clone()]))
    }

    /// Tells the leader's protocol, has it hand out what it may, and does what it says. Whether it wants another step.
    fn tell_leader(&mut self, event: Option<handout::Event<T>>) -> bool {
        let (mut held, mut actions) = (self.leader.held().clone(), Vec::new());
        if let Some(event) = event {
            self.leader.handle(event, &mut actions);
        }
        let wants = self.leader.hand_out(&mut actions);
        for action in actions {
            match action {
                handout::Action::Send(all) => {
                    let capability = Rc::new(held.clone());
                    self.live.push(Rc::downgrade(&capability));
                    all.into_iter().for_each(|sent| self.send(sent, &capability));
                }
                handout::Action::Hold(frontier) => held = frontier,
                handout::Action::ShutDown => self.steps = None,
                handout::Action::Report(_) => {}
                handout::Action::Fault(fault) => panic!("{fault:?}"),
            }
        }
        assert_eq!(held, *self.leader.held(), "the driver holds what the protocol does");
        wants
    }

    fn send(&mut self, sent: Sent<ExchangeablePart<T>>, capability: &Capability<T>) {
        if let Order::Fetch { part, .. } = &sent.order {
            assert!(self.handed_out.insert(part.lease_id()), "{:?} was handed out twice", part.lease_id());
            self.out.insert(part.lease_id(), part.bytes());
            let bytes: u64 = self.out.values().sum();
            assert!(bytes <= self.settings.max_inflight_bytes || self.out.len() == 1, "{bytes} bytes are out");
        }
        let worker = &mut self.workers[sent.worker as usize];
        worker.inbox.push_back((sent, Rc::clone(capability)));
    }

    /// Tells a worker's protocol, and does what it says.
    fn tell_worker(&mut self, index: usize, event: fetch::Event<Capability<T>, ExchangeablePart<T>, Vec<Row<T>>>) {
        let (mut actions, worker) = (Vec::new(), &mut self.workers[index]);
        worker.protocol.handle(event, &mut actions);
        while let Some((lease, part)) = worker.protocol.next_fetch() {
            worker.fetching.insert(lease, Fetching::Asked(part));
        }
        for action in actions {
            if let fetch::Action::Return { returned, .. } = action {
                worker.fetching.remove(&returned.lease);
                worker.outbox.push_back(Home::Returned(returned));
            }
        }
    }

    /// What may happen now, but for a step.
    fn possible(&self) -> Vec<Next> {
        let mut possible = Vec::new();
        for (index, worker) in self.workers.iter().enumerate() {
            possible.extend((!worker.outbox.is_empty()).then_some(Next::Home(index)));
            possible.extend((!worker.inbox.is_empty()).then_some(Next::Deliver(index)));
            possible.extend((!worker.fetching.is_empty()).then_some(Next::Fetch(index)));
            possible.extend(worker.protocol.has_rows().then_some(Next::Emit(index)));
        }
        possible
    }

    /// The leader hears the oldest that this worker has sent.
    fn hear(&mut self, index: usize) {
        if let Some(home) = self.workers[index].outbox.pop_front() {
            if let Home::Returned(returned) = &home {
                assert!(self.out.remove(&returned.lease).is_some(), "{:?} came home twice", returned.lease);
            }
            self.tell_leader(Some(handout::Event::Home(home)));
        }
    }

    fn deliver(&mut self, index: usize) {
        let Some((sent, capabilities)) = self.workers[index].inbox.pop_front() else { return };
        match sent.order {
            Order::Fetch { part, audit } => {
                let lease = part.lease_id();
                self.tell_worker(index, fetch::Event::Part { lease, part, audit, capabilities });
            }
            Order::Disagree(message) => panic!("all were asked for the same: {message}"),
        }
    }

    fn emit(&mut self, index: usize) {
        if let Some((capability, rows, task)) = self.workers[index].protocol.next_rows() {
            assert_eq!(task, Task::Emit, "nothing was filtered");
            let early = rows.iter().find(|(_, time, _)| !capability.less_equal(time));
            assert_eq!(early, None, "a row before its capability, {capability:?}");
            self.rows.append(rows);
            self.tell_worker(index, fetch::Event::Emitted);
        }
    }

    fn press(&mut self, index: usize) {
        self.workers[index].pressed = true;
        self.tell_worker(index, fetch::Event::Pressed);
        self.tell_leader(Some(handout::Event::Pressed));
    }

    /// Ends it as a dataflow does when all buttons are pressed: nothing is out afterwards, and nothing is held.
    fn end(&mut self) {
        (0..self.workers.len()).for_each(|index| self.press(index));
        self.tell_leader(Some(handout::Event::Stopped));
        for index in 0..self.workers.len() {
            self.tell_worker(index, fetch::Event::Stopped);
            while !self.workers[index].inbox.is_empty() {
                self.deliver(index);
            }
            while !self.workers[index].outbox.is_empty() {
                self.hear(index);
            }
        }
        assert!(self.out.is_empty(), "out for ever: {:?}", self.out);
        assert!(self.frontier().is_empty(), "held for ever: {:?}", self.frontier());
    }
}

impl<T: SimTime, P: Program> Actor<T, P> {
    /// Sources one after the other. On one thread: a worker's protocol is a worker's own.
    pub async fn sources(mut self) {
        loop {
            self.rest().await;
            let opened = self.shard.open_reader("source").await;
            let Some(reader) = self.opened(opened) else { continue };
            let Ok(info) = self.shard.inspect().await else { continue };
            let as_of = T::as_of(&mut self.random, reader.since(), &info.upper);
            let snapshot = self.random.percent(70);
            self.source(reader, as_of, snapshot).await;
        }
    }

    async fn source(&mut self, reader: ReaderOf<P, T>, as_of: Antichain<T>, snapshot: bool) {
        // The last worker is of this process, the others are of one that never crashes.
        let (Ok(here), Ok(there)) = (self.shard.fetcher().await, self.elsewhere.fetcher().await) else { return };
        let mut fetchers = vec![there; self.random.below(3)];
        fetchers.push(here);
        let mut source = Source::new(&mut self.random, self.shard.id(), &as_of, fetchers);
        let number = {
            let mut record = self.record.lock().unwrap();
            let frontier = Antichain::from_elem(T::minimum());
            record.listens.push(Heard { as_of: as_of.clone(), snapshot, frontier, rows: Vec::new() });
            record.listens.len() - 1
        };
        source.tell_leader(Some(handout::Event::Opened(as_of.clone())));
        let audit = reader.filter_audit();
        let opened = if snapshot { reader.subscribe(as_of).await } else { reader.listen(as_of).await };
        match opened {
            Ok(listen) => source.steps = Some(ListenSteps::new(listen, source.settings.clone(), None, audit)),
            Err(error) => self.fail(&mut source, error),
        }
        for _ in 0..self.random.below(200) {
            let wants = source.tell_leader(None);
            let mut possible = source.possible();
            possible.extend((wants && source.steps.is_some()).then_some(Next::Step));
            if possible.is_empty() {
                break;
            }
            if self.random.percent(1) {
                possible = vec![Next::Press(self.random.below(source.workers.len()))];
            }
            let next = *self.random.pick(&possible);
            self.go_on(&mut source, next).await;
            self.write_down(&mut source, number);
        }
        source.end();
    }

    async fn go_on(&mut self, source: &mut Source<T, P>, next: Next) {
        match next {
            Next::Home(index) => source.hear(index),
            Next::Deliver(index) => source.deliver(index),
            Next::Fetch(index) => self.fetch_piece(source, index).await,
            Next::Emit(index) => source.emit(index),
            Next::Press(index) => source.press(index),
            Next::Step => {
                let Some(steps) = &mut source.steps else { return };
                match tokio::time::timeout(PATIENCE, poll_fn(|task| steps.poll_step(task))).await {
                    Ok(Ok(step)) => drop(source.tell_leader(Some(handout::Event::Step(step)))),
                    Ok(Err(error)) => self.fail(source, error),
                    Err(_waited) => {}
                }
            }
        }
    }

    async fn fetch_piece(&mut self, source: &mut Source<T, P>, index: usize) {
        let worker = &mut source.workers[index];
        let fetching: Vec<LeaseId> = worker.fetching.keys().copied().collect();
        let lease = *self.random.pick(&fetching);
        let Some(part) = worker.fetching.remove(&lease) else { return };
        let brought = match part {
            Fetching::Here(mut pieces) => {
                let rows = pieces.pop_front().unwrap_or_default();
                let last = pieces.is_empty();
                worker.fetching.extend((!last).then_some((lease, Fetching::Here(pieces))));
                Brought::Rows { rows, last }
            }
            Fetching::Asked(part) => match worker.fetcher.fetch(&part).await {
                Ok(fetched) => {
                    let rows: Vec<Row<T>> = plain::<P, T>(fetched.rows());
                    let pieces = rows.chunks(1 + self.random.below(4)).map(<[Row<T>]>::to_vec).collect();
                    worker.fetching.insert(lease, Fetching::Here(pieces));
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    worker.fetching.insert(lease, Fetching::Asked(part));
                    Brought::Stalled(error)
                }
                Err(error) => {
                    self.bear(&error);
                    Brought::Failed(error)
                }
            },
        };
        source.tell_worker(index, fetch::Event::Brought { lease, brought });
    }

    fn fail(&self, source: &mut Source<T, P>, error: Error) {
        self.bear(&error);
        source.tell_leader(Some(handout::Event::Failed(error)));
    }

    /// Writes down what the source shows.
    fn write_down(&self, source: &mut Source<T, P>, number: usize) {
        let frontier = source.frontier();
        let mut record = self.record.lock().unwrap();
        let heard = &mut record.listens[number];
        assert!(timely::PartialOrder::less_equal(&heard.frontier, &frontier), "the frontier goes backwards");
        heard.rows.append(&mut source.rows);
        if heard.frontier != frontier {
            heard.frontier.clone_from(&frontier);
            let as_of = heard.as_of.clone();
            record.story.tell(format_args!("source of {:?} at {:?}", as_of.elements(), frontier.elements()));
        }
    }
}
