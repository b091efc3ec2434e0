//! Many sorted runs into one: a k-way merge that is fed chunks and gives consolidated rows.
//!
//! Always: rows come out in the order of (key, value, time), each of these once, none with a diff of zero; one whose diffs
//! add up beyond what their type holds is an error, or comes out several times ([`Merge::splitting`]); inputs that
//! are not sorted by (key, value) are refused as corrupt, not merged into something wrong. Memory is one chunk per
//! input, one more for the group at hand, and the times and diffs of that group, a group being the updates of one (key,
//! value): at most twice as many as are left of them when summed, and a chunk's.
//!
//! Not here: where chunks come from. [`Merge::step`] says which input needs one and the caller fetches it as it likes.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::chunk::Chunk;
use super::sum::{Sums, consolidate, too_large};
use super::tournament::Tournament;
use timely_persist_types::codec::{Column, Data, Diff, Time};
use timely_persist_types::error::{Error, ErrorKind};

/// Why [`Merge::step`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeStep<B = ()> {
    /// This input has no row left: call [`Merge::push_chunk`] or [`Merge::finish_input`] for it, then step again.
    NeedChunk(usize),
    /// The caller's `emit` broke off with this. The row it was given counts as emitted; step again for the next.
    Paused(B),
    /// All inputs are finished and all rows were emitted.
    Done,
}

/// A row that was changed very often, and whose times are all moved to one, must not take memory for each change. With
/// fewer updates than this summing them early saves nothing worth it.
const UPDATES_MAX_MIN: usize = 8_192;

/// So many rows of an input are looked at together: then their keys come from memory at the same time, not one by one.
const PREFIXES: usize = 32;

/// A merge in progress.
#[derive(Debug)]
pub struct Merge<K: Data, V: Data, T: Time, D: Diff> {
    inputs: Vec<Input<K, V, T, D>>,
    /// The order of the inputs' heads; `None` until every input has one or is finished.
    tournament: Option<Tournament>,
    /// Whether the winner's head is another than the tournament knows.
    stale: bool,
    group: Option<Group<K, V, T, D>>,
    /// The group's updates with their times mapped.
    updates: Vec<(T, D)>,
    /// With so many of them they are summed before more are taken.
    updates_max: usize,
    /// Once the group is complete: how many of `updates`, now consolidated, were emitted.
    emitted: Option<usize>,
    /// Of rows whose diffs come to too much for one. Those that are to be written are left as several, and not refused.
    sums: Sums,
}

#[derive(Debug)]
struct Input<K: Data, V: Data, T: Time, D: Diff> {
    chunk: Option<Chunk<K, V, T, D>>,
    /// The chunk's rows.
    rows: usize,
    /// The next row of the chunk: the head. At its end, the chunk stays to be compared with the next one.
    row: usize,
    /// The key's prefix at the head.
    prefix: u64,
    /// The prefixes of some rows of the chunk, from a multiple of their number on.
    prefixes: [u64; PREFIXES],
    finished: bool,
}

/// The key and the value of the updates being collected.
#[derive(Debug)]
struct Group<K: Data, V: Data, T: Time, D: Diff> {
    /// They are in the chunk of this input.
    input: usize,
    /// Or in one that this input is done with.
    held: Option<Chunk<K, V, T, D>>,
    row: usize,
    prefix: u64,
}

impl<K: Data, V: Data, T: Time, D: Diff> Group<K, V, T, D> {
    #[inline]
    fn chunk<'a>(&'a self, inputs: &'a [Input<K, V, T, D>]) -> Option<&'a Chunk<K, V, T, D>> {
        self.held.as_ref().or_else(|| inputs.get(self.input)?.chunk.as_ref())
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Input<K, V, T, D> {
    /// The chunk, if it has a row left.
    #[inline]
    fn head(&self) -> Option<&Chunk<K, V, T, D>> {
        if self.row < self.rows { self.chunk.as_ref() } else { None }
    }

    #[inline]
    fn needs_chunk(&self) -> bool {
        !self.finished && self.row >= self.rows
    }

    /// The prefix of a row of the chunk, which comes after the one asked for before.
    #[inline]
    fn prefix(chunk: &Chunk<K, V, T, D>, prefixes: &mut [u64; PREFIXES], row: usize) -> u64 {
        if row.is_multiple_of(PREFIXES) {
            prefixes
                .iter_mut()
                .zip(row..chunk.len())
                .for_each(|(prefix, row)| *prefix = K::prefix(chunk.keys().get(row)));
        }
        prefixes[row % PREFIXES]
    }

    /// What the tournament goes by first. An input without a head is behind all others.
    #[inline]
    fn rank(&self) -> u64 {
        if self.row < self.rows { self.prefix } else { u64::MAX }
    }

    /// The order of two heads of the same rank.
    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        match (self.head(), other.head()) {
            (Some(a), Some(b)) => compare_rows(a, self.row, b, other.row),
            (a, b) => a.is_none().cmp(&b.is_none()),
        }
    }
}

#[inline]
fn compare_rows<K: Data, V: Data, T: Time, D: Diff>(
    a: &Chunk<K, V, T, D>,
    a_row: usize,
    b: &Chunk<K, V, T, D>,
    b_row: usize,
) -> Ordering {
    let values = || a.values().get(a_row).cmp(&b.values().get(b_row));
    a.keys().get(a_row).cmp(&b.keys().get(b_row)).then_with(values)
}

fn out_of_order(input: usize) -> Error {
    let advice = "if the `Ord` of a type of the program was changed, use it as it was when the shard was written; otherwise \
                  restore the part from a backup";
    Error::corrupt(format!("rows out of order in input {input} of a merge")).advise(advice)
}

impl<K: Data, V: Data, T: Time, D: Diff> Merge<K, V, T, D> {
    /// A merge of so many inputs, none of which has a chunk yet.
    pub fn new(inputs: usize) -> Self {
        let input = || Input { chunk: None, rows: 0, row: 0, prefix: 0, prefixes: [0; PREFIXES], finished: false };
        Self {
            inputs: std::iter::repeat_with(input).take(inputs).collect(),
            tournament: None,
            stale: false,
            group: None,
            updates: Vec::new(),
            updates_max: UPDATES_MAX_MIN,
            emitted: None,
            sums: Sums::Whole,
        }
    }

