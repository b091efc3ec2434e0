//! The whole source without a dataflow: the leader's protocol, those of the workers, and the messages between them, in an
//! order that a seed chooses, with stops, errors and panics among them.
//!
//! A capability is a counted value here, so the frontier that a dataflow would show is the least time of what the leader
//! holds and of all capabilities that live anywhere.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::{Rc, Weak};

use timely::progress::Antichain;
use timely_persist::{Config, Error, ErrorKind, LeaseId, LeasedReaderId, ShardId};

use crate::common::agreement::{Asked, Value};
use crate::common::error::SourceError;
use crate::common::random::Random;
use crate::source::fetch::{self, Brought, Fetch, Task};
use crate::source::handout::{self, Handout, Lend, Offered, Step};
use crate::source::message::{Home, Order, Sent};
use crate::source::settings::Settings;

/// Runs; each has its own seed, so a run that fails can be run alone.
const RUNS: u64 = 1_000;

/// A leased part. All count the leases.
#[derive(Debug)]
struct Lent {
    number: u64,
    bytes: u64,
    leases: Rc<Cell<usize>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.leases.set(self.leases.get() - 1);
    }
}

impl Lend for Lent {
    type Part = u64;

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn lend(&self) -> (LeaseId, u64) {
        (LeaseId { reader: LeasedReaderId::from_u128(1), number: self.number }, self.number)
    }
}

type Capability = Rc<Antichain<u64>>;
type Letter = handout::Event<u64, Lent>;

/// What goes wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// Some workers press their buttons.
    Button,
    /// All do.
    Stop,
    /// The leader's task fails.
    Task,
    /// A fetch fails.
    Fetch,
    /// The caller's code panics on a worker.
    Panic,
    /// The workers were asked for different things.
    Disagreement,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Nothing,
    Trouble::Button,
    Trouble::Stop,
    Trouble::Task,
    Trouble::Fetch,
    Trouble::Panic,
    Trouble::Disagreement,
];

/// What is known of a part, by its number.
#[derive(Debug)]
struct Part {
    bytes: u64,
    /// The time before its step.
    at: u64,
    pieces: usize,
    /// Whether its rows matter although the filter discarded it.
    wrong: bool,
    emitted: usize,
    sent_to: Option<usize>,
    /// Whether it was emitted, once its worker has sent it home.
    home: Option<bool>,
}

struct Worker {
    protocol: Fetch<Capability, u64, (u64, usize)>,
    inbox: VecDeque<(Sent<u64>, Capability)>,
    outbox: VecDeque<Home>,
    /// Parts that are being fetched, and how many pieces of them came.
    fetching: BTreeMap<u64, usize>,
    /// Whether its button is to be pressed, and whether it was.
    presses: bool,
    pressed: bool,
    /// Whether it knows that all were pressed.
    stopped: bool,
    stalled: bool,
    reports: Vec<SourceError>,
}

struct World {
    random: Random,
    trouble: Trouble,
    bytes_max: u64,
    fetch_concurrency: usize,
    leader: Handout<u64, Lent>,
    letters: VecDeque<Letter>,
    workers: Vec<Worker>,
    parts: Vec<Part>,
    leases: Rc<Cell<usize>>,
    out: BTreeSet<u64>,
    live: Vec<Weak<Antichain<u64>>>,
    begin: u64,
    /// Where the collection stands when all was handed out.
    end: Antichain<u64>,
    /// Workers that the leader has heard.
    heard: usize,
    /// Whether the leader may hand out nothing more.
    rests: bool,
    stopped: bool,
    wrong_seen: usize,
    /// Whether the leader's last word was that the log does not answer.
    alarmed: bool,
    /// Things that happened.
    happened: usize,
}

fn lease(number: u64) -> LeaseId {
    LeaseId { reader: LeasedReaderId::from_u128(1), number }
}

fn shard() -> ShardId {
    ShardId::from_u128(7)
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "trouble").of_shard(shard())
}

