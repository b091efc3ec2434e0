//! From fetched parts to rows, a bounded number at a time.
//!
//! Always: one call looks at no more rows than its fuel pays for, so an operator gives way to the others of its worker;
//! the rows of a part are looked at once each, in order.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::OutputBuilderSession;
use timely_persist::{Block, Chunk, Codec, Data, Diff, FetchedPart, Time};

use crate::common::foreign::{Code, Panicked, TYPES};
use crate::source::closures::{FILTER_ROWS, MAP};

/// The fuel of one activation: rows that are looked at, where each is at most [`ROW_BYTES`] large; a larger one takes more,
/// and so does sending. Looking at that many takes 0.1 ms.
const EMIT_FUEL: usize = 4 << 10;

/// Bytes of a row that one unit of fuel pays for.
const ROW_BYTES: usize = 1 << 10;

/// Rows of one container: less, and its message weighs; more, and its first rows have left the cache.
const CONTAINER_ROWS: usize = 128;

/// What sending a container takes: four of them use up an activation's fuel. Their rows are still in the cache when the
/// next operator looks at them, and all four together stay below the 64 KiB of freed memory at which glibc tidies up.
const CONTAINER_FUEL: usize = EMIT_FUEL / 4 - CONTAINER_ROWS;

/// What a source makes of a row.
pub(crate) trait Rows<K: Data, V: Data, T: Time, D: Diff>: 'static {
    /// What goes downstream.
    type Out: Clone + 'static;

    /// The fuel of one activation.
    const FUEL: usize = EMIT_FUEL;

    /// Whether it tells rows that matter from others, so that a filter of parts can be checked against it.
    fn judges(&self) -> bool {
        false
    }

    /// Whose code runs now: asked when it has panicked.
    fn running(&self) -> Code {
        TYPES
    }

    /// Adds what earlier rows led to and was not added yet: no row is kept beyond an activation.
    fn flush(&mut self, _out: &mut Vec<Self::Out>) {}

    /// Adds what the row leads to, perhaps nothing.
    fn row<'a>(&mut self, key: K::Ref<'a>, value: V::Ref<'a>, time: T, diff: D, out: &mut Vec<Self::Out>);
}

/// The row itself, owned.
pub(crate) struct Owned;

impl<K: Data, V: Data, T: Time, D: Diff> Rows<K, V, T, D> for Owned {
    type Out = ((K, V), T, D);

    #[inline]
    fn row<'a>(&mut self, key: K::Ref<'a>, value: V::Ref<'a>, time: T, diff: D, out: &mut Vec<Self::Out>) {
        out.push(((<K as Codec>::from_ref(key), <V as Codec>::from_ref(value)), time, diff));
    }
}

/// What a closure makes of it.
pub(crate) struct Mapped<F> {
    logic: F,
    runs: bool,
}

impl<F> Mapped<F> {
    pub(crate) fn by(logic: F) -> Self {
        Self { logic, runs: false }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff, F, I> Rows<K, V, T, D> for Mapped<F>
where
    F: for<'a> FnMut(K::Ref<'a>, V::Ref<'a>, T, D) -> I + 'static,
    I: IntoIterator,
    I::Item: Clone + 'static,
{
    type Out = I::Item;

    fn judges(&self) -> bool {
        true
    }

    fn running(&self) -> Code {
        if self.runs { MAP } else { TYPES }
    }

    #[inline]
    fn row<'a>(&mut self, key: K::Ref<'a>, value: V::Ref<'a>, time: T, diff: D, out: &mut Vec<Self::Out>) {
        self.runs = true;
        out.extend((self.logic)(key, value, time, diff));
        self.runs = false;
    }
}

/// Whether a row matters.
pub(crate) type Keep<K, V> = Box<dyn for<'a> FnMut(<K as Codec>::Ref<'a>, <V as Codec>::Ref<'a>) -> bool>;

/// The same, of rows that matter.
pub(crate) struct Kept<K: Data, V: Data, R> {
    keep: Option<Keep<K, V>>,
    keep_runs: bool,
    rows: R,
}

impl<K: Data, V: Data, R> Kept<K, V, R> {
    /// All of them, if there is nobody to say.
    pub(crate) fn by(keep: Option<Keep<K, V>>, rows: R) -> Self {
        Self { keep, keep_runs: false, rows }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff, R: Rows<K, V, T, D>> Rows<K, V, T, D> for Kept<K, V, R> {
    type Out = R::Out;

    const FUEL: usize = R::FUEL;

    fn judges(&self) -> bool {
        self.keep.is_some() || self.rows.judges()
    }

    fn running(&self) -> Code {
        if self.keep_runs { FILTER_ROWS } else { self.rows.running() }
    }

    fn flush(&mut self, out: &mut Vec<Self::Out>) {
        self.rows.flush(out);
    }

    #[inline]
    fn row<'a>(&mut self, key: K::Ref<'a>, value: V::Ref<'a>, time: T, diff: D, out: &mut Vec<Self::Out>) {
        if let Some(keep) = &mut self.keep {
            self.keep_runs = true;
            let kept = keep(key, value);
            self.keep_runs = false;
            if !kept {
                return;
            }
        }
        self.rows.row(key, value, time, diff, out);
    }
}

/// Empty containers, made before they are needed: at the end of an activation, as many as it sent.
///
/// The next operator then frees the rows that were sent, and the next activation asks for memory of the same sizes. glibc's
/// allocator hands such small pieces out again as they are, unless a large one is asked for in between: for that it merges
/// and sorts all that were freed, and cuts them anew afterwards. That was a sixth of a hydration's time.
#[derive(Debug)]
pub(crate) struct Containers<O> {
    ready: Vec<Vec<O>>,
    sent: usize,
}

impl<O> Containers<O> {
    pub(crate) fn new() -> Self {
        Self { ready: Vec::new(), sent: 0 }
    }

