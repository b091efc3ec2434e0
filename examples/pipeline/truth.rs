//! What the third shard must hold, computed without a dataflow, and the comparison.

use std::collections::BTreeMap;

use timely_persist::ListenEvent;

use crate::problem::Problem;
use crate::rows::{items, orders};
use crate::shards::{Revenue, at};

/// Rows and how often each is there.
type Contents = BTreeMap<(String, i64), i64>;

/// Compares the shard with a plain computation, at every step before `until`.
pub(crate) async fn compare(revenue: &Revenue, until: u64) -> Result<(), Problem> {
    let mut changes = changes(revenue, until).await?;
    let (mut found, mut shop) = (Contents::new(), Shop::default());
    for step in 0..until {
        for (row, diff) in changes.remove(&step).unwrap_or_default() {
            *found.entry(row).or_default() += diff;
        }
        found.retain(|_, diff| *diff != 0);
        shop.step(step);
        let expected = shop.contents();
        if found != expected {
            return Err(Problem::new(format!(
                "not equal at step {step}: the shard has {found:?}, and a plain computation gives {expected:?}"
            )));
        }
    }
    Ok(())
}

/// All that was ever written, by step.
async fn changes(revenue: &Revenue, until: u64) -> Result<BTreeMap<u64, Vec<((String, i64), i64)>>, Problem> {
    let mut changes: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    let mut rows = revenue.open_reader("truth").await?.subscribe(at(0)).await?.until(at(until));
    while !rows.frontier().is_empty() && rows.frontier() != &at(until) {
        for event in rows.fetch_next().await? {
            let ListenEvent::Updates(updates) = event else { continue };
            for (row, step, diff) in updates {
                changes.entry(step).or_default().push((row, diff));
            }
        }
    }
    Ok(changes)
}

/// The same as the dataflow, with three maps.
#[derive(Default)]
struct Shop {
    customers: BTreeMap<u64, String>,
    cents: BTreeMap<u64, i64>,
    revenue: BTreeMap<String, i64>,
}

impl Shop {
    fn step(&mut self, step: u64) {
        for ((order, customer), _, diff) in orders(step) {
            let cents = self.cents.get(&order).copied().unwrap_or_default();
            *self.revenue.entry(customer.clone()).or_default() += diff * cents;
            match diff {
                1 => self.customers.insert(order, customer),
                _ => self.customers.remove(&order),
            };
        }
        for ((order, cents), _, _) in items(step) {
            *self.cents.entry(order).or_default() += cents;
            if let Some(customer) = self.customers.get(&order) {
                *self.revenue.entry(customer.clone()).or_default() += cents;
            }
        }
    }

    fn contents(&self) -> Contents {
        let sold = self.revenue.iter().filter(|(_, cents)| **cents != 0);
        sold.map(|(customer, cents)| ((customer.clone(), *cents), 1)).collect()
    }
}
