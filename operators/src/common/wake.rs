//! A timely operator as something that a future can wake.

use std::sync::Arc;
use std::task::Wake;

use timely::scheduling::SyncActivator;

/// Wakes an operator where a task would be woken.
#[derive(Debug)]
pub(crate) struct WakeOperator(pub(crate) SyncActivator);

impl Wake for WakeOperator {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A worker that is gone needs no waking.
        let _ = self.0.activate();
    }
}
