//! Reading the log: entry by entry from where this process stands, or from the newest rollup where that is far behind.
//!
//! A log that ends before a position that it is known to reach, or goes on behind a position that it does not have, has
//! lost an entry. That is damage, and never taken for the end: whoever did would write into the hole.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use timely_persist_core::state::{Entry, RollupRef, State};
use timely_persist_io::life::{Retry, lock};
use timely_persist_io::store::LogEntry;
use timely_persist_types::codec::Time;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::{SeqNo, Token};

use super::Machine;
use super::log::missing;

/// A shard's time that is further ahead of this process's clock is reported: more than clocks of a cluster differ by, and as
/// little as a wrong time zone makes.
const CLOCK_DIFFERENCE_WARNING: Duration = Duration::from_secs(60 * 60);

/// Entries, and whether there may be more.
type Scanned = (Vec<LogEntry>, bool);

impl<T: Time> Machine<T> {
    /// Reads the log to its head.
    pub(super) async fn read_to_head(self: &Arc<Self>) -> Result<(), Error> {
        let mut retry = self.context.log.retry();
        let _committer = self.committer.lock().await;
        self.catch_up(&mut retry).await.map_err(|error| error.of_shard(self.shard))
    }

    /// Reads the log to its head and makes sure that there is nothing behind it: asks for the head, which an object store
    /// answers by a listing, and so sees what a lost entry hides. For whoever is about to delete what the state does
    /// not know.
    pub(super) async fn read_to_listed_head(self: &Arc<Self>) -> Result<(), Error> {
        let mut retry = self.context.log.retry();
        let _committer = self.committer.lock().await;
        let read = async {
            let head = self.context.log.head(self.shard, &mut retry).await?;
            self.catch_up_to(head.map_or(SeqNo::ZERO, |head| head.seqno), &mut retry).await
        };
        read.await.map_err(|error: Error| error.of_shard(self.shard))
    }

    /// The token of the entry at a position; `None` if there is none, or none any more. One question.
    pub(crate) async fn token_at(&self, seqno: SeqNo) -> Result<Option<Token>, Error> {
        let mut retry = self.context.log.retry();
        let entry = self.context.log.entry(self.shard, seqno, &mut retry).await?;
        let entry = entry.filter(|entry| entry.seqno == seqno).as_ref().map(decode::<T>).transpose()?;
        Ok(entry.map(|entry| entry.token))
    }

    /// Reads the log up to `known`, if this process is not there yet.
    pub(super) async fn read_past(self: &Arc<Self>, known: Option<SeqNo>) -> Result<(), Error> {
        let mut retry = self.context.life.retry(self.context.log.config.request_deadline);
        let _committer = self.committer.lock().await;
        if known.is_some_and(|known| known <= self.state.borrow().seqno) {
            return Ok(()); // our own commit woke us
        }
        let read = self.catch_up_to(known.unwrap_or(SeqNo::ZERO), &mut retry).await;
        read.map_err(|error| error.of_shard(self.shard))
    }

    /// Reads the log to its head, which stands at `known` or behind it.
    pub(super) async fn catch_up_to(&self, known: SeqNo, retry: &mut Retry<'_>) -> Result<(), Error> {
        self.catch_up(retry).await?;
        self.reaches(known)
    }

    /// An error if this process has read the log to its end, and that is before `known`.
    fn reaches(&self, known: SeqNo) -> Result<(), Error> {
        let read = self.state.borrow().seqno;
        if read < known { Err(missing(read.next(), known)) } else { Ok(()) }
    }

    /// Why a commit behind the state of this process met a conflict, and then nothing that it conflicts with: an error if
    /// the log is not the one that this process has read.
    pub(super) async fn explain_conflict(&self, retry: &mut Retry<'_>) -> Result<(), Error> {
        let read = self.state.borrow().seqno;
        let head = self.context.log.head(self.shard, retry).await?;
        let head = head.map_or(SeqNo::ZERO, |head| head.seqno);
        if head < read {
            let message = format!(
                "the log went back: it ends at entry {} now, and this process has read it up to entry {}",
                head.0, read.0
            );
            return Err(Error::new(ErrorKind::Missing, message).advise(
                "it was replaced by an older copy, or its server by one that lagged: bring the newer one back, or stop all \
                 processes that know it and start them again on what is there now",
            ));
        }
        self.catch_up_to(head, retry).await
    }

    /// Reads the log to its head. The caller has the committer's lock.
    pub(super) async fn catch_up(&self, retry: &mut Retry<'_>) -> Result<(), Error> {
        let (mut scanned, mut head_seen) = (None, SeqNo::ZERO);
        if self.state.borrow().seqno == SeqNo::ZERO {
            let Some(head) = self.context.log.head(self.shard, retry).await? else {
                return Ok(());
            };
            head_seen = head.seqno;
            scanned = self.start_from(head, retry).await?;
        }
        loop {
            let known = self.state();
            let (entries, full) = match scanned.take() {
                Some(scanned) => scanned,
                None => self.context.log.scan(self.shard, known.seqno, retry).await?,
            };
            let Some(first) = entries.first() else {
                return self.reaches(head_seen);
            };
            if first.seqno > known.seqno.next() {
                // The entries between were truncated while we were away, and a rollup has them.
                let Some(head) = self.context.log.head(self.shard, retry).await? else {
                    return Err(Error::new(ErrorKind::Missing, "the log has entries but no head"));
                };
                head_seen = head_seen.max(head.seqno);
                let (behind, before) = (first.seqno, known.seqno);
                scanned = self.start_from(head, retry).await?;
                if self.state.borrow().seqno == before {
                    return Err(missing(before.next(), behind)); // no rollup has it
                }
                continue;
            }
            let mut state = State::clone(&known);
            // What a rollup covers was read beside it, where a newer rollup was found meanwhile.
            for entry in entries.iter().filter(|entry| entry.seqno > known.seqno) {
                apply(&mut state, entry)?;
            }
            self.install(state);
            if !full {
                return self.reaches(head_seen);
            }
        }
    }

