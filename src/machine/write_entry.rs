//! Writing one entry, with an answer in every case: ours, another's, or unknown until the deadline.

use bytes::Bytes;

use timely_persist_io::life::Retry;
use timely_persist_io::store::{CompareAndSet, LogError};
use timely_persist_types::codec::Time;
use timely_persist_types::error::Error;
use timely_persist_types::ids::SeqNo;

use super::Machine;
use super::log::damaged;

/// Where an entry ended up.
pub(super) enum Written {
    /// In the log, at the position it was meant for.
    Committed,
    /// Not in the log.
    Conflict {
        /// It may have been: the position is truncated by now, so nobody can tell from the log.
        unseen: bool,
    },
}

enum ReadBack {
    Ours,
    Others,
    Absent,
    Truncated,
}

impl<T: Time> Machine<T> {
    /// Writes `bytes` behind `expected`, and counts how often it was tried. An error means that it may have happened.
    pub(super) async fn write_entry(
        &self,
        expected: SeqNo,
        bytes: Bytes,
        retry: &mut Retry<'_>,
        tries: &mut u64,
    ) -> Result<Written, Error> {
        let mut unsettled = false;
        let mut error = None; // the last that was told: a request that the deadline cuts off says nothing
        loop {
            *tries += 1;
            match self.context.log.compare_and_set(self.shard, expected, bytes.clone(), retry).await {
                Ok(Ok(CompareAndSet::Committed)) => return Ok(Written::Committed),
                Ok(Ok(CompareAndSet::Conflict)) if !unsettled => return Ok(Written::Conflict { unseen: false }),
                Ok(Ok(CompareAndSet::Conflict)) => {}
                Ok(Err(told)) if told.damaged.is_some() => return Err(damaged(told)),
                Ok(Err(told)) => {
                    unsettled |= told.may_have_happened;
                    error = Some(told);
                }
                Err(_elapsed) => unsettled = true,
            }
            if unsettled {
                match self.read_back(expected.next(), &bytes, retry).await {
                    Ok(ReadBack::Ours) => return Ok(Written::Committed),
                    Ok(ReadBack::Others) => return Ok(Written::Conflict { unseen: false }),
                    Ok(ReadBack::Truncated) => return Ok(Written::Conflict { unseen: true }),
                    // Not there yet: the same bytes again. If the first try lands after all, it lands as this one.
                    Ok(ReadBack::Absent) => {}
                    Err(error) if error.damaged.is_some() => return Err(damaged(error)),
                    Err(error) => tracing::debug!(shard = %self.shard, %error, "reading an entry back failed"),
                }
            }
            if !retry.pause().await {
                let unavailable = Error::unavailable("the log did not answer; the commit may have happened")
                    .advise("the same call with the same arguments settles it, once the log answers");
                return Err(match error {
                    Some(error) => unavailable.because(error),
                    None => unavailable,
                });
            }
        }
    }

    async fn read_back(&self, position: SeqNo, bytes: &Bytes, retry: &Retry<'_>) -> Result<ReadBack, LogError> {
        let entry = self.context.log.entry_now(self.shard, position, retry).await?;
        Ok(match entry {
            None => ReadBack::Absent,
            Some(entry) if entry.seqno > position => ReadBack::Truncated,
            Some(entry) if entry.data == *bytes => ReadBack::Ours,
            Some(_) => ReadBack::Others,
        })
    }
}
