//! The way in: a client on a store, and typed handles on its shards.
//!
//! A [`Client`] owns the runtime that does all storage work, the threads that maintain shards, and the pulse, a thread
//! that renews leases and does nothing else. It keeps one machine per shard, shared by all handles of this process.

mod bucket;
mod builder;
mod evolution;
mod inflight;
mod rewrite;
mod shard;
mod url;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;

pub use builder::ClientBuilder;
pub use evolution::{Evolution, Evolved, ShardSchema};
use inflight::InflightPool;
pub use inflight::{InflightHold, InflightPermit, InflightShare};
pub use rewrite::Rewrite;
pub use shard::{Hold, Holder, Shard, ShardInfo};

use crate::machine::{Context, Machine};
use crate::maintain::{Maintenance, Policy};
use crate::read::Roster;
use timely_persist_io::life::{KeepAlive, Runtimes, lock};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::config::Config;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::ShardId;

/// A client of one store. Cloning it is cheap. Its tasks end with its last clone and the last handle that it gave out.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    /// Its limits: those of the store are what that keeps.
    config: Config,
    context: Arc<Context>,
    shards: Mutex<HashMap<ShardId, Arc<dyn Any + Send + Sync>>>,
    /// Runtimes that this client made, to be stopped with it.
    runtimes: Mutex<Runtimes>,
    inflight: InflightPool,
}

/// What the handles of one process on one shard share.
pub(crate) struct Local<T: Time> {
    machine: Arc<Machine<T>>,
    roster: Arc<Roster<T>>,
    /// Who maintains it, if this client does.
    maintenance: Option<Mutex<Maintained>>,
}

/// The task that maintains a shard, and the types that it compacts.
struct Maintained {
    types: TypeId,
    task: Maintenance,
}

impl Maintained {
    fn start<K: Data, V: Data, T: Time, D: Diff>(machine: &Arc<Machine<T>>, policy: Policy) -> Self {
        Self { types: TypeId::of::<(K, V, D)>(), task: Maintenance::start::<K, V, T, D>(machine, policy) }
    }
}

impl Client {
    /// Waits until what dropped handles left to be done is done (readers removed, unused objects deleted), then stops
    /// the client's tasks and waits for them, each for at most 10 seconds. Handles that are still around, and calls
    /// that are under way, answer `Closed` from then on.
    ///
    /// `Unavailable` if no thread could be started that waits for the tasks: they are stopped all the same. `Closed` in
    /// a process that was forked from the one that opened the client: nothing is done.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let life = &self.context().life;
        life.check_home()?;
        let notes = async {
            let limit = tokio::time::timeout(SHUTDOWN_LIMIT, life.notes_done());
            let _ = limit.await; // then they are given up
            Ok(())
        };
        let _ = life.within(notes).await; // it was shut down before
        self.shared.stop();
        let runtimes = std::mem::take(&mut *lock(&self.shared.runtimes));
        runtimes.stop(SHUTDOWN_LIMIT).await
    }

    /// The limits it was opened with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Where it does its work, for whoever works beside it: tasks spawned here end with the client.
    pub fn runtime(&self) -> &Handle {
        self.context().life.work()
    }

    /// What a handle holds so that this client outlives it.
    pub(crate) fn keep_alive(&self) -> KeepAlive {
        Arc::clone(&self.shared) as KeepAlive
    }

    /// The right of one more source to have fetched parts in memory, within what all sources of this client may have.
    pub fn inflight_share(&self) -> InflightShare {
        self.shared.inflight.share()
    }

    /// Holds back the sources of this client for as long as it lives.
    pub fn inflight_hold(&self) -> InflightHold {
        self.shared.inflight.hold_back()
    }

    /// By what it maintains shards.
    fn policy(&self) -> Policy {
        let Config { limits, write, lease, upkeep, .. } = self.config();
        Policy {
            upkeep: *upkeep,
            write: *write,
            orphan_age_min: limits.orphan_age_min,
            round_interval: lease.heartbeat_interval,
        }
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.shared.context
    }

    /// The machine of a shard, whose times are of type `T`.
    pub(crate) fn local<K: Data, V: Data, T: Time, D: Diff>(&self, shard: ShardId) -> Result<Arc<Local<T>>, Error> {
        self.context().life.check().map_err(|error| error.of_shard(shard))?;
        let mut shards = lock(&self.shared.shards);
        if let Some(known) = shards.get(&shard) {
            return Arc::clone(known).downcast::<Local<T>>().map_err(|_| {
                let message = "this process has it open with another type of time".to_owned();
                Error::new(ErrorKind::CodecMismatch, message)
                    .advise("use one type of time for a shard in a process")
                    .of_shard(shard)
            });
        }
        let machine = Machine::new(shard, Arc::clone(self.context()));
        let config = self.config();
        let roster = Roster::new(Arc::clone(&machine), config.read, config.lease);
        let maintained = || Mutex::new(Maintained::start::<K, V, T, D>(&machine, self.policy()));
        let maintenance = config.upkeep.maintain.then(maintained);
        let local = Arc::new(Local { machine, roster, maintenance });
        shards.insert(shard, Arc::clone(&local) as Arc<dyn Any + Send + Sync>);
        Ok(local)
    }

    /// Maintains the shard by these types from now on: they are its latest, and only who has those compacts it.
    fn maintain_as<K: Data, V: Data, T: Time, D: Diff>(&self, local: &Local<T>) {
        let Some(maintenance) = &local.maintenance else { return };
        let mut maintained = lock(maintenance);
        if maintained.types != TypeId::of::<(K, V, D)>() {
            *maintained = Maintained::start::<K, V, T, D>(&local.machine, self.policy());
            local.machine.request_upkeep();
        }
    }
}

/// How long `shutdown` waits for what dropped handles left to be done, and for tasks in the middle of a blocking call.
const SHUTDOWN_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

impl Shared {
    /// Ends the tasks, and whatever waits.
    fn stop(&self) {
        if !self.context.life.is_at_home() {
            return self.leave();
        }
        self.context.life.end();
        let locals: Vec<_> = lock(&self.shards).drain().collect();
        drop(locals);
    }
}

impl Shared {
    /// In a process that was forked: leaves everything as it is. The threads that it is of are in another process, and may
    /// hold its locks for ever.
    fn leave(&self) {
        std::mem::forget(Arc::clone(&self.context));
        if let Ok(mut runtimes) = self.runtimes.try_lock() {
            std::mem::forget(std::mem::take(&mut *runtimes));
        }
        if let Ok(mut shards) = self.shards.try_lock() {
            std::mem::forget(std::mem::take(&mut *shards));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("store", &self.context().blobs.store_name()).finish_non_exhaustive()
    }
}
