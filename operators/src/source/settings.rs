//! What a source was asked to do, read once when it is built.
//!
//! Workers that read a changing configuration at different moments would build different dataflows; so everything that
//! shapes the dataflow, or that an operator needs later, is copied here.

use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Config, ShardId, Time};

use crate::common::agreement::{Asked, Value};
use crate::source::closures::Closures;

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
    /// Whether rows are read without what the program's types do not know.
    pub(crate) project: bool,
    /// Which of the caller's closures there are.
    pub(crate) closures: Closures,
    /// Bytes of parts between handed out and emitted, over all workers.
    pub(crate) max_inflight_bytes: u64,
    /// Fetches under way at once, on each worker.
    pub(crate) fetch_concurrency: usize,
    /// Whether the source knows which rows matter, so that parts which the filter discards can be audited.
    pub(crate) audits: bool,
    /// How long a task rests when the library has given up trying, before it asks again.
    pub(crate) pause: Duration,
}

impl<T: Time> Settings<T> {
    /// What a source does that was asked for nothing special.
    pub(crate) fn new(shard: ShardId, config: &Config) -> Self {
        Self {
            name: format!("persist_source {shard}"),
            shard,
            as_of: None,
            until: Antichain::new(),
            snapshot: true,
            project: false,
            closures: Closures::default(),
            max_inflight_bytes: config.read.inflight_bytes_max as u64,
            fetch_concurrency: config.read.fetches_max.max(1),
            audits: false,
            pause: config.store.retry_pause_max,
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
            ("project", Value::Is(self.project)),
            ("filter", Value::Given(filter)),
            ("filter_rows", Value::Given(filter_rows)),
            ("map", Value::Given(map)),
            ("start_after", Value::Given(start_after)),
        ];
        Asked { worker, settings: settings.map(|(name, value)| (name.to_owned(), value)).to_vec() }
    }
}
