//! Appending staged batches of identical writers, for a sink: what another has written already is no mistake.

use timely::PartialOrder;
use timely::progress::Antichain;

use timely_persist_core::state::command::{AppendReply, Lower};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;

use super::{Batch, WriteHandle};

/// What became of batches that several writers append alike.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "where there is a gap nothing was written"]
#[non_exhaustive]
pub enum AppendOutcome<T> {
    /// The rows at times in `[from, upper)` are in the shard, and its upper was moved to `upper` for them.
    Committed {
        /// Where what was appended begins: `lower`, or the shard's upper where another wrote the beginning. Rows before it
        /// were left out: the shard has that writer's.
        ///
        /// Where a repeated call finds that an earlier one committed, it is that one's. If compaction has merged its batch
        /// with older ones since, or if it had no rows, the shard no longer tells where it began: then `from` is earlier
        /// than that (`lower` at the earliest), never later.
        from: Antichain<T>,
    },
    /// The shard has all these times already, from another writer. The batches are used up, and their objects are removed.
    Covered {
        /// The digest of what the shard has for exactly `[lower, upper)`, if it is still known.
        digest: Option<u64>,
    },
    /// The shard's upper is before `lower`, or cannot be compared with the interval: somebody restored an older shard, or
    /// times were left out. Nothing was written, and the batches can be used again.
    Gap {
        /// The shard's upper.
        current: Antichain<T>,
    },
}

impl<T> AppendOutcome<T> {
    fn of(reply: AppendReply<T>) -> Self {
        match reply {
            AppendReply::Committed { from } | AppendReply::Repeated { from } => AppendOutcome::Committed { from },
            AppendReply::Covered { digest } => AppendOutcome::Covered { digest },
            AppendReply::UpperMismatch(current) => AppendOutcome::Gap { current },
        }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> WriteHandle<K, V, T, D> {
    /// Appends staged batches together, in one commit: those of their rows at times in `[lower, upper)` that the shard does
    /// not have yet. For several writers that append identical rows. With no batches it says that there are no rows at these
    /// times; other than [`WriteHandle::advance_upper`] it does not pass over times before `lower`.
    ///
    /// Each batch must end at `upper` or before, or cover `[lower, upper)`: then its rows outside are left out, as are those
    /// before `lower`, which are in the shard. A batch that was committed is used up.
    ///
    /// `Invalid` if `upper` is before `lower`, for a batch of other times, of another shard, or that is used up, and for one
    /// that was staged too long ago; `Fenced` if writers of a newer generation have begun to write: then nothing is in the
    /// shard, and the batches can be used again. `Unavailable` and `Closed` say that the rows may be in the
    /// shard or come to be there, and so does cancelling: calling again with the same arguments settles it, and they are
    /// there once. Until then the batches' objects may be in the shard, and dropping them leaves those.
    ///
    /// Two copies of a program append the same, and the second sees that it made the same rows:
    ///
    /// ```
    /// # use timely::progress::Antichain;
    /// # use timely_persist::{AppendOutcome, Client, Error, ShardId, WriteHandle};
    /// # let at = |time: u64| Antichain::from_elem(time);
    /// # let stage = async |writer: &WriteHandle<String, u64, u64, i64>| {
    /// let mut builder = writer.batch_builder(at(0)).digested();
    /// builder.add(&"pears".to_owned(), &7, &1, &1).await?;
    /// let mut batch = builder.finish(at(3)).await?;
    /// # Ok::<_, Error>(batch)
    /// # };
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let client = Client::open("memory:").await?;
    /// # let orders = client.shard::<String, u64, u64, i64>(ShardId::new());
    /// # let (mut writer, mut copy) = (orders.open_writer("one").await?, orders.open_writer("other").await?);
    /// # let (mut batch, mut same) = (stage(&writer).await?, stage(&copy).await?);
    /// let outcome = writer.append_batches(&mut [&mut batch], at(0), at(3)).await?;
    /// assert_eq!(outcome, AppendOutcome::Committed { from: at(0) });
    ///
    /// let own = same.digest();
    /// let outcome = copy.append_batches(&mut [&mut same], at(0), at(3)).await?;
    /// assert_eq!(outcome, AppendOutcome::Covered { digest: own });
    /// # Ok::<(), Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn append_batches(
        &mut self,
        batches: &mut [&mut Batch<T>],
        lower: Antichain<T>,
        upper: Antichain<T>,
    ) -> Result<AppendOutcome<T>, Error> {
        self.check_order(&lower, &upper)?;
        for batch in batches.iter() {
            // What is before `lower` is in the shard, of whomever: a batch may begin there.
            let ends_here = PartialOrder::less_equal(&batch.upper, &upper);
            self.check_batch(batch, if ends_here { &batch.lower } else { &lower }, &upper)?;
        }
        Ok(AppendOutcome::of(self.commit(batches, Lower::Covering(lower), upper).await?))
    }
}
