//! What a log entry says: facts.

use std::fmt;
use std::sync::Arc;

use timely::progress::Antichain;
use xxhash_rust::xxh3::xxh3_64;

use timely_persist_types::codec::{self, Codec64, Data, Diff, Time};
use timely_persist_types::ids::{CriticalReaderId, LeasedReaderId, SchemaId, SeqNo, Token, WriterId};

use super::{Batch, CriticalReader, LeasedReader, Schema, WriterRecord};

/// One entry of a shard's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<T: Time> {
    /// Tells this attempt from every other one that wanted the same position.
    pub token: Token,
    /// The token of the entry before it; of no entry for the first. An entry that was lost, or replaced, is noticed.
    pub previous: Token,
    /// The shard's wall time from this entry on, in milliseconds.
    pub wall_ms: u64,
    /// The facts, in order.
    pub changes: Vec<Change<T>>,
    /// The newest rollup after this entry: an opener that sees the head knows where to start.
    pub rollup: Option<RollupRef>,
}

/// Where a rollup is and what it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupRef {
    /// The position whose state it holds.
    pub seqno: SeqNo,
    /// Its object's name in the shard's blob folder.
    pub name: String,
}

/// One fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<T: Time> {
    /// The shard holds these types.
    Codecs(Arc<CodecNames>),
    /// The shard's rows look like this, from here on: the schema of this number, which is the next.
    SchemaAdded(SchemaId, Arc<Schema>),
    /// A batch was appended: its lower is the upper before.
    BatchAdded(Arc<Batch<T>>),
    /// The newest batch, which has no updates, now reaches to this upper.
    EmptyExtended(Antichain<T>),
    /// The batches that cover exactly `[lower, upper)` of `with` were replaced by it.
    BatchesReplaced {
        /// How many there were.
        count: u64,
        /// What stands there now.
        with: Arc<Batch<T>>,
        /// The objects that nothing refers to any more.
        garbage: Arc<Vec<String>>,
    },
    /// A leased reader stands like this: it is new, or it changed.
    ReaderSet(LeasedReaderId, LeasedReader<T>),
    /// A leased reader is gone.
    ReaderRemoved(LeasedReaderId),
    /// A critical reader stands like this: it is new, or it changed.
    CriticalSet(CriticalReaderId, CriticalReader<T>),
    /// A critical reader is gone.
    CriticalRemoved(CriticalReaderId),
    /// A writer's record stands like this.
    WriterSet(WriterId, WriterRecord),
    /// A writer's record is gone.
    WriterRemoved(WriterId),
    /// The shard's since is this.
    SinceSet(Antichain<T>),
    /// A rollup was written; the one before is garbage.
    RollupSet(RollupRef),
    /// The first `count` objects of the garbage at a position were deleted.
    GarbageDeleted {
        /// The position.
        seqno: SeqNo,
        /// How many.
        count: u64,
    },
    /// A newer generation of writers has begun: an older one writes no more.
    GenerationSet(u64),
    /// The shard is finalized: its batches are gone, these objects are garbage.
    Finalized {
        /// The objects.
        garbage: Arc<Vec<String>>,
    },
}

/// The names of the types that a shard holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecNames {
    /// Of keys.
    pub key: String,
    /// Of values.
    pub value: String,
    /// Of times.
    pub time: String,
    /// Of diffs.
    pub diff: String,
}

impl CodecNames {
    /// Why rows of the types of these names cannot be read as those `here`; `None` if they can.
    pub fn difference(&self, here: &Self) -> Option<String> {
        let pairs = [(&self.key, &here.key, "keys"), (&self.value, &here.value, "values")];
        let data = pairs.into_iter().find_map(|(known, here, what)| {
            codec::difference(known, here).map(|difference| format!("{what} differ: {difference}"))
        });
        let words = [(&self.time, &here.time, "times"), (&self.diff, &here.diff, "diffs")];
        let other = || words.into_iter().find(|(known, here, _)| known != here);
        data.or_else(|| other().map(|(known, here, what)| format!("{what} differ: {known} as stored, {here} here")))
    }

    /// Whether times and diffs are the same: they never change.
    pub(super) fn count_alike(&self, here: &Self) -> bool {
        (&self.time, &self.diff) == (&here.time, &here.diff)
    }

    /// Stands for them where they travel with each part. Equal names, or an accident of one in 2⁶⁴.
    pub fn digest(&self) -> u64 {
        xxh3_64(self.to_string().as_bytes())
    }

    /// Why no shard should be made for these types: one of them cannot be told from those that it may become.
    pub fn untraced(&self) -> Option<String> {
        codec::untraced(&self.key).or_else(|| codec::untraced(&self.value))
    }

    /// The names of these types.
    pub fn of<K: Data, V: Data, T: Time, D: Diff>() -> Self {
        Self {
            key: K::name(),
            value: V::name(),
            time: <T as Codec64>::NAME.to_owned(),
            diff: <D as Codec64>::NAME.to_owned(),
        }
    }
}

impl fmt::Display for CodecNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "((key {}, value {}), time {}, diff {})", self.key, self.value, self.time, self.diff)
    }
}
