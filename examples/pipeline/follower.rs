//! The follower: another dataflow, in another process, over what the middle keeps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use timely::dataflow::operators::{Inspect, Probe};
use timely::progress::Antichain;
use timely::worker::Worker;
use timely_persist_operators::PersistSource;

use crate::failure::Failure;
use crate::problem::Problem;
use crate::say::say;
use crate::shards::{Revenue, Shards, at, step_of};

/// How often the table is printed.
const PRINT_EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn follow(shards: &Shards, until: u64) -> Result<(), Problem> {
    let upper = shards.revenue.inspect().await?.upper;
    let as_of: Antichain<u64> = upper.iter().map(|step| step.saturating_sub(1)).collect();
    let (revenue, failure) = (shards.revenue.clone(), Failure::default());
    timely::execute_directly({
        let failure = failure.clone();
        move |worker| work(worker, &revenue, as_of, until, &failure)
    });
    failure.check()
}

fn work(worker: &mut Worker, revenue: &Revenue, as_of: Antichain<u64>, until: u64, failure: &Failure) {
    let table = Rc::new(RefCell::new(Table::default()));
    let (progress, button) = worker.dataflow::<u64, _, _>(|scope| {
        let source = PersistSource::new(revenue).as_of(as_of).until(at(until)).build(scope);
        let (noted, shared) = (failure.clone(), Rc::clone(&table));
        source.errors.inspect(move |error| noted.note(Problem::of_source(error)));
        source.updates.inspect(move |((customer, cents), step, diff)| {
            shared.borrow_mut().coming.entry(*step).or_default().push((customer.clone(), cents * diff));
        });
        (source.progress.probe().0, source.button)
    });
    let mut next = Instant::now() + PRINT_EVERY;
    while !progress.done() && !failure.is_there() {
        worker.step_or_park(Some(next.saturating_duration_since(Instant::now())));
        if Instant::now() >= next {
            next += PRINT_EVERY;
            let complete = progress.with_frontier(|frontier| step_of(&frontier.to_owned()));
            print(&mut table.borrow_mut(), complete);
        }
    }
    if !failure.is_there() {
        print(&mut table.borrow_mut(), until);
    }
    drop(button);
}

/// Prints the table as of the last step that is complete.
fn print(table: &mut Table, complete: u64) {
    table.reach(complete);
    if let Some(step) = complete.checked_sub(1).filter(|_| !table.now.is_empty()) {
        say(format_args!("follower: revenue after step {step}: {table}"));
    }
}

/// The revenue per customer at a step, and what later steps change.
#[derive(Default)]
struct Table {
    now: BTreeMap<String, i64>,
    coming: BTreeMap<u64, Vec<(String, i64)>>,
}

impl Table {
    /// Takes in all changes before this step.
    fn reach(&mut self, step: u64) {
        let later = self.coming.split_off(&step);
        for (customer, change) in std::mem::replace(&mut self.coming, later).into_values().flatten() {
            *self.now.entry(customer).or_default() += change;
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amounts = self.now.iter().map(|(name, cents)| format!("{name} {}.{:02}", cents / 100, cents % 100));
        f.write_str(&amounts.collect::<Vec<_>>().join(", "))
    }
}
