//! The operator that arranges segments: it collects them in piles, merges these when the frontier passes, and gives the batch
//! to the trace.
//!
//! Always: one activation merges no more rows than its fuel pays for, and the frontier waits for the merge. What comes
//! meanwhile is of later times, and waits for the next. The code of the rows' types that panics is an error, and the frontier is
//! held, as in the source.

use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::logging::DifferentialEventBuilder;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::spine_fueled::SpineBatch;
use differential_dataflow::trace::{Description, ExertionLogic, Span, Trace};
use timely::PartialOrder;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, CapabilitySet, InputCapability};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;
use timely_persist::{Data, Diff, ShardId, Time};

use crate::arrange::layout::{SpineOf, Writing};
use crate::arrange::merge::{Merge, Merged};
use crate::arrange::piles::Piles;
use crate::arrange::segment::{Columns, Segment};
use crate::common::error::SourceError;
use crate::common::foreign::{Panicked, TYPES, call};

/// Rows that one activation merges: some five milliseconds of them.
const MERGE_FUEL: usize = 16 << 10;

/// The outputs of the operator.
const BATCHES: usize = 0;
const ERRORS: usize = 1;

/// What segments became.
pub(crate) struct Arrangement<'scope, T: Time, B: SpineBatch<Time = T> + 'static> {
    pub(crate) arranged: Arranged<'scope, TraceAgent<SpineOf<B>>>,
    pub(crate) errors: StreamVec<'scope, T, SourceError>,
}

/// Arranges segments of a shard, each on the worker that it names.
pub(crate) fn arrange<'scope, K: Data, V: Data, T: Time, D: Diff, W: Writing<K, V, T, D>>(
    segments: StreamVec<'scope, T, Segment<K, V, T, D>>,
    name: &str,
    shard: ShardId,
) -> Arrangement<'scope, T, W::Batch> {
    let scope = segments.scope();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let info = builder.operator_info();
    // The order of the outputs is that of their constants.
    let (output, stream) = builder.new_output();
    let (errors_output, errors) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Span<T, Rc<W::Batch>>>>>::from(output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<SourceError>>>::from(errors_output);
    let exchange = Exchange::new(|segment: &Segment<K, V, T, D>| segment.worker);
    let mut input = builder.new_input(segments, exchange);

    let logger = scope.worker().logger_for::<DifferentialEventBuilder>("differential/arrange").map(Into::into);
    let activator = || scope.activator_for(Rc::clone(&info.address));
    let mut trace = <SpineOf<W::Batch> as Trace>::new(info.clone(), logger.clone(), Some(activator()));
    let exertion = scope.worker().config().get::<ExertionLogic>("differential/default_exert_logic").cloned();
    if let Some(exertion) = exertion {
        trace.set_exert_logic(exertion);
    }
    let again = activator();
    let (trace, mut writer) = TraceAgent::new(trace, info, logger);
    let mut arranging = Arranging::<K, V, T, D, W>::new();
    builder.build(move |_| {
        move |frontiers| {
            let frontier = frontiers[0].frontier();
            let (mut output, mut errors) = (output.activate(), errors_output.activate());
            input.for_each(|message, segments| arranging.take(&message, segments));
            let mut fuel = MERGE_FUEL;
            loop {
                match arranging.work(frontier, &mut fuel) {
                    Step::Batch { span, retired } => {
                        writer.insert(span.clone(), retired.iter().map(|retired| retired.time().clone()).collect());
                        output.session(&retired).give(span);
                    }
                    Step::Empty(upper) => writer.seal(upper),
                    Step::Failed { panic, rights } => {
                        let error = SourceError::Failed(panic.of_shard(shard));
                        error.trace();
                        errors.session(&rights).give(error);
                    }
                    Step::Later => break again.activate(),
                    Step::Nothing => break,
                }
            }
            writer.exert();
        }
    });
    Arrangement { arranged: Arranged { stream, trace }, errors }
}

/// The right to send at a time.
#[derive(Clone, Debug)]
struct Right<T: Time> {
    batches: Capability<T>,
    errors: Capability<T>,
}

impl<T: Time> Right<T> {
    fn of(message: &InputCapability<T>, time: &T) -> Self {
        Self { batches: message.delayed(time, BATCHES), errors: message.delayed(time, ERRORS) }
    }

    fn time(&self) -> &T {
        self.batches.time()
    }

    fn delayed(&self, time: &T) -> Self {
        Self { batches: self.batches.delayed(time), errors: self.errors.delayed(time) }
    }
}

impl<T: Time> PartialEq for Right<T> {
    fn eq(&self, other: &Self) -> bool {
        self.time() == other.time()
    }
}

impl<T: Time> Eq for Right<T> {}

impl<T: Time> PartialOrder for Right<T> {
    fn less_equal(&self, other: &Self) -> bool {
        self.time().less_equal(other.time())
    }
}

/// What comes next.
enum Step<T: Time, B> {
    /// A batch is there.
    Batch { span: Span<T, B>, retired: CapabilitySet<T> },
    /// There are no rows up to here.
    Empty(Antichain<T>),
    /// The code of the rows' types panicked. This is said once.
    Failed { panic: Panicked, rights: CapabilitySet<T> },
    /// The fuel is used up, and there is more to do.
    Later,
    /// There is no more to do.
    Nothing,
}

