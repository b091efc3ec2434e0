//! What a source was asked to do, read once when it is built.
//!
//! Workers that read a changing configuration at different moments would build different dataflows; so everything that
//! shapes the dataflow, or that an operator needs later, is copied here.

use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Config, ShardId, Time};

use crate::agreement::{Asked, Value};

/// The settings of one source, the same on all workers.
#[derive(Clone, Debug)]
pub(crate) struct Settings<T: Time> {
    /// The source's name: operators are named after it.
    pub(crate) name: String,
    /// The shard.
    pub(crate) shard: ShardId,
    /// Where it starts; `None`: at the reader's since.
    pub(crate) as_of: Option<Antichain<T>>,
    /// Where it ends.
    pub(crate) until: Antichain<T>,
    /// Whether the snapshot is wanted, or only what follows it.
    pub(crate) snapshot: bool,
    /// Which of the caller's closures there are.
    pub(crate) closures: Closures,
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

/// Which closures a source was given: a worker can tell no more of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Closures {
    pub(crate) filter: bool,
    pub(crate) filter_rows: bool,
    pub(crate) map: bool,
    pub(crate) start_after: bool,
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
            closures: Closures::default(),
            inflight_bytes_max: config.inflight_bytes_max as u64,
            fetches_max: config.fetches_max.max(1),
            audit_one_in: config.filter_audit_one_in,
            retry_pause_min: config.retry_pause_min,
            retry_pause_max: config.retry_pause_max,
        }
    }

    /// What must be the same on all workers, as this one says it: whatever decides which rows come, and when.
    pub(crate) fn asked(&self, worker: usize) -> Asked {
        let Closures { filter, filter_rows, map, start_after } = self.closures;
        let as_of = self.as_of.as_ref().map_or(Value::Given(false), Value::frontier);
        let settings = [
            ("shard", Value::Text(self.shard.to_string())),
            ("name", Value::Text(self.name.clone())),
            ("as_of", as_of),
            ("until", Value::frontier(&self.until)),
            ("snapshot", Value::Is(self.snapshot)),
            ("filter", Value::Given(filter)),
            ("filter_rows", Value::Given(filter_rows)),
            ("map", Value::Given(map)),
            ("start_after", Value::Given(start_after)),
        ];
        Asked { worker, settings: settings.map(|(name, value)| (name.to_owned(), value)).to_vec() }
    }
}

/// The worker that follows the shard and hands out its parts, for operators at this address.
///
/// All workers build the same operators in the same order, so they agree on an address whatever they were asked for. It is
/// mixed well (splitmix64), so that many sources spread over the workers, and in a way that never changes, so that all
/// processes of a cluster agree whatever they were built with.
pub(crate) fn leader(address: &[usize], workers: usize) -> usize {
    let hash = address.iter().fold(0, |hash: u64, index| mix(hash ^ *index as u64));
    (hash % workers.max(1) as u64) as usize
}

fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_spread_over_the_workers() {
        for workers in [1, 2, 3, 4, 8, 16] {
            // One dataflow of many sources, or many dataflows of one, with any number of operators between them.
            for stride in 1..20 {
                for address in [|n: usize| [0, n], |n: usize| [n, 3]] {
                    let mut led = vec![0; workers];
                    (0..64 * workers).for_each(|n| led[leader(&address(n * stride), workers)] += 1);
                    assert!(led.iter().all(|led| (24..128).contains(led)), "{led:?}, stride {stride}");
                }
            }
        }
    }

    #[test]
    fn the_leader_at_an_address_never_changes() {
        let leaders: Vec<_> = (0..10).map(|index| leader(&[0, index], 5)).collect();
        assert_eq!(leaders, [0, 0, 2, 4, 1, 4, 0, 4, 3, 2]);
    }
}
