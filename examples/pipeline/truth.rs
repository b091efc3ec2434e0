//! What the third shard must hold, computed without a dataflow.

use std::collections::BTreeMap;

use crate::rows::{Item, Order, REMEMBERED, items, orders};

/// Rows and how often each is there.
pub(crate) type Contents = BTreeMap<(String, i64), i64>;

/// The same as the dataflow, with three maps. It begins where it is first asked, with what is remembered there.
#[derive(Default)]
pub(crate) struct Shop {
    /// The steps that it has seen.
    steps: u64,
    customers: BTreeMap<u64, String>,
    cents: BTreeMap<u64, i64>,
    revenue: BTreeMap<String, i64>,
}

impl Shop {
    /// What the shard must hold at this step, which is not before one that was asked for.
    pub(crate) fn at(&mut self, step: u64) -> Contents {
        for step in self.steps.max(step.saturating_sub(REMEMBERED))..=step {
            self.step(step);
        }
        self.steps = step + 1;
        let sold = self.revenue.iter().filter(|(_, cents)| **cents != 0);
        sold.map(|(customer, cents)| ((customer.clone(), *cents), 1)).collect()
    }

    fn step(&mut self, step: u64) {
        for ((order, Order { customer }), _, diff) in orders(step) {
            let cents = self.cents.get(&order).copied().unwrap_or_default();
            let counts = diff > 0 || self.customers.remove(&order).is_some(); // not what came before it began
            *self.revenue.entry(customer.clone()).or_default() += if counts { diff * cents } else { 0 };
            if diff > 0 {
                self.customers.insert(order, customer);
            }
        }
        for ((order, Item { cents }), _, diff) in items(step) {
            let sum = self.cents.entry(order).or_default();
            *sum += diff * cents;
            if *sum == 0 {
                self.cents.remove(&order);
            }
            if let Some(customer) = self.customers.get(&order) {
                *self.revenue.entry(customer.clone()).or_default() += diff * cents;
            }
        }
    }
}
