//! How a shard's types change while its rows stay.

use std::sync::Arc;

use timely_persist_core::state::command::{Evolve, EvolveReply};
use timely_persist_core::state::{Schema, Standing};
use timely_persist_types::codec::{Data, Diff, Shape, Time};
use timely_persist_types::error::Error;
use timely_persist_types::ids::SchemaId;

use super::Shard;
use crate::read::LookedAt;

/// How often an evolution that retires a field looks at what was appended since it looked before. Each time there is less to
/// look at, so more would be of no use.
const LOOKS_MAX: usize = 16;

/// What the rows of a shard look like.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardSchema {
    /// Which of its schemas that is: the latest.
    pub id: SchemaId,
    /// Its keys.
    pub key: Shape,
    /// Its values.
    pub value: Shape,
}

/// What a shard's types and a program's are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evolution {
    /// The shard has no types yet, and would take these.
    Fresh,
    /// They are the same.
    Same,
    /// The shard's may become the program's: [`Shard::evolve`] does it, unless a row holds something in a field that is
    /// retired.
    Possible {
        /// The shard's latest schema, which `evolve` expects.
        latest: SchemaId,
    },
    /// The program's are what the shard's were before: upgrade the program.
    Older {
        /// The schema that the program's types are.
        program: SchemaId,
        /// The shard's latest.
        latest: SchemaId,
    },
    /// The shard's cannot become the program's, for all of these reasons.
    Impossible(String),
}

/// What became of an evolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evolved {
    /// The shard has these types already.
    Unchanged,
    /// It has them from now on, as this schema.
    Added(SchemaId),
    /// Another schema is the latest by now: nothing was changed.
    Mismatch {
        /// Which.
        latest: SchemaId,
    },
}

impl<K: Data, V: Data, T: Time, D: Diff> Shard<K, V, T, D> {
    /// What its rows look like now; `None` before anybody wrote to it or read from it. One read of the log.
    pub async fn schema(&self) -> Result<Option<ShardSchema>, Error> {
        let state = self.local()?.machine.refresh().await?;
        let Some(names) = &state.codecs else { return Ok(None) };
        let id = state.latest_schema();
        let implied = || Arc::new(Schema::of_names(names));
        let schema = state.schema(id).cloned().unwrap_or_else(implied);
        Ok(Some(ShardSchema { id, key: schema.key.clone(), value: schema.value.clone() }))
    }

    /// What [`Shard::evolve`] would do, and every reason why it could not. One read of the log, and nothing is changed.
    pub async fn check_evolution(&self) -> Result<Evolution, Error> {
        let state = self.local()?.machine.refresh().await?;
        let latest = state.latest_schema();
        Ok(match Standing::of(&self.types(), &state) {
            Ok(Standing::Fresh) => Evolution::Fresh,
            Ok(Standing::Latest) => Evolution::Same,
            Ok(Standing::Next) => Evolution::Possible { latest },
            Ok(Standing::Older(program)) => Evolution::Older { program, latest },
            Err(reasons) => Evolution::Impossible(reasons),
        })
    }

    /// Gives the shard the types of this program, if its latest schema is `expected` and its rows can become rows of them:
    /// each is read as what it became, for ever, and none is written anew. One commit, or none where they are the same.
    ///
    /// Writers of the types before are refused from then on, at their next commit, and so are readers at the first row of
    /// the new types that they meet: `SchemaMismatch`. They read on as long as they meet none. Compaction writes the new
    /// types, in programs that have them.
    ///
    /// Where a field is retired, every row of the shard is read before, to see that it holds its default there, and what is
    /// appended meanwhile is read too. If one holds something else, that is the error.
    ///
    /// `CodecMismatch`, with every reason, if the rows cannot become these; `SchemaMismatch` if the program's types are those
    /// that the shard had before; `Invalid` if it has as many schemas as it may, or where rows come faster than they are
    /// looked at; `Finalized`; `Unavailable` if storage did not answer. Cancelled, it may have happened.
    pub async fn evolve(&self, expected: SchemaId) -> Result<Evolved, Error> {
        let local = self.local()?;
        let machine = &local.machine;
        let (mut looked, mut looked_at) = (None, LookedAt::new());
        for _ in 0..LOOKS_MAX {
            let applied = machine.apply(Evolve { types: self.types(), expected, looked }).await?;
            let reply = applied.reply?;
            if matches!(reply, EvolveReply::Unchanged | EvolveReply::Added(_)) {
                self.client().maintain_as::<K, V, T, D>(&local);
            }
            match reply {
                EvolveReply::Unchanged => return Ok(Evolved::Unchanged),
                EvolveReply::Added(id) => return Ok(Evolved::Added(id)),
                EvolveReply::Mismatch { latest } => return Ok(Evolved::Mismatch { latest }),
                EvolveReply::Look => {
                    let reader = self.open_reader("evolve: what a field that is retired holds").await?;
                    let found = reader.find_places(&mut looked_at).await;
                    let expired = reader.expire().await;
                    looked = Some(found?);
                    expired?;
                }
            }
        }
        let message =
            format!("rows were appended each of {LOOKS_MAX} times that they were looked at, to retire a field");
        Err(Error::invalid(message).of_shard(self.id()).advise("stop the writers, and evolve the shard then"))
    }
}
