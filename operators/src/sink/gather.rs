//! Gathering, as each worker does it: a value that is told what happened and says what to do. It does nothing itself, and
//! knows no dataflow, no task and no clock.
//!
//! Always:
//! * G1 A row at a time that is not before the floor is in exactly one of: collected here, an answer, the shard. A row
//!   before the floor is in the shard: it is dropped.
//! * G2 Each ask is answered exactly once, and with all rows of its interval that came here.
//! * G3 One time's rows are handed over for storage at once, when those in memory are half of what may be: memory holds
//!   those that are collected and those that are on their way.
//! * G4 After a rest nothing is collected, and no ask is answered: so nothing can be committed without this worker.
//!
//! `P` is what is collected of one time, `B` what became of it in storage.

use std::collections::BTreeMap;

use timely::progress::Antichain;
use timely_persist::Time;

use crate::sink::message::Ask;

/// What is collected of one time, in memory.
pub(crate) trait Pile: Default {
    /// Its bytes.
    fn bytes(&self) -> u64;

    /// Its rows, before consolidation.
    fn rows(&self) -> u64;
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event<T, B> {
    /// The shard ends here.
    Floor(Antichain<T>),
    /// The leader asks.
    Ask(Ask<T>),
    /// What was to be spilled is in storage.
    Spilled { time: T, batch: B },
    /// Keep no rows any more.
    Rest,
}

/// What to do, in this order.
#[derive(Debug)]
pub(crate) enum Action<T, P, B> {
    /// Put these rows of one time into storage. Told once at a time.
    Spill { time: T, pile: P },
    /// Make an answer of these, which are all at times in the ask's interval.
    Stage { ask: Ask<T>, piles: Vec<(T, P)>, batches: Vec<B>, rows_later: u64 },
}

/// The rows of one worker.
#[derive(Debug)]
pub(crate) struct Gather<T, P, B> {
    memory_max: u64,
    floor: Antichain<T>,
    times: BTreeMap<T, Slot<P, B>>,
    /// The bytes of all piles.
    bytes: u64,
    /// The time whose rows are on their way to storage, and how many these are.
    spilling: Option<(T, u64)>,
    /// The ask to be answered, once what it asks for has been spilled.
    asked: Option<Ask<T>>,
    rests: bool,
}

/// The rows of one time.
#[derive(Debug)]
struct Slot<P, B> {
    pile: P,
    batches: Vec<B>,
    /// Rows in the batches.
    spilled: u64,
}

impl<P: Pile, B> Slot<P, B> {
    fn new() -> Self {
        Self { pile: P::default(), batches: Vec::new(), spilled: 0 }
    }
}

impl<T: Time, P: Pile, B> Gather<T, P, B> {
    /// No rows yet; at most so many bytes of them in memory.
    pub(crate) fn new(memory_max: u64) -> Self {
        Self {
            memory_max,
            floor: Antichain::from_elem(T::minimum()),
            times: BTreeMap::new(),
            bytes: 0,
            spilling: None,
            asked: None,
            rests: false,
        }
    }

    /// The pile that rows at this time go to, if they are wanted; `add` says what it did. `None` if they are not.
    pub(crate) fn collect<R>(&mut self, time: &T, add: impl FnOnce(&mut P) -> R) -> Option<R> {
        if self.rests || !self.floor.less_equal(time) {
            return None;
        }
        let slot = self.times.entry(time.clone()).or_insert_with(Slot::new);
        let before = slot.pile.bytes();
        let added = add(&mut slot.pile);
        self.bytes = (self.bytes + slot.pile.bytes()).saturating_sub(before);
        Some(added)
    }

    /// Bytes in memory that wait to be asked for.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether more rows would be too many, as those before are still on their way.
    pub(crate) fn is_full(&self) -> bool {
        self.spilling.is_some() && self.is_half_full()
    }

    fn is_half_full(&self) -> bool {
        self.bytes.saturating_mul(2) >= self.memory_max
    }

    /// Something happened.
    pub(crate) fn handle(&mut self, event: Event<T, B>, actions: &mut Vec<Action<T, P, B>>) {
        match event {
            Event::Floor(floor) => self.rise(floor),
            Event::Ask(ask) => {
                self.rise(ask.lower.clone());
                self.asked = (!self.rests).then_some(ask);
            }
            Event::Spilled { time, batch } => {
                let rows = self.spilling.take().map_or(0, |(_, rows)| rows);
                // Else the shard has its rows by now: the batch is dropped, and removes what it has stored.
                if let Some(slot) = self.times.get_mut(&time) {
                    slot.batches.push(batch);
                    slot.spilled += rows;
                }
            }
            Event::Rest => {
                self.rests = true;
                (self.asked, self.bytes) = (None, 0);
                self.times.clear();
            }
        }
        self.stage(actions);
    }

    /// Hands rows over for storage, if too many are in memory. To be called when rows were collected.
    pub(crate) fn spill(&mut self, actions: &mut Vec<Action<T, P, B>>) {
        if !self.is_half_full() || self.spilling.is_some() {
            return;
        }
        let largest = self.times.iter_mut().max_by_key(|(_, slot)| slot.pile.bytes());
        if let Some((time, slot)) = largest.filter(|(_, slot)| slot.pile.rows() > 0) {
            let pile = std::mem::take(&mut slot.pile);
            self.bytes = self.bytes.saturating_sub(pile.bytes());
            self.spilling = Some((time.clone(), pile.rows()));
            actions.push(Action::Spill { time: time.clone(), pile });
        }
    }

    /// Makes an answer, if one is asked for and all that belongs to it is at hand.
    fn stage(&mut self, actions: &mut Vec<Action<T, P, B>>) {
        let Some(ask) = &self.asked else { return };
        let upper = &ask.upper;
        if self.spilling.as_ref().is_some_and(|(time, _)| !upper.less_equal(time) && self.times.contains_key(time)) {
            return;
        }
        let (mut piles, mut batches, mut taken) = (Vec::new(), Vec::new(), 0);
        self.times.retain(|time, slot| {
            if upper.less_equal(time) {
                return true;
            }
            taken += slot.pile.bytes();
            batches.append(&mut slot.batches);
            if slot.pile.rows() > 0 {
                piles.push((time.clone(), std::mem::take(&mut slot.pile)));
            }
            false
        });
        self.bytes = self.bytes.saturating_sub(taken);
        let rows_later = self.rows();
        if let Some(ask) = self.asked.take() {
            actions.push(Action::Stage { ask, piles, batches, rows_later });
        }
    }

    /// Rows that are held, in memory or in storage.
    fn rows(&self) -> u64 {
        let on_its_way = self.spilling.as_ref().filter(|(time, _)| self.times.contains_key(time));
        let slots = self.times.values().map(|slot| slot.pile.rows() + slot.spilled);
        slots.sum::<u64>() + on_its_way.map_or(0, |(_, rows)| *rows)
    }

    /// The shard ends here: what is before it is not needed any more.
    fn rise(&mut self, floor: Antichain<T>) {
        if !timely::PartialOrder::less_equal(&self.floor, &floor) {
            return; // an older word
        }
        let mut freed = 0;
        self.times.retain(|time, slot| {
            let keeps = floor.less_equal(time);
            if !keeps {
                freed += slot.pile.bytes();
            }
            keeps
        });
        self.bytes = self.bytes.saturating_sub(freed);
        self.floor = floor;
    }
}
