//! The right to emit what a part leads to, or several that came with one message.

use std::rc::Rc;

use timely::dataflow::operators::{CapabilitySet, InputCapability};
use timely::progress::Timestamp;

/// Where the outputs of the fetch operator lie.
const DATA: usize = 0;
pub(crate) const HOME: usize = 1;
const ERRORS: usize = 2;

/// One set of capabilities for each output of the fetch operator.
#[derive(Debug)]
pub(crate) struct Capabilities<T: Timestamp> {
    pub(crate) data: CapabilitySet<T>,
    pub(crate) home: CapabilitySet<T>,
    pub(crate) errors: CapabilitySet<T>,
}

impl<T: Timestamp> Capabilities<T> {
    /// Those that came with a message. Whole stamps, so that times need no total order.
    pub(crate) fn of(message: &InputCapability<T>) -> Rc<Self> {
        Rc::new(Self {
            data: message.retain_stamp(DATA),
            home: message.retain_stamp(HOME),
            errors: message.retain_stamp(ERRORS),
        })
    }
}
