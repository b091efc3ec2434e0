//! Changing the types of a shard, while its rows stay.

use std::sync::Arc;

use timely::progress::Antichain;

use crate::state::{Change, SCHEMAS_MAX, Schema, Standing, State, Types};
use timely_persist_types::codec::Time;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::SchemaId;

use super::admit::{only_reads, settle_types};
use super::{Command, Decision, Moment};

/// Makes the types of whoever asks those of the shard, if these can become them.
#[derive(Clone, Debug)]
pub struct Evolve<T> {
    /// The types.
    pub types: Arc<Types>,
    /// The schema that should be the latest.
    pub expected: SchemaId,
    /// Where the rows end that were looked at, and have a place in these types; `None` where none were.
    pub looked: Option<Antichain<T>>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvolveReply {
    /// They are the shard's already.
    Unchanged,
    /// They are from now on, as the schema of this number.
    Added(SchemaId),
    /// Another schema is the latest by now.
    Mismatch {
        /// Which.
        latest: SchemaId,
    },
    /// A field is to be retired, and the shard has rows that nobody has looked at.
    Look,
}

impl<T: Time> Command<T> for Evolve<T> {
    const NAME: &'static str = "evolve types";
    type Reply = Result<EvolveReply, Error>;

    fn decide(&self, state: &State<T>, _moment: &Moment) -> Decision<T, Self::Reply> {
        Decision::or_refusal(self.decide_or_refuse(state))
    }
}

impl<T: Time> Evolve<T> {
    /// Whether every row that there is has a place in the new types.
    fn have_places(&self, state: &State<T>) -> Result<bool, Error> {
        let lens = self.types.lens_of(state, state.latest_schema())?;
        let is_partial = lens.is_some_and(|lens| !lens.partial().is_empty());
        let is_empty_behind = |looked: &Antichain<T>| {
            let behind = state.batches.iter().skip(state.batch_beyond(looked));
            behind.into_iter().all(|batch| batch.is_empty())
        };
        Ok(!is_partial || state.totals.rows == 0 || self.looked.as_ref().is_some_and(is_empty_behind))
    }

