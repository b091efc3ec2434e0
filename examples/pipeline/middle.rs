//! The middle: source → differential → sink.
//!
//! It remembers nothing either: the third shard's upper says how far it came, and [`Resume`] where to begin.

use std::time::Duration;

use differential_dataflow::VecCollection;
use differential_dataflow::operators::CountTotal;
use timely::dataflow::Scope;
use timely::dataflow::operators::{Inspect, Probe};
use timely::worker::Worker;
use timely_persist::{Data, Shard};
use timely_persist_operators::{Input, PersistSink, PersistSource, Resume, Source};

use crate::failure::Failure;
use crate::problem::Problem;
use crate::rows::{Item, Order};
use crate::say::say;
use crate::shards::{Shards, at, step_of};

const WORKERS: usize = 2;

/// How often a worker that has nothing to do looks whether another one has failed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn maintain(shards: &Shards, until: u64) -> Result<(), Problem> {
    // It takes over from the process before, wherever that was killed. The inputs stay readable from where the next one
    // would begin; all that is older may be merged, in the output too.
    let inputs: [&dyn Input<u64>; 2] = [&shards.orders, &shards.items];
    let resume = Resume::open("revenue", &shards.revenue, inputs).await?;
    say(format_args!("middle: from step {} on", step_of(&resume.as_of())));
    let (shards, failure) = (shards.clone(), Failure::default());
    let workers = timely::execute(timely::Config::process(WORKERS), {
        let failure = failure.clone();
        move |worker| work(worker, &shards, &resume, until, &failure)
    });
    // Workers are threads of their own, and this one waits for them.
    for worker in workers.map_err(Problem::new)?.join() {
        worker.map_err(Problem::new)?;
    }
    failure.check()
}

fn work(worker: &mut Worker, shards: &Shards, resume: &Resume<u64>, until: u64, failure: &Failure) {
    let (progress, buttons) = worker.dataflow::<u64, _, _>(|scope| {
        let orders = source(&shards.orders, resume, scope, failure);
        let items = source(&shards.items, resume, scope, failure);
        let revenue = revenue(orders.updates, items.updates);
        // The sink alone ends there: an input that has ended does not say, by itself, that all its rows are there.
        let sink = PersistSink::new(&shards.revenue).name("revenue").resume(resume).until(at(until)).build(revenue);
        let noted = failure.clone();
        sink.errors.inspect(move |error| noted.note(Problem::of_sink(error)));
        (sink.progress.probe().0, [sink.button, orders.button, items.button])
    });
    // Until the third shard is durable up to there.
    while !progress.done() && !failure.is_there() {
        worker.step_or_park(Some(LOOK_EVERY));
    }
    drop(buttons); // the sink's first: it complains about a source that is stopped under it
}

fn source<'scope, V: Data>(
    shard: &Shard<u64, V, u64, i64>,
    resume: &Resume<u64>,
    scope: Scope<'scope, u64>,
    failure: &Failure,
) -> Source<'scope, u64, V, u64, i64> {
    let source = PersistSource::new(shard).as_of(resume.as_of()).build(scope);
    let noted = failure.clone();
    source.errors.clone().inspect(move |error| noted.note(Problem::of_source(error)));
    source
}

/// The revenue per customer.
///
/// The cents become the *difference* of the customer, so the sum is what the system does with equal records anyway.
/// `count_total_core::<i64>` turns it back into data, with the diffs that shards store: `count` would give `isize`.
fn revenue<'scope>(
    orders: VecCollection<'scope, u64, (u64, Order), i64>,
    items: VecCollection<'scope, u64, (u64, Item), i64>,
) -> VecCollection<'scope, u64, (String, i64), i64> {
    let sold = orders.join_map(items, |_number, order, item| (order.customer.clone(), item.cents));
    sold.explode(|(customer, cents)| Some((customer, cents))).count_total_core::<i64>()
}
