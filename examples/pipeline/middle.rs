//! The middle: source → differential → sink.
//!
//! It remembers nothing either: the third shard's upper says how far it came.

use std::time::Duration;

use differential_dataflow::VecCollection;
use differential_dataflow::operators::CountTotal;
use timely::dataflow::Scope;
use timely::dataflow::operators::{Inspect, Probe};
use timely::progress::Antichain;
use timely::worker::Worker;
use timely_persist::{Data, Error, Shard};
use timely_persist_operators::{PersistSink, PersistSource, Source};

use crate::failure::Failure;
use crate::problem::Problem;
use crate::say::say;
use crate::shards::{Revenue, Shards, at, step_of};

const WORKERS: usize = 2;

/// How often a worker that has nothing to do looks whether another one has failed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn maintain(shards: &Shards, until: u64) -> Result<(), Problem> {
    let as_of = begin(&shards.revenue).await?;
    say(format_args!("middle: from step {} on", step_of(&as_of)));
    let (shards, failure) = (shards.clone(), Failure::default());
    let workers = timely::execute(timely::Config::process(WORKERS), {
        let failure = failure.clone();
        move |worker| work(worker, &shards, &as_of, until, &failure)
    });
    // Workers are threads of their own, and this one waits for them.
    for worker in workers.map_err(Problem::new)?.join() {
        worker.map_err(Problem::new)?;
    }
    failure.check()
}

/// Where the dataflow begins: strictly before the output's upper.
///
/// What a source shows at its `as_of` are the contents so far, and what comes of them is in the output already: the sink
/// drops rows before the output's upper. At the upper itself they would be taken for new; the sink refuses to begin there.
/// An earlier step is always right too, and more work.
async fn begin(output: &Revenue) -> Result<Antichain<u64>, Error> {
    let upper = output.inspect().await?.upper;
    Ok(upper.iter().map(|step| step.saturating_sub(1)).collect())
}

fn work(worker: &mut Worker, shards: &Shards, as_of: &Antichain<u64>, until: u64, failure: &Failure) {
    let (progress, buttons) = worker.dataflow::<u64, _, _>(|scope| {
        let orders = source(&shards.orders, as_of, scope, failure);
        let items = source(&shards.items, as_of, scope, failure);
        let revenue = revenue(orders.updates, items.updates);
        // The sink alone ends there: an input that has ended does not say, by itself, that all its rows are there.
        let sink = PersistSink::new(&shards.revenue).name("revenue").as_of(as_of.clone()).until(at(until));
        let sink = sink.build(revenue);
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
    as_of: &Antichain<u64>,
    scope: Scope<'scope, u64>,
    failure: &Failure,
) -> Source<'scope, u64, V, u64, i64> {
    let source = PersistSource::new(shard).as_of(as_of.clone()).build(scope);
    let noted = failure.clone();
    source.errors.clone().inspect(move |error| noted.note(Problem::of_source(error)));
    source
}

/// The revenue per customer.
///
/// The cents become the *difference* of the customer, so the sum is what the system does with equal records anyway.
/// `count_total_core::<i64>` turns it back into data, with the diffs that shards store: `count` would give `isize`.
fn revenue<'scope>(
    orders: VecCollection<'scope, u64, (u64, String), i64>,
    items: VecCollection<'scope, u64, (u64, i64), i64>,
) -> VecCollection<'scope, u64, (String, i64), i64> {
    let sold = orders.join_map(items, |_order, customer, cents| (customer.clone(), *cents));
    sold.explode(|(customer, cents)| Some((customer, cents))).count_total_core::<i64>()
}