    /// The same merge, but of a row whose diffs add up beyond what their type holds, or to what has no word, it gives
    /// several.
    pub fn splitting(self) -> Self {
        Self { sums: Sums::Words, ..self }
    }

    /// The next chunk of an input that [`Merge::step`] asked for. `Bug` if it still has rows, is finished or does
    /// not exist; `Corrupt` if the chunk begins before the last one of the input ended.
    pub fn push_chunk(&mut self, input: usize, chunk: Chunk<K, V, T, D>) -> Result<(), Error> {
        let state = self.inputs.get_mut(input).filter(|state| state.needs_chunk());
        let state =
            state.ok_or_else(|| Error::new(ErrorKind::Bug, format!("input {input} of a merge needs no chunk")))?;
        if chunk.is_empty() {
            return Ok(());
        }
        (state.row, state.rows) = (0, chunk.len());
        state.prefix = Input::prefix(&chunk, &mut state.prefixes, 0);
        if let Some(last) = state.chunk.replace(chunk.clone()) {
            if compare_rows(&last, last.len() - 1, &chunk, 0) == Ordering::Greater {
                return Err(out_of_order(input));
            }
            if let Some(group) = &mut self.group
                && group.input == input
            {
                group.held.get_or_insert(last);
            }
        }
        Ok(())
    }

    /// Whether a chunk of the input is in memory.
    pub fn has_chunk(&self, input: usize) -> bool {
        self.inputs.get(input).is_some_and(|input| input.chunk.is_some())
    }

    /// Says that an input has no further chunk.
    pub fn finish_input(&mut self, input: usize) {
        if let Some(input) = self.inputs.get_mut(input) {
            input.finished = true;
        }
    }

    /// Merges until it has to return. `map_time` sees the input and the time of each update once and may advance it or,
    /// with `None`, drop the update; `emit` gets each row of the result. `Corrupt` for inputs that are not in order,
    /// `Invalid` for a row whose diffs come to too much; after an error the merge is of no use.
    pub fn step<B>(
        &mut self,
        map_time: impl FnMut(usize, T) -> Option<T>,
        mut emit: impl FnMut(K::Ref<'_>, V::Ref<'_>, &T, &D) -> ControlFlow<B>,
    ) -> Result<MergeStep<B>, Error> {
        self.step_places(map_time, |_, chunk, row, time, diff| {
            emit(chunk.keys().get(row), chunk.values().get(row), time, diff)
        })
    }

    /// As [`Merge::step`]; but `emit` gets of each row an input, the chunk of it that has the row's key and value, and where
    /// in the chunk they are.
    pub fn step_places<B>(
        &mut self,
        mut map_time: impl FnMut(usize, T) -> Option<T>,
        mut emit: impl FnMut(usize, &Chunk<K, V, T, D>, usize, &T, &D) -> ControlFlow<B>,
    ) -> Result<MergeStep<B>, Error> {
        loop {
            if let ControlFlow::Break(value) = self.emit(&mut emit) {
                return Ok(MergeStep::Paused(value));
            }
            if let Err(input) = self.settle() {
                return Ok(MergeStep::NeedChunk(input));
            }
            let first = self.tournament.as_ref().and_then(Tournament::winner);
            let first = first.filter(|first| self.inputs[*first].head().is_some());
            match (first, &self.group) {
                (Some(first), None) => {
                    let Input { row, prefix, .. } = self.inputs[first];
                    self.group = Some(Group { input: first, held: None, row, prefix });
                    self.absorb(first, &mut map_time)?;
                }
                (Some(first), Some(group)) if self.belongs(first, group) => self.absorb(first, &mut map_time)?,
                (_, Some(_)) => self.complete()?,
                (None, None) => return Ok(MergeStep::Done),
            }
        }
    }

