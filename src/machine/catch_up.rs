//! Reading the log: entry by entry from where this process stands, or from the newest rollup where that is far behind.

use std::sync::Arc;

use tokio::time::timeout_at;

use crate::codec::Time;
use crate::error::Error;
use crate::ids::SeqNo;
use crate::state::{Entry, RollupRef, State};
use crate::store::{LogEntry, LogError};

use super::{Machine, Retry};

impl<T: Time> Machine<T> {
    /// Reads the log to its head.
    pub(super) async fn read_to_head(self: &Arc<Self>) -> Result<(), Error> {
        let mut retry = Retry::within(&self.context, self.context.config.commit_deadline);
        let _committer = self.committer.lock().await;
        self.catch_up(&mut retry).await.map_err(|error| error.of_shard(self.shard))
    }

    /// Reads the log up to `known`, if this process is not there yet.
    pub(super) async fn read_past(self: &Arc<Self>, known: Option<SeqNo>) -> Result<(), Error> {
        let mut retry = Retry::within(&self.context, self.context.config.log_request_deadline);
        let _committer = self.committer.lock().await;
        if known.is_some_and(|known| known <= self.state.borrow().seqno) {
            return Ok(()); // our own commit woke us
        }
        self.catch_up(&mut retry).await.map_err(|error| error.of_shard(self.shard))
    }

    /// Reads the log to its head. The caller has the committer's lock.
    pub(super) async fn catch_up(&self, retry: &mut Retry<'_>) -> Result<(), Error> {
        let mut scanned = None;
        if self.state.borrow().seqno == SeqNo::ZERO {
            let Some(head) = self.ask(retry, || self.context.consensus.head(self.shard)).await? else {
                return Ok(());
            };
            scanned = self.start_from(head, retry).await?;
        }
        loop {
            let known = self.state();
            let entries = match scanned.take() {
                Some(entries) => entries,
                None => self.scan(known.seqno, retry).await?,
            };
            let Some(first) = entries.first() else {
                return Ok(());
            };
            if first.seqno != known.seqno.next() {
                // The entries between were truncated while we were away.
                let Some(head) = self.ask(retry, || self.context.consensus.head(self.shard)).await? else {
                    return Err(Error::corrupt("the log has entries but no head"));
                };
                scanned = self.start_from(head, retry).await?;
                continue;
            }
            let full = entries.len() >= self.context.config.scan_entries_max;
            let mut state = State::clone(&known);
            for entry in &entries {
                apply(&mut state, entry)?;
            }
            self.install(state);
            if !full {
                return Ok(());
            }
        }
    }

    /// Entries behind a position.
    async fn scan(&self, behind: SeqNo, retry: &mut Retry<'_>) -> Result<Vec<LogEntry>, Error> {
        let limit = self.context.config.scan_entries_max;
        self.ask(retry, || self.context.consensus.scan(self.shard, behind.next(), limit)).await
    }

    /// Installs the newest rollup that the log's head names, and gives the entries behind it, read meanwhile. `None`
    /// where there is no rollup yet: the log begins at its beginning.
    async fn start_from(&self, mut head: LogEntry, retry: &mut Retry<'_>) -> Result<Option<Vec<LogEntry>>, Error> {
        loop {
            let entry: Entry<T> = decode(&head)?;
            let Some(rollup) = entry.rollup else {
                return match self.state.borrow().seqno {
                    SeqNo::ZERO => Ok(None),
                    _ => Err(Error::corrupt("the log was truncated without a rollup")),
                };
            };
            let (read, scanned) = futures::join!(self.read_rollup(&rollup), self.scan(rollup.seqno, retry));
            if let Some(state) = read? {
                self.install(state);
                return scanned.map(Some);
            }
            // A newer rollup has replaced it since the head was read: its entry is in the log now.
            let newer = self.ask(retry, || self.context.consensus.head(self.shard)).await?;
            match newer {
                Some(newer) if newer.seqno > head.seqno => head = newer,
                _ => return Err(Error::corrupt("the newest rollup is missing").of_object(rollup.name)),
            }
        }
    }

    async fn read_rollup(&self, rollup: &RollupRef) -> Result<Option<State<T>>, Error> {
        let Some(bytes) = self.context.read_whole_blob(self.shard, &rollup.name).await? else {
            return Ok(None);
        };
        let state = State::decode(&bytes, self.shard).and_then(|state| match state.seqno == rollup.seqno {
            true => Ok(state),
            false => Err(Error::corrupt("a rollup is of another position")),
        });
        if state.is_err() {
            self.context.distrust_blob(self.shard, &rollup.name).await;
        }
        state.map(Some).map_err(|error| error.of_object(rollup.name.clone()))
    }

    /// Asks the log until it answers or the deadline has passed. Only for questions: asking twice does no harm.
    async fn ask<R, F>(&self, retry: &mut Retry<'_>, mut question: impl FnMut() -> F) -> Result<R, Error>
    where
        F: Future<Output = Result<R, LogError>>,
    {
        let mut error = None; // the last that was told: a request that the deadline cuts off says nothing
        loop {
            let deadline = retry.request_deadline(self.context.config.log_request_deadline);
            match timeout_at(deadline, question()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(told)) => error = Some(told),
                Err(_elapsed) => {}
            }
            if !retry.pause().await {
                let unavailable = Error::unavailable("the log could not be read");
                return Err(match error {
                    Some(error) => unavailable.because(error),
                    None => unavailable,
                });
            }
        }
    }

    /// Makes `state` the one that readers see, unless a newer one is there. The caller has the committer's lock.
    fn install(&self, state: State<T>) {
        let newer = self.state.send_if_modified(|known| {
            let newer = state.seqno > known.seqno;
            if newer {
                *known = Arc::new(state);
            }
            newer
        });
        if newer {
            self.changed.notify_waiters();
        }
    }

    /// The same for a state that this process committed: it has upkeep to think of.
    pub(super) fn install_own(&self, state: State<T>) {
        #[cfg(debug_assertions)]
        if let Err(broken) = state.check_if_small() {
            tracing::error!(shard = %self.shard, seqno = %state.seqno, broken, "state invariant broken by a commit");
            debug_assert!(false, "{broken}");
        }
        let due = state.upkeep_due(&self.state.borrow(), &self.context.config);
        self.install(state);
        if due && self.context.config.maintain {
            self.upkeep.notify_one();
        }
    }
}

fn decode<T: Time>(entry: &LogEntry) -> Result<Entry<T>, Error> {
    Entry::decode(&entry.data).map_err(|error| error.of_object(format!("log entry {}", entry.seqno)))
}

fn apply<T: Time>(state: &mut State<T>, entry: &LogEntry) -> Result<(), Error> {
    let decoded = decode(entry)?;
    state.apply(entry.seqno, &decoded).map_err(|misfit| {
        Error::corrupt(format!("it does not fit the entries before it: {misfit}"))
            .of_object(format!("log entry {}", entry.seqno))
    })
}
