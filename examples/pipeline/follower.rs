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
use timely_persist::ErrorKind;
use timely_persist_operators::PersistSource;

use crate::failure::Failure;
use crate::problem::Problem;
use crate::say::say;
use crate::shards::{Revenue, RevenueReader, Shards, at, step_of};
use crate::truth::{Contents, Shop};

/// How often the table is printed.
const PRINT_EVERY: Duration = Duration::from_secs(2);

/// By what name the auditor reads.
pub(crate) const AUDITOR: &str = "auditor";

pub(crate) async fn follow(shards: &Shards, until: u64) -> Result<(), Problem> {
    let print = |table: &Table| say(format_args!("follower: revenue after {table}"));
    read("follower", &shards.revenue, until, print).await.map(drop)
}

pub(crate) async fn audit(shards: &Shards, until: u64) -> Result<(), Problem> {
    let maintainers = tokio::try_join!(shards.orders.maintain(), shards.items.maintain(), shards.revenue.maintain())?;
    let first = read(AUDITOR, &shards.revenue, until, |_table| {}).await?;
    drop(maintainers);
    say(format_args!("equal: the third shard and a plain computation, at each step from {first} to {}", until - 1));
    Ok(())
}

/// Reads the shard until its end, and gives the first step that was compared.
async fn read(name: &'static str, revenue: &Revenue, until: u64, print: fn(&Table)) -> Result<u64, Problem> {
    let reader = open_near_the_end(name, revenue).await?;
    let (first, revenue, failure) = (step_of(reader.since()), revenue.clone(), Failure::default());
    timely::execute_directly({
        let failure = failure.clone();
        move |worker| work(worker, name, &revenue, reader, until, &failure, print)
    });
    failure.check()?;
    Ok(first)
}

/// A reader at the last step that is there. At the shard's since it would keep all history that somebody else keeps now: a
/// process that was killed, say.
async fn open_near_the_end(name: &str, revenue: &Revenue) -> Result<RevenueReader, Problem> {
    loop {
        let upper = revenue.inspect().await?.upper;
        let last = upper.iter().map(|step| step.saturating_sub(1)).collect();
        match revenue.open_reader_at(name, last).await {
            Err(error) if matches!(error.kind(), ErrorKind::Since { .. }) => {} // there are newer ones now
            opened => return Ok(opened?),
        }
    }
}

fn work(
    worker: &mut Worker,
    name: &str,
    revenue: &Revenue,
    reader: RevenueReader,
    until: u64,
    failure: &Failure,
    print: fn(&Table),
) {
    let first = step_of(reader.since());
    let table = Rc::new(RefCell::new(Table { next: first, ..Table::default() }));
    let (progress, button) = worker.dataflow::<u64, _, _>(|scope| {
        let source = PersistSource::new(revenue).name(name).as_of(at(first)).until(at(until)).build(scope);
        let (noted, shared) = (failure.clone(), Rc::clone(&table));
        source.errors.inspect(move |error| noted.note(Problem::of_source(error)));
        source.updates.inspect(move |(row, step, diff)| shared.borrow_mut().take(row.clone(), *step, *diff));
        (source.progress.probe().0, source.button)
    });
    let (mut next, mut reader) = (Instant::now() + PRINT_EVERY, Some(reader));
    while !progress.done() && !failure.is_there() {
        worker.step_or_park(Some(next.saturating_duration_since(Instant::now())));
        let complete = progress.with_frontier(|frontier| step_of(&frontier.to_owned())).min(until);
        reader = reader.filter(|_| complete <= first); // the source has its own of that name, and moves it
        failure.note(table.borrow_mut().reach(complete).err());
        if complete > first && (Instant::now() >= next || progress.done()) {
            next = Instant::now() + PRINT_EVERY;
            print(&table.borrow());
        }
    }
    drop(button);
}

/// The shard's contents at a step, and what later steps change.
#[derive(Default)]
struct Table {
    now: Contents,
    coming: BTreeMap<u64, Vec<((String, i64), i64)>>,
    /// All steps before this one are compared, from the first one on.
    next: u64,
    shop: Shop,
}

impl Table {
    fn take(&mut self, row: (String, i64), step: u64, diff: i64) {
        self.coming.entry(step).or_default().push((row, diff));
    }

    /// Takes in all changes before this step, one step after the other, and compares.
    fn reach(&mut self, complete: u64) -> Result<(), Problem> {
        while self.next < complete {
            let step = self.next;
            for (row, diff) in self.coming.remove(&step).unwrap_or_default() {
                *self.now.entry(row).or_default() += diff;
            }
            self.now.retain(|_, diff| *diff != 0);
            let (found, expected) = (&self.now, self.shop.at(step));
            if *found != expected {
                return Err(Problem::new(format!(
                    "not equal at step {step}: the shard has {found:?}, and a plain computation gives {expected:?}"
                )));
            }
            self.next += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amounts = self.now.keys().map(|(name, cents)| format!("{name} {}.{:02}", cents / 100, cents % 100));
        write!(f, "step {}: {}", self.next.saturating_sub(1), amounts.collect::<Vec<_>>().join(", "))
    }
}
