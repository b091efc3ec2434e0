//! The whole sink without a dataflow: copies of it, each with a leader and its workers, over one shard, in an order that a
//! seed chooses, with crashes, stops, and inputs that end among it.
//!
//! The rows are a pure function of their number, as those of a deterministic dataflow are: so the shard must have each of
//! them exactly once, whoever wrote it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use timely::PartialOrder;
use timely::order::Product;
use timely::progress::Antichain;
use timely_persist::ShardId;

use crate::common::agreement::{Asked, Value};
use crate::common::random::Random;
use crate::sink::error::SinkError;
use crate::sink::gather::{self, Gather};
use crate::sink::lead::{self, Lead, Outcome, Terms};
use crate::sink::message::{Answer, Ask, Order};
use crate::sink::protocol_model::{Kind, Row, Rows, Shard, encode};

/// Runs of each kind of time; each has its own seed, so a run that fails can be run alone. `SINK_RUNS` asks for others.
const RUNS: u64 = 800;

/// What goes wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Nothing,
    /// Copies crash, at any moment, and begin again.
    Crash,
    /// The input of a copy ends before all is complete.
    Ends,
    /// The same, where that says that all is there.
    Closes,
    /// A worker's button is pressed.
    Button,
    /// An older store is restored.
    Restored,
    /// The workers were asked for different things.
    Disagreement,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Nothing,
    Trouble::Crash,
    Trouble::Ends,
    Trouble::Closes,
    Trouble::Button,
    Trouble::Restored,
    Trouble::Disagreement,
];

struct Worker<T: Kind> {
    gather: Gather<T, Rows<T>, Vec<Row<T>>>,
    /// Rows on their way to it.
    rows: VecDeque<Row<T>>,
    orders: VecDeque<Order<T>>,
    spilling: Option<(T, Vec<Row<T>>)>,
    staging: VecDeque<(Ask<T>, Vec<Row<T>>, u64)>,
    answered: u64,
    pressed: bool,
}

/// What a leader's worker hears: in the order of the mail.
enum Heard {
    Asked(Asked),
    Answer(Answer),
}

/// A process with a copy of the dataflow.
struct Process<T: Kind> {
    as_of: T,
    lead: Lead<T>,
    workers: Vec<Worker<T>>,
    heard: VecDeque<Heard>,
    /// Rows that the dataflow has not made yet.
    coming: Vec<Row<T>>,
    /// Those that it has made.
    made: u64,
    chain: VecDeque<Antichain<T>>,
    frontier: Antichain<T>,
    appending: Option<(Antichain<T>, Antichain<T>, Vec<Vec<u8>>)>,
    opened: bool,
    seen: Antichain<T>,
    progress: Antichain<T>,
    out: Option<Ask<T>>,
    answers: usize,
    reports: Vec<SinkError>,
}

struct World<T: Kind> {
    random: Random,
    trouble: Trouble,
    now: Duration,
    terms: Terms<T>,
    memory_max: u64,
    rows: Vec<Row<T>>,
    shard: Shard<T>,
    copies: Vec<Process<T>>,
    /// The as_of of whoever wrote first: what was before is there as of that.
    first_as_of: T,
    crashes: usize,
    happened: usize,
    spills: usize,
    standby: usize,
    old: Option<Shard<T>>,
}

