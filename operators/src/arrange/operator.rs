//! The operator that arranges segments: it collects them in piles, merges these when the frontier passes, and gives the batch
//! to the trace.
//!
//! Always: one activation merges no more rows than its fuel pays for, and the frontier waits for the merge. What comes
//! meanwhile is of later times, and waits for the next.

use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::logging::DifferentialEventBuilder;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::{Description, ExertionLogic, Span, Trace};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, CapabilitySet};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;
use timely_persist::{Data, Diff, Time};

use crate::arrange::layout::{SpineOf, Writing};
use crate::arrange::merge::{Merge, Merged};
use crate::arrange::piles::Piles;
use crate::arrange::segment::Segment;

/// Rows that one activation merges: some five milliseconds of them.
const MERGE_FUEL: usize = 16 << 10;

/// Arranges segments, each on the worker that it names.
pub(crate) fn arrange<'scope, K: Data, V: Data, T: Time, D: Diff, W: Writing<K, V, T, D>>(
    segments: StreamVec<'scope, T, Segment<K, V, T, D>>,
    name: &str,
) -> Arranged<'scope, TraceAgent<SpineOf<W::Batch>>> {
    let scope = segments.scope();
    let mut reader = None;
    let exchange = Exchange::new(|segment: &Segment<K, V, T, D>| segment.worker);
    let stream = segments.unary_frontier(exchange, name, |_, info| {
        let logger = scope.worker().logger_for::<DifferentialEventBuilder>("differential/arrange").map(Into::into);
        let activator = || scope.activator_for(Rc::clone(&info.address));
        let mut trace = <SpineOf<W::Batch> as Trace>::new(info.clone(), logger.clone(), Some(activator()));
        let exertion = scope.worker().config().get::<ExertionLogic>("differential/default_exert_logic").cloned();
        if let Some(exertion) = exertion {
            trace.set_exert_logic(exertion);
        }
        let again = activator();
        let (agent, mut writer) = TraceAgent::new(trace, info, logger);
        reader = Some(agent);
        let mut arranging = Arranging::<K, V, T, D, W>::new();
        move |(input, frontier), output| {
            input.for_each(|capability, segments| {
                arranging.capabilities.extend(capability.retain_stamp(0).iter().cloned());
                segments.drain(..).for_each(|segment| arranging.piles.add(segment.rows));
            });
            let mut fuel = MERGE_FUEL;
            loop {
                match arranging.work(frontier.frontier(), &mut fuel) {
                    Step::Batch { span, retired } => {
                        writer.insert(span.clone(), retired.iter().map(|retired| retired.time().clone()).collect());
                        output.session(&retired).give(span);
                    }
                    Step::Empty(upper) => writer.seal(upper),
                    Step::Later => break again.activate(),
                    Step::Nothing => break,
                }
            }
            writer.exert();
        }
    });
    let trace = reader.expect("the operator was built, and its trace with it");
    Arranged { stream, trace }
}

/// What comes next.
enum Step<T: Time, B> {
    /// A batch is there.
    Batch { span: Span<T, B>, retired: CapabilitySet<T> },
    /// There are no rows up to here.
    Empty(Antichain<T>),
    /// The fuel is used up, and there is more to do.
    Later,
    /// There is no more to do.
    Nothing,
}

/// What the operator keeps.
struct Arranging<K: Data, V: Data, T: Time, D: Diff, W: Writing<K, V, T, D>> {
    piles: Piles<K, V, T, D>,
    /// For the times of the rows in the piles.
    capabilities: Antichain<Capability<T>>,
    merging: Option<Merging<K, V, T, D, W>>,
    /// What is in the trace ends here.
    upper: Antichain<T>,
}

/// A merge that is under way.
struct Merging<K: Data, V: Data, T: Time, D: Diff, W: Writing<K, V, T, D>> {
    merge: Merge<K, V, T, D, W>,
    capabilities: Antichain<Capability<T>>,
    upper: Antichain<T>,
}

impl<K: Data, V: Data, T: Time, D: Diff, W: Writing<K, V, T, D>> Arranging<K, V, T, D, W> {
    fn new() -> Self {
        let upper = Antichain::from_elem(T::minimum());
        Self { piles: Piles::default(), capabilities: Antichain::new(), merging: None, upper }
    }

    /// Goes on towards the input's frontier.
    fn work(&mut self, frontier: AntichainRef<'_, T>, fuel: &mut usize) -> Step<T, Rc<W::Batch>> {
        let mut merging = match self.merging.take() {
            Some(merging) => merging,
            None if self.upper.borrow() == frontier => return Step::Nothing,
            None if self.capabilities.iter().all(|capability| frontier.less_equal(capability.time())) => {
                self.upper = frontier.to_owned();
                return Step::Empty(self.upper.clone());
            }
            None => {
                let (piles, later_times) = self.piles.take(&frontier.to_owned());
                let merge = Merge::new(piles, frontier.to_owned());
                let capabilities = std::mem::take(&mut self.capabilities);
                self.keep(&later_times, &capabilities);
                Merging { merge, capabilities, upper: frontier.to_owned() }
            }
        };
        match merging.merge.work(fuel) {
            true => self.end(merging),
            false => {
                self.merging = Some(merging);
                Step::Later
            }
        }
    }

    /// Keeps capabilities for these times. Every row came with one for its time.
    fn keep(&mut self, times: &Antichain<T>, capabilities: &Antichain<Capability<T>>) {
        for time in times.elements() {
            let of_time = capabilities.iter().find(|capability| capability.time().less_equal(time));
            self.capabilities.extend(of_time.map(|capability| capability.delayed(time)));
        }
    }

    /// All of a merge is done.
    fn end(&mut self, Merging { merge, capabilities, upper }: Merging<K, V, T, D, W>) -> Step<T, Rc<W::Batch>> {
        let Merged { batch, later, later_times } = merge.finish();
        if !later.is_empty() {
            self.piles.add(Arc::new(later));
        }
        self.keep(&later_times, &capabilities);
        let retired = capabilities.iter().filter(|capability| !upper.less_equal(capability.time())).cloned();
        let lower = std::mem::replace(&mut self.upper, upper.clone());
        let span =
            Span::new(Description::new(lower, upper.clone(), Antichain::from_elem(T::minimum())), batch.map(Rc::new));
        Step::Batch { span, retired: retired.collect() }
    }
}
