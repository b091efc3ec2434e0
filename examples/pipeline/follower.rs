//! The follower: another dataflow, in another process, over what the middle keeps. It prints that, and compares it at every
//! step with a plain computation.
//!
//! The auditor is the same, but says at the end what it found; nobody kills it, so it sees all that is ever there. Beside
//! that it maintains the shards, as one process that lives longer than others should: it removes the readers that
//! killed ones left.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use timely::dataflow::operators::{Inspect, Probe};
use timely::worker::Worker;
use timely_persist_operators::PersistSource;

use crate::failure::Failure;
use crate::problem::Problem;
use crate::say::say;
use crate::shards::{Revenue, Shards, at, step_of};
use crate::truth::{Contents, Shop};

/// How often the table is printed.
const PRINT_EVERY: Duration = Duration::from_secs(2);

/// By what name the auditor reads.
pub(crate) const AUDITOR: &str = "auditor";

pub(crate) async fn follow(shards: &Shards, until: u64) -> Result<(), Problem> {
    let print = |table: &Table| say(format_args!("follower: revenue after {table}"));
    read("follower", &shards.revenue, until, print).map(drop)
}

pub(crate) async fn audit(shards: &Shards, until: u64) -> Result<(), Problem> {
    let maintainers = tokio::try_join!(shards.orders.maintain(), shards.items.maintain(), shards.revenue.maintain())?;
    let first = read(AUDITOR, &shards.revenue, until, |_table| {})?;
    drop(maintainers);
    say(format_args!("equal: the third shard and a plain computation, at each step from {first} to {}", until - 1));
    Ok(())
}

/// Reads the shard until its end, and gives the first step that was compared.
fn read(name: &'static str, revenue: &Revenue, until: u64, print: fn(&Table)) -> Result<u64, Problem> {
    let (revenue, failure) = (revenue.clone(), Failure::default());
    let first = timely::execute_directly({
        let failure = failure.clone();
        move |worker| work(worker, name, &revenue, until, &failure, print)
    });
    failure.check()?;
    first.ok_or_else(|| Problem::new("the third shard has no rows"))
}

fn work(
    worker: &mut Worker,
    name: &str,
    revenue: &Revenue,
    until: u64,
    failure: &Failure,
    print: fn(&Table),
) -> Option<u64> {
    let table = Rc::new(RefCell::new(Table::default()));
    let (progress, button) = worker.dataflow::<u64, _, _>(|scope| {
        // From where it can be read on: all that is older was merged into one step.
        let source = PersistSource::new(revenue).name(name).until(at(until)).build(scope);
        let (noted, shared) = (failure.clone(), Rc::clone(&table));
        source.errors.inspect(move |error| noted.note(Problem::of_source(error)));
        source.updates.inspect(move |(row, step, diff)| shared.borrow_mut().take(row.clone(), *step, *diff));
        (source.progress.probe().0, source.button)
    });
    let mut next = Instant::now() + PRINT_EVERY;
    while !progress.done() && !failure.is_there() {
        worker.step_or_park(Some(next.saturating_duration_since(Instant::now())));
        let complete = progress.with_frontier(|frontier| step_of(&frontier.to_owned())).min(until);
        failure.note(table.borrow_mut().reach(complete).err());
        if Instant::now() >= next || progress.done() {
            next += PRINT_EVERY;
            print(&table.borrow());
        }
    }
    drop(button);
    let first = table.borrow().first;
    first
}

/// The shard's contents at a step, and what later steps change.
#[derive(Default)]
pub(crate) struct Table {
    now: Contents,
    coming: BTreeMap<u64, Vec<((String, i64), i64)>>,
    /// The first step that has rows, and all steps before this one, are compared.
    first: Option<u64>,
    next: u64,
    shop: Shop,
}

impl Table {
    fn take(&mut self, row: (String, i64), step: u64, diff: i64) {
        self.coming.entry(step).or_default().push((row, diff));
    }

    /// Takes in all changes before this step, one step after the other, and compares.
    fn reach(&mut self, complete: u64) -> Result<(), Problem> {
        let Some(first) = self.first.or_else(|| self.coming.keys().next().copied().filter(|first| *first < complete))
        else {
            return Ok(());
        };
        self.first = Some(first);
        for step in self.next.max(first)..complete {
            for (row, diff) in self.coming.remove(&step).unwrap_or_default() {
                *self.now.entry(row).or_default() += diff;
            }
            self.now.retain(|_, diff| *diff != 0);
            self.next = step + 1;
            let (found, expected) = (&self.now, self.shop.at(step));
            if *found != expected {
                return Err(Problem::new(format!(
                    "not equal at step {step}: the shard has {found:?}, and a plain computation gives {expected:?}"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(step) = self.next.checked_sub(1) else { return f.write_str("no step") };
        let amounts = self.now.keys().map(|(name, cents)| format!("{name} {}.{:02}", cents / 100, cents % 100));
        write!(f, "step {step}: {}", amounts.collect::<Vec<_>>().join(", "))
    }
}
