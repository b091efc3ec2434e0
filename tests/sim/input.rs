//! What the sinks of a run are to write: rows and frontiers that follow from the seed and the time alone, as those of a
//! deterministic dataflow do. And how far each of the sinks has come.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use timely::PartialOrder;
use timely::progress::Antichain;
use tokio::time::Instant;

use crate::actors::SimTime;
use crate::judge::Judge;
use crate::setting::Setting;
use crate::times::{Row, join, summed};

/// New rows of a step, at most; and as many old ones that it takes back.
const ROWS_MAX: usize = 3;

/// Rows of the collection that stay: what is at one time when a dataflow begins has to be few, see `world::config`.
const KEPT: usize = 6;

/// All that comes into the dataflows in front of the sinks.
pub struct Input<T: SimTime> {
    begun: Instant,
    /// Between one step and the next.
    period: Duration,
    /// Where the steps begin, and where the last ends.
    frontiers: Vec<Antichain<T>>,
    rows: Vec<Vec<Row<T>>>,
    /// Where the first dataflow begins: what is older is as of that.
    pub first_as_of: T,
    pub until: Antichain<T>,
    pub judge: Arc<Judge<T>>,
    running: Mutex<BTreeMap<usize, Antichain<T>>>,
    next_number: Mutex<usize>,
}

impl<T: SimTime> Input<T> {
    pub fn new(setting: &Setting, judge: Arc<Judge<T>>, begun: Instant) -> Arc<Self> {
        let mut random = setting.stream("input", 0);
        let period = Duration::from_millis(*random.pick(&[1_000, 2_000, 4_000]));
        let count = setting.seconds * 1_000 / period.as_millis() as usize;
        let mut frontiers = vec![Antichain::from_elem(T::minimum())];
        let (mut rows, mut there) = (Vec::new(), VecDeque::new());
        for number in 0..count {
            let lower = frontiers[number].clone();
            let upper = T::step(&mut random, &lower);
            let some = random.below(ROWS_MAX + 1);
            let times = T::some(&mut random, &lower, &upper, some);
            let mut step: Vec<Row<T>> = Vec::new();
            for (row, time) in times.into_iter().enumerate() {
                let row = (format!("k{row}"), number as u64);
                if there.len() >= KEPT {
                    step.extend(there.pop_front().map(|old| (old, time.clone(), -1)));
                }
                there.push_back(row.clone());
                step.push((row, time, 1));
            }
            rows.push(step);
            frontiers.push(upper);
        }
        let first_as_of = match random.percent(50) {
            true => frontiers[random.below(4).min(count)].elements()[0].clone(),
            false => T::minimum(),
        };
        let mut until = Antichain::new();
        if random.percent(25) {
            until.clone_from(&frontiers[count - random.below(1 + count / 3)]);
        }
        if !PartialOrder::less_than(&Antichain::from_elem(first_as_of.clone()), &until) {
            until = Antichain::new(); // nothing would be written
        }
        let (running, next_number) = Default::default();
        Arc::new(Self { begun, period, frontiers, rows, first_as_of, until, judge, running, next_number })
    }

    /// How many steps are complete, for a dataflow that lags so much.
    pub fn steps(&self, lag: Duration) -> usize {
        let periods = self.begun.elapsed().saturating_sub(lag).as_millis() / self.period.as_millis();
        self.rows.len().min(periods as usize)
    }

    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        self.steps(Duration::ZERO) == self.rows.len()
    }

    /// What is complete after so many steps, in a dataflow that begins at `as_of`.
    pub fn frontier(&self, steps: usize, as_of: &T) -> Antichain<T> {
        join(&self.frontiers[steps], &Antichain::from_elem(as_of.clone()))
    }

    /// What a step brings to a dataflow that begins at `as_of`.
    pub fn rows(&self, step: usize, as_of: &T) -> Vec<Row<T>> {
        self.rows[step].iter().map(|(row, time, diff)| (row.clone(), time.joined(as_of), *diff)).collect()
    }

    /// What the shard must have that ends at `upper`.
    pub fn expected(&self, upper: &Antichain<T>) -> Vec<Row<T>> {
        let rows = (0..self.rows.len()).flat_map(|step| self.rows(step, &self.first_as_of));
        summed(rows.filter(|(_, time, _)| !upper.less_equal(time)))
    }

    /// How far the shard is to go, as of now.
    pub fn goal(&self) -> Antichain<T> {
        let complete = self.frontier(self.steps(Duration::ZERO), &self.first_as_of);
        let goal: Antichain<T> = complete.elements().iter().chain(self.until.elements()).cloned().collect();
        match PartialOrder::less_than(&Antichain::from_elem(self.first_as_of.clone()), &goal) {
            true => goal,
            false => Antichain::from_elem(T::minimum()), // nothing that is to be written is complete
        }
    }

    /// The shard ends here: it has no times that are not complete.
    pub fn check(&self, upper: &Antichain<T>) {
        let goal = self.goal();
        assert!(PartialOrder::less_equal(upper, &goal), "the shard ends at {upper:?}, complete is {goal:?}");
    }

    /// A sink runs from here on.
    pub fn run(self: &Arc<Self>) -> Running<T> {
        let mut next = self.next_number.lock().unwrap();
        *next += 1;
        self.running.lock().unwrap().insert(*next, Antichain::from_elem(T::minimum()));
        Running { input: Arc::clone(self), number: *next }
    }

    /// The sinks that run and do not show yet that all is there.
    pub fn behind(&self) -> Vec<(usize, Antichain<T>)> {
        let goal = self.goal();
        let running = self.running.lock().unwrap();
        let behind = running.iter().filter(|(_, shown)| !PartialOrder::less_equal(&goal, shown));
        behind.map(|(number, shown)| (*number, shown.clone())).collect()
    }

    /// Whether any sink runs.
    pub fn is_written(&self) -> bool {
        !self.running.lock().unwrap().is_empty()
    }
}

/// A sink that runs, until this is dropped.
pub struct Running<T: SimTime> {
    input: Arc<Input<T>>,
    pub number: usize,
}

impl<T: SimTime> Running<T> {
    /// It shows that the shard ends here.
    pub fn show(&self, progress: &Antichain<T>) {
        self.input.running.lock().unwrap().insert(self.number, progress.clone());
    }
}

impl<T: SimTime> Drop for Running<T> {
    fn drop(&mut self) {
        if let Ok(mut running) = self.input.running.lock() {
            running.remove(&self.number);
        }
    }
}
