//! One merge of all piles into the batch of an arrangement, a bounded number of rows at a time.
//!
//! Always: each row is looked at once, in order. What is equal is added up; what adds up to nothing is not in the batch. Rows
//! at times beyond the upper are kept, in order, for a later batch.

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::trace::implementations::ord_neu::layers::{Upds, UpdsBuilder, Vals};
use differential_dataflow::trace::implementations::ord_neu::val_batch::{OrdValBatch, OrdValStorage};
use differential_dataflow::trace::implementations::{BatchContainer, OffsetList};
use timely::progress::Antichain;
use timely_persist::merge::Tournament;
use timely_persist::{Data, Diff, Time};

use crate::arrange::flat::{TakeColumn, TakeLayout};
use crate::arrange::piles::Pile;
use crate::arrange::segment::{Body, Columns};

/// A merge that is under way.
pub(crate) struct Merge<K: Data, V: Data, T: Time, D: Diff, L: TakeLayout<K, V, T, D>> {
    heads: Vec<Head<K, V, T, D>>,
    tournament: Tournament,
    upper: Antichain<T>,
    keys: L::KeyContainer,
    values: Vals<OffsetList, L::ValContainer>,
    updates: Upds<OffsetList, Vec<T>, Vec<D>>,
    /// The updates of one key and value.
    staging: UpdsBuilder<Vec<T>, Vec<D>>,
    later: Later<K, V, T, D>,
}

/// What a merge comes to.
pub(crate) struct Merged<K: Data, V: Data, T: Time, D: Diff, L: TakeLayout<K, V, T, D>> {
    /// `None` where all adds up to nothing.
    pub(crate) batch: Option<OrdValBatch<L>>,
    /// The rows at times beyond the upper, in order.
    pub(crate) later: Columns<K, V, T, D>,
    /// The lower envelope of their times.
    pub(crate) later_times: Antichain<T>,
}

/// Rows beyond the upper.
struct Later<K: Data, V: Data, T: Time, D: Diff> {
    /// Of one key and value.
    updates: Vec<(T, D)>,
    rows: Columns<K, V, T, D>,
    times: Antichain<T>,
}

/// What is left of a pile.
struct Head<K: Data, V: Data, T: Time, D: Diff> {
    body: Option<Rc<Held<K, V, T, D>>>,
    row: usize,
    rest: Pile<K, V, T, D>,
    /// Of the row's key.
    prefix: u64,
}

/// The segment that a pile is at: counted without atomics, as each row takes a count.
struct Held<K: Data, V: Data, T: Time, D: Diff>(Arc<Body<K, V, T, D>>);

impl<K: Data, V: Data, T: Time, D: Diff> Held<K, V, T, D> {
    fn new(body: Arc<Body<K, V, T, D>>) -> Rc<Self> {
        Rc::new(Self(body))
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Head<K, V, T, D> {
    fn new(mut rest: Pile<K, V, T, D>) -> Self {
        let body = rest.pop_front().map(Held::new);
        let mut head = Self { body, row: 0, rest, prefix: u64::MAX };
        head.look();
        head
    }

    #[inline]
    fn look(&mut self) {
        self.prefix = self.body.as_ref().map_or(u64::MAX, |body| K::prefix(body.0.key(self.row)));
    }

    /// On to the next row.
    #[inline]
    fn step(&mut self) {
        self.row += 1;
        if self.body.as_ref().is_some_and(|body| self.row >= body.0.len()) {
            (self.body, self.row) = (self.rest.pop_front().map(Held::new), 0);
        }
        self.look();
    }

    /// The order of the next rows; what has none comes last.
    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        match (&self.body, &other.body) {
            (Some(one), Some(two)) => one.0.order(self.row, &two.0, other.row),
            (one, two) => one.is_none().cmp(&two.is_none()),
        }
    }
}

/// Whether one pile's next row comes before another's.
#[inline]
fn less<K: Data, V: Data, T: Time, D: Diff>(
    heads: &[Head<K, V, T, D>],
) -> impl Fn(usize, usize) -> bool + use<'_, K, V, T, D> {
    |one, two| heads[one].order(&heads[two]).then(one.cmp(&two)) == Ordering::Less
}

