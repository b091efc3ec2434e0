//! Maintaining a shard that others write: for a process that does nothing else.
//!
//! The task of [`Maintenance`](super::Maintenance) works when commits of its own process leave something to be done. A
//! [`Maintainer`] wakes it for everybody's: it follows the log, begins with what is there, and looks now and then for
//! what no commit tells of: readers that lapsed while nobody writes, and objects that no state knows.

use std::sync::Arc;

use tokio::time::Instant;

use crate::machine::{Health, Machine};
use timely_persist_core::state::command::RemoveLapsed;
use timely_persist_io::life::{KeepAlive, On, Supervised, deadline_after, panicked};
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::record::{BackgroundWork, Stalled};

use super::{Policy, leaks};

/// Keeps a shard maintained, whoever writes to it, until it is dropped: from `Shard::maintain`.
///
/// It merges batches, writes rollups, truncates the log, removes readers that lapsed, and deletes what nobody refers
/// to, also what processes left that are gone. Any number of processes may do so for one shard: each step ends in a
/// commit that can be refused, so of several that do the same one is of use, and the others waste that step.
///
/// While the shard changes it costs one read of the log per wake-up, or one in `config.log.watch_fallback` without
/// wake-ups, beside the upkeep; and a listing of the shard's objects in `config.upkeep.leak_sweep_interval`. Storage that
/// does not answer is asked again for as long as it takes; `Shard::settle` tells what is wrong with it.
///
/// ```no_run
/// use timely_persist::{Client, Error, ShardId};
///
/// async fn maintain(url: &str, shard: ShardId) -> Result<(), Error> {
///     let client = Client::open(url).await?;
///     let _maintainer = client.shard::<String, u64, u64, i64>(shard).maintain().await?;
///     std::future::pending().await // until the process is stopped
/// }
/// ```
#[must_use = "the shard is maintained until this is dropped"]
pub struct Maintainer {
    _task: Supervised,
    _client: KeepAlive,
}

impl Maintainer {
    /// Begins with the state that the machine knows.
    pub(crate) fn start<T: Time>(machine: Arc<Machine<T>>, policy: Policy, client: KeepAlive) -> Self {
        let life = Arc::clone(machine.life());
        let hearing = Arc::clone(&machine);
        let hear = move |panic: &str| {
            hearing.set_upkeep_health(Health::Stalled(panicked(panic).of_shard(hearing.shard())));
        };
        let begin = move || {
            let machine = Arc::clone(&machine);
            let watching = Arc::clone(machine.life()).within(async move { watch(&machine, &policy).await });
            async move {
                let _ = watching.await; // until the client ends
            }
        };
        let task = life.supervise(On::Upkeep, "maintaining a shard for others", begin, hear);
        Self { _task: task, _client: client }
    }
}

impl std::fmt::Debug for Maintainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maintainer").finish_non_exhaustive()
    }
}

/// Asks for upkeep whenever a change of the log may have left some.
async fn watch<T: Time>(machine: &Arc<Machine<T>>, policy: &Policy) -> Result<(), Error> {
    let _follow = machine.follow();
    let (mut known, mut round, mut leaks_next) = (None, Instant::now(), Instant::now());
    loop {
        tokio::select! {
            biased; // no dice: a simulation replays
            seqno = machine.wait_for(|state| Some(state.seqno).filter(|seqno| known != Some(*seqno))) => {
                known = Some(seqno?);
            }
            () = tokio::time::sleep_until(round) => {
                round = deadline_after(policy.round_interval);
                if let Err(error) = make_round(machine, policy, &mut leaks_next).await {
                    tracing::warn!(shard = %machine.shard(), %error, "upkeep failed, trying again in the next round");
                    machine.life().tell(|to| to.stalled(machine.shard(), &Stalled { work: BackgroundWork::Upkeep }));
                }
            }
        }
        if machine.state().has_upkeep(&policy.upkeep) {
            machine.request_upkeep();
        }
    }
}

/// Looks for what no commit tells of.
async fn make_round<T: Time>(
    machine: &Arc<Machine<T>>,
    policy: &Policy,
    leaks_next: &mut Instant,
) -> Result<(), Error> {
    if machine.anyone_lapsed() {
        machine.apply(RemoveLapsed).await?;
    }
    if *leaks_next <= Instant::now() {
        while leaks::sweep(machine, policy).await?.objects > 0 {}
        *leaks_next = deadline_after(policy.upkeep.leak_sweep_interval);
    }
    Ok(())
}
