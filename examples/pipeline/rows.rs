//! The rows of each step: a function of the step alone, so that a producer which was killed goes on with the same ones.
//!
//! An order is placed by a customer. It has one to four items, which come at its step or up to two steps later. Of some
//! orders the customer thinks better: they are taken back five steps later, and so are their items from the revenue. And what
//! is ten seconds old goes from both: so the revenue is that of the last ten seconds, and the shards stay
//! small however long it runs.

/// A row of the orders: order, customer.
pub(crate) type OrderRow = ((u64, String), u64, i64);
/// A row of the items: order, cents.
pub(crate) type ItemRow = ((u64, i64), u64, i64);

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
    let placed = placed(step).map(|order| ((order, customer(order)), step, 1));
    let before = step.checked_sub(TAKEN_BACK_AFTER).into_iter().flat_map(self::placed);
    let forgotten = step.checked_sub(FORGOTTEN_AFTER).into_iter().flat_map(self::placed);
    let gone = before.filter(|order| is_taken_back(*order)).chain(forgotten.filter(|order| !is_taken_back(*order)));
    placed.chain(gone.map(|order| ((order, customer(order)), step, -1))).collect()
}

/// What a step changes in the items.
pub(crate) fn items(step: u64) -> Vec<ItemRow> {
    let forgotten = step.checked_sub(FORGOTTEN_AFTER).into_iter().flat_map(new_items);
    new_items(step).map(|item| (item, step, 1)).chain(forgotten.map(|item| (item, step, -1))).collect()
}

/// The items that come at a step.
fn new_items(step: u64) -> impl Iterator<Item = (u64, i64)> {
    let since = step.saturating_sub(LATE_MAX);
    let of_order = |order: u64| (0..1 + mixed(order, 2) % 4).map(move |number| (order, number));
    let items = (since..=step).flat_map(placed).flat_map(of_order);
    let now = items.filter(move |(order, number)| {
        let late = mixed(*order, 100 + number) % (LATE_MAX + 1);
        order / ORDERS_PER_STEP + late == step
    });
    now.map(|(order, number)| (order, 100 + (mixed(order, 200 + number) % 9_900) as i64))
}

/// The orders of a step.
fn placed(step: u64) -> std::ops::Range<u64> {
    step * ORDERS_PER_STEP..(step + 1) * ORDERS_PER_STEP
}

fn is_taken_back(order: u64) -> bool {
    mixed(order, 1).is_multiple_of(TAKEN_BACK_ONE_IN)
}

fn customer(order: u64) -> String {
    CUSTOMERS[(mixed(order, 3) % CUSTOMERS.len() as u64) as usize].to_owned()
}

/// A number that looks like chance, and is always the same (SplitMix64).
pub(crate) fn mixed(number: u64, salt: u64) -> u64 {
    let mut mixed = number.wrapping_mul(1_000_003).wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