    fn take(&mut self) -> Vec<O> {
        self.ready.pop().unwrap_or_else(|| Vec::with_capacity(CONTAINER_ROWS))
    }

    /// An activation ends; `more` says whether another one will send rows.
    pub(crate) fn prepare(&mut self, more: bool) {
        match more {
            true => self.ready.resize_with(self.sent.max(self.ready.len()), || Vec::with_capacity(CONTAINER_ROWS)),
            false => self.ready = Vec::new(),
        }
        self.sent = 0;
    }
}

/// A part that is being emitted.
#[derive(Debug)]
pub(crate) struct Emission<K: Data, V: Data, T: Time, D: Diff> {
    blocks: std::vec::IntoIter<Block<K, V, T, D>>,
    /// The rows of the first block that were looked at.
    row: usize,
    /// The fuel that a row takes.
    row_fuel: usize,
}

/// Where the rows go.
pub(crate) type DataSession<'a, T, O> = OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<O>>>;

impl<K: Data, V: Data, T: Time, D: Diff> Emission<K, V, T, D> {
    /// Begins with the first row.
    pub(crate) fn new(part: FetchedPart<K, V, T, D>) -> Self {
        let columns = || part.blocks().iter().map(Block::columns);
        let rows: usize = columns().map(Chunk::len).sum();
        let bytes: usize = columns().map(Chunk::memory_bytes).sum();
        Self { blocks: part.into_iter(), row: 0, row_fuel: 1 + bytes / rows.max(1) / ROW_BYTES }
    }

    /// Whether all rows were looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.blocks.as_slice().is_empty()
    }

    /// Emits rows until all were looked at or the fuel is used up. After a panic of the caller's code nothing more may be
    /// asked of it; of the rows before it, some were emitted.
    pub(crate) fn emit<R: Rows<K, V, T, D>>(
        &mut self,
        rows: &mut R,
        rights: &CapabilitySet<T>,
        data: &mut DataSession<'_, T, R::Out>,
        containers: &mut Containers<R::Out>,
        fuel: &mut usize,
    ) -> Result<(), Panicked> {
        let mut session = data.session(rights);
        let mut out: Vec<R::Out> = Vec::new();
        while let Some(block) = self.blocks.as_slice().first()
            && *fuel > 0
        {
            let rows_left = block.columns().len().saturating_sub(self.row);
            let looked = rows_left.min(fuel.div_ceil(self.row_fuel)).min(CONTAINER_ROWS);
            let sent_before = containers.sent;
            let sends = Cell::new(false);
            let look = AssertUnwindSafe(|| {
                block.for_each(self.row..self.row + looked, |key, value, time, diff| {
                    if out.capacity() == 0 {
                        out = containers.take();
                    }
                    rows.row(key, value, time, diff, &mut out);
                    if out.len() >= CONTAINER_ROWS {
                        sends.set(true);
                        session.give_container(&mut out);
                        sends.set(false);
                        out.clear();
                        containers.sent += 1;
                    }
                });
            });
            match catch_unwind(look) {
                Ok(()) => {}
                Err(panic) if sends.get() => resume_unwind(panic), // of another operator's code, which is not ours to stop
                Err(panic) => return Err(Panicked::with(rows.running(), &*panic)),
            }
            let sent = containers.sent - sent_before;
            *fuel = fuel.saturating_sub(looked * self.row_fuel + sent * CONTAINER_FUEL);
            self.row += looked;
            if looked == rows_left {
                (_, self.row) = (self.blocks.next(), 0);
            }
        }
        catch_unwind(AssertUnwindSafe(|| rows.flush(&mut out)))
            .map_err(|panic| Panicked::with(rows.running(), &*panic))?;
        if !out.is_empty() {
            session.give_container(&mut out);
            containers.sent += 1;
        }
        Ok(())
    }

    /// Whether a row leads to anything. After a panic as after one of `emit`.
    pub(crate) fn is_wanted<R: Rows<K, V, T, D>>(&self, rows: &mut R) -> Result<bool, Panicked> {
        let mut out = Vec::new();
        let look = AssertUnwindSafe(|| {
            self.blocks.as_slice().iter().flat_map(Block::refs).any(|(key, value, time, diff)| {
                rows.row(key, value, time, diff, &mut out);
                rows.flush(&mut out);
                !out.is_empty()
            })
        });
        catch_unwind(look).map_err(|panic| Panicked::with(rows.running(), &*panic))
    }
}