impl<K: Data, V: Data, T: Time, D: Diff, L: TakeLayout<K, V, T, D>> Merge<K, V, T, D, L> {
    /// Of these piles, up to here.
    pub(crate) fn new(piles: Vec<Pile<K, V, T, D>>, upper: Antichain<T>) -> Self {
        let heads: Vec<_> = piles.into_iter().map(Head::new).collect();
        let tournament = Tournament::new(heads.iter().map(|head| head.prefix), less(&heads));
        Self {
            heads,
            tournament,
            upper,
            keys: L::KeyContainer::with_capacity(0),
            values: Vals::with_capacity(0, 0),
            updates: Upds::with_capacity(0, 0),
            staging: UpdsBuilder::default(),
            later: Later { updates: Vec::new(), rows: Columns::default(), times: Antichain::new() },
        }
    }

    /// Merges about so many rows; those of one key and value at once. Whether that was all.
    pub(crate) fn work(&mut self, fuel: &mut usize) -> bool {
        while *fuel > 0 {
            let Some((body, row)) = self.next() else { return true };
            self.gather(&body.0, row, fuel);
            self.seal(&body.0, row);
        }
        false
    }

    /// Where the least row lies; `None` if there is none.
    #[inline]
    fn next(&self) -> Option<(Rc<Held<K, V, T, D>>, usize)> {
        let head = self.heads.get(self.tournament.winner()?)?;
        Some((Rc::clone(head.body.as_ref()?), head.row))
    }

    /// Takes all updates of the key and value of this row, wherever they lie.
    #[inline]
    fn gather(&mut self, body: &Body<K, V, T, D>, row: usize, fuel: &mut usize) {
        let prefix = K::prefix(body.key(row));
        while let Some(head) = self.tournament.winner().and_then(|winner| self.heads.get_mut(winner)) {
            let Some(here) = &head.body else { return };
            if let Some((time, diff)) = here.0.update(head.row) {
                match self.upper.less_equal(&time) {
                    true => self.later.updates.push((time, diff)),
                    false => self.staging.push(time, diff),
                }
            }
            *fuel = fuel.saturating_sub(1);
            head.step();
            let next = head.prefix;
            self.tournament.replay(next, less(&self.heads));
            let head = self.tournament.winner().map(|winner| &self.heads[winner]);
            let is_same = head.is_some_and(|head| {
                let here = head.body.as_ref().filter(|_| head.prefix == prefix);
                here.is_some_and(|here| here.0.order(head.row, body, row) == Ordering::Equal)
            });
            if !is_same {
                return;
            }
        }
    }

    /// Puts what was gathered where it belongs.
    #[inline]
    fn seal(&mut self, body: &Body<K, V, T, D>, row: usize) {
        let (key, value) = (body.key(row), body.value(row));
        if self.staging.seal(&mut self.updates) {
            if !self.keys.ends_with(key) {
                if !self.keys.is_empty() {
                    self.values.offs.push(self.values.vals.len());
                }
                self.keys.take(key);
            }
            self.values.vals.take(value);
        }
        if !self.later.updates.is_empty() {
            consolidate(&mut self.later.updates);
            for (time, diff) in self.later.updates.drain(..) {
                self.later.times.insert_ref(&time);
                self.later.rows.push(key, value, time, diff);
            }
        }
    }

    /// What all of it came to, once `work` has said that that was all.
    pub(crate) fn finish(mut self) -> Merged<K, V, T, D, L> {
        if !self.keys.is_empty() {
            self.values.offs.push(self.values.vals.len());
        }
        let updates = self.staging.total();
        let storage = OrdValStorage { keys: self.keys, vals: self.values, upds: self.updates };
        let batch = (updates > 0).then_some(OrdValBatch { storage, updates });
        Merged { batch, later: self.later.rows, later_times: self.later.times }
    }
}
