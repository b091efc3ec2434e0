//! What commits leave to be done: rollups, compaction, deletions. One task per shard, off the write path.
//!
//! The machine says when there may be work; the task does it in steps and stops with the client. A [`Maintainer`] says
//! so for what other processes did. Any number of processes may maintain one shard: each step ends in a commit that can
//! be refused, and a refused step wastes its own work only.
//!
//! Always, for a deletion: first the object, then its record in the state, then the log. An object that was offered in
//! a commit of unknown outcome is not deleted.

mod compact;
mod fit;
mod leaks;
mod maintainer;
mod policy;
mod rollup;
mod sweep;

pub use maintainer::Maintainer;
pub(crate) use policy::Policy;

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::machine::{Health, Machine};
use timely_persist_io::life::{On, Supervised, deadline_after, ended, guarded_async, panicked};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::SeqNo;
use timely_persist_types::record::{BackgroundWork, MergeOutcome, Stalled};

use compact::Compaction;

/// The task that maintains one shard. Dropping it stops the task.
#[derive(Debug)]
pub(crate) struct Maintenance {
    _task: Supervised,
    settle: mpsc::Sender<Asking>,
}

/// Somebody who waits for a shard to settle.
type Asking = oneshot::Sender<Result<(), Error>>;

impl Maintenance {
    /// Starts maintaining a shard of these types.
    pub(crate) fn start<K: Data, V: Data, T: Time, D: Diff>(machine: &Arc<Machine<T>>, policy: Policy) -> Self {
        let (settle, asked) = mpsc::channel(SETTLES_MAX);
        let (asked, maintained) = (Arc::new(tokio::sync::Mutex::new(asked)), Arc::downgrade(machine));
        let hearing = Weak::clone(&maintained);
        let hear = move |panic: &str| {
            if let Some(machine) = hearing.upgrade() {
                stall(&machine, &panicked(panic).of_shard(machine.shard()));
                machine.request_upkeep(); // what it was at is still to be done
            }
        };
        let begin = move || {
            let (machine, asked) = (Weak::clone(&maintained), Arc::clone(&asked));
            async move { maintain::<K, V, T, D>(machine, &policy, &mut *asked.lock().await).await }
        };
        Self { _task: machine.life().supervise(On::Upkeep, "upkeep of a shard", begin, hear), settle }
    }

    /// Resolves when there is nothing left to do. An error of the upkeep is the answer here; else it is tried again.
    pub(crate) fn settle(&self) -> impl Future<Output = Result<(), Error>> + use<> {
        let settle = self.settle.clone();
        async move {
            let (sender, receiver) = oneshot::channel();
            settle.send(sender).await.map_err(|_| ended())?;
            receiver.await.map_err(|_| ended())?
        }
    }
}

/// Callers that wait for a shard to settle; more of them queue.
const SETTLES_MAX: usize = 16;

/// Says, where a shard is inspected, that its upkeep does not work.
fn stall<T: Time>(machine: &Machine<T>, error: &Error) {
    machine.set_upkeep_health(Health::Stalled(error.clone()));
}

