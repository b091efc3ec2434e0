//! The steps of a listener as the hand-out operator wants them: without what a filter discards.
//!
//! Taking a step is no I/O: it looks at the state in this process. So once the snapshot has been taken, the operator takes
//! them by itself, and whoever changes the state wakes the worker: no other thread has to be woken in between.

use std::task::{Context, Poll};

use timely::progress::Antichain;
use timely_persist::{Data, Diff, Error, FilterAudit, LeasedPart, Listen, ListenEvent, PartStats, Sifted, Time};

use crate::common::foreign::{Panicked, call};
use crate::source::closures::FILTER;
use crate::source::handout::{Offered, Step};
use crate::source::settings::Settings;

/// Which parts are wanted, by their statistics.
pub(crate) type Filter = Box<dyn Fn(&PartStats) -> bool + Send>;

/// A listener whose rows nobody looks at.
pub(crate) trait Steps<T: Time>: Send {
    /// The next step, which is never an empty one, or why there is none.
    fn poll_step(&mut self, task: &mut Context<'_>) -> Poll<Result<Step<T>, Error>>;
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
    audit: FilterAudit,
}

impl<K: Data, V: Data, T: Time, D: Diff> ListenSteps<K, V, T, D> {
    pub(crate) fn new(
        listen: Listen<K, V, T, D>,
        settings: Settings<T>,
        filter: Option<Filter>,
        audit: FilterAudit,
    ) -> Self {
        Self { listen: listen.until(settings.until.clone()), settings, filter, audit }
    }

    fn offer(&mut self, part: LeasedPart<T>) -> Result<Option<Offered<LeasedPart<T>>>, Panicked> {
        let sifted = match &self.filter {
            Some(filter) => call(FILTER, || self.audit.sift(&part, filter))?,
            None => Sifted::Kept,
        };
        let audit = sifted == Sifted::Audited && self.settings.audits;
        Ok((audit || sifted == Sifted::Kept).then_some(Offered { part, audit }))
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Steps<T> for ListenSteps<K, V, T, D> {
    fn poll_step(&mut self, task: &mut Context<'_>) -> Poll<Result<Step<T>, Error>> {
        loop {
            let Poll::Ready(events) = self.listen.poll_next(task) else {
                return Poll::Pending;
            };
            let events = events.map_err(|error| error.of_shard(self.settings.shard))?;
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
                    ListenEvent::Progress(frontier) => step.progress = Some(frontier),
                }
            }
            if !step.parts.is_empty() || step.progress.is_some() {
                return Poll::Ready(Ok(step));
            }
        }
    }
}
