//! Appending a batch at the upper.

use std::sync::Arc;
use std::time::Duration;

use timely::PartialOrder;
use timely::progress::Antichain;

use crate::state::{Batch, Change, Description, Run, Schema, State, Types, WriterRecord, entry_bytes};
use timely_persist_types::codec::Time;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::{SchemaId, Token, WriterId, blob_made_ms};

use super::admit::{admit_generation, settle_types};
use super::{Command, Decision, Moment};

/// Appends a batch, if the shard is as expected.
#[derive(Clone, Debug)]
pub struct Append<T: Time> {
    /// Who appends.
    pub writer: WriterId,
    /// Names this append, also when it is tried again: it takes effect once.
    pub token: Token,
    /// What it takes for granted.
    pub expect: Expect<T>,
    /// Where the batch ends.
    pub upper: Antichain<T>,
    /// Its rows.
    pub runs: Vec<Run<T>>,
    /// Their digest, if it is known and none of them lies outside the interval that is asked for.
    pub digest: Option<u64>,
}

/// What an append takes for granted of the shard. All of it is checked in the one decision that appends.
#[derive(Clone, Debug)]
pub struct Expect<T> {
    /// The types of whoever appends, which a fresh shard makes its own.
    pub types: Arc<Types>,
    /// What the rows look like, and which schemas of the shard that is: the latest, or one of before.
    pub schemas: Vec<(SchemaId, Arc<Schema>)>,
    /// Where the batch begins.
    pub lower: Lower<T>,
    /// The generation of whoever appends; 0 where there is none. The shard's is not newer, and becomes this.
    pub generation: u64,
}

/// Where a batch begins, against the shard's upper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lower<T> {
    /// The shard's upper is here.
    At(Antichain<T>),
    /// The shard's upper is here or beyond: what it has already is left out.
    Covering(Antichain<T>),
}

impl<T: Time> Lower<T> {
    /// Where.
    pub fn frontier(&self) -> &Antichain<T> {
        match self {
            Lower::At(lower) | Lower::Covering(lower) => lower,
        }
    }

    /// What becomes of a batch that ends at `end` and cannot be appended where the shard's upper is; `None` if it can.
    fn miss(&self, state: &State<T>, end: &Antichain<T>) -> Option<AppendReply<T>> {
        let upper = state.upper();
        let fits = match self {
            Lower::At(lower) => *lower == upper,
            Lower::Covering(lower) if PartialOrder::less_equal(end, &upper) => {
                return Some(AppendReply::Covered { digest: state.digest_of(lower, end) });
            }
            Lower::Covering(lower) => PartialOrder::less_equal(lower, &upper) && PartialOrder::less_equal(&upper, end),
        };
        (!fits).then_some(AppendReply::UpperMismatch(upper))
    }
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendReply<T> {
    /// It is in the shard.
    Committed {
        /// Where its batch begins: rows at times not beyond this are left out.
        from: Antichain<T>,
    },
    /// An earlier try of the same append is in the shard; the parts of this one are not used, unless they are the same.
    Repeated {
        /// Where the batch of that try begins. Merged with others since, it is no longer told apart from those: then this
        /// is earlier, never later.
        from: Antichain<T>,
    },
    /// The shard has these times already, from an identical writer; the parts are not used.
    Covered {
        /// The digest of what the shard has for these times, if it is still known.
        digest: Option<u64>,
    },
    /// The shard's upper is elsewhere; the parts are not used.
    UpperMismatch(Antichain<T>),
}

impl<T: Time> Command<T> for Append<T> {
    const NAME: &'static str = "append";
    type Reply = Result<AppendReply<T>, Error>;

    fn entry_bytes(&self) -> usize {
        entry_bytes(&self.runs)
    }