    fn decide_or_refuse(&self, state: &State<T>) -> Result<Decision<T, EvolveReply>, Error> {
        let refuse = |kind, message: String| Error::new(kind, message).of_shard(state.shard);
        if self.types.projects() {
            return Err(only_reads(state));
        }
        if state.finalized {
            return Err(refuse(ErrorKind::Finalized, "its types change no more".to_owned()));
        }
        let standing = Standing::of(&self.types, state).map_err(|reasons| {
            refuse(ErrorKind::CodecMismatch, format!("its rows cannot become those of this program: {reasons}"))
        })?;
        let (latest, schema) = (state.latest_schema(), &self.types.schema);
        match standing {
            Standing::Latest => Ok(Decision::Reply(EvolveReply::Unchanged)),
            Standing::Fresh => Ok(Decision::Commit(settle_types(state, &self.types)?, EvolveReply::Unchanged)),
            _ if latest != self.expected => Ok(Decision::Reply(EvolveReply::Mismatch { latest })),
            Standing::Older(id) => {
                let message = format!("its rows are of {latest} by now, and this program has the types of {id}");
                Err(refuse(ErrorKind::SchemaMismatch { latest, newer: true }, message))
            }
            Standing::Next if !self.have_places(state)? => Ok(Decision::Reply(EvolveReply::Look)),
            Standing::Next => {
                let mut changes = Vec::new();
                if let (true, Some(names)) = (state.schemas.is_empty(), &state.codecs) {
                    // What the names said all along: whoever replays the log need not know how they are read.
                    changes.push(Change::SchemaAdded(SchemaId(0), Arc::new(Schema::of_names(names))));
                }
                if state.schemas.len() + changes.len() >= SCHEMAS_MAX {
                    let message = format!("it has {SCHEMAS_MAX} schemas already, and can have no more");
                    let advice = "copy what is needed of it into a new shard";
                    return Err(refuse(ErrorKind::Invalid, message).advise(advice));
                }
                let id = SchemaId(latest.0.saturating_add(1));
                changes.push(Change::SchemaAdded(id, Arc::clone(schema)));
                Ok(Decision::Commit(changes, EvolveReply::Added(id)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use timely_persist_types::clock::millis;
    use timely_persist_types::codec::{Codec, Constant, Data, FieldShape, RetiredField, Shape, StructShape};
    use timely_persist_types::config::{StoreLimits, UpkeepConfig};
    use timely_persist_types::ids::ShardId;

    use super::*;
    use crate::part::{PartFormat, PartMeta};
    use crate::state::command::{Limits, Replace};
    use crate::state::{Batch, Description, Location, Part};

    fn evolve<K: Data, V: Data>(state: &mut State<u64>, expected: u32) -> Result<EvolveReply, Error> {
        let types = Arc::new(Types::of::<K, V, u64, i64>());
        let limits = Limits::of(&StoreLimits::default(), &UpkeepConfig::default());
        let moment = Moment { now_ms: millis(std::time::Duration::ZERO), limits };
        match (Evolve { types, expected: SchemaId(expected), looked: None }).decide(state, &moment) {
            Decision::Reply(reply) => reply,
            Decision::Commit(changes, reply) => {
                changes.iter().for_each(|change| state.apply_change(change).unwrap());
                state.check().unwrap();
                reply
            }
        }
    }

    fn standing<K: Data, V: Data>(state: &State<u64>) -> Result<Standing, String> {
        Standing::of(&Types::of::<K, V, u64, i64>(), state)
    }

    #[test]
    fn types_follow_each_other() {
        let mut state = State::<u64>::new(ShardId::from_u128(1));
        assert_eq!(standing::<String, u32>(&state), Ok(Standing::Fresh));
        assert_eq!(evolve::<String, u32>(&mut state, 0).unwrap(), EvolveReply::Unchanged);
        assert_eq!((state.schemas.len(), standing::<String, u32>(&state)), (0, Ok(Standing::Latest)));
        assert_eq!(standing::<String, Option<u64>>(&state), Ok(Standing::Next));
        assert_eq!(
            evolve::<String, Option<u64>>(&mut state, 3).unwrap(),
            EvolveReply::Mismatch { latest: SchemaId(0) }
        );
        assert_eq!(evolve::<String, u64>(&mut state, 0).unwrap(), EvolveReply::Added(SchemaId(1)));
        assert_eq!(evolve::<String, u64>(&mut state, 0).unwrap(), EvolveReply::Unchanged);
        assert_eq!(
            evolve::<String, Option<u64>>(&mut state, 0).unwrap(),
            EvolveReply::Mismatch { latest: SchemaId(1) }
        );
        assert_eq!(evolve::<String, Option<u64>>(&mut state, 1).unwrap(), EvolveReply::Added(SchemaId(2)));
        assert_eq!((state.schemas.len(), state.latest_schema()), (3, SchemaId(2)));
        assert_eq!(standing::<String, u32>(&state), Ok(Standing::Older(SchemaId(0))));
        assert_eq!(standing::<String, u64>(&state), Ok(Standing::Older(SchemaId(1))));
        let back = evolve::<String, u64>(&mut state, 2).unwrap_err();
        assert!(back.to_string().contains("of schema 2 by now"), "{back}");
        for refused in [
            evolve::<String, Option<u32>>(&mut state, 2),
            evolve::<u64, Option<u64>>(&mut state, 2),
            evolve::<String, Vec<u8>>(&mut state, 2),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::CodecMismatch);
        }
        assert_eq!(State::decode(&state.encode(), state.shard).unwrap(), state);
    }

    /// One row at this time, or none, by which the upper moves on.
    fn append(state: &mut State<u64>, time: u64, with_a_row: bool) {
        let at = Antichain::from_elem;
        let meta = PartMeta {
            format: PartFormat::ArrowIpc,
            schema: SchemaId(0),
            encoded_bytes: 1,
            decoded_bytes: 1,
            tail_bytes: 1,
            rows: 1,
            checksum: 0,
            time_lower: at(time),
            time_upper: vec![time],
            diff_sum: [0; 8],
            stats: bytes::Bytes::new(),
        };
        let run = vec![Part { location: Location::Blob(format!("part {time}")), meta }];
        let runs = if with_a_row { vec![run] } else { Vec::new() };
        let batch = Batch { desc: Description::new(at(time), at(time + 1)), runs, digest: Some(7) };
        state.apply_change(&Change::BatchAdded(Arc::new(batch))).unwrap();
    }

    /// Or a row that holds something there could not be read any more.
    #[test]
    fn a_field_is_retired_once_all_rows_were_looked_at() {
        let field = |id: u32, default: Option<&u32>| FieldShape {
            id,
            name: format!("field {id}"),
            shape: u32::shape(),
            default: default.map(Constant::of),
        };
        let value = |fields, retired| Shape::Struct(StructShape { name: "value".to_owned(), fields, retired });
        let mut types = Types::of::<String, u32, u64, i64>();
        let before =
            Schema { key: String::shape(), value: value(vec![field(1, None), field(2, Some(&0))], Vec::new()) };
        let retired = vec![RetiredField { id: 2, shape: u32::shape() }];
        types.schema = Arc::new(Schema { key: String::shape(), value: value(vec![field(1, None)], retired) });
        let mut state = State::<u64>::new(ShardId::from_u128(1));
        state.apply_change(&Change::Codecs(Arc::clone(&types.names))).unwrap();
        state.apply_change(&Change::SchemaAdded(SchemaId(0), Arc::new(before))).unwrap();
        let decide = |state: &State<u64>, looked: Option<u64>| {
            let looked = looked.map(Antichain::from_elem);
            let evolve = Evolve { types: Arc::new(types.clone()), expected: SchemaId(0), looked };
            evolve.decide_or_refuse(state).map(|decision| match decision {
                Decision::Reply(reply) | Decision::Commit(_, reply) => reply,
            })
        };
        let added = EvolveReply::Added(SchemaId(1));
        assert_eq!(decide(&state, None).unwrap(), added, "of no rows");
        append(&mut state, 0, true);
        let mut answers = [None, Some(0), Some(1)].map(|looked| decide(&state, looked).unwrap());
        assert_eq!(answers, [EvolveReply::Look, EvolveReply::Look, added]);
        append(&mut state, 1, false);
        assert_eq!(decide(&state, Some(1)).unwrap(), added, "nothing came since");
        append(&mut state, 2, true);
        answers = [Some(1), Some(2), Some(3)].map(|looked| decide(&state, looked).unwrap());
        assert_eq!(answers, [EvolveReply::Look, EvolveReply::Look, added]);
    }

    /// Merged by a program of before while the types changed: the next merge is by one that has them.
    #[test]
    fn what_was_merged_into_older_types_is_refused() {
        let mut state = State::<u64>::new(ShardId::from_u128(1));
        assert_eq!(evolve::<String, u32>(&mut state, 0).unwrap(), EvolveReply::Unchanged);
        append(&mut state, 0, true);
        let inputs: Vec<_> = state.batches.iter().cloned().collect();
        let limits = Limits::of(&StoreLimits::default(), &UpkeepConfig::default());
        let decide = |state: &State<u64>, schema| {
            let replace = Replace { inputs: inputs.clone(), output: Arc::clone(&inputs[0]), schema: SchemaId(schema) };
            matches!(replace.decide(state, &Moment { now_ms: 0, limits }), Decision::Commit(..))
        };
        assert!(decide(&state, 0));
        assert_eq!(evolve::<String, u64>(&mut state, 0).unwrap(), EvolveReply::Added(SchemaId(1)));
        assert!(!decide(&state, 0) && decide(&state, 1));
    }

    /// A copy that has the new types would take what it computes again for something else.
    #[test]
    fn digests_are_of_rows_as_they_were_written() {
        let mut state = State::<u64>::new(ShardId::from_u128(1));
        assert_eq!(evolve::<String, u32>(&mut state, 0).unwrap(), EvolveReply::Unchanged);
        let at = Antichain::from_elem;
        append(&mut state, 0, true);
        assert_eq!(state.digest_of(&at(0), &at(1)), Some(7));
        assert_eq!(evolve::<String, u64>(&mut state, 0).unwrap(), EvolveReply::Added(SchemaId(1)));
        assert_eq!(state.digest_of(&at(0), &at(1)), None);
    }

    #[test]
    fn there_is_an_end_of_schemas() {
        let mut state = State::<u64>::new(ShardId::from_u128(1));
        assert_eq!(evolve::<String, u32>(&mut state, 0).unwrap(), EvolveReply::Unchanged);
        for id in 0..SCHEMAS_MAX as u32 {
            let value = if id % 2 == 0 { u32::shape() } else { u64::shape() };
            let schema = Arc::new(Schema { key: String::shape(), value });
            state.apply_change(&Change::SchemaAdded(SchemaId(id), schema)).unwrap();
        }
        let full = evolve::<String, Option<u64>>(&mut state, SCHEMAS_MAX as u32 - 1).unwrap_err();
        assert!(full.kind() == ErrorKind::Invalid && full.to_string().contains("no more"), "{full}");
    }
}
