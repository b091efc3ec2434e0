//! The producer: appends the rows of each step to orders and items, one step each [`STEP_EVERY`].
//!
//! It remembers nothing. Each shard's upper says which step comes next, an append takes effect as a whole or not at all, and
//! only if the upper is the expected one: so after a kill at any moment each row is there once.

use std::time::{Duration, Instant};

use timely_persist::{Appended, Data, Error, WriteHandle};

use crate::problem::Problem;
use crate::rows::{items, orders};
use crate::say::say;
use crate::shards::{Shards, at, step_of};

/// How often there is a step.
pub(crate) const STEP_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn produce(shards: &Shards, until: u64) -> Result<(), Problem> {
    let mut to_orders = shards.orders.open_writer("producer").await?;
    let mut to_items = shards.items.open_writer("producer").await?;
    let (upper, other) = (to_orders.fetch_upper().await?, to_items.fetch_upper().await?);
    let mut step = step_of(&upper).min(step_of(&other));
    say(format_args!("producer: from step {step} on"));
    let mut next = Instant::now();
    while step < until {
        next += STEP_EVERY;
        tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
        append(&mut to_orders, step, orders(step)).await?;
        append(&mut to_items, step, items(step)).await?;
        step += 1;
    }
    to_orders.expire().await?;
    to_items.expire().await?;
    Ok(())
}

/// Appends a step, unless it is there.
async fn append<K: Data, V: Data>(
    writer: &mut WriteHandle<K, V, u64, i64>,
    step: u64,
    rows: Vec<((K, V), u64, i64)>,
) -> Result<(), Error> {
    match writer.compare_and_append(rows, at(step), at(step + 1)).await? {
        Appended::Committed => Ok(()),
        // This shard got the step before the kill, and the other one did not; or another producer runs, with the same rows.
        Appended::UpperMismatch { current } if step_of(&current) > step => Ok(()),
        Appended::UpperMismatch { current } => Err(Error::invalid(format!(
            "the shard was set back to step {} while step {step} was appended: run again",
            step_of(&current)
        ))),
    }
}
