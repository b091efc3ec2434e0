//! One merge of all piles into the batch of an arrangement, a bounded number of rows at a time.
//!
//! Always: each row is looked at once, in order. What is equal is added up; what adds up to nothing is not in the batch. Rows
//! at times beyond the upper are kept, in order, for a later batch. What was merged gives its memory to the batch: both
//! together are never much more than one of them.

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::consolidation::consolidate;
use timely::progress::Antichain;
use timely_persist::merge::Tournament;
use timely_persist::{Data, Diff, Time};

use crate::arrange::layout::{Updates, Writing};
use crate::arrange::piles::Pile;
use crate::arrange::segment::Columns;

/// Bytes of a row that one unit of fuel pays for.
const ROW_BYTES: usize = 1 << 10;

/// A merge that is under way.
pub(crate) struct Merge<K: Data, V: Data, T: Time, D: Diff, W> {
    heads: Vec<Head<K, V, T, D>>,
    tournament: Tournament,
    upper: Antichain<T>,
    /// Of one key and value.
    staged: Vec<(T, D)>,
    written: W,
    updates: usize,
    later: Later<K, V, T, D>,
    /// Whether a segment was left, which has no more rows.
    left: bool,
}

/// What a merge comes to.
pub(crate) struct Merged<K: Data, V: Data, T: Time, D: Diff, B> {
    /// `None` where all adds up to nothing.
    pub(crate) batch: Option<B>,
    /// The rows at times beyond the upper, in order.
    pub(crate) later: Columns<K, V, T, D>,
    /// The lower envelope of their times.
    pub(crate) later_times: Antichain<T>,
}

