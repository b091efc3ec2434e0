//! What a source was asked to do, read once when it is built.
//!
//! Workers that read a changing configuration at different moments would build different dataflows; so everything that
//! shapes the dataflow, or that an operator needs later, is copied here.

use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Config, ShardId, Time};

/// The settings of one source, the same on all workers.
#[derive(Clone, Debug)]
pub(crate) struct Settings<T: Time> {
    /// The source's name: operators are named after it, and it chooses the leader.
    pub(crate) name: String,
    /// The shard.
    pub(crate) shard: ShardId,
    /// Where it starts; `None`: at the reader's since.
    pub(crate) as_of: Option<Antichain<T>>,
    /// Where it ends.
    pub(crate) until: Antichain<T>,
    /// Whether the snapshot is wanted, or only what follows it.
    pub(crate) snapshot: bool,
    /// Bytes of parts between handed out and emitted, over all workers.
    pub(crate) inflight_bytes_max: u64,
    /// Fetches under way at once, on each worker.
    pub(crate) fetches_max: usize,
    /// Of how many parts that the filter discards one is fetched anyway; 0 for none.
    pub(crate) audit_one_in: u64,
    /// The first pause between two tries.
    pub(crate) retry_pause_min: Duration,
    /// The longest pause between two tries.
    pub(crate) retry_pause_max: Duration,
}

/// What waits at once for the leader's operator to hear it. More would only wait there.
pub(crate) const LETTERS_MAX: usize = 4;

/// Pieces of parts that a fetch operator has in memory beside one for each part that is being fetched, and as many wait
/// for it: those are emitted while the next are read. More would only take memory.
pub(crate) const PIECES_MAX: usize = 4;

impl<T: Time> Settings<T> {
    /// What a source does that was asked for nothing special.
    pub(crate) fn new(shard: ShardId, config: &Config) -> Self {
        Self {
            name: format!("persist_source {shard}"),
            shard,
            as_of: None,
            until: Antichain::new(),
            snapshot: true,
            inflight_bytes_max: config.inflight_bytes_max as u64,
            fetches_max: config.fetches_max.max(1),
            audit_one_in: config.filter_audit_one_in,
            retry_pause_min: config.retry_pause_min,
            retry_pause_max: config.retry_pause_max,
        }
    }

    /// The worker that follows the shard and hands out its parts.
    ///
    /// A hash of the name, so that many sources spread over the workers; one that never changes (FNV-1a), so that all
    /// processes of a cluster agree whatever they were built with.
    pub(crate) fn leader(&self, peers: usize) -> usize {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = self.name.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step);
        (hash % peers.max(1) as u64) as usize
    }
}

/// Pauses between tries: they grow up to a longest one.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// Pauses of the lengths that the client's configuration says.
    pub(crate) fn of<T: Time>(settings: &Settings<T>) -> Self {
        Self { next: settings.retry_pause_min, longest: settings.retry_pause_max }
    }

    /// Waits. Cancelled, it has not counted.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = self.next.saturating_mul(2).min(self.longest);
    }
}