async fn maintain<K: Data, V: Data, T: Time, D: Diff>(
    machine: Weak<Machine<T>>,
    policy: &Policy,
    asked: &mut mpsc::Receiver<Asking>,
) {
    let mut leaks_next = Instant::now();
    let mut next_sweep = Instant::now();
    loop {
        let Some(held) = machine.upgrade() else {
            return;
        };
        let mut waiting = tokio::select! {
            biased; // no dice: a simulation replays
            // First who waits: what commits leave may be due always.
            waiting = asked.recv() => match waiting {
                Some(waiting) => Some(waiting),
                None => return,
            },
            () = held.upkeep_due() => None,
            () = tokio::time::sleep_until(next_sweep), if held.state().sweep_due() => None,
        };
        // Each sweep is a commit of its own: on a busy shard one takes along what several compactions left.
        let sweeps = waiting.is_some() || Instant::now() >= next_sweep;
        if sweeps {
            next_sweep = deadline_after(policy.upkeep.sweep_interval);
        }
        let mut retry = held.life().retry(Duration::MAX);
        let done = loop {
            match caught(&held, upkeep::<K, V, T, D>(&held, policy, sweeps, &mut leaks_next)).await {
                Err(error) if error.kind() == ErrorKind::Closed => return, // whoever asked hears of it
                Err(error) if waiting.is_none() => {
                    tracing::warn!(shard = %held.shard(), %error, "upkeep failed, trying again");
                    held.life().tell(|to| to.stalled(held.shard(), &Stalled { work: BackgroundWork::Upkeep }));
                    stall(&held, &error);
                    // Whoever asked meanwhile hears of it, and need not wait until it works.
                    if let Ok(asking) = asked.try_recv() {
                        waiting = Some(asking);
                        break Err(error);
                    }
                    retry.pause().await;
                }
                done => break done,
            }
        };
        match &done {
            Ok(()) => held.set_upkeep_health(Health::Well),
            Err(error) => stall(&held, error),
        }
        if let Some(waiting) = waiting {
            let _ = waiting.send(done); // whoever asked may have gone
        }
    }
}

/// The upkeep; a panic of it is an error. It runs code of the rows' types, whose fault is one shard's alone.
async fn caught<T: Time>(machine: &Machine<T>, upkeep: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    guarded_async(upkeep).await.map_err(|error| error.of_shard(machine.shard()))
}

/// Does steps until there is nothing to do, of deletions only if it sweeps.
///
/// Rollups that come to be due meanwhile, and what they leave, are no reason to go on: commits may come faster than a rollup
/// is written, and each that leaves something has asked for the next upkeep. Whoever waits for this one would wait for ever.
async fn upkeep<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    policy: &Policy,
    sweeps: bool,
    leaks_next: &mut Instant,
) -> Result<(), Error> {
    let (life, shard) = (machine.life(), machine.shard());
    // Up to where a rollup, and deletions, are a reason to go on.
    let mut to_cover = machine.state().seqno;
    let mut to_sweep = to_cover;
    loop {
        let state = machine.state();
        let mut worked = false;
        if state.compaction_due(&policy.upkeep) {
            let mut compaction = Compaction::of::<K, V, D>(&state, policy);
            while let Some(merged) = compaction.next::<K, V, D>(machine, policy).await? {
                life.tell(|to| to.merged(shard, &merged));
                worked |= merged.outcome != MergeOutcome::Refused;
            }
            if worked {
                to_cover = machine.state().seqno;
                to_sweep = to_cover;
            }
        }
        if machine.state().rollup_due(&policy.upkeep) {
            let covered = machine.state().rollup.as_ref().map_or(SeqNo::ZERO, |rollup| rollup.seqno);
            let written = rollup::write(machine).await?;
            life.tell(|to| to.rollup_written(shard, &written));
            if written.used && covered < to_cover {
                to_sweep = machine.state().seqno;
                worked = true;
            }
            machine.truncate().await?; // the log behind the newest
            // The lost are rare and harmless: looking for them waits for a rollup, and then for a good while.
            if *leaks_next <= Instant::now() {
                worked |= leaks::sweep(machine, policy).await?.objects > 0;
                *leaks_next = deadline_after(policy.upkeep.leak_sweep_interval);
            }
        }
        let oldest = machine.state().garbage.keys().next().copied();
        if sweeps
            && machine.state().sweep_due()
            && let Some(swept) = sweep::sweep(machine, policy.upkeep.sweep_step_objects_max).await?
        {
            life.tell(|to| to.swept(shard, &swept));
            worked |= oldest.is_some_and(|oldest| oldest <= to_sweep);
        }
        if !worked {
            return Ok(());
        }
    }
}