impl<T: Kind> World<T> {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let trouble = TROUBLES[random.below(7) as usize];
        let first_as_of = if random.one_in(2) {
            T::minimum()
        } else {
            T::as_of(&mut random, T::minimum(), &Antichain::from_elem(T::any(&mut Random(seed))))
        };
        let rows = (0..random.below(60) as u32).map(|row| (T::any(&mut random), row)).collect();
        let until: Antichain<T> = match random.one_in(4) && trouble == Trouble::Nothing {
            true => Antichain::from_elem(T::any(&mut random)),
            false => Antichain::new(),
        };
        let terms = Terms {
            shard: ShardId::from_u128(7),
            as_of: Antichain::new(),
            until,
            commit_interval: Duration::from_millis(random.below(3) * 5),
            commit_bytes: 20,
            close_at_end: trouble == Trouble::Closes,
            waits: false,
        };
        let copies = match trouble {
            Trouble::Ends | Trouble::Closes | Trouble::Button | Trouble::Disagreement => 1,
            _ => 1 + random.below(3) as usize,
        };
        let shard = Shard { upper: Antichain::from_elem(T::minimum()), rows: Vec::new(), held: first_as_of };
        let mut world = Self {
            memory_max: 1 + random.below(30),
            random,
            trouble,
            now: Duration::ZERO,
            terms,
            rows,
            shard,
            copies: Vec::new(),
            first_as_of,
            crashes: 0,
            happened: 0,
            spills: 0,
            standby: 0,
            old: None,
        };
        for _ in 0..copies {
            let copy = world.begin();
            world.copies.push(copy);
        }
        world
    }

    /// A copy of the dataflow begins, with any number of workers.
    fn begin(&mut self) -> Process<T> {
        let peers = match self.trouble {
            Trouble::Disagreement => 2 + self.random.below(3),
            _ => 1 + self.random.below(4),
        } as usize;
        let as_of = match self.shard.upper == Antichain::from_elem(T::minimum()) {
            true => self.shard.held,
            false => T::as_of(&mut self.random, self.shard.held, &self.shard.upper),
        };
        let mut coming: Vec<_> = self.rows.iter().map(|(time, row)| (time.join(&as_of), *row)).collect();
        for index in (1..coming.len()).rev() {
            coming.swap(index, self.random.below(index as u64 + 1) as usize);
        }
        let mut chain: VecDeque<_> = T::chain(&mut self.random).into();
        chain.retain(|frontier| PartialOrder::less_equal(&Antichain::from_elem(as_of), frontier));
        let terms = Terms { as_of: Antichain::from_elem(as_of), ..self.terms.clone() };
        let worker = |_| Worker {
            gather: Gather::new(self.memory_max),
            rows: VecDeque::new(),
            orders: VecDeque::new(),
            spilling: None,
            staging: VecDeque::new(),
            answered: 0,
            pressed: false,
        };
        let heard = (0..peers).filter(|_| peers > 1).map(|index| {
            let name = if self.trouble == Trouble::Disagreement && index == 0 { "other" } else { "same" };
            let settings = vec![("name".to_owned(), Value::Text(name.to_owned()))];
            Heard::Asked(Asked { worker: index, settings })
        });
        Process {
            as_of,
            lead: Lead::new(terms, peers),
            workers: (0..peers).map(worker).collect(),
            heard: heard.collect(),
            coming,
            made: 0,
            chain,
            frontier: Antichain::from_elem(T::minimum()),
            appending: None,
            opened: false,
            seen: Antichain::from_elem(T::minimum()),
            progress: Antichain::from_elem(T::minimum()),
            out: None,
            answers: 0,
            reports: Vec::new(),
        }
    }

    fn tell_leader(&mut self, index: usize, event: lead::Event<T>) {
        let mut actions = Vec::new();
        self.happened += 1;
        if matches!(event, lead::Event::Answer(_)) {
            self.copies[index].answers += 1;
        }
        if matches!(event, lead::Event::Appended(_)) {
            self.copies[index].out = None;
        }
        self.copies[index].lead.handle(event, self.now, &mut actions);
        for action in actions {
            self.obey(index, action);
        }
    }

    fn obey(&mut self, index: usize, action: lead::Action<T>) {
        let copy = &mut self.copies[index];
        match action {
            lead::Action::Tell(order) => {
                if let Order::Ask(ask) = &order {
                    assert!(copy.out.is_none(), "I1: two asks are out");
                    let upper = ask.upper.clone();
                    let in_shard = PartialOrder::less_equal(&ask.lower, &self.shard.upper);
                    assert!(in_shard || self.old.is_some(), "I1: {ask:?}");
                    let missing = copy.coming.iter().chain(copy.workers.iter().flat_map(|worker| &worker.rows));
                    if self.trouble != Trouble::Closes && ask.lower != ask.upper {
                        assert!(missing.into_iter().all(|(time, _)| upper.less_equal(time)), "I6: {ask:?}");
                        assert!(PartialOrder::less_than(&Antichain::from_elem(copy.as_of), &upper), "it ends at as_of");
                    }
                    copy.out = Some(ask.clone());
                    copy.answers = 0;
                }
                copy.workers.iter_mut().for_each(|worker| worker.orders.push_back(order.clone()));
            }
            lead::Action::Append { lower, upper, batches } => {
                assert_eq!(copy.answers, copy.workers.len(), "I4: appended before all have answered");
                assert!(copy.appending.replace((lower, upper, batches)).is_none());
            }
            lead::Action::Progress(upper) => {
                assert!(PartialOrder::less_equal(&copy.progress, &upper), "progress goes back");
                let in_shard = PartialOrder::less_equal(&upper, &self.shard.upper);
                assert!(in_shard || copy.lead.is_over() || self.old.is_some(), "I5: {upper:?} is not in the shard");
                copy.progress = upper;
            }
            lead::Action::Report(error) => copy.reports.push(error),
            lead::Action::Wake(wait) => {
                self.standby += 1;
                assert!(!wait.is_zero());
            }
        }
    }

    fn tell_worker(&mut self, index: usize, at: usize, event: gather::Event<T, Vec<Row<T>>>) {
        let mut actions = Vec::new();
        self.copies[index].workers[at].gather.handle(event, &mut actions);
        self.copies[index].workers[at].gather.spill(&mut actions);
        for action in actions {
            let worker = &mut self.copies[index].workers[at];
            match action {
                gather::Action::Spill { time, pile } => {
                    assert!(worker.spilling.replace((time, pile.0)).is_none(), "G3: two are on their way");
                    self.spills += 1;
                }
                gather::Action::Stage { ask, piles, batches, rows_later } => {
                    assert!(ask.seq > worker.answered, "I2: it answers twice");
                    worker.answered = ask.seq;
                    let rows = piles.into_iter().flat_map(|(_, pile)| pile.0);
                    let rows: Vec<_> = batches.into_iter().flatten().chain(rows).collect();
                    let (lower, upper) = (&ask.lower, &ask.upper);
                    let within = |time: &T| lower.less_equal(time) && !upper.less_equal(time);
                    assert!(rows.iter().all(|(time, _)| within(time)), "{ask:?}: {rows:?}");
                    worker.staging.push_back((ask, rows, rows_later));
                }
            }
        }
    }

    /// One thing happens in a copy.
    fn step(&mut self, index: usize) {
        let workers = self.copies[index].workers.len() as u64;
        let at = self.random.below(workers) as usize;
        match self.random.below(10) {
            0 => self.produce(index),
            1 => self.see(index),
            2 => self.append(index),
            3 => {
                if let Some(heard) = self.copies[index].heard.pop_front() {
                    let event = match heard {
                        Heard::Asked(asked) => lead::Event::Asked(asked),
                        Heard::Answer(answer) => lead::Event::Answer(answer),
                    };
                    self.tell_leader(index, event);
                }
            }
            4 => {
                self.now += Duration::from_millis(self.random.below(20));
                if self.random.one_in(40) {
                    self.now += Duration::from_secs(10);
                }
                self.see(index);
            }
            _ => self.work(index, at),
        }
    }

    /// The dataflow makes rows, or its frontier moves.
    fn produce(&mut self, index: usize) {
        let copy = &mut self.copies[index];
        if self.random.one_in(3) {
            let Some(next) = copy.chain.front() else {
                if self.trouble == Trouble::Closes || self.trouble == Trouble::Ends {
                    self.happened += usize::from(!copy.frontier.is_empty());
                    copy.frontier = Antichain::new();
                    copy.coming.clear();
                }
                return;
            };
            if copy.coming.iter().all(|(time, _)| next.less_equal(time)) {
                copy.frontier = copy.chain.pop_front().unwrap_or_default();
                self.happened += 1;
                if self.trouble == Trouble::Ends && self.random.one_in(8) {
                    copy.chain.clear(); // the handle is dropped: what was not made never will be
                }
            }
        } else if let Some(row) = copy.coming.pop() {
            let at = self.random.below(copy.workers.len() as u64) as usize;
            copy.workers[at].rows.push_back(row);
            copy.made += 1;
            self.happened += 1;
        }
    }

    /// What the leader's operator sees: the port's frontier, and the shard's upper.
    fn see(&mut self, index: usize) {
        let copy = &mut self.copies[index];
        let on_their_way = copy.workers.iter().flat_map(|worker| &worker.rows).map(|(time, _)| *time);
        let port: Antichain<T> = copy.frontier.elements().iter().copied().chain(on_their_way).collect();
        let bytes = copy.workers[0].gather.bytes();
        if !copy.opened || copy.seen != self.shard.upper && self.random.one_in(2) {
            copy.opened = true;
            copy.seen.clone_from(&self.shard.upper);
            self.tell_leader(index, lead::Event::Upper(self.shard.upper.clone()));
        }
        let mut actions = Vec::new();
        self.copies[index].lead.handle(lead::Event::Frontier(port, bytes), self.now, &mut actions);
        self.happened += usize::from(!actions.iter().all(|action| matches!(action, lead::Action::Wake(_))));
        actions.into_iter().for_each(|action| self.obey(index, action));
    }

    /// What was to be appended is; the leader hears of it.
    fn append(&mut self, index: usize) {
        let Some((lower, upper, batches)) = self.copies[index].appending.take() else { return };
        let empty = self.shard.upper == Antichain::from_elem(T::minimum());
        if self.trouble == Trouble::Restored && self.old.is_none() && self.random.one_in(2) && !empty {
            self.old = Some(self.shard.clone());
            self.shard = Shard { upper: Antichain::from_elem(T::minimum()), rows: Vec::new(), held: self.first_as_of };
        }
        let outcome = self.shard.append(&lower, &upper, &batches);
        if outcome == Outcome::Committed && self.random.one_in(2) {
            // I7: where the inputs can be read moves to the lower, of times with a total order.
            let to = T::as_of(&mut self.random, self.shard.held, &lower);
            self.shard.held = to;
        }
        if self.trouble == Trouble::Crash && self.random.one_in(4) {
            return self.crash(index); // nobody hears of it
        }
        self.tell_leader(index, lead::Event::Appended(outcome));
    }

    fn crash(&mut self, index: usize) {
        self.crashes += 1;
        self.happened += 1;
        self.copies[index] = self.begin();
    }

    /// A worker's operator runs.
    fn work(&mut self, index: usize, at: usize) {
        if self.trouble == Trouble::Button && self.random.one_in(60) && !self.copies[index].workers[at].pressed {
            self.copies[index].workers[at].pressed = true;
            self.tell_worker(index, at, gather::Event::Rest);
        }
        let worker = &mut self.copies[index].workers[at];
        match self.random.below(4) {
            0 => {
                let some = self.random.below(5) as usize;
                for _ in 0..some {
                    let Some(row) = worker.rows.pop_front() else { break };
                    worker.gather.collect(&row.0, |pile| pile.0.push(row));
                    self.happened += 1;
                }
                let mut actions = Vec::new();
                worker.gather.spill(&mut actions);
                for action in actions {
                    let gather::Action::Spill { time, pile } = action else { panic!("it was only to spill") };
                    worker.spilling = Some((time, pile.0));
                    self.spills += 1;
                }
            }
            1 => {
                let Some(order) = worker.orders.pop_front() else { return };
                self.happened += 1;
                match order {
                    Order::Floor(floor) => self.tell_worker(index, at, gather::Event::Floor(floor)),
                    Order::Ask(ask) => self.tell_worker(index, at, gather::Event::Ask(ask)),
                    Order::Rest | Order::End => self.tell_worker(index, at, gather::Event::Rest),
                }
            }
            2 => {
                let Some((time, batch)) = worker.spilling.take() else { return };
                self.happened += 1;
                self.tell_worker(index, at, gather::Event::Spilled { time, batch });
            }
            _ => {
                let Some((ask, rows, rows_later)) = worker.staging.pop_front() else { return };
                self.happened += 1;
                let batches = rows.chunks(3).map(encode).collect();
                let answer = Answer { seq: ask.seq, worker: at, batches, rows_later };
                self.copies[index].heard.push_back(Heard::Answer(answer));
            }
        }
    }

    /// Goes on until nothing happens any more.
    fn run(&mut self) {
        let mut quiet = 0;
        while quiet < 1_200 {
            let before = self.happened;
            let index = self.random.below(self.copies.len() as u64) as usize;
            if self.trouble == Trouble::Crash && self.crashes < 6 && self.random.one_in(100) {
                self.crash(index);
            } else {
                self.step(index);
            }
            quiet = if self.happened == before { quiet + 1 } else { 0 };
        }
    }

    /// The rows that the shard must have, where its upper is.
    fn expected(&self) -> Vec<Row<T>> {
        let rows = self.rows.iter().map(|(time, row)| (time.join(&self.first_as_of), *row));
        let mut rows: Vec<_> = rows.filter(|(time, _)| !self.shard.upper.less_equal(time)).collect();
        rows.sort();
        rows
    }

    /// What holds when nothing happens any more.
    fn judge(&mut self) {
        let mut rows = self.shard.rows.clone();
        rows.sort();
        let reports: Vec<_> = self.copies.iter().flat_map(|copy| &copy.reports).collect();
        let complete = T::chain(&mut self.random).pop().unwrap_or_default();
        match self.trouble {
            Trouble::Restored if self.old.is_some() => {
                let gap = |error: &&&SinkError| matches!(error, SinkError::Gap { .. });
                assert!(reports.iter().any(|error| gap(&error)) || rows == self.expected(), "{reports:?}");
            }
            Trouble::Disagreement => {
                assert_eq!((reports.len(), rows.len()), (1, 0), "{reports:?}");
                assert_eq!(self.copies[0].progress, Antichain::from_elem(T::minimum()));
            }
            Trouble::Ends => {} // not all were made
            _ => {
                assert_eq!(rows, self.expected(), "the shard ends at {:?}", self.shard.upper);
            }
        }
        let reached = match (self.trouble, self.terms.until.is_empty()) {
            (Trouble::Closes, _) => Antichain::new(),
            (Trouble::Nothing | Trouble::Crash, true) => complete,
            (Trouble::Nothing, false) => {
                let until = self.terms.until.clone();
                // What ends at or before `as_of` has nothing to commit.
                if !PartialOrder::less_than(&Antichain::from_elem(self.first_as_of), &until) {
                    return;
                }
                until.elements().iter().chain(complete.elements()).copied().collect()
            }
            (Trouble::Ends, _) => {
                let copy = &self.copies[0];
                // What was made is in the shard, or said to be left.
                let left = copy.made - self.shard.rows.len() as u64;
                let said = match reports.as_slice() {
                    [] => 0,
                    [SinkError::Uncommitted { rows, .. }] => *rows,
                    others => panic!("{others:?}"),
                };
                assert_eq!((said, copy.lead.is_over()), (left, left == 0));
                assert_eq!(copy.progress.is_empty(), left == 0);
                return;
            }
            _ => return,
        };
        assert!(reports.is_empty(), "{reports:?}");
        assert_eq!(self.shard.upper, reached, "it goes on until all is written");
        if PartialOrder::less_equal(&self.terms.until, &reached) {
            assert!(self.copies.iter().all(|copy| copy.lead.is_over() && copy.progress.is_empty()));
        }
    }
}

