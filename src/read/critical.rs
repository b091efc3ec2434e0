//! The handle of a critical reader: it keeps history without ever expiring, and survives its process.

use std::sync::Arc;

use timely::progress::Antichain;

use crate::machine::Machine;
use timely_persist_core::state::command::{CriticalReply, DowngradeCritical, ExpireCritical};
use timely_persist_core::state::{CriticalReader, storable};
use timely_persist_io::life::KeepAlive;
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::ids::{CriticalReaderId, ShardId};

/// What became of a downgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a downgrade that met another owner's token changed nothing"]
pub enum SinceDowngrade<T> {
    /// The reader stands at this since, and its token is the new one.
    Downgraded {
        /// The since: the one asked for, or a later one from before.
        since: Antichain<T>,
    },
    /// Another owner has taken the reader over. Nothing was changed.
    OpaqueMismatch {
        /// That owner's token.
        current: u64,
    },
}

/// Keeps a shard readable from its since on until it says otherwise. There is no expiry: whoever loses the id keeps the
/// history for ever. A clone is another handle on the same reader.
#[derive(Clone)]
pub struct SinceHandle<T: Time> {
    machine: Arc<Machine<T>>,
    _client: KeepAlive,
    id: CriticalReaderId,
    since: Antichain<T>,
    opaque: u64,
}

impl<T: Time> SinceHandle<T> {
    pub(crate) fn new(
        machine: Arc<Machine<T>>,
        client: KeepAlive,
        id: CriticalReaderId,
        reader: CriticalReader<T>,
    ) -> Self {
        Self { machine, _client: client, id, since: reader.since, opaque: reader.opaque }
    }

    /// The shard.
    pub fn shard_id(&self) -> ShardId {
        self.machine.shard()
    }

    /// The reader.
    pub fn critical_reader_id(&self) -> CriticalReaderId {
        self.id
    }

    /// Where it stood when this handle last heard of it.
    pub fn since(&self) -> &Antichain<T> {
        &self.since
    }

    /// Its fencing token when this handle last heard of it.
    pub fn opaque(&self) -> u64 {
        self.opaque
    }

    /// Moves the since forward and sets the fencing token, if the token is the expected one. A since that is not beyond
    /// the present one leaves it.
    ///
    /// `Invalid` for a time that cannot be stored, before anything is written. `Unavailable` if storage did not answer: it may have happened, and calling again with the same arguments settles
    /// it, if no other owner uses the same token. Cancelling leaves it so, too.
    pub async fn compare_and_downgrade_since(
        &mut self,
        expected: u64,
        new: (u64, &Antichain<T>),
    ) -> Result<SinceDowngrade<T>, Error> {
        storable(new.1, self.machine.shard())?;
        let (opaque, since) = (new.0, new.1.clone());
        match self.machine.apply(DowngradeCritical { id: self.id, expected, opaque, since }).await?.reply {
            CriticalReply::Downgraded(since) => {
                self.since.clone_from(&since);
                self.opaque = opaque;
                Ok(SinceDowngrade::Downgraded { since })
            }
            CriticalReply::OpaqueMismatch(current) => {
                self.opaque = current;
                Ok(SinceDowngrade::OpaqueMismatch { current })
            }
            CriticalReply::Missing => {
                let message = format!("critical reader {} was expired", self.id);
                let advice = "open it again with `open_critical_since`: the shard may have moved on meanwhile";
                Err(Error::invalid(message).advise(advice).of_shard(self.machine.shard()))
            }
        }
    }

    /// Removes the reader from the shard. What it kept may go.
    pub async fn expire(self) -> Result<(), Error> {
        self.machine.apply(ExpireCritical(self.id)).await?;
        Ok(())
    }
}

impl<T: Time> std::fmt::Debug for SinceHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinceHandle").field("reader", &self.id).field("since", &self.since).finish_non_exhaustive()
    }
}
