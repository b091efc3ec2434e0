//! The steps of a listener as the hand-out operator wants them: without what a filter discards, and with the frontier to
//! show.
//!
//! Taking a step is no I/O: it looks at the state in this process. So once the snapshot has been taken, the operator takes
//! them by itself, and whoever changes the state wakes the worker: no other thread has to be woken in between.

use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use timely::progress::Antichain;
use timely::scheduling::SyncActivator;
use timely_persist::{Data, Diff, LeasedPart, Listen, ListenEvent, PartStats, Time};

use crate::error::SourceError;
use crate::foreign::{Code, Panicked, call};
use crate::settings::Settings;

/// Parts, and where the collection stands behind them.
#[derive(Debug)]
pub(crate) struct Step<T: Time> {
    pub(crate) parts: Vec<Offered<T>>,
    /// `None` if it stands where it stood; the empty frontier ends the collection.
    pub(crate) progress: Option<Antichain<T>>,
}

/// A part to hand out. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Offered<T: Time> {
    pub(crate) part: LeasedPart<T>,
    /// Whether the filter discarded it.
    pub(crate) audit: bool,
}

/// Which parts are wanted, by their statistics.
pub(crate) type Filter = Box<dyn Fn(&PartStats) -> bool + Send>;

/// A listener whose rows nobody looks at.
pub(crate) trait Steps<T: Time>: Send {
    /// The next step, which is never an empty one, or why there is none.
    fn poll_step(&mut self, task: &mut Context<'_>) -> Poll<Result<Step<T>, SourceError>>;
}

impl<T: Time> std::fmt::Debug for dyn Steps<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steps")
    }
}

/// The steps of a listener.
pub(crate) struct ListenSteps<K: Data, V: Data, T: Time, D: Diff> {
    listen: Listen<K, V, T, D>,
    settings: Settings<T>,
    filter: Option<Filter>,
    discarded: u64,
}

impl<K: Data, V: Data, T: Time, D: Diff> ListenSteps<K, V, T, D> {
    pub(crate) fn new(listen: Listen<K, V, T, D>, settings: Settings<T>, filter: Option<Filter>) -> Self {
        Self { listen: listen.until(settings.until.clone()), settings, filter, discarded: 0 }
    }

    fn offer(&mut self, part: LeasedPart<T>) -> Result<Option<Offered<T>>, Panicked> {
        let keep = match (&self.filter, part.stats()) {
            (Some(filter), Some(stats)) => call(Code::Filter, || filter(&stats))?,
            _ => true, // when in doubt, keep it
        };
        self.discarded += u64::from(!keep);
        let audit_one_in = self.settings.audit_one_in;
        let audit = !keep && audit_one_in > 0 && self.discarded.is_multiple_of(audit_one_in);
        Ok((keep || audit).then_some(Offered { part, audit }))
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Steps<T> for ListenSteps<K, V, T, D> {
    fn poll_step(&mut self, task: &mut Context<'_>) -> Poll<Result<Step<T>, SourceError>> {
        loop {
            let Poll::Ready(events) = self.listen.poll_next(task) else {
                return Poll::Pending;
            };
            let events = events.map_err(|error| SourceError::of(&error).of_shard(self.settings.shard))?;
            let ended = events.is_empty();
            let mut step = Step { parts: Vec::new(), progress: ended.then(Antichain::new) };
            for event in events {
                match event {
                    ListenEvent::Updates(parts) => {
                        for part in parts {
                            let offered = self.offer(part).map_err(|panic| panic.of_shard(self.settings.shard))?;
                            step.parts.extend(offered);
                        }
                    }
                    ListenEvent::Progress(frontier) => step.progress = Some(shown(&frontier, &self.settings.until)),
                }
            }
            if !step.parts.is_empty() || step.progress.is_some() {
                return Poll::Ready(Ok(step));
            }
        }
    }
}

/// The frontier without what lies beyond `until`, where nothing comes: so none is shown between `until` and the end.
pub(crate) fn shown<T: Time>(frontier: &Antichain<T>, until: &Antichain<T>) -> Antichain<T> {
    frontier.elements().iter().filter(|time| !until.less_equal(time)).cloned().collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use timely::order::Product;

    #[test]
    fn frontiers_between_until_and_the_end_are_not_shown() {
        let until = Antichain::from_elem(5u64);
        assert_eq!(shown(&Antichain::from_elem(4), &until), Antichain::from_elem(4));
        for beyond in [5, 6, 9] {
            assert!(shown(&Antichain::from_elem(beyond), &until).is_empty());
        }
        assert!(!shown(&Antichain::from_elem(9u64), &Antichain::new()).is_empty(), "no until");
        let until = Antichain::from_elem(Product::new(5u32, 5u32));
        let frontier = Antichain::from(vec![Product::new(0, 9), Product::new(6, 6)]);
        assert_eq!(shown(&frontier, &until), Antichain::from_elem(Product::new(0, 9)));
    }
}
