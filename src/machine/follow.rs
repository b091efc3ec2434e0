//! Following a log that other processes write, while somebody in this one waits.

use std::sync::{Arc, Weak};

use tokio::sync::watch;

use timely_persist_core::state::State;
use timely_persist_io::life::{On, Supervised, lock, panicked};
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::record::{BackgroundWork, Stalled};

use super::{Context, Health, Machine};

impl<T: Time> Machine<T> {
    /// The task that reads the log when it may have grown, so that the state in this process keeps up with others. The last
    /// one dropped stops it.
    pub(crate) fn follow(self: &Arc<Self>) -> Arc<Supervised> {
        let mut slot = lock(&self.follow);
        if let Some(follow) = slot.upgrade() {
            return follow;
        }
        let (machine, context) = (Arc::downgrade(self), Arc::clone(&self.context));
        let hearing = Weak::clone(&machine);
        let hear = move |panic: &str| {
            if let Some(machine) = hearing.upgrade() {
                let stalled = Health::Stalled(panicked(panic).of_shard(machine.shard));
                machine.health.send_if_modified(|health| std::mem::replace(health, stalled) == Health::Well);
            }
        };
        let begin = move || follow_log(Weak::clone(&machine), Arc::clone(&context));
        let follow = Arc::new(self.context.life.supervise(On::Work, "following a log", begin, hear));
        *slot = Arc::downgrade(&follow);
        follow
    }

    /// Waits until `find` finds something in the newest state, following the log meanwhile. It waits through outages
    /// of the log: see [`Machine::health`]. Cancelling leaves nothing.
    pub(crate) async fn wait_for<R>(
        self: &Arc<Self>,
        mut find: impl FnMut(&State<T>) -> Option<R>,
    ) -> Result<R, Error> {
        if let Some(found) = find(&self.state()) {
            return Ok(found);
        }
        let _follow = self.follow();
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable(); // from here on no change is missed
            if let Some(found) = find(&self.state()) {
                return Ok(found);
            }
            changed.await;
        }
    }

    /// Whether the log answers those who follow it.
    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

async fn follow_log<T: Time>(machine: Weak<Machine<T>>, context: Arc<Context>) {
    let Some(mut log) = machine.upgrade().map(|machine| context.log.watch(machine.shard)) else {
        return;
    };
    if let Some(machine) = machine.upgrade() {
        log.ignore(Arc::clone(&machine.own));
    }
    let pause = || tokio::time::sleep(context.life.jittered(context.log.config.watch_fallback, 0.75));
    let mut fallback = std::pin::pin!(pause());
    // Whatever was written before the watch began wakes nobody.
    let mut known = None;
    loop {
        let Some(machine) = machine.upgrade() else {
            return;
        };
        let mut retry = context.life.retry(std::time::Duration::MAX);
        while let Err(error) = machine.read_past(known).await {
            let stalled = Health::Stalled(error.clone());
            machine.health.send_if_modified(|health| std::mem::replace(health, stalled.clone()) == Health::Well);
            tracing::warn!(shard = %machine.shard, %error, "following the log failed, trying again");
            context.life.tell(|to| to.stalled(machine.shard, &Stalled { work: BackgroundWork::Following }));
            retry.pause().await;
        }
        machine.health.send_if_modified(|health| std::mem::replace(health, Health::Well) != Health::Well);
        drop(machine);
        known = tokio::select! {
            biased; // no dice: a simulation replays
            known = log.changed() => known,
            () = &mut fallback => {
                fallback.set(pause());
                None
            }
        };
    }
}
