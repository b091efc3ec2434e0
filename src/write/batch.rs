//! A staged batch: rows that are in storage, but not yet in the shard.

use std::sync::Arc;

use timely::progress::Antichain;

use crate::machine::Machine;
use timely_persist_core::state::{self, Description, Part, Run, StagedTypes, wire};
use timely_persist_io::life::KeepAlive;
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::ids::ShardId;

use super::renewal;

/// Rows of an interval `[lower, upper)`, in storage but not yet in the shard.
///
/// Dropping a batch that was never offered to the shard removes its objects, as far as storage lets it; what stays
/// behind is found by the leak sweep. A batch may be appended once, by any handle of the same shard and the same types.
pub struct Batch<T: Time> {
    pub(super) shard: ShardId,
    /// What its rows look like.
    pub(super) types: StagedTypes,
    pub(super) lower: Antichain<T>,
    pub(super) upper: Antichain<T>,
    pub(super) runs: Vec<Run<T>>,
    pub(super) digest: Option<u64>,
    standing: Standing,
    machine: Arc<Machine<T>>,
    _client: Option<KeepAlive>,
}

/// Whose the objects of a batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The batch's own.
    Staged,
    /// They were in a commit whose outcome is not known: the shard's, or the batch's, which may try again.
    Offered,
    /// Another's: the shard's, or that of the process that the batch went to.
    Spent,
}

impl<T: Time> Batch<T> {
    pub(super) fn new(machine: &Arc<Machine<T>>, shard: ShardId, types: StagedTypes, staged: state::Batch<T>) -> Self {
        let state::Batch { desc: Description { lower, upper, .. }, runs, digest } = staged;
        let _client = machine.life().keep_alive();
        Self {
            shard,
            types,
            lower,
            upper,
            runs,
            digest,
            standing: Standing::Staged,
            machine: Arc::clone(machine),
            _client,
        }
    }

    /// Adds a part to the only run of the batch, behind those that are there.
    pub(super) fn push(&mut self, part: Part<T>) {
        match self.runs.first_mut() {
            Some(run) => run.push(part),
            None => self.runs.push(vec![part]),
        }
    }

    /// Every row is at a time beyond this.
    pub fn lower(&self) -> &Antichain<T> {
        &self.lower
    }

    /// No row is at a time beyond this.
    pub fn upper(&self) -> &Antichain<T> {
        &self.upper
    }

    /// The number of rows, before consolidation across parts.
    pub fn rows(&self) -> u64 {
        self.runs.iter().flatten().map(|part| part.meta.rows).sum()
    }

    /// The encoded size, in bytes.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().flatten().map(|part| part.meta.encoded_bytes).sum()
    }

    /// The digest of all its rows: the sum of what [`digest`](fn@crate::digest) says of each, so equal for equal rows in any
    /// order. `None` unless it was asked for ([`BatchBuilder::digested`](super::BatchBuilder::digested)), or if diffs of
    /// this type have none.
    pub fn digest(&self) -> Option<u64> {
        self.digest
    }

    /// The batch as bytes that another process can turn back with `WriteHandle::batch_from_bytes`. The objects are that
    /// process's to append or remove from then on.
    pub fn into_bytes(mut self) -> bytes::Bytes {
        let desc = Description::new(self.lower.clone(), self.upper.clone());
        let staged = state::Batch { desc, runs: self.runs.clone(), digest: self.digest };
        let bytes = wire::encode_staged(self.shard, &self.types, &staged);
        self.stand(Standing::Spent);
        bytes
    }

    /// Gives the objects that have grown old fresh names, so that the batch can be appended later. Who holds a batch for
    /// longer than `config.limits.orphan_age_min / 8` calls this that often: from half of that limit on an append refuses it.
    /// No I/O where nothing is due; otherwise for each object one request to copy, one to look at the copy and, later, one to
    /// delete the old one. A [`BatchBuilder`](super::BatchBuilder) does it by itself for as long as rows are added.
    ///
    /// `Unavailable` where storage did not answer in time, `Invalid` where an object is gone. Then, and when cancelled, the
    /// batch is as good as before, and calling again goes on; what was copied in vain is removed by the leak sweep.
    pub async fn renew(&mut self) -> Result<(), Error> {
        if self.standing == Standing::Spent || !renewal::is_due(&self.machine, &self.runs) {
            return Ok(());
        }
        let machine = Arc::clone(&self.machine);
        let offered = self.standing == Standing::Offered;
        machine.life().within(renewal::renew(&machine, &mut self.runs, offered)).await
    }

    /// Removes the objects and waits for it, unless they may be in the shard.
    pub async fn delete(mut self) -> Result<(), Error> {
        let names = self.take_names();
        let (blobs, shard) = (Arc::clone(self.machine.blobs()), self.shard);
        let delete = async {
            for name in &names {
                blobs.delete(shard, name).await?;
            }
            Ok(())
        };
        self.machine.life().within(delete).await
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn stand(&mut self, standing: Standing) {
        self.standing = standing;
        if standing == Standing::Spent {
            self.runs.clear();
        }
    }

    /// The rows are in the shard by other means: the batch is used up, and what is its own is removed.
    pub(super) fn discard(&mut self) {
        let names = self.take_names();
        self.machine.blobs().delete_later(self.shard, names);
        self.stand(Standing::Spent);
    }

    /// The objects that are the batch's to remove.
    fn take_names(&mut self) -> Vec<String> {
        if self.standing != Standing::Staged {
            return Vec::new();
        }
        names(std::mem::take(&mut self.runs).iter().flatten())
    }
}

impl<T: Time> Drop for Batch<T> {
    fn drop(&mut self) {
        let names = self.take_names();
        self.machine.blobs().delete_later(self.shard, names);
    }
}

impl<T: Time> std::fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (lower, upper) = (self.lower.elements(), self.upper.elements());
        write!(f, "Batch of {} rows in [{lower:?}, {upper:?})", self.rows())
    }
}

/// The objects of these parts.
pub(super) fn names<'a, T: Time>(parts: impl IntoIterator<Item = &'a Part<T>>) -> Vec<String> {
    parts.into_iter().filter_map(|part| part.blob().map(str::to_owned)).collect()
}