    /// Installs the newest rollup that the log's head names, and gives the entries behind it, read meanwhile. `None`
    /// where there is no rollup yet: the log begins at its beginning.
    async fn start_from(&self, mut head: LogEntry, retry: &mut Retry<'_>) -> Result<Option<Scanned>, Error> {
        loop {
            let entry: Entry<T> = decode(&head)?;
            let Some(rollup) = entry.rollup else {
                return match self.state.borrow().seqno {
                    SeqNo::ZERO => Ok(None),
                    _ => Err(Error::new(ErrorKind::Missing, "the log was truncated without a rollup")),
                };
            };
            let (read, scanned) =
                futures::join!(self.read_rollup(&rollup), self.context.log.scan(self.shard, rollup.seqno, retry));
            if let Some(state) = read? {
                self.install(state);
                return scanned.map(Some);
            }
            // A newer rollup has replaced it since the head was read: its entry is in the log now.
            let newer = self.context.log.head(self.shard, retry).await?;
            match newer {
                Some(newer) if newer.seqno > head.seqno => head = newer,
                _ => return Err(Error::new(ErrorKind::Missing, "the newest rollup is missing").of_object(rollup.name)),
            }
        }
    }

    async fn read_rollup(&self, rollup: &RollupRef) -> Result<Option<State<T>>, Error> {
        let Some(bytes) = self.context.blobs.read_whole(self.shard, &rollup.name).await? else {
            return Ok(None);
        };
        let state = State::decode(&bytes, self.shard).and_then(|state| match state.seqno == rollup.seqno {
            true => Ok(state),
            false => Err(Error::corrupt("a rollup is of another position")),
        });
        if state.is_err() {
            self.context.blobs.distrust(self.shard, &rollup.name).await;
        }
        state.map(Some).map_err(|error| error.of_object(rollup.name.clone()))
    }

    /// Makes `state` the one that readers see, unless a newer one is there. The caller has the committer's lock.
    fn install(&self, state: State<T>) {
        let newer = self.state.send_if_modified(|known| {
            let newer = state.seqno > known.seqno;
            if state.wall_ms > known.wall_ms {
                *lock(&self.time_seen) = Instant::now();
            }
            if newer {
                *known = Arc::new(state);
            }
            newer
        });
        if newer {
            self.changed.notify_waiters();
            self.compare_clocks();
        }
    }

    /// Says, once, that the shard's time is ahead of this process's clock by more than clocks differ.
    fn compare_clocks(&self) {
        let (shard_ms, own_ms) = (self.state.borrow().wall_ms, self.context.clock.wall_ms());
        let ahead = Duration::from_millis(shard_ms.saturating_sub(own_ms));
        let is_ahead = ahead > CLOCK_DIFFERENCE_WARNING;
        if is_ahead != self.told_ahead.swap(is_ahead, Ordering::Relaxed) && is_ahead {
            tracing::warn!(
                shard = %self.shard,
                ?ahead,
                "the shard's time is ahead of this process's clock: a process with a wrong clock has committed, or this \
                 clock is behind. Nothing is lost; what nobody needs is deleted later than usual"
            );
        }
    }

    /// The same for a state that this process committed: it has upkeep to think of.
    pub(super) fn install_own(&self, state: State<T>) {
        #[cfg(debug_assertions)]
        if let Err(broken) = state.check_if_small() {
            tracing::error!(shard = %self.shard, seqno = %state.seqno, broken, "state invariant broken by a commit");
            debug_assert!(false, "{broken}");
        }
        let due = state.upkeep_due(&self.state.borrow(), &self.context.upkeep);
        self.install(state);
        if due && self.context.upkeep.maintain {
            self.upkeep.notify_one();
        }
    }
}

fn decode<T: Time>(entry: &LogEntry) -> Result<Entry<T>, Error> {
    Entry::decode(&entry.data).map_err(|error| error.of_object(format!("log entry {}", entry.seqno)))
}

fn apply<T: Time>(state: &mut State<T>, entry: &LogEntry) -> Result<(), Error> {
    let decoded = decode(entry)?;
    if entry.seqno > state.seqno.next() {
        return Err(missing(state.seqno.next(), entry.seqno));
    }
    state.apply(entry.seqno, &decoded).map_err(|misfit| {
        Error::corrupt(format!("it does not fit the entries before it: {misfit}"))
            .of_object(format!("log entry {}", entry.seqno))
    })
}
