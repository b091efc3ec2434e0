//! Stopping a source or a sink.
//!
//! Each worker's button holds one capability of the *stop edge*, a stream without data that no other output depends on.
//! Its frontier is empty once every worker has released its button (or the source is complete), and so progress tracking
//! itself tells all workers, in any number of processes, that all have stopped.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Timestamp;
use timely::scheduling::{Activator, SyncActivator};

/// Stops a source or a sink on this worker, when pressed or dropped.
///
/// From then on a source fetches nothing more on this worker and emits nothing more, and forgets what it was about to emit;
/// the rows that it had emitted stay. As something is missing now, the source's frontier stands where it is, on all workers.
/// Once the source has been stopped **on every worker**, its frontier becomes empty and its operators end: all have asked for
/// it. No sink of its dataflow takes that for the end of the collection: it commits nothing more.
///
/// A sink collects nothing more on this worker and forgets its rows, so nothing can be committed any more, and its progress
/// stands. Once it has been stopped on every worker it ends, and what it had staged is removed.
///
/// After the natural end it does nothing.
#[derive(Debug)]
#[must_use = "dropping the button stops what it is of: keep it for as long as that is wanted"]
pub struct Button {
    state: Arc<State>,
    wakes: Vec<SyncActivator>,
}

/// What becomes of a source or a sink on this worker.
#[derive(Debug, Default)]
struct State {
    pressed: AtomicBool,
    /// Whether it came to its natural end.
    complete: AtomicBool,
    /// Whether it was pressed before that.
    early: AtomicBool,
}

impl Button {
    /// Stops it on this worker, as dropping the button does.
    pub fn press(&self) {
        let early = !self.state.complete.load(Ordering::Acquire);
        self.state.early.fetch_or(early && !self.is_pressed(), Ordering::AcqRel); // said before it is acted upon
        if self.state.pressed.swap(true, Ordering::AcqRel) {
            return;
        }
        for wake in &self.wakes {
            let _ = wake.activate(); // a worker that is gone has stopped already
        }
    }

    /// Whether it was pressed.
    pub fn is_pressed(&self) -> bool {
        self.state.pressed.load(Ordering::Acquire)
    }

    /// Wakes this operator too.
    pub(crate) fn wakes(&mut self, operator: SyncActivator) {
        self.wakes.push(operator);
    }

    /// What the operators look at.
    pub(crate) fn watch(&self) -> Pressed {
        Pressed(Arc::clone(&self.state))
    }
}

impl Drop for Button {
    fn drop(&mut self) {
        self.press();
    }
}

/// Whether this worker's button was pressed.
#[derive(Clone, Debug)]
pub(crate) struct Pressed(Arc<State>);

impl Pressed {
    pub(crate) fn get(&self) -> bool {
        self.0.pressed.load(Ordering::Acquire)
    }

    /// Whether that was before the natural end, so that something is missing.
    pub(crate) fn is_early(&self) -> bool {
        self.0.early.load(Ordering::Acquire)
    }
}

/// Says on this worker that the source, or the sink, is complete, everywhere: the stop edge is not needed any more.
#[derive(Clone, Debug)]
pub(crate) struct Complete {
    state: Arc<State>,
    wake: Activator,
}

impl Complete {
    pub(crate) fn declare(&self) {
        if !self.state.complete.swap(true, Ordering::AcqRel) {
            self.wake.activate();
        }
    }
}

/// What the operators of one dataflow have to know of being stopped.
pub(crate) struct Stopping<'scope, T: Timestamp> {
    pub(crate) button: Button,
    pub(crate) complete: Complete,
    /// The stop edge.
    pub(crate) edge: StreamVec<'scope, T, Infallible>,
}

/// The button of this worker, and the stop edge.
pub(crate) fn stopping<'scope, T: Timestamp>(scope: Scope<'scope, T>, name: &str) -> Stopping<'scope, T> {
    let mut builder = OperatorBuilder::new(format!("{name}: stop"), scope);
    let address = builder.operator_info().address;
    let (output, edge) = builder.new_output();
    let output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Infallible>>>::from(output);

    let state = Arc::new(State::default());
    let wake = scope.worker().sync_activator_for(address.to_vec());
    let button = Button { state: Arc::clone(&state), wakes: vec![wake] };
    let complete = Complete { state: Arc::clone(&state), wake: scope.activator_for(address) };

    builder.build(move |mut capabilities| {
        move |_frontiers| {
            let _ = &output; // lives as long as the operator
            if state.pressed.load(Ordering::Acquire) || state.complete.load(Ordering::Acquire) {
                capabilities.clear();
            }
        }
    });
    Stopping { button, complete, edge }
}
