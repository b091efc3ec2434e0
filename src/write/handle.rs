//! The handle of a writer.

use std::sync::Arc;

use timely::PartialOrder;
use timely::progress::Antichain;

use crate::machine::Machine;
use timely_persist_core::state::command::{Append, AppendReply, Expect, ExpireWriter, Lower, admit_generation};
use timely_persist_core::state::{Schema, StagedTypes, State, Sums, Types, storable, wire};
use timely_persist_io::life::{KeepAlive, Supervised};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::config::WriteConfig;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::{SchemaId, ShardId, Token, WriterId};
use timely_persist_types::record::BatchAppended;

use super::batch::Standing;
use super::carried::{Carried, carried};
use super::{Batch, BatchBuilder};

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an append that found another upper wrote nothing"]
pub enum Appended<T> {
    /// The rows are in the shard.
    Committed,
    /// The shard's upper is not the expected one. Nothing was written.
    UpperMismatch {
        /// Where it is.
        current: Antichain<T>,
    },
}

impl<T> Appended<T> {
    fn of(reply: AppendReply<T>) -> Self {
        match reply {
            // The rows are there, by this try, an earlier one or an identical writer.
            AppendReply::Committed { .. } | AppendReply::Repeated { .. } | AppendReply::Covered { .. } => {
                Appended::Committed
            }
            AppendReply::UpperMismatch(current) => Appended::UpperMismatch { current },
        }
    }
}

/// Appends to a shard. Any number of writers may try; the upper decides who wins.
pub struct WriteHandle<K: Data, V: Data, T: Time, D: Diff> {
    machine: Arc<Machine<T>>,
    _client: KeepAlive,
    config: WriteConfig,
    id: WriterId,
    types: Arc<Types>,
    /// What its rows look like in the shard.
    schema: SchemaId,
    purpose: String,
    /// Of whoever writes; 0 where there is none.
    generation: u64,
    upper: Antichain<T>,
    /// Whether this handle has committed, so that the shard keeps a record of it.
    recorded: bool,
    /// An append whose outcome the caller was not told. Its token makes a repetition of it take effect once.
    unsettled: Option<Attempt<T>>,
    /// From the first wait on.
    following: Option<Arc<Supervised>>,
    marker: std::marker::PhantomData<fn() -> (K, V, D)>,
}

/// What identifies an append among those of one handle.
#[derive(Clone, Debug, PartialEq)]
struct Attempt<T> {
    lower: Antichain<T>,
    upper: Antichain<T>,
    /// Rows and checksum of each part, before any are merged: equal rows are encoded to equal bytes.
    contents: Vec<(u64, u64)>,
    token: Token,
}

impl<K: Data, V: Data, T: Time, D: Diff> WriteHandle<K, V, T, D> {
    /// A handle on a shard whose state was read. For the client.
    pub(crate) fn new(
        machine: Arc<Machine<T>>,
        client: KeepAlive,
        config: WriteConfig,
        id: WriterId,
        (types, schema): (Arc<Types>, SchemaId),
        purpose: String,
        generation: u64,
    ) -> Self {
        let upper = machine.state().upper();
        Self {
            machine,
            _client: client,
            config,
            id,
            types,
            schema,
            purpose,
            generation,
            upper,
            recorded: false,
            unsettled: None,
            following: None,
            marker: std::marker::PhantomData,
        }
    }

    /// The newest state this process knows.
    pub(super) fn state(&self) -> Arc<State<T>> {
        self.machine.state()
    }

    /// The shard.
    pub fn shard_id(&self) -> ShardId {
        self.machine.shard()
    }

    /// This writer.
    pub fn writer_id(&self) -> WriterId {
        self.id
    }

    /// What it is for.
    pub fn purpose(&self) -> &str {
        &self.purpose
    }

