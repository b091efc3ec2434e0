//! The sources of a dataflow, as its sinks have to know them.
//!
//! A source that was stopped lets go of its frontier, as one that is complete does, and the operators behind it then give
//! results of what is not all there. Timely cannot tell the two apart; a sink must. On the worker that decides what is
//! committed, the button was pressed before the source let go of anything: it lets go when all workers' were.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use timely::dataflow::Scope;
use timely::progress::Timestamp;

use crate::common::button::Pressed;

type Buttons = RefCell<Vec<Pressed>>;

/// The sources of one dataflow on this worker.
#[derive(Clone, Debug)]
pub(crate) struct Inputs(Rc<Buttons>);

thread_local! {
    /// Those of each dataflow, by worker and address. A worker stays on its thread.
    static KNOWN: RefCell<HashMap<(usize, usize), Weak<Buttons>>> = RefCell::default();
}

impl Inputs {
    /// Those of the dataflow that this scope is part of. Kept for as long as somebody holds it.
    pub(crate) fn of<T: Timestamp>(scope: Scope<'_, T>) -> Self {
        let dataflow = (scope.index(), scope.addr().first().copied().unwrap_or(0));
        KNOWN.with_borrow_mut(|known| {
            known.retain(|_, buttons| buttons.strong_count() > 0);
            let entry = known.entry(dataflow).or_default();
            let buttons = entry.upgrade().unwrap_or_default();
            *entry = Rc::downgrade(&buttons);
            Self(buttons)
        })
    }

    /// One more source.
    pub(crate) fn add(&self, button: Pressed) {
        self.0.borrow_mut().push(button);
    }

    /// Whether one was stopped on this worker before its end: what comes from now on may be made of what is not all there.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.borrow().iter().any(Pressed::is_early)
    }
}