    fn decide(&self, state: &State<T>, moment: &Moment) -> Decision<T, Self::Reply> {
        Decision::or_refusal(self.decide_or_refuse(state, moment))
    }
}

impl<T: Time> Append<T> {
    fn decide_or_refuse(&self, state: &State<T>, moment: &Moment) -> Result<Decision<T, AppendReply<T>>, Error> {
        let known = state.writers.get(&self.writer);
        if known.is_some_and(|record| record.tokens.contains(&self.token)) {
            return Ok(Decision::Reply(AppendReply::Repeated { from: self.begun(state) }));
        }
        // Behind the token: what committed stays so, whoever came since. Before all else: nobody who is fenced is to take
        // what it hears of the upper for a reason to go on.
        let mut changes = settle_types(state, &self.expect.types)?;
        self.check_schemas(state)?;
        admit_generation(state, self.expect.generation)?;
        if let Some(missed) = self.expect.lower.miss(state, &self.upper) {
            return Ok(Decision::Reply(missed));
        }
        let upper = state.upper();
        if self.upper == upper {
            return Ok(Decision::Reply(AppendReply::Committed { from: upper }));
        }
        self.check_age(state, moment)?;
        let foldable = state.batches.last().is_some_and(|last| last.is_empty());
        if self.runs.is_empty() && foldable {
            changes.push(Change::EmptyExtended(self.upper.clone()));
        } else {
            let desc = Description::new(upper.clone(), self.upper.clone());
            // Where the beginning is another's, the digest is of rows that the batch does not have.
            let whole = !self.runs.is_empty() && upper == *self.expect.lower.frontier();
            let digest = self.digest.filter(|_| whole);
            changes.push(Change::BatchAdded(Arc::new(Batch { desc, runs: self.runs.clone(), digest })));
        }
        if self.expect.generation > state.generation {
            changes.push(Change::GenerationSet(self.expect.generation));
        }
        let mut record = known.cloned().unwrap_or(WriterRecord { tokens: Vec::new(), last_ms: moment.now_ms });
        record.push(self.token, moment.now_ms);
        changes.push(Change::WriterSet(self.writer, record));
        Ok(Decision::Commit(changes, AppendReply::Committed { from: upper }))
    }

    /// An error if the shard knows one of the rows' schemas as something else: it was fresh when they were staged, and another
    /// program gave it its types since.
    fn check_schemas(&self, state: &State<T>) -> Result<(), Error> {
        let types = &self.expect.types;
        let is_known = |id: SchemaId, schema: &Arc<Schema>| match (state.schema(id), id) {
            (Some(known), _) => known == schema,
            // Nothing is written down, so the names say it, and they are those of these types.
            (None, SchemaId(0)) => *schema == types.schema,
            (None, _) => false,
        };
        if self.expect.schemas.iter().all(|(id, schema)| is_known(*id, schema)) {
            return Ok(());
        }
        let kind = ErrorKind::SchemaMismatch { latest: state.latest_schema(), newer: false };
        let message = "rows were staged when the shard had no types, and got others since";
        Err(Error::new(kind, message).of_shard(state.shard).advise("open the writer again, and stage them again"))
    }

    /// Where the batch of an earlier try begins, in the state that has it.
    fn begun(&self, state: &State<T>) -> Antichain<T> {
        let lower = match &self.expect.lower {
            Lower::At(lower) => return lower.clone(),
            Lower::Covering(lower) => lower,
        };
        let begin = state.batch_reaching(&self.upper).map(|batch| &batch.desc.lower);
        begin.filter(|begin| PartialOrder::less_equal(lower, begin)).unwrap_or(lower).clone()
    }

    /// An error if a leak sweep may take one of the objects for lost.
    fn check_age(&self, state: &State<T>, moment: &Moment) -> Result<(), Error> {
        let (now_ms, age_max_ms) = (moment.now_ms, moment.limits.blob_age_max_ms);
        let Some(part) = self.runs.iter().flatten().find(|part| part.is_stale(now_ms, age_max_ms)) else {
            return Ok(());
        };
        let name = part.blob().unwrap_or_default();
        let age = Duration::from_millis(now_ms.saturating_sub(blob_made_ms(name).unwrap_or(0)));
        let message = format!(
            "the batch was staged {age:?} ago in the shard's time, at most {:?} are allowed, and its objects may be gone",
            Duration::from_millis(age_max_ms)
        );
        Err(Error::invalid(message).of_shard(state.shard).of_object(name.to_owned()).advise(
            "append its rows again; if it was staged just now, a process whose clock is ahead has moved the shard's time",
        ))
    }
}
