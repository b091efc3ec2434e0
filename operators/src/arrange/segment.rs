//! Segments: sorted rows of one piece of a part that go to one worker.
//!
//! Always: the rows of a segment are in the order of their keys and values, at the times at which the reader sees them. Of
//! one key and value there may be several, in any order of times: times that move to `as_of` move together.

use std::cmp::Ordering;
use std::sync::Arc;

use timely::progress::Antichain;
use timely_persist::codec::Builder;
use timely_persist::{Data, Diff, Time};

use crate::arrange::flat::like;

/// Sorted rows for one worker. Cloning shares them.
#[derive(Debug)]
pub(crate) struct Segment<K: Data, V: Data, T: Time, D: Diff> {
    pub(crate) worker: u64,
    pub(crate) rows: Arc<Columns<K, V, T, D>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Clone for Segment<K, V, T, D> {
    fn clone(&self) -> Self {
        Self { worker: self.worker, rows: Arc::clone(&self.rows) }
    }
}

/// Rows in columns.
#[derive(Debug)]
pub(crate) struct Columns<K: Data, V: Data, T: Time, D: Diff> {
    pub(crate) keys: K::Builder,
    pub(crate) values: V::Builder,
    /// Of each row, or one that is that of all: most often they are those of a snapshot, all at its time.
    pub(crate) times: Vec<T>,
    /// Likewise.
    pub(crate) diffs: Vec<D>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Default for Columns<K, V, T, D> {
    fn default() -> Self {
        Self { keys: K::Builder::default(), values: V::Builder::default(), times: Vec::new(), diffs: Vec::new() }
    }
}

/// Adds a value to those of `len` rows.
#[inline]
fn add<A: PartialEq + Clone>(values: &mut Vec<A>, len: usize, value: A) {
    let is_that_of_all = values.len() == 1 && len > 0;
    if is_that_of_all {
        if values[0] == value {
            return;
        }
        let first = values[0].clone();
        values.resize(len, first);
    }
    values.push(value);
}

/// The value of a row.
#[inline]
fn of<A>(values: &[A], row: usize) -> &A {
    &values[if values.len() == 1 { 0 } else { row }]
}

impl<K: Data, V: Data, T: Time, D: Diff> Columns<K, V, T, D> {
    #[inline]
    pub(crate) fn push(&mut self, key: K::Ref<'_>, value: V::Ref<'_>, time: T, diff: D) {
        let len = self.len();
        add(&mut self.times, len, time);
        add(&mut self.diffs, len, diff);
        self.keys.push(key);
        self.values.push(value);
    }

    /// Of so many keys and values, and of times and diffs for each or one for all; `None` if they are not.
    pub(crate) fn of(keys: K::Builder, values: V::Builder, times: Vec<T>, diffs: Vec<D>) -> Option<Self> {
        let rows = keys.len();
        let fits = |len: usize| len == rows || (len == 1 && rows > 0);
        (values.len() == rows && fits(times.len()) && fits(diffs.len())).then_some(Self { keys, values, times, diffs })
    }

    /// Takes all rows, and has room for as many.
    pub(crate) fn take(&mut self) -> Self {
        let room = Self {
            keys: like::<K>(Some(&self.keys)),
            values: like::<V>(Some(&self.values)),
            times: Vec::new(),
            diffs: Vec::new(),
        };
        std::mem::replace(self, room)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of rows.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes() + self.values.bytes()
    }

    /// The key of a row.
    #[inline]
    pub(crate) fn key(&self, row: usize) -> K::Ref<'_> {
        self.keys.get(row)
    }

    /// The value of a row.
    #[inline]
    pub(crate) fn value(&self, row: usize) -> V::Ref<'_> {
        self.values.get(row)
    }

    /// The time of a row.
    #[inline]
    pub(crate) fn time(&self, row: usize) -> &T {
        of(&self.times, row)
    }

    /// Whether all rows are at times beyond this.
    pub(crate) fn is_beyond(&self, upper: &Antichain<T>) -> bool {
        self.times.iter().all(|time| upper.less_equal(time))
    }

    /// Adds the times of all rows to their lower envelope.
    pub(crate) fn lower(&self, envelope: &mut Antichain<T>) {
        for time in &self.times {
            envelope.insert_ref(time);
        }
    }

    /// The diff of a row.
    #[inline]
    pub(crate) fn diff(&self, row: usize) -> &D {
        of(&self.diffs, row)
    }

    /// How a row of these and one of others follow each other, by key and value.
    #[inline]
    pub(crate) fn order(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        let values = || self.value(row).cmp(&other.value(other_row));
        self.key(row).cmp(&other.key(other_row)).then_with(values)
    }

    /// The same rows in order.
    pub(crate) fn sorted(self) -> Self {
        let mut order: Vec<usize> = (0..self.len()).collect();
        if order.is_sorted_by(|one, two| self.order(*one, &self, *two).is_le()) {
            return self;
        }
        order.sort_by(|one, two| self.order(*one, &self, *two));
        let mut sorted = Self::default();
        for row in order {
            sorted.push(self.key(row), self.value(row), self.time(row).clone(), self.diff(row).clone());
        }
        sorted
    }
}
