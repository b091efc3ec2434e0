//! Adding up diffs, which may come to more than their type holds.
//!
//! Always: exact, and the same wherever overflow is checked and where it is not. What is too large to be one diff stands as
//! several, which loses nothing: a part may hold a row more than once for that reason, and for no other.

use timely_persist_types::codec::{Diff, Time, bounded};
use timely_persist_types::error::Error;

use std::fmt;

/// What is made of updates whose sum has no word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sums {
    /// The sum, which is a value all the same: for whoever reads.
    Whole,
    /// Several that have: for whoever writes.
    Words,
}

/// Puts updates in the order of their times, those of one time summed, without those that come to nothing. A time whose
/// sum is too large for the type, if there is one: it has several updates.
pub(super) fn consolidate<T: Time, D: Diff>(updates: &mut Vec<(T, D)>, sums: Sums) -> Option<T> {
    updates.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut too_large = None;
    let mut apart = Vec::new();
    let (mut kept, mut start) = (0, 0);
    while start < updates.len() {
        let time = &updates[start].0;
        let end = start + updates[start..].iter().take_while(|(other, _)| other == time).count();
        let diffs = || updates[start + 1..end].iter().map(|(_, diff)| diff);
        let total = D::total(&updates[start].1, diffs());
        if total.is_none() {
            too_large.get_or_insert_with(|| time.clone());
        }
        match total.filter(|sum| sums == Sums::Whole || sum.check().is_ok()) {
            Some(sum) => {
                updates[start].1 = sum;
                if !updates[start].1.is_zero() {
                    updates.swap(kept, start);
                    kept += 1;
                }
            }
            None => {
                let diffs = D::apart(updates[start..end].iter().map(|(_, diff)| diff));
                apart.extend(diffs.into_iter().map(|diff| (time.clone(), diff)));
            }
        }
        start = end;
    }
    updates.truncate(kept);
    if !apart.is_empty() {
        updates.append(&mut apart);
        updates.sort_by(|a, b| a.0.cmp(&b.0));
    }
    too_large
}

/// What to say of a row whose diffs come to too much.
#[cold]
pub(super) fn too_large<D: Diff>(row: fmt::Arguments<'_>, advice: &str) -> Error {
    Error::invalid(format!("the diffs of the row {} add up beyond what {} holds: {advice}", bounded(row), D::NAME))
}