/// Rows beyond the upper.
struct Later<K: Data, V: Data, T: Time, D: Diff> {
    /// Of one key and value.
    staged: Vec<(T, D)>,
    rows: Columns<K, V, T, D>,
    times: Antichain<T>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Later<K, V, T, D> {
    fn push(&mut self, key: K::Ref<'_>, value: V::Ref<'_>, time: T, diff: D) {
        self.times.insert_ref(&time);
        self.rows.push(key, value, time, diff);
    }
}

/// Where a row lies.
struct Place<K: Data, V: Data, T: Time, D: Diff> {
    segment: Rc<Held<K, V, T, D>>,
    row: usize,
    /// Of its key.
    prefix: u64,
}

/// What is left of a pile.
struct Head<K: Data, V: Data, T: Time, D: Diff> {
    segment: Option<Rc<Held<K, V, T, D>>>,
    row: usize,
    rest: Pile<K, V, T, D>,
    /// Of the row's key.
    prefix: u64,
}

/// The segment that a pile is at: counted without atomics, as each row takes a count.
struct Held<K: Data, V: Data, T: Time, D: Diff> {
    rows: Arc<Columns<K, V, T, D>>,
    /// The fuel that a row takes.
    row_fuel: usize,
}

impl<K: Data, V: Data, T: Time, D: Diff> Held<K, V, T, D> {
    fn new(rows: Arc<Columns<K, V, T, D>>) -> Rc<Self> {
        let row_fuel = 1 + rows.bytes() / rows.len().max(1) / ROW_BYTES;
        Rc::new(Self { rows, row_fuel })
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Head<K, V, T, D> {
    fn new(mut rest: Pile<K, V, T, D>) -> Self {
        let segment = rest.pop_front().map(Held::new);
        let mut head = Self { segment, row: 0, rest, prefix: u64::MAX };
        head.look();
        head
    }

    #[inline]
    fn look(&mut self) {
        self.prefix = self.segment.as_ref().map_or(u64::MAX, |segment| K::prefix(segment.rows.key(self.row)));
    }

    /// On to the next row. Whether the segment had no more.
    #[inline]
    fn step(&mut self) -> bool {
        self.row += 1;
        let left = self.segment.as_ref().is_some_and(|segment| self.row >= segment.rows.len());
        if left {
            (self.segment, self.row) = (self.rest.pop_front().map(Held::new), 0);
        }
        self.look();
        left
    }

    /// The order of the next rows; what has none comes last.
    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        match (&self.segment, &other.segment) {
            (Some(one), Some(two)) => one.rows.order(self.row, &two.rows, other.row),
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

impl<K: Data, V: Data, T: Time, D: Diff, W: Writing<K, V, T, D>> Merge<K, V, T, D, W> {
    /// Of these piles, up to here.
    pub(crate) fn new(piles: Vec<Pile<K, V, T, D>>, upper: Antichain<T>) -> Self {
        let rows = piles.iter().flatten().map(|rows| rows.len()).sum();
        let heads: Vec<_> = piles.into_iter().map(Head::new).collect();
        let tournament = Tournament::new(heads.iter().map(|head| head.prefix), less(&heads));
        Self {
            heads,
            tournament,
            upper,
            staged: Vec::new(),
            written: W::with_capacity(rows),
            updates: 0,
            later: Later { staged: Vec::new(), rows: Columns::default(), times: Antichain::new() },
            left: false,
        }
    }

    /// Merges about so many rows; those of one key and value at once. Whether that was all.
    pub(crate) fn work(&mut self, fuel: &mut usize) -> bool {
        while *fuel > 0 {
            let Some(first) = self.take(fuel) else { return true };
            match self.goes_on(&first) {
                true => self.add_up(&first, fuel),
                false => self.add(&first),
            }
            if std::mem::take(&mut self.left) {
                self.reuse(first.segment);
            }
        }
        false
    }

    /// The least row, which is then not there any more; `None` if there is none.
    #[inline]
    fn take(&mut self, fuel: &mut usize) -> Option<Place<K, V, T, D>> {
        let head = self.heads.get_mut(self.tournament.winner()?)?;
        let place = Place { segment: Rc::clone(head.segment.as_ref()?), row: head.row, prefix: head.prefix };
        self.left |= head.step();
        let next = head.prefix;
        self.tournament.replay(next, less(&self.heads));
        *fuel = fuel.saturating_sub(place.segment.row_fuel);
        Some(place)
    }

    /// Whether the least row has the same key and value as one before.
    #[inline]
    fn goes_on(&self, before: &Place<K, V, T, D>) -> bool {
        let head = self.tournament.winner().and_then(|winner| self.heads.get(winner));
        head.filter(|head| head.prefix == before.prefix).is_some_and(|head| {
            let rows = head.segment.as_ref().map(|segment| &segment.rows);
            rows.is_some_and(|rows| rows.order(head.row, &before.segment.rows, before.row) == Ordering::Equal)
        })
    }

    /// Adds a row that is alone with its key and value.
    #[inline]
    fn add(&mut self, Place { segment, row, .. }: &Place<K, V, T, D>) {
        let (time, diff) = (segment.rows.time(*row), segment.rows.diff(*row));
        let (key, value) = (segment.rows.key(*row), segment.rows.value(*row));
        if self.upper.less_equal(time) {
            self.later.push(key, value, time.clone(), diff.clone());
        } else if !diff.is_zero() {
            self.updates += 1;
            let written = self.written.updates();
            if !is_last(written, time, diff) {
                written.times.push(time.clone());
                written.diffs.push(diff.clone());
            }
            written.offs.push(written.times.len());
            self.written.push(key, value);
        }
    }

    /// Adds a row and all that have its key and value, wherever they lie.
    #[cold]
    fn add_up(&mut self, first: &Place<K, V, T, D>, fuel: &mut usize) {
        self.stage(first);
        while self.goes_on(first)
            && let Some(next) = self.take(fuel)
        {
            self.stage(&next);
        }
        let (key, value) = (first.segment.rows.key(first.row), first.segment.rows.value(first.row));
        consolidate(&mut self.later.staged);
        for (time, diff) in std::mem::take(&mut self.later.staged) {
            self.later.push(key, value, time, diff);
        }
        let updates = seal(&mut self.staged, self.written.updates());
        if updates > 0 {
            self.updates += updates;
            self.written.push(key, value);
        }
    }

    fn stage(&mut self, Place { segment, row, .. }: &Place<K, V, T, D>) {
        let (time, diff) = (segment.rows.time(*row), segment.rows.diff(*row));
        let staged = if self.upper.less_equal(time) { &mut self.later.staged } else { &mut self.staged };
        staged.push((time.clone(), diff.clone()));
    }

    /// Gives the memory of a segment to the batch, if it is not in use any more.
    fn reuse(&mut self, segment: Rc<Held<K, V, T, D>>) {
        let rows = Rc::into_inner(segment).and_then(|held| Arc::into_inner(held.rows));
        if let Some(Columns { keys, values, .. }) = rows {
            self.written.reuse(keys, values);
        }
    }

    /// What all of it came to, once `work` has said that that was all.
    pub(crate) fn finish(self) -> Merged<K, V, T, D, W::Batch> {
        let batch = self.written.finish(self.updates);
        Merged { batch, later: self.later.rows, later_times: self.later.times }
    }
}

/// Whether the last update is this: differential lays out one that is all of its key and value, and as the one before, as no
/// more than an offset.
#[inline]
fn is_last<T: Time, D: Diff>(updates: &Updates<T, D>, time: &T, diff: &D) -> bool {
    updates.times.last() == Some(time) && updates.diffs.last() == Some(diff)
}

/// Moves the updates of a key and value to those of the batch. How many there are.
fn seal<T: Time, D: Diff>(staged: &mut Vec<(T, D)>, updates: &mut Updates<T, D>) -> usize {
    consolidate(staged);
    let count = staged.len();
    if let [(time, diff)] = &staged[..]
        && is_last(updates, time, diff)
    {
        staged.clear();
    }
    for (time, diff) in staged.drain(..) {
        updates.times.push(time);
        updates.diffs.push(diff);
    }
    if count > 0 {
        updates.offs.push(updates.times.len());
    }
    count
}
