//! Stopping a source.
//!
//! Each worker's button holds one capability of the *stop edge*, a stream without data that no other output depends on.
//! Its frontier is empty once every worker has released its button (or the source is complete), and so progress tracking
//! itself tells all workers, in any number of processes, that all have stopped.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Timestamp;
use timely::scheduling::{Activator, SyncActivator};

/// Stops a source on this worker, when pressed or dropped.
///
/// From then on this worker fetches nothing more and emits nothing more, and forgets what it was about to emit; the rows
/// that it had emitted stay. As something is missing now, the source's frontier stands where it is, on all workers. Once
/// the source has been stopped **on every worker**, its frontier becomes empty and its operators end: all have asked for
/// it, so nobody takes that for the end of the collection. After the natural end of the source it does nothing.
#[derive(Debug)]
#[must_use = "dropping the button stops the source: keep it for as long as the collection is wanted"]
pub struct Button {
    pressed: Arc<AtomicBool>,
    wakes: Vec<SyncActivator>,
}

impl Button {
    /// Stops the source on this worker, as dropping it does.
    pub fn press(&self) {
        if self.pressed.swap(true, Ordering::AcqRel) {
            return;
        }
        for wake in &self.wakes {
            let _ = wake.activate(); // a worker that is gone has stopped already
        }
    }

    /// Whether it was pressed.
    pub fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Acquire)
    }

    /// Wakes this operator too.
    pub(crate) fn wakes(&mut self, operator: SyncActivator) {
        self.wakes.push(operator);
    }

    /// What the operators look at.
    pub(crate) fn watch(&self) -> Pressed {
        Pressed(Arc::clone(&self.pressed))
    }
}

impl Drop for Button {
    fn drop(&mut self) {
        self.press();
    }
}

/// Whether this worker's button was pressed.
#[derive(Clone, Debug)]
pub(crate) struct Pressed(Arc<AtomicBool>);

impl Pressed {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Says on this worker that the source is complete, everywhere: the stop edge is not needed any more.
#[derive(Clone, Debug)]
pub(crate) struct Complete {
    complete: Rc<Cell<bool>>,
    wake: Activator,
}

impl Complete {
    pub(crate) fn declare(&self) {
        if !self.complete.replace(true) {
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

    let pressed = Arc::new(AtomicBool::new(false));
    let wake = scope.worker().sync_activator_for(address.to_vec());
    let button = Button { pressed, wakes: vec![wake] };
    let complete = Complete { complete: Rc::default(), wake: scope.activator_for(address) };

    let (watch, ended) = (button.watch(), Rc::clone(&complete.complete));
    builder.build(move |mut capabilities| {
        move |_frontiers| {
            let _ = &output; // lives as long as the operator
            if watch.get() || ended.get() {
                capabilities.clear();
            }
        }
    });
    Stopping { button, complete, edge }
}