    /// Appends rows at times in `[expected, new)`, if the shard's upper is `expected`; then it is `new`.
    ///
    /// Rows are consolidated; zero diffs are left out. With no rows it only advances the upper; where `new` is
    /// `expected` it only compares.
    ///
    /// `Invalid` if a row's time is outside `[expected, new)`, if `new` is before `expected`, if a row is too large or does
    /// not read back, if a time is one that cannot be stored, if the diffs of a row add up beyond what their type holds, or if code of its types panics: then nothing is in
    /// the shard. `Unavailable` if storage did not answer within `config.log.commit_deadline`:
    /// then the rows may be in the shard or come to be there. Calling again with the same arguments settles it: they
    /// are there once, and it says `Committed`. The same holds for `Closed`. Cancelling leaves it as `Unavailable` does.
    /// `Fenced` if writers of a newer generation have begun to write ([`Shard::open_writer_in`](crate::Shard::open_writer_in)),
    /// whatever the upper is; then nothing is in the shard.
    pub async fn compare_and_append<I>(
        &mut self,
        rows: I,
        expected: Antichain<T>,
        new: Antichain<T>,
    ) -> Result<Appended<T>, Error>
    where
        I: IntoIterator<Item = ((K, V), T, D)>,
    {
        if let Some(mismatch) = self.check_interval(&expected, &new).await? {
            return Ok(mismatch);
        }
        let mut batch = self.stage(rows, expected.clone(), new.clone()).await?;
        Ok(Appended::of(self.commit(&mut [&mut batch], Lower::At(expected), new).await?))
    }

    /// Appends those of the rows at times in `[lower, upper)` that the shard does not have yet: for several writers
    /// that write identical rows. After it the shard's upper is at `upper` or beyond.
    ///
    /// `UpperMismatch` if the shard's upper is before `lower`, so that there would be a gap. Errors as in
    /// [`WriteHandle::compare_and_append`].
    pub async fn append<I>(&mut self, rows: I, lower: Antichain<T>, upper: Antichain<T>) -> Result<Appended<T>, Error>
    where
        I: IntoIterator<Item = ((K, V), T, D)>,
    {
        self.check_order(&lower, &upper)?;
        let mut batch = self.stage(rows, lower.clone(), upper.clone()).await?;
        Ok(Appended::of(self.commit(&mut [&mut batch], Lower::Covering(lower), upper).await?))
    }

    /// Appends staged batches together, if the shard's upper is `expected`; then it is `new`.
    ///
    /// Each batch's interval must lie within `[expected, new)`, or cover it: then its rows outside are left out. A
    /// batch that was committed is used up; after `UpperMismatch` all can be used again. `Invalid` for a batch that is
    /// used up, for more parts than one log entry takes (`config.log.entry_bytes_max`), and for a batch that was staged for
    /// longer than half of `config.limits.orphan_age_min` ([`Batch::renew`]); `Corrupt` if what another process staged was
    /// changed on its way. Then nothing was written and the batches are as they were.
    ///
    /// Parts of several batches that are small enough to lie in the log entry become one part, which is an object if it is
    /// too large for that. Of thousands of parts less is known to filters (`config.write.entry_stats_bytes_max`).
    ///
    /// Other errors as in [`WriteHandle::compare_and_append`]: also after `Unavailable` and cancelling,
    /// calling again with the same arguments settles it. Until then the batches' objects may be in the shard, and
    /// dropping them leaves those.
    pub async fn compare_and_append_batch(
        &mut self,
        batches: &mut [&mut Batch<T>],
        expected: Antichain<T>,
        new: Antichain<T>,
    ) -> Result<Appended<T>, Error> {
        self.check_order(&expected, &new)?;
        for batch in batches.iter() {
            self.check_batch(batch, &expected, &new)?;
        }
        Ok(Appended::of(self.commit(batches, Lower::At(expected), new).await?))
    }

    /// A builder of a batch whose rows are at times beyond `lower`.
    pub fn batch_builder(&self, lower: Antichain<T>) -> BatchBuilder<K, V, T, D> {
        BatchBuilder::new(Arc::clone(&self.machine), self.config, self.staged_types(), lower)
    }