    /// Sums the group's updates: no more come.
    #[inline]
    fn complete(&mut self) -> Result<(), Error> {
        let too_large_at = consolidate(&mut self.updates, self.sums);
        self.emitted = Some(0);
        match too_large_at.filter(|_| self.sums == Sums::Whole) {
            None => Ok(()),
            Some(time) => Err(self.refuse(&time)),
        }
    }

    #[cold]
    fn refuse(&self, time: &T) -> Error {
        const ADVICE: &str = "append what brings it back, its rows are there and can be read one by one, not summed \
                              (snapshot_and_stream, a listener, a source)";
        let place = self.group.as_ref().and_then(|group| Some((group.chunk(&self.inputs)?, group.row)));
        match place {
            Some((chunk, row)) => {
                let (key, value) = (chunk.keys().get(row), chunk.values().get(row));
                too_large::<D>(format_args!("({key:?}, {value:?}) at {time:?}"), ADVICE)
            }
            None => too_large::<D>(format_args!("at {time:?}"), ADVICE),
        }
    }

    /// Emits what is left of a complete group.
    #[inline]
    fn emit<B>(
        &mut self,
        emit: &mut impl FnMut(usize, &Chunk<K, V, T, D>, usize, &T, &D) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if let (Some(emitted), Some(group)) = (&mut self.emitted, &self.group) {
            if let Some(chunk) = group.chunk(&self.inputs) {
                for (time, diff) in &self.updates[*emitted..] {
                    *emitted += 1;
                    emit(group.input, chunk, group.row, time, diff)?;
                }
            }
            self.emitted = None;
            self.group = None;
            self.updates.clear();
            self.updates_max = UPDATES_MAX_MIN;
        }
        ControlFlow::Continue(())
    }

    /// Brings the tournament up to date, or says which input needs a chunk for that.
    #[inline]
    fn settle(&mut self) -> Result<(), usize> {
        let inputs = &self.inputs;
        let less = |a: usize, b: usize| inputs[a].compare(&inputs[b]).then(a.cmp(&b)) == Ordering::Less;
        match &mut self.tournament {
            None => {
                if let Some(input) = inputs.iter().position(Input::needs_chunk) {
                    return Err(input);
                }
                self.tournament = Some(Tournament::new(inputs.iter().map(Input::rank), less));
            }
            Some(tournament) if self.stale => {
                if let Some(winner) = tournament.winner() {
                    if inputs[winner].needs_chunk() {
                        return Err(winner);
                    }
                    tournament.replay(inputs[winner].rank(), less);
                }
            }
            Some(_) => {}
        }
        self.stale = false;
        Ok(())
    }

    /// Whether the head of an input has the key and the value of the group.
    #[inline]
    fn belongs(&self, input: usize, group: &Group<K, V, T, D>) -> bool {
        let Input { chunk, row, prefix, .. } = &self.inputs[input];
        if *prefix != group.prefix {
            return false;
        }
        let (Some(chunk), Some(place)) = (chunk, group.chunk(&self.inputs)) else {
            return false;
        };
        compare_rows(chunk, *row, place, group.row) == Ordering::Equal
    }

    /// Takes the head of an input and the rows of its chunk that follow with the same key and value.
    #[inline]
    fn absorb(&mut self, index: usize, map_time: &mut impl FnMut(usize, T) -> Option<T>) -> Result<(), Error> {
        self.stale = true;
        if self.updates.len() >= self.updates_max {
            // What is too large now may be brought back by what comes.
            let _ = consolidate(&mut self.updates, self.sums);
            // Twice what is left: so summing costs no more than a second sort of all.
            self.updates_max = (2 * self.updates.len()).max(UPDATES_MAX_MIN);
        }
        let input = &mut self.inputs[index];
        let Some(chunk) = &input.chunk else {
            return Ok(());
        };
        loop {
            if let Some(time) = map_time(index, chunk.time(input.row)) {
                self.updates.push((time, chunk.diff(input.row)));
            }
            input.row += 1;
            if input.row == input.rows {
                return Ok(());
            }
            let prefix = Input::prefix(chunk, &mut input.prefixes, input.row);
            let rows = || compare_rows(chunk, input.row, chunk, input.row - 1);
            let order = prefix.cmp(&input.prefix).then_with(rows);
            input.prefix = prefix;
            match order {
                Ordering::Less => return Err(out_of_order(index)),
                Ordering::Equal => {}
                Ordering::Greater => return Ok(()),
            }
        }
    }
}
