//! Fetching parts ahead of who takes them, in order.
//!
//! Always: the parts that were asked for and not let go of take `config.read.inflight_bytes_max` bytes of memory at most,
//! or are one part.

use std::collections::VecDeque;

use tokio::runtime::Handle;

use timely_persist_io::life::Task;
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::config::ReadConfig;
use timely_persist_types::error::Error;
use timely_persist_types::ids::ShardId;

use super::{FetchedPart, LeasedPart, PartFetcher};

/// Parts that are wanted one after the other. Dropping it ends what is under way and gives all leases back.
pub(crate) struct FetchAhead<K: Data, V: Data, T: Time, D: Diff> {
    fetcher: PartFetcher<K, V, T, D>,
    runtime: Handle,
    waiting: VecDeque<LeasedPart<T>>,
    under_way: VecDeque<UnderWay<K, V, T, D>>,
    /// Of the part that was given out last; it counts until the next is asked for.
    bytes_given: u64,
    inflight_bytes_max: u64,
    fetches_max: usize,
}

struct UnderWay<K: Data, V: Data, T: Time, D: Diff> {
    bytes: u64,
    shard: ShardId,
    object: Option<String>,
    fetch: Task<Result<FetchedPart<K, V, T, D>, Error>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> FetchAhead<K, V, T, D> {
    /// These parts, of which nothing is asked for yet.
    pub(crate) fn new(fetcher: PartFetcher<K, V, T, D>, parts: Vec<LeasedPart<T>>, config: &ReadConfig) -> Self {
        Self {
            runtime: fetcher.life().work().clone(),
            waiting: parts.into(),
            under_way: VecDeque::new(),
            bytes_given: 0,
            inflight_bytes_max: config.inflight_bytes_max as u64,
            fetches_max: config.fetches_max.max(1),
            fetcher,
        }
    }

    /// The next part; `None` behind the last. Errors as in `PartFetcher::fetch`. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<FetchedPart<K, V, T, D>>, Error> {
        self.bytes_given = 0;
        self.ask();
        let Some(first) = self.under_way.front_mut() else { return Ok(None) };
        let fetched = first.fetch.join().await.flatten();
        let Some(UnderWay { bytes, shard, object, .. }) = self.under_way.pop_front() else { return Ok(None) };
        self.bytes_given = bytes;
        // A fetch that was stopped, or panicked, does not say of what.
        fetched.map(Some).map_err(|error| match object {
            Some(object) => error.of_shard(shard).of_object(object),
            None => error.of_shard(shard),
        })
    }

    /// Asks for as many parts as there is room for.
    fn ask(&mut self) {
        let mut bytes: u64 = self.bytes_given + self.under_way.iter().map(|fetch| fetch.bytes).sum::<u64>();
        while self.under_way.len() < self.fetches_max
            && let Some(next) = self.waiting.front()
            && (bytes == 0 || bytes.saturating_add(next.bytes()) <= self.inflight_bytes_max)
            && let Some(part) = self.waiting.pop_front()
        {
            bytes += part.bytes();
            let (bytes, fetcher) = (part.bytes(), self.fetcher.clone());
            let (shard, object) = (part.reading().shard, part.reading().part.blob().map(str::to_owned));
            let fetch =
                Task::start(&self.runtime, "reading a part was stopped", async move { fetcher.fetch(part).await });
            self.under_way.push_back(UnderWay { bytes, shard, object, fetch });
        }
    }
}
