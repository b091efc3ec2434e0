//! Who has lapsed, as one process can tell.
//!
//! Wall clocks of processes may be days apart, so none of them says whether a reader still lives. What does is the mark
//! that a holder changes with everything it commits: a mark that one process has seen, and finds unchanged in the log
//! after a whole lease of its *own monotonic* clock, is that of a holder that did not renew for that long. The holder,
//! which counts from before its last renewal, has stopped trusting its lease earlier. No wall clock is in that argument.
//!
//! A process that lives for less than a lease sees nobody lapse. For shards that only such processes use there are two
//! bounds by wall time: an age so long that clocks do not differ by it, which both the process's own clock and the
//! shard's time before this commit must agree on; and the number of writers' records, above which the shard's time alone
//! decides.

use std::collections::BTreeMap;
use std::time::Duration;

use timely_persist_types::clock::millis;
use timely_persist_types::codec::Time;
use timely_persist_types::config::LeaseConfig;
use timely_persist_types::ids::{LeasedReaderId, WriterId};

use super::{Change, State};

/// Sightings are compared this many times per lease.
const LOOKS_PER_LEASE: u32 = 4;

/// Writers' records of a shard above which those are dropped that are past their retention by the shard's time alone:
/// some 400 KiB of state, which every opener of the shard reads along.
const WRITER_RECORDS_MAX: usize = 4_096;

/// What one process has seen of the marks of a shard's holders. Times are its monotonic clock's, from any beginning.
#[derive(Debug, Default)]
pub struct Sightings {
    readers: BTreeMap<LeasedReaderId, Sighting>,
    writers: BTreeMap<WriterId, Sighting>,
    next: Duration,
}

/// A mark, and when it was seen first.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    mark: u128,
    first: Duration,
}

impl Sighting {
    /// What is known of a holder whose mark is this now.
    fn again(known: Option<Sighting>, mark: u128, now: Duration) -> Sighting {
        known.filter(|sighting| sighting.mark == mark).unwrap_or(Sighting { mark, first: now })
    }

    fn lasted(&self, now: Duration) -> Duration {
        now.saturating_sub(self.first)
    }
}

impl Sightings {
    /// Whether it is time to look again. It is a comparison: each commit asks.
    pub fn due(&self, now: Duration) -> bool {
        now >= self.next
    }

    /// Looks again at the next opportunity: what was found did not come to be.
    pub fn look_again(&mut self) {
        self.next = Duration::ZERO;
    }

    /// Looks at the holders of `state`, as it was read from the log, at `now` of the monotonic clock and `wall_ms` of the
    /// wall clock: the removal of those that have lapsed, writers' records after `retention`. O(holders).
    pub fn look<T: Time>(
        &mut self,
        state: &State<T>,
        now: Duration,
        wall_ms: u64,
        retention: Duration,
        lease: &LeaseConfig,
    ) -> Vec<Change<T>> {
        let mut changes = Vec::new();
        let agreed_ms = state.wall_ms.min(wall_ms);
        let past = |last_ms: u64, age: Duration, at_ms: u64| last_ms.saturating_add(millis(age)) < at_ms;
        let mut readers = BTreeMap::new();
        for (id, reader) in &state.readers {
            let sighting = Sighting::again(self.readers.get(id).copied(), reader.heartbeat_ms.into(), now);
            readers.insert(*id, sighting);
            let forgotten = past(reader.heartbeat_ms, lease.lapse_age.max(reader.lease()), agreed_ms);
            if sighting.lasted(now) > reader.lease() || forgotten {
                changes.push(Change::ReaderRemoved(*id));
            }
        }
        let mut writers = BTreeMap::new();
        let many = state.writers.len() > WRITER_RECORDS_MAX;
        for (id, record) in &state.writers {
            let mark = record.tokens.last().map_or(0, |token| token.as_u128());
            let sighting = Sighting::again(self.writers.get(id).copied(), mark, now);
            writers.insert(*id, sighting);
            let forgotten = past(record.last_ms, lease.lapse_age.max(retention), agreed_ms)
                || many && past(record.last_ms, retention, state.wall_ms);
            if sighting.lasted(now) > retention || forgotten {
                changes.push(Change::WriterRemoved(*id));
            }
        }
        (self.readers, self.writers) = (readers, writers);
        let soonest = state.readers.values().map(|reader| reader.lease()).min().unwrap_or(lease.duration);
        self.next = now.saturating_add(soonest.min(lease.duration) / LOOKS_PER_LEASE);
        changes
    }
}
