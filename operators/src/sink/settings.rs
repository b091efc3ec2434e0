//! What a sink was asked to do, read once when it is built.

use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Config, ShardId, Time};

use crate::common::agreement::{Asked, Value};
use crate::sink::lead::Terms;

/// Bytes of rows that a worker holds in memory, at the least, before it puts them into storage: fewer would make many small
/// objects.
const MEMORY_MIN: usize = 1 << 20;

/// A run is so many times what a worker holds in memory: rows that are sorted and encoded take several times their bytes,
/// and two lots of them are on their way at once.
const MEMORY_PART: usize = 3;

/// Bytes that wait on a worker, beyond which a commit does not wait for its interval. 8 MiB: from there on an object is as
/// large as storage likes them.
const COMMIT_BYTES: u64 = 8 << 20;

/// The settings of one sink, the same on all workers.
#[derive(Clone, Debug)]
pub(crate) struct Settings<T: Time> {
    /// The sink's name: operators are named after it.
    pub(crate) name: String,
    /// What the leader goes by.
    pub(crate) terms: Terms<T>,
    /// Bytes of rows in memory, on each worker.
    pub(crate) memory_max: usize,
    /// The generation of the program; zero: none.
    pub(crate) generation: u64,
    /// Whether rows are spread over the workers.
    pub(crate) exchange: bool,
    /// How long a task rests when the library has given up trying, before it asks again.
    pub(crate) pause: Duration,
}

impl<T: Time> Settings<T> {
    /// What a sink does that was asked for nothing special.
    pub(crate) fn new(shard: ShardId, config: &Config) -> Self {
        Self {
            name: format!("persist_sink {shard}"),
            terms: Terms {
                shard,
                as_of: Antichain::from_elem(T::minimum()),
                until: Antichain::new(),
                commit_interval: Duration::ZERO,
                commit_bytes: COMMIT_BYTES,
                close_at_end: false,
                waits: false,
            },
            memory_max: (config.write.run_bytes_max / MEMORY_PART).max(MEMORY_MIN),
            generation: 0,
            exchange: false,
            pause: config.store.retry_pause_max,
        }
    }

    /// What must be the same on all workers, as this one says it: whatever decides which rows are written, and when. Not the
    /// `as_of`: each that is strictly before the shard's upper is right.
    pub(crate) fn asked(&self, worker: usize) -> Asked {
        let settings = [
            ("shard", Value::Text(self.terms.shard.to_string())),
            ("name", Value::Text(self.name.clone())),
            ("until", Value::frontier(&self.terms.until)),
            ("generation", Value::Text(self.generation.to_string())),
            ("exchange", Value::Is(self.exchange)),
            ("close_at_end", Value::Is(self.terms.close_at_end)),
            ("enable_after", Value::Given(self.terms.waits)),
        ];
        Asked { worker, settings: settings.map(|(name, value)| (name.to_owned(), value)).to_vec() }
    }
}
