//! The rows of each step: a function of the step alone, so that a producer which was killed goes on with the same ones.
//!
//! An order is placed by a customer. It has one to four items, which come at its step or up to two steps later. Of some
//! orders the customer thinks better: they are taken back five steps later, and so are their items from the revenue. And what
//! is ten seconds old goes from both: so the revenue is that of the last ten seconds, and the shards stay
//! small however long it runs.

use serde::{Deserialize, Serialize};
use timely_persist::Codec;

/// An order. A shard stores it by its codec, and one worker sends it to another by serde.
#[derive(Codec, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "order")]
pub(crate) struct Order {
    #[codec(id = 1)]
    pub(crate) customer: String,
}

/// An item of an order.
#[derive(Codec, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "item")]
pub(crate) struct Item {
    #[codec(id = 1)]
    pub(crate) cents: i64,
}

/// A row of the orders, by number.
pub(crate) type OrderRow = ((u64, Order), u64, i64);
/// A row of the items, by the number of the order.
pub(crate) type ItemRow = ((u64, Item), u64, i64);

const CUSTOMERS: [&str; 6] = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn"];
const ORDERS_PER_STEP: u64 = 20;
/// Items come at most so many steps after their order.
const LATE_MAX: u64 = 2;
/// An order that is taken back is taken back so many steps later,
const TAKEN_BACK_AFTER: u64 = 5;
/// and so are one in so many.
const TAKEN_BACK_ONE_IN: u64 = 8;
/// An order and its items are forgotten so many steps after they came.
const FORGOTTEN_AFTER: u64 = 200;
/// Of what came so many steps ago or earlier, nothing is there.
pub(crate) const REMEMBERED: u64 = FORGOTTEN_AFTER + LATE_MAX + 1;

/// What a step changes in the orders.
pub(crate) fn orders(step: u64) -> Vec<OrderRow> {
    let placed = placed(step).map(|number| ((number, order(number)), step, 1));
    let before = step.checked_sub(TAKEN_BACK_AFTER).into_iter().flat_map(self::placed);
    let forgotten = step.checked_sub(FORGOTTEN_AFTER).into_iter().flat_map(self::placed);
    let gone = before.filter(|order| is_taken_back(*order)).chain(forgotten.filter(|order| !is_taken_back(*order)));
    placed.chain(gone.map(|number| ((number, order(number)), step, -1))).collect()
}

/// What a step changes in the items.
pub(crate) fn items(step: u64) -> Vec<ItemRow> {
    let forgotten = step.checked_sub(FORGOTTEN_AFTER).into_iter().flat_map(new_items);
    new_items(step).map(|item| (item, step, 1)).chain(forgotten.map(|item| (item, step, -1))).collect()
}

/// The items that come at a step.
fn new_items(step: u64) -> impl Iterator<Item = (u64, Item)> {
    let since = step.saturating_sub(LATE_MAX);
    let of_order = |order: u64| (0..1 + mixed(order, 2) % 4).map(move |number| (order, number));
    let items = (since..=step).flat_map(placed).flat_map(of_order);
    let now = items.filter(move |(order, number)| {
        let late = mixed(*order, 100 + number) % (LATE_MAX + 1);
        order / ORDERS_PER_STEP + late == step
    });
    now.map(|(order, number)| (order, Item { cents: 100 + (mixed(order, 200 + number) % 9_900) as i64 }))
}

/// The orders of a step.
fn placed(step: u64) -> std::ops::Range<u64> {
    step * ORDERS_PER_STEP..(step + 1) * ORDERS_PER_STEP
}

fn is_taken_back(order: u64) -> bool {
    mixed(order, 1).is_multiple_of(TAKEN_BACK_ONE_IN)
}

fn order(number: u64) -> Order {
    Order { customer: CUSTOMERS[(mixed(number, 3) % CUSTOMERS.len() as u64) as usize].to_owned() }
}

/// A number that looks like chance, and is always the same (SplitMix64).
pub(crate) fn mixed(number: u64, salt: u64) -> u64 {
    let mut mixed = number.wrapping_mul(1_000_003).wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