fn run<T: Kind>() {
    let mut seen: BTreeMap<Trouble, usize> = BTreeMap::new();
    let (mut crashes, mut spills, mut waits) = (0, 0, 0);
    let runs = std::env::var("SINK_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    for seed in 0..runs {
        let mut world = World::<T>::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.run();
            world.judge();
        }));
        assert!(
            run.is_ok(),
            "seed {seed} broke a rule, with trouble {:?}, of {} copies",
            world.trouble,
            world.copies.len()
        );
        *seen.entry(world.trouble).or_default() += 1;
        (crashes, spills, waits) = (crashes + world.crashes, spills + world.spills, waits + world.standby);
    }
    let often = |what: usize, runs_each: u64| what as u64 * runs_each > runs;
    assert!(TROUBLES.iter().all(|trouble| often(seen[trouble], 12)), "{seen:?}");
    let all_seen = often(crashes, 2) && often(spills, 1) && often(waits, 20);
    assert!(all_seen, "{crashes} crashes, {spills} spills, {waits} waits");
}

#[test]
fn every_row_is_written_once_whatever_crashes() {
    run::<u64>();
}

#[test]
fn every_row_is_written_once_where_times_are_partially_ordered() {
    run::<Product<u32, u32>>();
}

/// What another copy writes while answers are on their way makes them lack nothing: they begin where they were asked to, and
/// can be compared. The workers forget it when what is out is appended.
#[test]
fn an_answer_lacks_nothing_that_another_copy_wrote_meanwhile() {
    let at = Antichain::from_elem;
    let answer = || lead::Event::Answer(Answer { seq: 1, worker: 0, batches: vec![vec![1]], rows_later: 0 });
    for late in [false, true] {
        let terms = Terms {
            shard: ShardId::from_u128(7),
            as_of: at(0u64),
            until: Antichain::new(),
            commit_interval: Duration::ZERO,
            commit_bytes: 1,
            close_at_end: false,
            waits: false,
        };
        let (mut lead, mut actions) = (Lead::new(terms, 1), Vec::new());
        let mut tell = |event| {
            lead.handle(event, Duration::ZERO, &mut actions);
            std::mem::take(&mut actions)
        };
        tell(lead::Event::Upper(at(0)));
        tell(lead::Event::Frontier(at(5), 0));
        let mut said = if late { tell(answer()) } else { Vec::new() };
        said.extend(tell(lead::Event::Upper(at(5))));
        said.extend(if late { Vec::new() } else { tell(answer()) });
        let begins = said.iter().find_map(|action| match action {
            lead::Action::Append { lower, .. } => Some(lower.clone()),
            _ => None,
        });
        let floor = lead::Action::Tell(Order::Floor(at(5)));
        assert_eq!((said.contains(&floor), begins), (false, Some(at(0))), "{said:?}");
        let after = tell(lead::Event::Appended(Outcome::Covered { same: false }));
        let differs = |action: &lead::Action<u64>| matches!(action, lead::Action::Report(SinkError::Diverged { .. }));
        assert!(after.contains(&floor) && after.iter().any(differs), "{after:?}");
    }
}