/// What the operator keeps.
struct Arranging<K: Data, V: Data, T: Time, D: Diff, W: Writing<K, V, T, D>> {
    piles: Piles<K, V, T, D>,
    /// For the times of the rows in the piles.
    rights: Antichain<Right<T>>,
    merging: Option<Merging<K, V, T, D, W>>,
    /// What is in the trace ends here.
    upper: Antichain<T>,
    failure: Failure,
}

/// Whether the code of the rows' types panicked: then nothing more is taken or merged, and the rights are kept until the
/// source has ended.
enum Failure {
    No,
    /// This is to be said.
    Unsaid(Panicked),
    Said,
}

/// A merge that is under way.
struct Merging<K: Data, V: Data, T: Time, D: Diff, W: Writing<K, V, T, D>> {
    merge: Merge<K, V, T, D, W>,
    rights: Antichain<Right<T>>,
    upper: Antichain<T>,
}

impl<K: Data, V: Data, T: Time, D: Diff, W: Writing<K, V, T, D>> Arranging<K, V, T, D, W> {
    fn new() -> Self {
        let upper = Antichain::from_elem(T::minimum());
        Self { piles: Piles::default(), rights: Antichain::new(), merging: None, upper, failure: Failure::No }
    }

    /// Takes segments in.
    fn take(&mut self, message: &InputCapability<T>, segments: &mut Vec<Segment<K, V, T, D>>) {
        self.rights.extend(message.stamp().iter().map(|time| Right::of(message, time)));
        segments.drain(..).for_each(|segment| self.pile(segment.rows));
    }

    /// Puts rows onto the piles.
    fn pile(&mut self, rows: Arc<Columns<K, V, T, D>>) {
        if matches!(self.failure, Failure::No)
            && let Err(panic) = call(TYPES, || self.piles.add(rows))
        {
            self.failure = Failure::Unsaid(panic);
        }
    }

    /// Goes on towards the input's frontier.
    fn work(&mut self, frontier: AntichainRef<'_, T>, fuel: &mut usize) -> Step<T, Rc<W::Batch>> {
        match std::mem::replace(&mut self.failure, Failure::Said) {
            Failure::No => self.failure = Failure::No,
            failure => return self.fail(failure, frontier),
        }
        let mut merging = match self.merging.take() {
            Some(merging) => merging,
            None if self.upper.borrow() == frontier => return Step::Nothing,
            None if self.rights.iter().all(|right| frontier.less_equal(right.time())) => {
                self.upper = frontier.to_owned();
                return Step::Empty(self.upper.clone());
            }
            None => {
                let upper = frontier.to_owned();
                let begun = call(TYPES, || {
                    let (piles, later_times) = self.piles.take(&upper);
                    (Merge::new(piles, upper.clone()), later_times)
                });
                match begun {
                    Ok((merge, later_times)) => {
                        let rights = std::mem::take(&mut self.rights);
                        self.keep(&later_times, &rights);
                        Merging { merge, rights, upper }
                    }
                    Err(panic) => return self.fail(Failure::Unsaid(panic), frontier),
                }
            }
        };
        match call(TYPES, || merging.merge.work(fuel)) {
            Ok(true) => self.end(merging),
            Ok(false) => {
                self.merging = Some(merging);
                Step::Later
            }
            Err(panic) => {
                self.rights.extend(merging.rights);
                self.fail(Failure::Unsaid(panic), frontier)
            }
        }
    }

    /// Says it, and holds the frontier until the source has ended.
    fn fail(&mut self, failure: Failure, frontier: AntichainRef<'_, T>) -> Step<T, Rc<W::Batch>> {
        self.failure = Failure::Said;
        self.piles = Piles::default();
        self.rights.extend(self.merging.take().into_iter().flat_map(|merging| merging.rights));
        match failure {
            Failure::Unsaid(panic) => {
                let rights = self.rights.iter().map(|right| right.errors.clone()).collect();
                return Step::Failed { panic, rights };
            }
            Failure::No | Failure::Said if frontier.is_empty() => self.rights.clear(),
            Failure::No | Failure::Said => {}
        }
        Step::Nothing
    }

    /// Keeps the rights for these times. Every row came with that for its own.
    fn keep(&mut self, times: &Antichain<T>, rights: &Antichain<Right<T>>) {
        for time in times.elements() {
            let of_time = rights.iter().find(|right| right.time().less_equal(time));
            self.rights.extend(of_time.map(|right| right.delayed(time)));
        }
    }

    /// All of a merge is done.
    fn end(&mut self, Merging { merge, rights, upper }: Merging<K, V, T, D, W>) -> Step<T, Rc<W::Batch>> {
        let Merged { batch, later, later_times } = merge.finish();
        if !later.is_empty() {
            self.pile(Arc::new(later));
        }
        self.keep(&later_times, &rights);
        let retired = rights.iter().filter(|right| !upper.less_equal(right.time()));
        let retired = retired.map(|right| right.batches.clone()).collect();
        let lower = std::mem::replace(&mut self.upper, upper.clone());
        let span = Span::new(Description::new(lower, upper, Antichain::from_elem(T::minimum())), batch.map(Rc::new));
        Step::Batch { span, retired }
    }
}