fn least<'a>(frontiers: impl Iterator<Item = &'a Antichain<u64>>) -> Option<u64> {
    frontiers.flat_map(|frontier| frontier.elements().iter().copied()).min()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let trouble = TROUBLES[random.below(7) as usize];
        let peers = (1 + random.below(4) as usize).max(if trouble == Trouble::Disagreement { 2 } else { 1 });
        let begin = random.below(5);
        let mut settings = Settings::<u64>::new(ShardId::from_u128(7), &Config::default());
        settings.as_of = random.one_in(2).then(|| Antichain::from_elem(begin));
        settings.until = random.one_in(2).then(|| begin + random.below(20)).into_iter().collect();
        settings.max_inflight_bytes = random.below(60);
        settings.fetch_concurrency = 1 + random.below(3) as usize;
        let workers = (0..peers).map(|index| {
            let name = if trouble == Trouble::Disagreement && index == 0 { "other" } else { "same" };
            let asked = vec![("name".to_owned(), Value::Text(name.to_owned()))];
            let asked = (peers > 1).then_some(Home::Asked(Asked { worker: index, settings: asked }));
            Worker {
                protocol: Fetch::new(settings.shard, settings.fetch_concurrency),
                inbox: VecDeque::new(),
                outbox: asked.into_iter().collect(),
                fetching: BTreeMap::new(),
                presses: trouble == Trouble::Stop || trouble == Trouble::Button && random.one_in(2),
                pressed: false,
                stopped: false,
                stalled: false,
                reports: Vec::new(),
            }
        });
        let workers = workers.collect();
        let mut world = Self {
            random,
            trouble,
            bytes_max: settings.max_inflight_bytes,
            fetch_concurrency: settings.fetch_concurrency,
            leader: Handout::new(&settings, peers),
            letters: VecDeque::new(),
            workers,
            parts: Vec::new(),
            leases: Rc::default(),
            out: BTreeSet::new(),
            live: Vec::new(),
            begin,
            end: Antichain::from_elem(begin),
            heard: 0,
            rests: false,
            stopped: false,
            wrong_seen: 0,
            alarmed: false,
            happened: 0,
        };
        world.write(&settings.until);
        world
    }

    /// What the leader's task will say.
    fn write(&mut self, until: &Antichain<u64>) {
        let shown = |time: u64| if until.less_equal(&time) { Antichain::new() } else { Antichain::from_elem(time) };
        self.end = shown(self.begin);
        self.letters.push_back(Letter::Opened(Antichain::from_elem(self.begin)));
        let (mut time, steps) = (self.begin, self.random.below(12));
        let fails = (self.trouble == Trouble::Task).then(|| self.random.below(steps + 1));
        for step in 0..steps {
            if fails == Some(step) || self.end.is_empty() {
                break;
            }
            if self.random.one_in(5) {
                let notices =
                    [SourceError::Stalled(error(ErrorKind::Unavailable)), SourceError::recovered("log", shard())];
                let said = notices.into_iter().take(1 + self.random.below(2) as usize); // an end may come first
                self.letters.extend(said.map(Letter::Notice));
            }
            let parts = (0..self.random.below(6)).map(|_| self.offer(time)).collect();
            let progress = (!self.random.one_in(6)).then(|| {
                time += 1 + self.random.below(4);
                self.end = if self.random.one_in(12) { Antichain::new() } else { shown(time) };
                if self.end.is_empty() && until.less_equal(&time) {
                    Antichain::from_elem(time)
                } else {
                    self.end.clone()
                }
            });
            self.letters.push_back(Letter::Step(Step { parts, progress }));
        }
        if fails.is_some() {
            self.letters.push_back(Letter::Failed(error(ErrorKind::Corrupt)));
        }
        if self.end.is_empty() && self.parts.is_empty() && until.less_equal(&self.begin) {
            self.letters.truncate(1); // nobody listens
        }
    }

    fn offer(&mut self, at: u64) -> Offered<Lent> {
        let (number, bytes) = (self.parts.len() as u64, self.random.below(30));
        let (pieces, audit) = (1 + self.random.below(3) as usize, self.random.one_in(4));
        let wrong = audit && self.random.one_in(2);
        self.parts.push(Part { bytes, at, pieces, wrong, emitted: 0, sent_to: None, home: None });
        self.leases.set(self.leases.get() + 1);
        Offered { part: Lent { number, bytes, leases: Rc::clone(&self.leases) }, audit }
    }

    /// Tells the leader's protocol, and does what it says.
    fn tell_leader(&mut self, event: Letter) {
        self.happened += 1;
        let (peers, mut actions) = (self.workers.len(), Vec::new());
        match &event {
            Letter::Home(Home::Asked(_)) => self.heard += 1,
            Letter::Home(Home::Returned(returned)) => assert!(self.out.remove(&returned.lease.number), "home twice"),
            _ => {}
        }
        let disagree = self.trouble == Trouble::Disagreement && self.heard == peers;
        self.rests |= disagree || matches!(&event, Letter::Failed(_) | Letter::Pressed | Letter::Stopped);
        self.rests |= matches!(&event, Letter::Home(Home::Returned(returned)) if !returned.emitted);
        let held = self.leader.held().clone();
        self.leader.handle(event, &mut actions);
        self.act(held, actions);
    }

    /// Has the leader hand out what it may. Whether it wants another step.
    fn hand_out(&mut self) -> bool {
        let (held, mut actions) = (self.leader.held().clone(), Vec::new());
        let wants = self.leader.hand_out(&mut actions);
        self.act(held, actions);
        wants
    }

    fn act(&mut self, mut held: Antichain<u64>, actions: Vec<handout::Action<u64, u64>>) {
        for action in actions {
            self.happened += 1;
            match action {
                handout::Action::Send(all) => {
                    let capability = Rc::new(held.clone());
                    self.live.push(Rc::downgrade(&capability));
                    all.into_iter().for_each(|sent| self.send(sent, &capability));
                }
                handout::Action::Hold(frontier) => {
                    assert!(frontier.elements().iter().all(|time| held.less_equal(time)), "back to {frontier:?}");
                    let begins = held == Antichain::from_elem(0) && least([&frontier].into_iter()) == Some(self.begin);
                    assert!(!self.rests || self.stopped || begins || self.end.is_empty(), "{frontier:?} at rest");
                    held = frontier;
                }
                handout::Action::ShutDown => self.letters.clear(),
                handout::Action::Report(error) => self.alarmed = matches!(error, SourceError::Stalled(_)),
                handout::Action::Fault(fault) => panic!("{fault:?}"),
            }
        }
        assert_eq!(held, *self.leader.held(), "the driver holds what the protocol does");
    }

    fn send(&mut self, sent: Sent<u64>, capability: &Capability) {
        let index = sent.worker as usize;
        if let Order::Fetch { part: number, .. } = sent.order {
            assert!(!self.rests, "handed out at rest");
            assert!(self.heard == self.workers.len() || self.workers.len() == 1, "handed out before all were heard");
            let part = &mut self.parts[number as usize];
            assert_eq!(part.sent_to.replace(index), None, "part {number} was handed out twice");
            assert_eq!(**capability, Antichain::from_elem(part.at), "not the frontier before its step");
            self.out.insert(number);
            let bytes: u64 = self.out.iter().map(|number| self.parts[*number as usize].bytes).sum();
            assert!(bytes <= self.bytes_max || self.out.len() == 1, "{bytes} bytes are out");
        }
        self.workers[index].inbox.push_back((sent, Rc::clone(capability)));
    }

    /// Tells a worker's protocol, and does what it says.
    fn tell_worker(&mut self, index: usize, event: fetch::Event<Capability, u64, (u64, usize)>) {
        self.happened += 1;
        let mut actions = Vec::new();
        let worker = &mut self.workers[index];
        worker.protocol.handle(event, &mut actions);
        for action in actions {
            self.happened += 1;
            match action {
                fetch::Action::Return { returned, capabilities } => {
                    let number = returned.lease.number;
                    let part = &mut self.parts[number as usize];
                    assert_eq!(*capabilities, Antichain::from_elem(part.at));
                    assert_eq!(part.sent_to, Some(index));
                    assert_eq!(part.home.replace(returned.emitted), None, "part {number} goes home twice");
                    assert_eq!(part.emitted == part.pieces, returned.emitted, "{part:?}");
                    worker.fetching.remove(&number);
                    worker.outbox.push_back(Home::Returned(returned));
                }
                fetch::Action::Report { error, .. } => {
                    let stalls = matches!(error, SourceError::Stalled(_));
                    if stalls || matches!(error, SourceError::Recovered { .. }) {
                        assert_ne!(std::mem::replace(&mut worker.stalled, stalls), stalls, "said twice");
                    }
                    worker.reports.push(error);
                }
            }
        }
    }

    /// The leader's operator runs.
    fn lead(&mut self) {
        for index in 0..self.workers.len() {
            if let Some(letter) = self.workers[index].outbox.pop_front() {
                self.tell_leader(Letter::Home(letter));
            }
        }
        if self.stopped && !self.leader.held().is_empty() {
            self.tell_leader(Letter::Stopped);
        } else if self.workers[0].pressed && !self.rests {
            self.tell_leader(Letter::Pressed);
        }
        if self.hand_out()
            && let Some(letter) = self.letters.pop_front()
        {
            self.tell_leader(letter);
            self.hand_out();
        }
    }

    /// A worker's fetch operator runs.
    fn work(&mut self, index: usize) {
        if self.workers[index].presses && (self.random.one_in(40)) {
            self.workers[index].presses = false;
            self.workers[index].pressed = true;
            self.tell_worker(index, fetch::Event::Pressed);
        }
        if let Some((sent, capabilities)) = self.workers[index].inbox.pop_front() {
            let event = match sent.order {
                Order::Fetch { part, audit } => fetch::Event::Part { lease: lease(part), part, audit, capabilities },
                Order::Disagree(message) => fetch::Event::Disagreement { message, capabilities },
            };
            self.tell_worker(index, event);
        }
        if self.stopped && !std::mem::replace(&mut self.workers[index].stopped, true) {
            self.tell_worker(index, fetch::Event::Stopped);
        }
        self.bring(index);
        while let Some((lease, number)) = self.workers[index].protocol.next_fetch() {
            assert_eq!(lease.number, number);
            self.happened += 1;
            let worker = &mut self.workers[index];
            assert!(!worker.pressed, "fetched after the button");
            assert_eq!(worker.fetching.insert(number, 0), None, "part {number} is fetched twice");
            assert!(worker.fetching.len() <= self.fetch_concurrency);
        }
        self.emit(index);
    }

    /// A fetch brings something.
    fn bring(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        let chosen = self.random.below(worker.fetching.len() as u64) as usize;
        let Some((number, came)) = worker.fetching.iter_mut().nth(chosen).filter(|_| worker.protocol.has_room()) else {
            return;
        };
        let (number, pieces) = (*number, self.parts[*number as usize].pieces);
        let brought = match self.random.below(12) {
            0 => Brought::Stalled(error(ErrorKind::Unavailable)),
            1 if self.trouble == Trouble::Fetch => {
                worker.fetching.remove(&number);
                Brought::Failed(error(ErrorKind::Corrupt))
            }
            _ => {
                *came += 1;
                let rows = Brought::Rows { rows: (number, *came), last: *came == pieces };
                if *came == pieces {
                    worker.fetching.remove(&number);
                }
                rows
            }
        };
        self.tell_worker(index, fetch::Event::Brought { lease: lease(number), brought });
    }

    /// Rows are emitted.
    fn emit(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        let Some((_, (number, piece), task)) = worker.protocol.next_rows() else {
            return;
        };
        assert!(!worker.pressed, "emitted after the button");
        let part = &mut self.parts[*number as usize];
        self.happened += 1;
        let event = match task {
            Task::Emit if self.random.one_in(3) => return, // some of them
            _ if self.trouble == Trouble::Panic && self.random.one_in(6) => {
                fetch::Event::Panicked(error(ErrorKind::Invalid))
            }
            Task::Audit if part.wrong => {
                self.wrong_seen += 1;
                fetch::Event::FoundWrong
            }
            Task::Emit | Task::Audit | Task::Skip => fetch::Event::Emitted,
        };
        if !matches!(event, fetch::Event::Panicked(_)) {
            part.emitted += 1;
            assert_eq!((part.emitted, part.home), (*piece, None), "out of order, or after it went home");
        }
        self.tell_worker(index, event);
    }

    /// Times that may still come.
    fn frontier(&self) -> Option<u64> {
        let live: Vec<_> = self.live.iter().filter_map(Weak::upgrade).collect();
        least(live.iter().map(|live| &**live).chain([self.leader.held()]))
    }

    /// What always holds.
    fn check(&mut self) {
        let missing = self.parts.iter().filter(|part| part.home != Some(true)).map(|part| part.at).min();
        if let Some(missing) = missing.filter(|_| !self.stopped) {
            let frontier = self.frontier();
            assert!(frontier.is_some_and(|frontier| frontier <= missing), "{frontier:?} is beyond {missing}");
        }
        self.live.retain(|live| live.strong_count() > 0);
        self.stopped |= self.workers.iter().all(|worker| worker.pressed);
    }

    /// Goes on until nothing happens any more.
    fn run(&mut self) {
        let mut quiet = 0;
        while quiet < 200 + 200 * self.workers.len() {
            let before = self.happened;
            match self.random.below(self.workers.len() as u64 + 1) as usize {
                0 => self.lead(),
                index => self.work(index - 1),
            }
            self.check();
            quiet = if self.happened == before { quiet + 1 } else { 0 };
        }
    }

    /// What holds when nothing happens any more.
    fn judge(&mut self) {
        assert_eq!((self.out.len(), self.leases.get()), (0, 0), "all leases are given back");
        let reports: Vec<_> = self.workers.iter().flat_map(|worker| &worker.reports).collect();
        let wrong = reports.iter().filter(|report| matches!(report, SourceError::FilterWrong(_))).count();
        assert_eq!(wrong, self.wrong_seen);
        if self.stopped {
            assert_eq!(self.frontier(), None, "all have stopped");
        } else if self.rests {
            assert!(self.trouble != Trouble::Nothing);
        } else {
            assert!(self.parts.iter().all(|part| part.home == Some(true)), "something was not emitted");
            assert_eq!(self.frontier(), least([&self.end].into_iter()));
            assert!(!(self.alarmed && self.end.is_empty()), "the last word of a source is no alarm");
        }
        if self.trouble == Trouble::Disagreement {
            let disagree = |error: &Error| error.kind() == ErrorKind::Invalid;
            let told = reports.iter().filter(|report| report.error().is_some_and(disagree)).count();
            assert_eq!((told, self.frontier()), (self.workers.len(), Some(0)), "each is told, once");
        }
    }
}

#[test]
fn parts_go_out_and_home_once_and_the_frontier_waits_for_them() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..RUNS {
        let mut world = World::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.run();
            world.judge();
        }));
        assert!(run.is_ok(), "seed {seed} broke a rule, with trouble {:?}", world.trouble);
        *seen.entry(format!("{:?}, rests: {}", world.trouble, world.rests)).or_default() += 1;
        *seen.entry(format!("ends: {}", world.frontier().is_none())).or_default() += 1;
    }
    for trouble in TROUBLES {
        let expected = format!("{trouble:?}, rests: {}", trouble != Trouble::Nothing);
        assert!(seen.get(&expected).is_some_and(|runs| *runs > 50), "few runs with {expected}: {seen:?}");
    }
    for ends in ["ends: false", "ends: true"] {
        assert!(seen.get(ends).is_some_and(|runs| *runs > 50), "{seen:?}");
    }
}