    /// A batch that another process staged: see `Batch::into_bytes`.
    ///
    /// Rows of the shard's types of before, staged before these changed, are as good as rows of its latest, but where a field
    /// was retired since: nobody looks at what they hold there.
    ///
    /// `Corrupt` if these are no such bytes, `Invalid` if they are of another shard, `CodecMismatch` if of other types.
    pub fn batch_from_bytes(&self, bytes: &bytes::Bytes) -> Result<Batch<T>, Error> {
        let (shard, types, staged) = wire::decode_staged(bytes).map_err(|error| match error.kind() {
            ErrorKind::Corrupt => {
                error.advise("these are not the bytes of a staged batch: send them again as they were made")
            }
            _ => error,
        })?;
        let batch = Batch::new(&self.machine, shard, types, staged);
        self.check_foreign(batch)
    }

    /// Advances the shard's upper to `upper`, unless it is there or beyond. Says that no rows will appear before it.
    ///
    /// Errors and cancelling as in [`WriteHandle::compare_and_append`].
    pub async fn advance_upper(&mut self, upper: &Antichain<T>) -> Result<(), Error> {
        storable(upper, self.machine.shard())?;
        let lower = Lower::Covering(Antichain::from_elem(T::minimum()));
        match self.commit(&mut [], lower, upper.clone()).await? {
            AppendReply::Committed { .. } | AppendReply::Repeated { .. } | AppendReply::Covered { .. } => Ok(()),
            AppendReply::UpperMismatch(current) => {
                let message =
                    format!("the upper {:?} cannot be compared with {:?}", current.elements(), upper.elements());
                Err(Error::invalid(message).of_shard(self.machine.shard()))
            }
        }
    }

    /// The upper as this handle last saw it. No I/O.
    pub fn upper(&self) -> &Antichain<T> {
        &self.upper
    }

    /// The upper as it is in the log now.
    pub async fn fetch_upper(&mut self) -> Result<Antichain<T>, Error> {
        self.upper = self.machine.refresh().await?.upper();
        Ok(self.upper.clone())
    }

    /// Waits until the upper is beyond `frontier`, or empty: nothing is beyond an empty `frontier`, which waits for the
    /// end. `Invalid` for a time that cannot be stored, which no upper passes. Cancelling changes nothing.
    ///
    /// Once it has waited, the handle follows the log until it is dropped, as a [`Listen`](crate::Listen) does: so who waits
    /// and appends in turn does not read the log anew after each append.
    pub async fn wait_for_upper_past(&mut self, frontier: &Antichain<T>) -> Result<(), Error> {
        storable(frontier, self.machine.shard())?;
        let find = |state: &timely_persist_core::state::State<T>| {
            let upper = state.upper();
            (upper.is_empty() || PartialOrder::less_than(frontier, &upper)).then_some(upper)
        };
        let (machine, following) = (&self.machine, &mut self.following);
        let waiting = async {
            following.get_or_insert_with(|| machine.follow());
            machine.wait_for(find).await
        };
        self.upper = machine.life().within(waiting).await?;
        Ok(())
    }

    /// Gives up the handle and the record that the shard keeps of it.
    pub async fn expire(self) -> Result<(), Error> {
        if self.recorded {
            self.machine.apply(ExpireWriter(self.id)).await?;
        }
        Ok(())
    }

    /// Refuses what cannot be appended, and answers early where the upper is known to be elsewhere: before any
    /// encoding.
    async fn check_interval(
        &mut self,
        expected: &Antichain<T>,
        new: &Antichain<T>,
    ) -> Result<Option<Appended<T>>, Error> {
        self.check_order(expected, new)?;
        if self.unsettled.is_some() || self.machine.state().upper() == *expected {
            return Ok(None);
        }
        let current = self.fetch_upper().await?;
        admit_generation(&self.machine.state(), self.generation)?;
        Ok((current != *expected).then_some(Appended::UpperMismatch { current }))
    }

    pub(super) fn check_order(&self, lower: &Antichain<T>, upper: &Antichain<T>) -> Result<(), Error> {
        [lower, upper].into_iter().try_for_each(|frontier| storable(frontier, self.machine.shard()))?;
        if PartialOrder::less_equal(lower, upper) {
            return Ok(());
        }
        let message = format!("the new upper {:?} is not beyond the expected {:?}", upper.elements(), lower.elements());
        Err(Error::invalid(message).of_shard(self.machine.shard()))
    }

    pub(super) fn check_batch(
        &self,
        batch: &Batch<T>,
        expected: &Antichain<T>,
        new: &Antichain<T>,
    ) -> Result<(), Error> {
        let at_or_before = PartialOrder::less_equal;
        let covers = at_or_before(&batch.lower, expected) && at_or_before(new, &batch.upper);
        self.check_kind(batch)?;
        if batch.standing() == Standing::Spent {
            let message = "the batch was appended before, or given away as bytes";
            return Err(Error::invalid(message).of_shard(self.machine.shard()));
        }
        if lies_within(batch, expected, new) || covers {
            return Ok(());
        }
        let [lower, upper, expected, new] = [&batch.lower, &batch.upper, expected, new].map(|f| f.elements());
        let message = format!(
            "a batch of [{lower:?}, {upper:?}) neither lies within [{expected:?}, {new:?}) nor covers it: \
             some of its rows would be lost"
        );
        Err(Error::invalid(message).of_shard(self.machine.shard()))
    }

    fn check_foreign(&self, mut batch: Batch<T>) -> Result<Batch<T>, Error> {
        match self.check_kind(&batch) {
            Ok(()) => Ok(batch),
            Err(error) => {
                batch.stand(Standing::Spent); // not ours to remove
                Err(error)
            }
        }
    }

    /// What rows look like that this handle stages.
    fn staged_types(&self) -> StagedTypes {
        StagedTypes::of(&self.types, self.schema)
    }

    /// An error if the batch is of another shard, or of types whose rows this handle cannot append.
    fn check_kind(&self, batch: &Batch<T>) -> Result<(), Error> {
        if batch.shard != self.machine.shard() {
            let message = format!("the batch is of {}; append it there", batch.shard);
            return Err(Error::invalid(message).of_shard(self.machine.shard()));
        }
        batch.types.admit(&self.types, self.schema).map_err(|difference| self.other_types(&difference))
    }

    fn other_types(&self, difference: &str) -> Error {
        let message = format!("the batch has rows of other types than the handle: {difference}");
        Error::new(ErrorKind::CodecMismatch, message)
            .advise("stage the batch with the handle's types")
            .of_shard(self.machine.shard())
    }

    async fn stage<I>(&self, rows: I, lower: Antichain<T>, upper: Antichain<T>) -> Result<Batch<T>, Error>
    where
        I: IntoIterator<Item = ((K, V), T, D)>,
    {
        self.machine.life().check().map_err(|error| error.of_shard(self.machine.shard()))?;
        let mut builder = self.batch_builder(lower);
        let mut rows = rows.into_iter();
        builder.reserve(rows.size_hint().0);
        for ((key, value), time, diff) in rows.by_ref() {
            if upper.less_equal(&time) {
                let message = format!("a row at {time:?} is beyond the new upper {:?}", upper.elements());
                return Err(Error::invalid(message).of_shard(self.machine.shard()));
            }
            if builder.push(&key, &value, &time, &diff)? {
                builder.seal().await?;
            }
        }
        builder.seal_rest().await?;
        drop(rows); // which frees what it holds while others sort
        builder.finish(upper).await
    }

    /// What became of it, in full.
    pub(super) async fn commit(
        &mut self,
        batches: &mut [&mut Batch<T>],
        lower: Lower<T>,
        upper: Antichain<T>,
    ) -> Result<AppendReply<T>, Error> {
        let carried = carried::<K, V, T, D>(&self.machine, &self.config, &self.staged_types(), batches).await?;
        let Carried { runs, mut merged } = carried;
        let sums = self.machine.life().is_recorded().then(|| Sums::of(runs.iter().flatten()));
        let attempt = self.attempt(batches, lower.frontier(), &upper);
        let (writer, token) = (self.id, attempt.token);
        let schemas = schemas_of(batches);
        let expect = Expect { types: Arc::clone(&self.types), schemas, lower, generation: self.generation };
        let digest = digest_of(batches, expect.lower.frontier(), &upper);
        let append = Append { writer, token, expect, upper: upper.clone(), runs, digest };
        self.unsettled = Some(attempt);
        let mut batches: Vec<&mut Batch<T>> = batches.iter_mut().map(|batch| &mut **batch).chain(&mut merged).collect();
        let before: Vec<Standing> = batches.iter().map(|batch| batch.standing()).collect();
        // From here on the commit goes its way, also if this call is cancelled or fails: the objects may come to be
        // used.
        batches.iter_mut().for_each(|batch| batch.stand(Standing::Offered));
        let applied = self.machine.apply(append).await?;
        self.unsettled = None;
        for (batch, before) in batches.iter_mut().zip(before) {
            match &applied.reply {
                Ok(AppendReply::Committed { .. }) => batch.stand(Standing::Spent),
                _ if applied.doubtful => {} // its objects may be in use although the reply says no
                Ok(AppendReply::Repeated { .. } | AppendReply::Covered { .. }) => {
                    batch.stand(before);
                    batch.discard();
                }
                Ok(AppendReply::UpperMismatch(_)) | Err(_) => batch.stand(before),
            }
        }
        let reply = applied.reply?;
        if let (AppendReply::Committed { .. } | AppendReply::Repeated { .. }, Some(sums)) = (&reply, sums) {
            let Sums { rows, parts, inline_parts, bytes } = sums;
            let fact = BatchAppended { rows, parts, inline_parts, bytes };
            self.machine.life().tell(|to| to.appended(self.machine.shard(), &fact));
        }
        self.recorded |= !matches!(reply, AppendReply::UpperMismatch(_));
        self.upper = match &reply {
            AppendReply::Committed { .. } => upper,
            AppendReply::Repeated { .. } | AppendReply::Covered { .. } => self.machine.state().upper(),
            AppendReply::UpperMismatch(current) => current.clone(),
        };
        Ok(reply)
    }

    /// The attempt to append this: the one before, if its outcome is unsettled and it was the same.
    fn attempt(&self, batches: &[&mut Batch<T>], lower: &Antichain<T>, upper: &Antichain<T>) -> Attempt<T> {
        let parts = batches.iter().flat_map(|batch| batch.runs.iter().flatten());
        let contents: Vec<_> = parts.map(|part| (part.meta.rows, part.meta.checksum)).collect();
        let (lower, upper) = (lower.clone(), upper.clone());
        let same = |before: &&Attempt<T>| before.lower == lower && before.upper == upper && before.contents == contents;
        let token = match self.unsettled.as_ref().filter(same) {
            Some(before) => before.token,
            None => Token::from_u128(self.machine.fresh_bits()),
        };
        Attempt { lower, upper, contents, token }
    }
}

/// Whether all rows of the batch are at times in `[lower, upper)`, as far as its own interval says.
fn lies_within<T: Time>(batch: &Batch<T>, lower: &Antichain<T>, upper: &Antichain<T>) -> bool {
    PartialOrder::less_equal(lower, &batch.lower) && PartialOrder::less_equal(&batch.upper, upper)
}

/// What the rows of these batches look like.
fn schemas_of<T: Time>(batches: &[&mut Batch<T>]) -> Vec<(SchemaId, Arc<Schema>)> {
    let mut schemas: Vec<(SchemaId, Arc<Schema>)> = Vec::with_capacity(1);
    for types in batches.iter().map(|batch| &batch.types) {
        if !schemas.iter().any(|(id, schema)| *id == types.id && *schema == types.schema) {
            schemas.push((types.id, Arc::clone(&types.schema)));
        }
    }
    schemas
}

/// The digest of what these batches append to `[lower, upper)`, if it is known and none of their rows is left out.
fn digest_of<T: Time>(batches: &[&mut Batch<T>], lower: &Antichain<T>, upper: &Antichain<T>) -> Option<u64> {
    let mut with_rows = batches.iter().filter(|batch| !batch.runs.is_empty());
    with_rows.try_fold(0u64, |sum, batch| {
        let digest = batch.digest.filter(|_| lies_within(batch, lower, upper))?;
        Some(sum.wrapping_add(digest))
    })
}

impl<K: Data, V: Data, T: Time, D: Diff> std::fmt::Debug for WriteHandle<K, V, T, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteHandle").field("writer", &self.id).field("upper", &self.upper).finish_non_exhaustive()
    }
}
